"""Whatever comes in from outside: data that are right, or an error of one line."""

import copy
import json
import math
import re
import shutil
import string
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from aaejax.data import Dataset, from_arrays, load
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import tiny_options, train_tiny

# The same examples at each run, so that a test fails for a change and not by chance.
some = settings(
    derandomize=True,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def outcome(call, *args, **kwargs) -> Dataset | None:
    """What is made of data, checked; None where they are refused in one line."""
    try:
        data = call(*args, **kwargs)
    except UserError as error:
        message = str(error)
        assert message and message.isprintable() and len(message) < 2000
        return None
    parts = (
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
    )
    assert len(data.train_images) and len(set(data.class_names)) == data.classes
    for images, labels in parts:
        assert images.dtype in (np.uint8, np.float32) and images.dtype.isnative
        assert images.dtype == data.train_images.dtype
        assert images.shape[1:] == data.example_shape and len(data.example_shape) in (1, 3)
        if images.dtype == np.float32:
            assert np.isfinite(images).all()
            if images.ndim == 4:
                assert images.min(initial=0) >= 0 and images.max(initial=0) <= 1
        if images.ndim == 4:
            assert images.shape[3] >= 1
        if labels is not None:
            assert labels.dtype == np.int32 and labels.shape == (len(images),)
            assert labels.min(initial=0) >= -1
            assert labels.max(initial=-1) < data.classes
    assert re.fullmatch("[0-9a-f]{8}", data.fingerprint)
    return data


def test_errors_are_one_line_that_does_nothing_to_a_terminal():
    name = "a\x1b[2J\x07\x9b\x7f\u202eb\udcff"
    escaped = r"a\x1b[2J\x07\x9b\x7f\u202eb\udcff"
    assert str(UserError(f"no {name}:\nthere is 'é$5'")) == f"no {escaped}: there is 'é$5'"


@pytest.mark.parametrize("name", ["~nosuchuser/x.npz", "x" * 300, "a\0b.npz", Path("no")])
def test_names_that_can_be_no_path(name, tmp_path):
    assert outcome(load, name, tmp_path) is None


# Pixels and labels that are right, and such as mostly are not: at most two things are odd
# at a time, or else nearly all would be refused for the first of them.
SHAPES = [(4, 5), (4, 5, 1), (4, 5, 3), (7,)]
ODD_SHAPES = [(), (0,), (3, 4, 5), (4, 5, 4), (1, 1, 1, 1)]
DTYPES = ["u1", "f4", "f8", "?", "f2", ">f4"]
ODD_DTYPES = ["i8", "u2", "c8", "U3", "S2", "M8[s]", "V2"]
RANGES, ODD_RANGES = [(0, 1)], [(0, 255), (-1, 1), (0, np.nan), (0, 1e300)]
LABELS = [
    lambda n: None,
    lambda n: np.arange(n) % 3 * 1000,
    lambda n: (np.arange(n) % 4 - 1).astype(np.int8),
    lambda n: [["10", "b\x1b[0m", "2"][i % 3] for i in range(n)],
    lambda n: np.array([["é", "b"][i % 2] for i in range(n)], object),
    lambda n: np.array([[b"a", b"b"][i % 2] for i in range(n)]).reshape(n, 1),
]
ODD_LABELS = [
    lambda n: np.arange(n + 1),
    lambda n: np.arange(n) - 5,
    lambda n: np.arange(n, dtype=np.uint64) + 2**63 - 2,
    lambda n: np.array([b"\xff"] * n),
    lambda n: np.array([None, "a", 1] * n, object)[:n],
    lambda n: np.eye(n + 1, dtype=int)[:n],
    lambda n: np.linspace(0, 1, n),
    lambda n: np.array(["a" * i for i in range(n)]).reshape(1, n),
]
PARTS = ["count", "shape", "dtype", "range", "labels", "test shape", "test labels"]


@st.composite
def two_parts(draw):
    """(images, labels) of a training and a test part, which may be (None, None)."""
    odd = draw(st.lists(st.sampled_from(PARTS), max_size=2))

    def pick(part, usual, unusual):
        return draw(st.sampled_from(unusual if part in odd else usual))

    shape, dtype = pick("shape", SHAPES, ODD_SHAPES), pick("dtype", DTYPES, ODD_DTYPES)
    low, high = pick("range", RANGES, ODD_RANGES)

    def part(n, shape, label):
        x = np.linspace(low, high, n * math.prod(shape)).reshape(n, *shape)
        if dtype in ("u1", "M8[s]", "V2"):
            x = (255 * np.nan_to_num(x % 1)).astype("i8" if dtype == "M8[s]" else "u1")
        with np.errstate(all="ignore"):
            return x.astype(dtype), label(n)

    train = part(pick("count", [7, 12], [0, 1]), shape, pick("labels", LABELS, ODD_LABELS))
    if draw(st.booleans()):
        return train, (None, None)
    usual = lambda n: None if train[1] is None else train[1][:n]  # noqa: E731
    label = pick("test labels", [usual], ODD_LABELS + LABELS)
    return train, part(5, pick("test shape", [shape], ODD_SHAPES), label)


@some
@given(
    two_parts(),
    st.sampled_from([None, None, None, (), "ab", ("a", "b", "é"), ("a", "a"), (1, 2, 3)]),
    st.booleans(),
    st.text(max_size=5),
)
def test_arrays(parts, class_names, hold_out, name):
    train, test = parts
    data = outcome(
        from_arrays, *train, *test, class_names=class_names, hold_out=hold_out, name=name
    )
    if data is None:
        return
    images, given_labels = train
    if test[0] is None and hold_out:
        assert len(data.train_images) + len(data.test_images) == len(images)
        return
    with np.errstate(over="ignore"):
        want = images.astype(data.train_images.dtype).reshape(data.train_images.shape)
    np.testing.assert_array_equal(data.train_images, want)
    if data.train_labels is not None and not class_names:
        values = np.ravel(np.array(given_labels))
        values = np.char.decode(values) if values.dtype.kind == "S" else values
        found = [data.class_names[i] if i >= 0 else "-1" for i in data.train_labels]
        assert found == [str(value) for value in values]


KEYS = ["x_train y_train x_test y_test", "X Y X_val Y_val", "data target testX testY"]


@st.composite
def members(draw):
    """Arrays by name, one of them perhaps by an odd one."""
    (x, y), (test_x, test_y) = draw(two_parts())
    names = draw(st.sampled_from(KEYS)).split()
    odd = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=5)
    if draw(st.booleans()):
        names[draw(st.integers(0, 3))] = draw(odd.filter(lambda name: name != "file"))
    arrays = zip(names, (x, y, test_x, test_y), strict=True)
    return {name: np.asarray(array) for name, array in arrays if array is not None}


