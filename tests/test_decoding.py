"""Pictures as a viewer shows them."""

import gc
import signal
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaejax.data import load
from aaejax.data.pictures import decoders
from aaejax.data.pictures.decoding import PictureFiles
from aaejax.data.reading import Reading
from tests.made_data import fails, images, save


def loaded(folder, **options):
    """Pictures of a folder, in order, and what was said of them."""
    said = []
    data = load(folder, folder / "tfds", hold_out=False, tell=said.append, **options)
    return data.train_images, said


# What a viewer does for each value of EXIF's Orientation.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK"])
@pytest.mark.parametrize("suffix", ["png", "tif", "lzw.tif", "webp", "jpg"])
def test_pictures_are_upright(tmp_path, mode, suffix):
    kinds = {"png": "L RGB RGBA LA P 1", "webp": "L RGB RGBA LA P", "jpg": "L RGB CMYK"}
    if mode not in kinds.get(suffix, mode).split():
        return  # such files don't exist
    x = np.kron(
        np.arange(6, dtype=np.uint8).reshape(2, 3) * 45, np.ones((16, 16), np.uint8)
    )
    picture = Image.fromarray(x).convert(mode, dither=Image.Dither.NONE)
    plain = np.asarray(picture.convert("RGB"))[8::16, 8::16]
    more = {"lossless": True} if suffix == "webp" else {}
    more |= {"compression": "tiff_lzw"} if suffix == "lzw.tif" else {}
    for turned, upright in UPRIGHT.items():
        tag = Image.Exif()
        tag[0x0112] = turned
        folder = tmp_path / str(turned)
        folder.mkdir()
        picture.save(folder / f"a.{suffix}", exif=tag, **more)
        found, said = loaded(folder)
        assert not said
        colour = np.broadcast_to(found[0, 8::16, 8::16], (*upright(plain).shape[:2], 3))
        np.testing.assert_allclose(colour.astype(int), upright(plain).astype(int), atol=3)


def test_pictures_of_turned_sizes_are_counted_before_any_is_decoded(tmp_path):
    for number in range(6):
        save(tmp_path / f"{number}.png", size=(8, 6))
    for number in range(3):
        save(tmp_path / f"up{number}.png", size=(6, 8))
    fails("8x6 (6), 6x8 (3); say --resize", loaded, tmp_path)


def test_turned_pictures_of_all_formats_are_of_one_size(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    for suffix in ("tif", "jpg", "png", "webp"):
        Image.new("RGB", (4, 5), 9).save(tmp_path / f"turned.{suffix}", exif=tag)
        save(tmp_path / f"upright.{suffix}", "RGB", size=(5, 4))
    assert loaded(tmp_path)[0].shape == (8, 4, 5, 3)


def test_colours_of_16_bits_are_not_cut(tmp_path):
    def chunk(kind, data):
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)  # 2x2, 16 bits, RGB
    pixels = zlib.compress(b"".join(b"\0" + bytes(range(12)) for _ in range(2)))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    fails("has over 8 bits a pixel", loaded, tmp_path)


