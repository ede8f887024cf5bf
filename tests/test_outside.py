"""Whatever comes in from outside: data that are right, or an error of one line."""

import re
import shutil
import string
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from aaejax.data import Dataset, from_arrays, load
from aaejax.types import UserError

# The same examples at each run, so that a test fails for a change and not by chance.
some = settings(
    derandomize=True,
    deadline=None,
    max_examples=150,
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
            assert images.shape[3] in (1, 3)
        if labels is not None:
            assert labels.dtype == np.int32 and labels.shape == (len(images),)
            assert labels.min(initial=0) >= -1
            assert labels.max(initial=-1) < data.classes
    assert re.fullmatch("[0-9a-f]{8}", data.fingerprint)
    return data


DTYPES = ["u1", "?", "f2", "f4", ">f4", "f8", "i8", "u2", "c8", "U3", "S2", "M8[s]"]
SHAPES = st.one_of(
    npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    st.tuples(st.integers(1, 12), st.integers(1, 4)),
    st.tuples(st.integers(1, 12), st.just(3), st.just(2), st.sampled_from([1, 2, 3, 4])),
)
LABELS = st.one_of(
    st.lists(st.integers(-2, 5), max_size=12),
    st.lists(st.integers(-1, 2**64 - 1), max_size=12),
    st.lists(st.text(max_size=4), max_size=12),
    st.lists(st.binary(max_size=3), max_size=12).map(lambda x: np.array(x, "S3")),
    st.lists(st.one_of(st.none(), st.text(max_size=2), st.integers()), max_size=9).map(
        lambda x: np.array(x, object)
    ),
    npst.arrays(st.sampled_from(["i1", "u8", "f4", "?"]), SHAPES),
    st.none(),
)


@st.composite
def pixels(draw, shapes=SHAPES):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    elements = None
    if dtype.kind == "f" and draw(st.booleans()):
        elements = st.floats(0, 1, width=8 * dtype.itemsize)
    return draw(npst.arrays(dtype, shapes, elements=elements))


@st.composite
def examples(draw):
    """Images and labels, about half of them as many as each other."""
    images, labels = draw(pixels()), draw(LABELS)
    n = len(images) if images.ndim else 0
    if labels is not None and np.ndim(labels) == 1 and len(labels) and draw(st.booleans()):
        labels = np.resize(labels, n)
    return images, labels


@some
@given(
    examples(),
    st.one_of(st.just((None, None)), examples()),
    st.one_of(st.none(), st.lists(st.text(max_size=3), max_size=6)),
    st.booleans(),
    st.text(max_size=5),
)
def test_arrays(train, test, class_names, hold_out, name):
    data = outcome(
        from_arrays, *train, *test, class_names=class_names, hold_out=hold_out, name=name
    )
    if data is None:
        return
    images, labels = train
    if test[0] is None and hold_out:
        assert len(data.train_images) + len(data.test_images) == len(images)
        return
    with np.errstate(over="ignore"):
        want = images.astype(data.train_images.dtype).reshape(data.train_images.shape)
    np.testing.assert_array_equal(data.train_images, want)
    if data.train_labels is not None and not class_names:
        values = np.ravel(labels)
        values = np.char.decode(values) if values.dtype.kind == "S" else values
        found = [data.class_names[i] if i >= 0 else "-1" for i in data.train_labels]
        assert found == [str(value) for value in values]


@some
@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from(
                ["x", "Y", "x_train", "y_train", "x_test", "val_images", "data"]
            ),
            st.sampled_from(
                ["labels", "target", "trainX", "y_val", "arr_0", "test-labels"]
            ),
            st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=5),
        ).filter(lambda key: key not in ("file", "allow_pickle")),
        st.one_of(pixels(), LABELS.map(np.asarray)),
        max_size=5,
    ),
    st.one_of(st.none(), st.integers(0, 4000)),
)
def test_npz_files(arrays, cut):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        np.savez(path, **arrays)
        if cut is not None and cut % 3 == 0:
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
