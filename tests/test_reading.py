"""Pictures at another size, grey, flipped, and of any number of channels."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from aaejax import init_state, train_step
from aaejax.ask.kinds import sample
from aaejax.components.distortions import flipped
from aaejax.data import from_arrays, from_source, load, memory
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import DataSpec
from tests.conftest import read_lines, run_config, tiny_options, train_tiny
from tests.made_data import fails, images


def halves(width, height, mode="RGB"):
    """A picture that is black, but for its right half."""
    x = np.zeros((height, width), np.uint8)
    x[:, width // 2 :] = 200
    return Image.fromarray(x).convert(mode)


@pytest.fixture
def mixed(tmp_path):
    """A folder of pictures of many sizes, kinds and modes."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    halves(40, 20).save(folder / "a.png")
    halves(24, 36, "L").save(folder / "b.png")
    halves(16, 16, "P").save(folder / "c.png")
    halves(30, 30, "RGBA").save(folder / "d.webp", lossless=True)
    halves(64, 48).transpose(Image.Transpose.ROTATE_180).save(
        folder / "e.jpg", exif=turned, quality=95
    )
    halves(16, 16, "LA").save(folder / "f.png")
    return folder


@pytest.mark.parametrize(("resize", "shape"), [("8", (8, 8)), ("12x6", (6, 12))])
def test_pictures_of_any_size_become_one(mixed, resize, shape):
    data = load(mixed, mixed, hold_out=False, resize=resize)
    assert data.train_images.shape == (6, *shape, 3)
    # The middle of the picture stays in the middle, whichever way it was made smaller.
    middle = shape[1] // 2
    assert (data.train_images[:, :, : middle - 1] < 12).all()
    assert (data.train_images[:, :, middle + 1 :] > 188).all()
    grey = load(mixed, mixed, hold_out=False, resize=resize, grey=True)
    assert grey.train_images.shape == (6, *shape, 1)
    assert grey.fingerprint != data.fingerprint


def test_the_middle_is_cut_out(tmp_path):
    x = np.zeros((10, 30, 3), np.uint8)
    x[:, 10:20] = [10, 20, 30]
    Image.fromarray(x).save(tmp_path / "a.png")
    found = load(tmp_path, tmp_path, hold_out=False, resize="5").train_images
    assert (
        found[:, :, 1:-1] == [10, 20, 30]
    ).all()  # its edges blend with what was cut off


def test_mixed_sizes_are_counted_and_one_is_proposed(mixed):
    fails(
        "mixed: pictures of 5 sizes, width x height: 16x16 (2), 40x20 (1), 24x36 (1), "
        "30x30 (1), 64x48 (1); say --resize 24 to make the shorter side 24",
        load,
        mixed,
        mixed,
    )


def test_arrays_are_read_like_pictures(tmp_path):
    x = images(6, (9, 7, 3))
    for number, image in enumerate(x):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "a" / f"{number}.png")
    np.save(tmp_path / "a.npy", x)
    for options in ({"resize": "4"}, {"resize": "4x5", "grey": True}, {"grey": True}):
        of_files = load(tmp_path / "a", tmp_path, hold_out=False, **options).train_images
        of_array = load(tmp_path / "a.npy", tmp_path, hold_out=False, **options)
        # Channel by channel PIL rounds once more.
        difference = of_files.astype(int) - of_array.train_images
        assert np.abs(difference).max() <= 1 and of_files.dtype == np.uint8
        floats = from_arrays(x / 255, hold_out=False, **options).train_images
        assert floats.dtype == np.float32
        np.testing.assert_allclose(floats * 255, of_files, atol=1.01)


@pytest.mark.parametrize("resize", ["", "0", "64x", "x64", "6x4x3", "-1", "99999", "big"])
def test_sizes_are_sides_in_pixels(tmp_path, resize):
    fails(
        "it must be a side, as 64, or width x height", load, "any", tmp_path, resize=resize
    )
    fails("it must be a side", run_config, tmp_path, resize=resize)


def test_sizes_that_the_memory_has_no_room_for(mixed, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 2**32)
    size = "16384x8192"
    fails(f"train images of {size} would take", from_arrays, images(400), resize=size)
    fails(f"3,072 pixels that become {size}, would take", load, mixed, mixed, resize=size)
    source = from_source(Squares(), resize=size)  # whose rows are read when asked for
    fails("train images would take", np.asarray, source.train_images)
    fails(f"train images of {size} would take", source.train_images.__getitem__, slice(40))


class Squares:
    """A source of small grey pictures."""

    def __len__(self):
        return 60

    def __getitem__(self, rows):
        return {"image": images(60)[rows]}