def test_sizes_are_those_of_upright_pictures(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6
    save(tmp_path / "a.png", size=(5, 4))
    Image.new("L", (4, 5), 9).save(tmp_path / "b.png", exif=tag)
    assert loaded(tmp_path)[0].shape == (2, 4, 5, 1)
    Image.new("L", (5, 4)).save(tmp_path / "c.png", exif=tag)
    fails("2 sizes, width x height: 5x4 (2), 4x5 (1); say --resize 4", loaded, tmp_path)
    save(tmp_path / "c.png", size=(9, 7))
    fails("5x4 (1), 4x5 (1), 9x7 (1)", loaded, tmp_path)


def test_broken_exif_turns_nothing(tmp_path):
    Image.fromarray(images()[0, ..., 0]).save(tmp_path / "a.png", exif=b"Exif\0\0II*junk")
    np.testing.assert_array_equal(loaded(tmp_path)[0], images()[:1])


def keyed(path, mode, opaque, see_through):
    """A picture of four pixels, the last transparent, saved in its own way."""
    if mode == "P":
        picture = Image.new("P", (2, 2))
        picture.putpalette([*opaque, *see_through])
        picture.putpixel((1, 1), 1)
        picture.save(path, transparency=1)
    elif mode == "P with bytes":
        picture = Image.new("P", (2, 2))
        picture.putpalette([*opaque, *see_through])
        picture.putpixel((1, 1), 1)
        picture.save(path, transparency=b"\xff\x00")
    elif mode in ("L key", "RGB key"):
        grey = mode == "L key"
        picture = Image.new(mode[:-4], (2, 2), opaque[0] if grey else opaque)
        key = see_through[0] if grey else see_through
        picture.putpixel((1, 1), key)
        picture.save(path, transparency=key)
    else:
        picture = Image.new("RGBA", (2, 2), (*opaque, 255))
        picture.putpixel((1, 1), (*see_through, 0))
        picture.convert(mode).save(path)


@pytest.mark.parametrize(
    ("background", "ground"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#10a0Ff", (16, 160, 255))],
)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P with bytes", "L key", "RGB key"])
def test_what_is_transparent_lies_on_one_ground(tmp_path, mode, background, ground):
    keyed(tmp_path / "a.png", mode, (30, 30, 30), (0, 0, 0))
    keyed(tmp_path / "b.png", mode, (30, 30, 30), (250, 250, 250))
    found, said = loaded(tmp_path, background=background)
    colours = 1 if background[0] != "#" and mode[0] == "L" else 3
    assert found.shape == (2, 2, 2, colours) and not said
    assert (found[:, 0] == 30).all() and (found[:, 1, 0] == 30).all()
    assert (found[:, 1, 1] == ground[:colours]).all()


def test_half_transparent_pixels_are_blended(tmp_path):
    save(tmp_path / "a.webp", "RGBA", value=(200, 0, 100, 128))
    save(tmp_path / "b.png", "LA", value=(100, 51))
    found, _ = loaded(tmp_path)
    # 255 - 128 / 255 * (255 - 200) and so on
    assert abs(found[0, 0, 0].astype(int) - [227, 127, 177]).max() <= 1
    assert abs(found[1, 0, 0].astype(int) - 224).max() <= 1


@pytest.mark.parametrize("background", ["blue", "", "#fff", "128", "#12345g", "white\n", 7])
def test_backgrounds_are_words_or_codes(tmp_path, background):
    fails("must be white, black or #rrggbb", load, "any", tmp_path, background=background)


@pytest.mark.parametrize(
    ("mode", "value", "want"),
    [
        ("RGB", (9, 8, 7), [9, 8, 7]),
        ("RGBA", (9, 8, 7, 0), [255, 255, 255]),
        ("P", 0, [0, 0, 0]),
        ("LA", (9, 0), [255]),
        ("LA", (9, 255), [9]),
        ("1", 1, [255]),
    ],
)
def test_one_coloured_image_makes_all_rgb(tmp_path, mode, value, want):
    save(tmp_path / "a.png", "L", value=50)
    save(tmp_path / "b.png", mode, value=value)
    assert loaded(tmp_path)[0][:, 0, 0].tolist() == [[50] * len(want), want]


@pytest.mark.parametrize(
    ("suffix", "mode", "value", "want"),
    [
        ("jfif", "RGB", (250, 250, 250), [250, 250, 250]),
        ("pgm", "L", 7, [7]),
        ("ppm", "RGB", (1, 2, 3), [1, 2, 3]),
        ("pnm", "L", 7, [7]),
        ("pbm", "1", 1, [255]),
        ("jpg", "CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("tif", "CMYK", (0, 0, 0, 255), [0, 0, 0]),
        ("tif", "LAB", (255, 128, 128), [255, 255, 255]),
    ],
)
def test_other_kinds_of_pictures(tmp_path, suffix, mode, value, want):
    picture = Image.new(mode, (5, 4), value)
    picture.save(tmp_path / f"a.{suffix}", "JPEG" if suffix == "jfif" else None)
    found, said = loaded(tmp_path)
    assert not said and abs(found[0, 0, 0].astype(int) - want).max() <= 1


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_the_first_of_several_frames_is_used_and_it_is_said(tmp_path, suffix):
    frames = [Image.new("RGB", (5, 4), (c, c, c)) for c in (40, 200, 90)]
    more = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(
        tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **more
    )
    frames[1].save(tmp_path / f"b.{suffix}", **more)
    found, said = loaded(tmp_path)
    assert found[:, 0, 0, 0].tolist() == [40, 200]
    assert said == [
        f"{tmp_path.name}: 1 of 2 pictures have several frames; the first is used"
    ]


def claiming(width, height):
    """A PNG whose head claims a size and which has nothing else."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (head, data, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_sizes_that_heads_claim_are_bounded_by_the_memory(tmp_path):
    path = tmp_path / "a" / "0.png"
    path.parent.mkdir()
    path.write_bytes(claiming(2**31 - 1, 2**31 - 1))
    fails("claims too large a picture", loaded, tmp_path)
    path.write_bytes(claiming(10_000, 10_000))  # PIL alone would warn
    fails("0.png cannot be decoded", loaded, tmp_path)
    for number in range(1, 1000):
        path.with_name(f"{number}.png").hardlink_to(path)
    fails("0.png cannot be decoded", loaded, tmp_path)  # and nothing is taken for them


def test_processes_decode_many_small_pictures(tmp_path, monkeypatch):
    """They give the same; a broken file is named; one that dies is replaced; all end."""
    monkeypatch.setattr("aaejax.data.lazy.workers", lambda of=None: 2)
    for number in range(200):
        save(tmp_path / "of" / f"{number:03}.png", "RGB", (5, 4), (number, 0, 7))
    alone, _ = loaded(tmp_path / "of")
    monkeypatch.setattr("aaejax.data.pictures.decoding.MANY", 100)
    ended: list[Any] = []
    end = decoders._end
    monkeypatch.setattr(decoders, "_end", lambda some: (end(some), ended.extend(some)))
    together, _ = loaded(tmp_path / "of")
    np.testing.assert_array_equal(alone, together)
    assert len(ended) == 2 and all(each.poll() is not None for each in ended)
    files = PictureFiles(sorted((tmp_path / "of").iterdir()), tmp_path, Reading(), "of")
    assert files.workers > 1 and files._decoders is not None
    (tmp_path / "of" / "150.png").write_bytes(b"broken")
    fails("150.png cannot be decoded", files.__getitem__, np.arange(140, 160))
    assert len(files[np.arange(100, 120)]["image"]) == 20
    # One is stopped, so that Ctrl-C comes between a request and its answer.
    late = files._decoders._idle.queue[0]
    late.send_signal(signal.SIGSTOP)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        files[np.arange(100, 120)]
    signal.signal(signal.SIGALRM, before)
    late.send_signal(signal.SIGCONT)
    for _ in range(2):  # by both
        np.testing.assert_array_equal(files[np.arange(20)]["image"], alone[:20])
    for process in files._decoders._idle.queue:
        process.kill()
    fails("died (SIGKILL)", files.__getitem__, np.arange(20))
    del files
    gc.collect()  # the errors know of it
    assert len(ended) == 4