@some
@given(members(), st.sampled_from([None] * 9 + [0, 1, 100, 300, 1000]))
def test_npz_files(arrays, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        np.savez(path, **arrays)
        if cut is not None:
            path.write_bytes(path.read_bytes()[:cut])
        said = []
        data = outcome(load, path, folder, tell=said.append)
        assert all(line.isprintable() for line in said)
        assert data is None or len(arrays) <= 4 or said  # of five arrays one is left


NAMES = st.one_of(
    st.sampled_from(
        ["cat", "1", "2", "10", "train", "Testing", "val_set", ".git", "__MACOSX"]
    ),
    st.text(string.ascii_letters + "\x1b\n\u202e$ ä", min_size=1, max_size=4),
).filter(lambda name: name.strip(".") and len(name.encode()) < 99)
MODES = ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "F"]
SUFFIXES = ["png", "PNG", "jpg", "gif", "tif", "webp", "pgm", "bmp", "txt", "npy", ""]
FILES = st.tuples(
    st.lists(NAMES, max_size=2),  # folders that it is in
    NAMES,
    st.sampled_from(SUFFIXES),
    st.sampled_from(MODES),
    st.sampled_from([(5, 4), (5, 4), (5, 4), (4, 5), (1, 1)]),
    st.integers(0, 8),  # EXIF's orientation
)


def write(root, file):
    """A picture where such a one can be written, else an empty file."""
    folders, name, suffix, mode, size, orientation = file
    path = root.joinpath(*folders, f"{name}.{suffix}" if suffix else name)
    tag = Image.Exif()
    tag[0x0112] = orientation
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = (
            Image.new("RGB", size, (orientation * 30, 0, 9)).convert("L").convert(mode)
        )
        picture.save(path, exif=tag)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return
    except (OSError, ValueError, KeyError):
        path.write_bytes(b"")


@some
@given(st.lists(FILES, max_size=8), st.booleans())
def test_folders(files, alike):
    root = Path(tempfile.mkdtemp())
    try:
        for file in files:
            if alike:  # so that more of them are accepted
                file = (*file[:2], "png", file[3] if file[3] in "L P" else "LA", (5, 4), 1)
            write(root, file)
        said = []
        data = outcome(load, root, root, hold_out=False, tell=said.append)
        assert all(line.isprintable() for line in said)
        if data is not None and data.classes:
            there = [path.name for path in root.rglob("*") if path.is_dir()]
            assert set(data.class_names) <= set(there)
            assert not set(data.class_names) & {".git", "__MACOSX"}
    finally:
        shutil.rmtree(root)


# Any damage of a run's config.json: a restored run, or an error of one line.

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.sampled_from(["", "aae", "gan", "../x", "\x1b[31m", "1" * 5000, "own.py"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["latent", "seed", "x"]), inner, max_size=2),
    ),
    max_leaves=4,
)


def places(saved, place=()):
    """The places of all values of a JSON tree."""
    inner = saved.items() if isinstance(saved, dict) else ()
    yield place
    for name, value in inner:
        yield from places(value, (*place, name))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps, the model of which is as small as can be."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    x = np.random.RandomState(0).rand(24, 6, 5, 1).astype(np.float32)
    few = {"epochs": 1, "batch_size": 10, "log_every": 2, "save_every": 2}
    model = tiny_options("vae", width=4, depth=1)
    dataset = from_arrays(x, ["a", "b"] * 12, name="few")
    train_tiny(folder, dataset, model=model, devices=1, tell=[].append, **few)
    return folder, json.loads((folder / "config.json").read_text())


@settings(some, max_examples=60)
@given(st.data())
def test_config_json_of_a_run(run, data):
    folder, saved = run
    changed = copy.deepcopy(saved)
    for _ in range(data.draw(st.integers(1, 2))):
        *before, name = data.draw(st.sampled_from([p for p in places(changed) if p]))
        inner = changed
        for each in before:
            inner = inner[each]
        if data.draw(st.booleans()):
            inner[name] = data.draw(JUNK)
        else:
            del inner[name]
    text = json.dumps(changed)
    if data.draw(st.integers(0, 9)) == 0:
        text = text[: data.draw(st.integers(0, len(text)))]
    (folder / "config.json").write_text(text)
    told = []
    try:
        trained = restore(folder, tell=told.append)
    except UserError as error:
        message = str(error)
        assert message and message.isprintable() and len(message) < 2000
    else:
        assert trained.step == 2
        assert isinstance(repr(trained), str)
    assert all(line.isprintable() and len(line) < 2000 for line in told)