def test_what_has_no_size_or_no_colour(tmp_path):
    fails("are vectors: --resize is for images", from_arrays, np.eye(9), resize="4")
    fails("have 5 channels: --grey", from_arrays, images(9, (6, 6, 5)), grey=True)
    vectors = from_arrays(np.eye(90, dtype=np.float32))
    config = run_config(tmp_path / "run", flip=True)
    fails("are vectors, no pictures", train, tiny_options(), vectors, config)
    assert not (tmp_path / "run").exists()


def test_16_bits_are_scaled_by_their_range():
    x = np.array([[[0, 65535], [13107, 300]]] * 4, np.uint16)
    data = from_arrays(x, hold_out=False)
    np.testing.assert_allclose(data.train_images[0, 0, :, 0], [0, 1])
    np.testing.assert_allclose(data.train_images[0, 1, :, 0], [0.2, 300 / 65535], rtol=1e-6)


def test_flips_are_drawn_by_the_place_in_the_batch():
    spec = DataSpec((2, 3, 1), 0, True)
    model = tiny_options("autoencoder").build(spec, 1)
    batch = {"image": np.random.default_rng(0).random((8, 2, 3, 1), np.float32)}
    seen = {}

    def note(batch, draw):
        made = flipped(batch, draw)
        seen["image"] = made["image"]
        return made

    state = init_state(model, jax.random.key(0))
    key = jax.random.key(1)

    def turned(step_number):
        at = state.replace(step=np.int32(step_number))
        train_step(model.phases, augment=note)(at, batch, jax.random.clone(key))
        plain = (seen["image"] == batch["image"]).all(axis=(1, 2, 3))
        over = (seen["image"] == batch["image"][:, :, ::-1]).all(axis=(1, 2, 3))
        assert (plain ^ over).all()
        return over.tolist()

    draws = [turned(number) for number in (0, 1, 2, 3)]
    assert draws[0] == turned(0) and len({tuple(draw) for draw in draws}) > 1
    assert 4 < np.sum(draws) < 28


def test_a_run_on_flipped_pictures_of_five_channels(tmp_path):
    """Recorded, the same on two devices, shown, and read alike by sample.py."""
    x = images(60, (9, 7, 5))
    np.save(tmp_path / "a.npy", x)
    losses = []
    for devices in (1, 2):
        config = run_config(
            tmp_path / f"{devices}",
            dataset=str(tmp_path / "a.npy"),
            batch_size=10,
            epochs=2,
            resize="6x5",
            flip=True,
        )
        dataset = load(config.dataset, tmp_path, **config.reading())
        told = []
        options = tiny_options("autoencoder")
        train(options, dataset, config, devices=jax.devices()[:devices], tell=told.append)
        assert told == ["pictures show the first 3, as red, green and blue, of 5 channels"]
        result = read_lines(tmp_path / f"{devices}")
        losses.append([line["reconstruction/loss"] for line in result])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    unflipped = train_tiny(
        tmp_path / "plain",
        dataset,
        model=tiny_options("autoencoder"),
        devices=1,
        tell=[].append,
        batch_size=10,
        epochs=2,
    )
    assert unflipped.metrics["reconstruction/loss"] != losses[0][-1]
    saved = json.loads((tmp_path / "1" / "config.json").read_text())["run"]
    assert (saved["resize"], saved["grey"], saved["flip"]) == ("6x5", False, True)
    with Image.open(tmp_path / "1" / "pictures" / "reconstructions.png") as picture:
        assert picture.mode == "RGB"
    trained = restore(tmp_path / "1")
    np.save(tmp_path / "b.npy", images(3, (20, 10, 5)))
    made = sample(trained, "reconstructions", data=tmp_path / "b.npy", count=3)
    assert made["images"].shape == (3, 2, 5, 6, 5)
    codes = sample(trained, "codes")["codes"]
    given = sample(trained, "codes", data=tmp_path / "a.npy")["codes"]
    assert len(codes) == len(given) == 60


def test_a_single_channel_of_two_is_shown(tmp_path):
    from aaejax.runs.reports import pictures

    said = []
    for channels in (1, 2, 3, 4):
        pictures.tell_of_channels(channels, said.append)
        pictures.write_grid(tmp_path / f"{channels}.png", np.ones((3, 4, 5, channels)))
    assert said == [
        "pictures show the first, of 2 channels",
        "pictures show the first 3, as red, green and blue, of 4 channels",
    ]
    for channels, mode in zip((1, 2, 3, 4), ("L", "L", "RGB", "RGB"), strict=True):
        with Image.open(tmp_path / f"{channels}.png") as picture:
            assert picture.mode == mode
