"""Examples that are read when they are asked for: sources, streaming, the cache."""

import os
import threading
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from aaejax.data import batches, cache, from_arrays, from_source, lazy, load
from aaejax.data.pictures import folders
from aaejax.runs import examples
from aaejax.runs.restore import restore
from tests.conftest import (
    Cut,
    CutAt,
    final_params,
    read_lines,
    same,
    tiny_options,
    train_tiny,
)
from tests.made_data import fails, images, labels_of


class Squares:
    """A source as a user writes it: pictures that are made when they are asked for."""

    def __init__(self, n=60, shape=(4, 5, 1), labels=True, spoilt=None):
        self.n, self.shape, self.labelled, self.spoilt = n, shape, labels, spoilt
        self.threads = set()

    def __len__(self):
        return self.n

    def __getitem__(self, rows):
        self.threads.add(threading.get_ident())
        x = np.empty((len(rows), *self.shape), np.float32)
        x[:] = (rows / self.n).reshape(-1, *[1] * len(self.shape))
        if self.spoilt is not None:
            x[rows == self.spoilt, 0] = np.nan
        return {"image": x, "label": rows % 3} if self.labelled else {"image": x}


class OneByOne:
    """As random-access sources of Grain are."""

    def __init__(self, several):
        self.x = images(20)
        if several:
            self.__class__ = type("Several", (OneByOne,), {"__getitems__": self.items})

    def items(self, rows):
        return [self[row] for row in rows]

    def __len__(self):
        return 20

    def __getitem__(self, row):
        assert isinstance(row, int)
        return {"image": self.x[row], "label": np.int64(row % 2), "id": f"{row}"}


def test_an_object_of_ones_own_is_a_source():
    data = from_source(Squares(), name="squares")
    want = from_arrays(Squares()[np.arange(60)]["image"], np.arange(60) % 3)
    assert data.class_names == ("0", "1", "2") and data.example_shape == (4, 5, 1)
    np.testing.assert_array_equal(data.train_images, want.train_images)
    np.testing.assert_array_equal(data.test_images[:], want.test_images)
    for got, labels in zip(labels_of(data), labels_of(want), strict=True):
        np.testing.assert_array_equal(got, labels)
    assert data.fingerprint == from_source(Squares()).fingerprint
    assert data.fingerprint != from_source(Squares(61)).fingerprint
    small = from_source(Squares(shape=(9, 9, 3)), Squares(5, (7, 7, 3)), resize="4")
    assert small.train_images.shape == (60, 4, 4, 3) == small.train_images[:].shape
    assert small.test_images.shape == (5, 4, 4, 3)


def test_sources_of_grain_are_sources():
    grain = pytest.importorskip("grain")
    want = from_arrays(images(), np.arange(20) % 2)
    for source in (OneByOne(True), grain.MapDataset.source(OneByOne(False))):
        data = from_source(source)
        np.testing.assert_array_equal(np.asarray(data.train_images), want.train_images)
        np.testing.assert_array_equal(labels_of(data)[1], labels_of(want)[1])


def test_what_a_source_may_not_be():
    class Odd(Squares):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def __getitem__(self, rows):
            return self.change(super().__getitem__(rows)["image"])

    fails("int is no source", from_source, 7)
    one = {"image": images(2), "label": np.arange(2)}
    for collection in (one, [one], (one,), "mnist5k", images(), Squares):
        fails("a source can't be a", from_source, collection)
    fails("have 0 examples", from_source, Squares(0))
    for fragment, change in (
        ("answers ndarray, not a dict", lambda x: x),
        ('not a dict with "image"', lambda x: {"picture": x}),
        (
            "asked for 60 rows, the source gives 59",
            lambda x: {"image": x if len(x) == 1 else x[1:]},
        ),
        ("allowed are uint8", lambda x: {"image": x.astype(int)}),
        ("row 1 lie in [5", lambda x: {"image": x * 300}),
    ):
        fails(fragment, from_source, Odd(change))


class Some(Squares):
    """Only some rows have a label: one by one, or all that are asked for at once."""

    def __init__(self, labelled, one_by_one=False, **apart):
        super().__init__(200)
        self.has_label = labelled
        self.__dict__ |= apart
        if one_by_one:
            self.__class__ = type("Several", (Some,), {"__getitems__": self.items})

    def __getitem__(self, rows):
        self.labelled = all(map(self.has_label, rows))
        return super().__getitem__(rows)

    def items(self, rows):
        found = [self[np.array([row])] for row in rows]
        return [{name: x[0] for name, x in each.items()} for each in found]


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("labelled", "words"),
    [
        (lambda row: row > 0, '"label" here, but not the first'),
        (lambda row: row != 150, 'no "label" here, but the first has one'),
    ],
)
def test_all_rows_have_a_label_or_none(labelled, words, one_by_one):
    if one_by_one or "no " in words:
        fails(words, from_source, Some(labelled, one_by_one))
    some = Some(labelled, one_by_one, labels=np.arange(200) % 2)
    assert from_source(some).class_names == ("0", "1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: [(x["image"], x["label"]) for x in found], "row 0 is tuple, not a"),
        (lambda found: [{"label": x["label"]} for x in found], 'with "image" in it'),
        (lambda found: found[1:], "asked for 1 examples, the source gives 0"),
    ],
)
def test_what_examples_one_by_one_may_not_be(change, words):
    class Odd(OneByOne):
        def __getitems__(self, rows):
            return change(self.items(rows))

    fails(words, from_source, Odd(False))


def test_values_are_checked_as_they_come_and_the_row_is_named(tmp_path):
    data = from_source(Squares(1000, labels=False, spoilt=501), hold_out=False, name="a")
    assert data.train_images[:500].shape == (500, 4, 5, 1)
    some, read = slice(500, 503), data.train_images.__getitem__
    fails("a: train images, row 501 hold 5 values that are NaN", read, some)
    fails("row 501 hold", np.asarray, data.train_images)
    # In training too: one line, and no checkpoint of it.
    options = {"model": tiny_options("autoencoder"), "devices": 1, "epochs": 1}
    fails("row 501 hold", train_tiny, tmp_path / "run", data, **options)


class Stored:
    """Rows of an array; notes how many were asked for at once."""

    def __init__(self, x):
        self.x, self.asked = x, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        self.asked.append(len(rows))
        return {"image": self.x[rows]}


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 1), (np.uint16, 255)])
def test_dark_values_are_refused_whether_they_are_in_memory_or_not(dtype, most):
    """And not where one row, which is none of those read at the start, is brighter."""
    x = np.full((500, 4, 5, 1), most, dtype)
    fragment = f"{np.dtype(dtype)} but reach only {most}, where white is"
    fails(fragment, from_arrays, x)
    fails(fragment, from_source, Stored(x))
    x[301] += 1
    want = from_arrays(x, hold_out=False).train_images
    source = Stored(x)
    np.testing.assert_array_equal(from_source(source, hold_out=False).train_images[:], want)
    assert 301 not in np.linspace(0, 499, 64).astype(int)


def test_few_rows_are_read_at_the_start_where_they_are_large(monkeypatch):
    x = images(100, (8, 8, 1))
    for room, most in ((2**28, 64), (64 * 10, 10), (1, 1)):
        monkeypatch.setattr(lazy, "_SAMPLE_BYTES", room)
        source = Stored(x)
        data = from_source(source, hold_out=False)
        assert max(source.asked) == most and data.example_shape == (8, 8, 1)


@pytest.fixture
def streamed(monkeypatch):
    """Nothing fits, and a chunk is of few steps."""
    monkeypatch.setattr(examples.batches, "fits_on", lambda *_: False)
    monkeypatch.setattr(batches, "CHUNK_BYTES", 4 * 20 * 10 * 5)


def test_a_streamed_run_that_was_killed_goes_on_bit_for_bit(
    tmp_path, streamed, monkeypatch
):
    """With another number of threads, and as one on resident data."""
    changes: Any = {"model": tiny_options("autoencoder"), "devices": 1}
    changes |= {"batch_size": 10, "save_every": 10, "log_every": 5}
    source = Squares(100)
    data = from_source(source)
    train_tiny(tmp_path / "whole", data, **changes)
    # 9 steps an epoch; a chunk is of 1 step, and lines are as of resident data.
    lines = read_lines(tmp_path / "whole")
    assert [line["step"] for line in lines] == [*range(5, 36, 5), 36]
    assert threading.get_ident() in source.threads and len(source.threads) > 1
    monkeypatch.setattr(lazy, "workers", lambda *_: 5)
    with pytest.raises(Cut):
        train_tiny(tmp_path / "cut", data, hooks=[CutAt(15)], **changes)
    monkeypatch.setattr(lazy, "workers", lambda *_: 1)
    train_tiny(tmp_path / "cut", data, **changes)
    (step, params), (cut_step, cut) = map(
        final_params, (tmp_path / "whole", tmp_path / "cut")
    )
    assert step == cut_step == 36 and same(params, cut)
    losses = [
        [line["reconstruction/loss"] for line in read_lines(tmp_path / name)]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1]
    monkeypatch.undo()
    train_tiny(tmp_path / "resident", data, **changes)
    resident = final_params(tmp_path / "resident")[1]
    again = read_lines(tmp_path / "resident")
    for line, other in zip(lines, again, strict=True):
        assert line["step"] == other["step"]
        assert line["reconstruction/loss"] == pytest.approx(other["reconstruction/loss"])
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(resident), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_trained_model_is_asked_of_rows_without_reading_all(tmp_path, monkeypatch):
    data = from_source(Squares(100))
    options = {"model": tiny_options("autoencoder"), "batch_size": 10, "epochs": 1}
    train_tiny(tmp_path / "run", data, devices=1, **options)
    trained = restore(tmp_path / "run")
    want = trained.encode(np.asarray(data.train_images))
    other = from_source(Squares(shape=(4, 4, 1))).train_images
    fails("was trained on [4, 5, 1]", trained.encode, other)
    monkeypatch.delattr(lazy.Rows, "__array__")
    np.testing.assert_array_equal(trained.encode(data.train_images), want)


def test_chunks_are_counted_in_bytes():
    picture = np.zeros((10, 64, 64, 3), np.uint8)
    at_once = batches.steps_at_once({"image": picture}, 100, 200)
    assert at_once == 50 and 50 * 100 * picture[0].nbytes <= batches.CHUNK_BYTES
    assert batches.steps_at_once({"image": picture}, 100_000, 200) == 1
    assert batches.steps_at_once({"image": picture[:, :4, :4]}, 100, 200) == 200


def test_an_error_of_a_thread_ends_the_stream():
    class Broken(Squares):
        def __getitem__(self, rows):
            if 7 in rows and len(rows) < 60:
                raise OSError("the disk is gone")
            return super().__getitem__(rows)

    rows = from_source(Broken(), hold_out=False).train_images
    chunks = batches.stream({"image": rows}, [lambda: np.arange(60).reshape(6, 10)], 1)
    with pytest.raises(OSError, match="the disk is gone"):
        next(chunks)


# A folder that does not fit, and the cache


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of twenty pictures, which counts as too large to be read at once."""
    for number, x in enumerate(images(20, (6, 8, 3))):
        folder = tmp_path / "pets" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / f"{number}.png")
    monkeypatch.setattr(folders, "READ_BELOW", 100)
    return tmp_path / "pets"


def test_a_large_folder_is_decoded_where_it_is_read(pictures, monkeypatch):
    data = load(pictures, pictures)
    assert isinstance(data.train_images, lazy.Rows)
    monkeypatch.setattr(folders, "READ_BELOW", 2**30)
    small = load(pictures, pictures)
    np.testing.assert_array_equal(data.train_images, small.train_images)
    np.testing.assert_array_equal(data.test_images, small.test_images)
    np.testing.assert_array_equal(labels_of(data)[0], labels_of(small)[0])
    monkeypatch.setattr(folders, "READ_BELOW", 100)
    before = data.fingerprint
    assert load(pictures, pictures).fingerprint == before
    os.utime(pictures / "cat" / "1.png", (1, 1))
    assert load(pictures, pictures).fingerprint != before
    whole = load(pictures, pictures, hold_out=False).train_images
    (pictures / "cat" / "1.png").write_bytes(b"none")
    fails("1.png cannot be decoded", np.asarray, whole)


def test_what_was_decoded_is_kept(pictures, tmp_path, monkeypatch):
    kept, said = tmp_path / "a" / "cache", []
    plain = load(pictures, pictures, resize="4")
    first = load(pictures, pictures, resize="4", cache=kept, tell=said.append)
    (file,) = kept.iterdir()
    assert said == [f"pets: kept in {file} (0 MiB)"]
    assert np.load(file).shape == (20, 4, 4, 3)

    def refuse(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(folders, "PictureFiles", refuse)
        again = load(pictures, pictures, resize="4", cache=kept, tell=said.append)
    for data in (first, again):
        np.testing.assert_array_equal(data.train_images, plain.train_images)
        assert data.fingerprint == plain.fingerprint
    assert len(said) == 1
    load(pictures, pictures, resize="5", cache=kept)  # another size, another file
    os.utime(pictures / "cat" / "1.png", (1, 1))
    load(pictures, pictures, resize="4", cache=kept)
    assert len(list(kept.iterdir())) == 3
    file.write_bytes(file.read_bytes()[:-5])  # cut by what is no full disk
    os.utime(pictures / "cat" / "1.png", (2, 2))
    data = load(pictures, pictures, resize="4", cache=kept)
    np.testing.assert_array_equal(data.train_images, plain.train_images)


def test_a_cache_that_is_cut_is_written_again(pictures, tmp_path):
    kept = tmp_path / "cache"
    plain = load(pictures, pictures, hold_out=False, cache=kept).train_images[:]
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    about = whole[whole.index(b'{"identity"') :]

    def rows(x):
        np.save(file, x)
        return file.read_bytes()

    for spoilt in (
        *(whole[:-5], whole[:50], b"", b"none", whole + b" x", rows(plain)),
        # Whole files of other rows: fewer, of another rank, dtype or order.
        *(rows(x) + about for x in (plain[1:], plain[0], plain.astype(np.float32))),
        rows(np.asfortranarray(plain)) + about,
        whole.replace(b" files ", b" filed "),
    ):
        file.write_bytes(spoilt)
        np.testing.assert_array_equal(
            load(pictures, pictures, hold_out=False, cache=kept).train_images, plain
        )
        assert file.read_bytes() == whole


def test_what_was_said_of_pictures_is_said_of_kept_ones(pictures, tmp_path):
    frames = [Image.new("RGB", (8, 6), (c, c, c)) for c in (40, 200)]
    frames[0].save(pictures / "cat" / "a.gif", save_all=True, append_images=frames[1:])
    for times in (1, 0):
        said: list[str] = []
        load(pictures, pictures, cache=tmp_path / "cache", tell=said.append)
        assert sum("kept in" in line for line in said) == times
        assert said[-1].endswith("1 of 21 pictures have several frames; the first is used")


def test_a_full_disk_leaves_nothing(pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    fails("can't be kept in", load, pictures, pictures, cache=tmp_path / "file")
    kept = tmp_path / "cache"
    write = cache._write_blocks

    def full(file, rows):
        write(file, rows)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write_blocks", full)
    fails("(No space left on device): make room", load, pictures, pictures, cache=kept)
    assert list(kept.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("identity", lambda: "x", "identity is of type function: it must be a text"),
        ("workers", 0, "workers is 0: it must be at least 1"),
    ],
)
def test_what_a_source_says_of_itself_is_checked(name, value, words):
    class Source:
        def __len__(self):
            return 4

        def __getitem__(self, rows):
            return {"image": np.zeros((len(rows), 3, 3), np.uint8)}

    source = Source()
    setattr(source, name, value)
    fails(words, from_source, source)


def test_what_an_example_by_example_source_says_of_itself_is_heard():
    class Named(OneByOne):
        workers = 1

        def __init__(self, identity):
            self.x, self.identity = images(20), identity

        def __getitems__(self, rows):
            return [super(Named, self).__getitem__(row) for row in rows]

        def name_of(self, row):
            return f"picture {row}"

    first, second = (from_source(Named(name)) for name in ("one", "two"))
    assert first.fingerprint != second.fingerprint
    assert first.train_images.source.name_of(3) == "picture 3"
    assert lazy.workers(first.train_images) == 1


def test_what_a_killed_packing_left_is_removed(pictures, tmp_path):
    kept = tmp_path / "cache"
    kept.mkdir()
    old, new = kept / ".packing-old", kept / ".packing-new"
    for file in (old, new):
        file.write_bytes(b"x" * 100)
    os.utime(old, (0, 0))
    load(pictures, pictures, cache=kept)
    assert not old.exists() and new.exists()
