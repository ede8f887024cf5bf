"""Data from arrays, files, folders and TFDS; every error names its cure on one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaejax.data import Dataset, from_arrays, load, tfds
from aaejax.types import UserError


def images(n=20, shape=(4, 5, 1), seed=0):
    return np.random.RandomState(seed).randint(0, 256, (n, *shape)).astype(np.uint8)


def fails(fragment, call, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert fragment in message
    assert "\n" not in message


def labels_of(data):
    """Labels of both parts, for those who know that they are there."""
    assert data.train_labels is not None and data.test_labels is not None
    return data.train_labels, data.test_labels


# Arrays


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (images(), (4, 5, 1), np.uint8),
        (images()[..., 0], (4, 5, 1), np.uint8),
        (images(shape=(4, 5, 3)), (4, 5, 3), np.uint8),
        (images() / 255, (4, 5, 1), np.float32),
        ((images() / 255).astype(">f4"), (4, 5, 1), np.float32),
        (images()[..., 0] > 99, (4, 5, 1), np.float32),
        (np.random.RandomState(0).normal(size=(20, 7)) * 9, (7,), np.float32),
        (images(shape=(7,)), (7,), np.uint8),
    ],
)
def test_accepted_arrays_keep_their_values(x, shape, dtype):
    data = from_arrays(x, None, x)
    assert data.example_shape == shape
    for part in (data.train_images, data.test_images):
        assert part.dtype == dtype and part.dtype.isnative
        np.testing.assert_array_equal(part, x.reshape(-1, *shape).astype(dtype))
    assert data.train_labels is None and data.classes == 0 and data.class_names == ()


def spoilt(value, count=1):
    x = np.full((20, 4, 5), 0.5)
    x[3, 1, 2 : 2 + count] = value
    return x


@pytest.mark.parametrize(
    ("x", "fragment"),
    [
        (
            spoilt(np.nan, 2),
            "2 values that are NaN or infinite, the first at index [3, 1",
        ),
        (spoilt(np.inf), "1 values that are NaN"),
        (np.full((20, 3), 1e300), "60 values that are NaN or infinite"),  # in float32
        (
            spoilt(200.0),
            "in [0.5, 200]; float images must lie in [0, 1]: they look like 0",
        ),
        (spoilt(-0.5), "they look like -1..1: pass (x + 1) / 2"),
        (spoilt(1.5), "scale them"),
        (
            images().astype(np.uint16),
            "uint16; allowed are uint8, bool, float; if they lie",
        ),
        (np.ones((20, 3), complex), "complex128; allowed"),
        (np.full((20, 3), None), "object; allowed"),
        (images()[:0], "(0, 4, 5, 1)"),
        (images()[0, :, 0, 0], "(4,)"),
        (images()[None], "(1, 20, 4, 5, 1)"),
        (images(shape=(3, 8, 8)), "x.transpose(0, 2, 3, 1)"),
        (images(shape=(8, 8, 4)), "x[..., :3]"),
        (images(shape=(8, 8, 2)), "grey or RGB"),
        (images() // 128, "reach only 1, where white is 255; pass x.astype(bool)"),
        (images()[:1], "2 or more"),
        ([[1.0, 2.0], [3.0]], "differ in shape"),
    ],
)
def test_refused_images(x, fragment):
    fails(fragment, from_arrays, x)


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [
        (np.zeros(19, int), "are 19 but images are 20"),
        (np.eye(20, dtype=int), "labels.argmax(1)"),
        (np.zeros(20), "float64; allowed are integers"),
        (np.zeros(20, bool), "bool; allowed are integers"),
        (np.full(20, -2), "-2..-2; allowed are 0..65535, or -1"),
        (np.full(20, 2**40), "number the classes"),
    ],
)
def test_refused_labels(labels, fragment):
    fails(fragment, from_arrays, images(), labels)


@pytest.mark.parametrize(
    ("test_x", "test_y", "names", "fragment"),
    [
        (
            images(5, (4, 6, 1)),
            None,
            None,
            "uint8 [4, 5, 1] and a test example uint8 [4, 6",
        ),
        (images(5) / 255, None, None, "test example float32"),
        (None, np.zeros(5, int), None, "test labels without test images"),
        (images(5), np.array(["a"] * 5), None, "strings, the others integers"),
        (images(5), np.arange(5), ["a", "b"], "label 4 has no name"),
    ],
)
def test_parts_that_do_not_fit_each_other(test_x, test_y, names, fragment):
    y = np.arange(20) % 2
    fails(fragment, from_arrays, images(), y, test_x, test_y, class_names=names)


def test_string_labels_become_indices_over_both_parts():
    x = images(4)
    train, test = np.array(["cat", "ant", "cat", "ant"]), ["bee"] * 4
    data = from_arrays(x, train, x, test)
    assert data.class_names == ("ant", "bee", "cat")
    train_labels, test_labels = labels_of(data)
    assert train_labels.tolist() == [2, 0, 2, 0]
    assert test_labels.tolist() == [1, 1, 1, 1]
    assert test_labels.dtype == np.int32
    names = ["cat", "bee", "ant", "dog"]
    again = from_arrays(x, train.astype("S"), x, test, class_names=names)
    assert labels_of(again)[0].tolist() == [0, 2, 0, 2] and again.classes == 4
    names = ["cat", "ant"]
    fails("'bee' is not in", from_arrays, x, train, x, test, class_names=names)


def test_integer_labels_keep_their_values():
    x = images(4)
    data = from_arrays(x, np.array([[0], [-1], [2], [0]], np.int8), x)
    assert data.train_labels is not None and data.test_labels is None
    assert data.train_labels.tolist() == [0, -1, 2, 0]
    assert data.train_labels.dtype == np.int32
    assert data.class_names == ("0", "1", "2")
    unknown = from_arrays(x, np.full(4, -1), x)
    assert unknown.train_labels is None and unknown.classes == 0


@pytest.mark.parametrize(("n", "held"), [(100, 10), (2, 1), (9, 1), (25, 2)])
def test_a_tenth_is_held_out_once_and_for_all(n, held):
    x = np.arange(n, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    data, again = from_arrays(x), from_arrays(x)
    assert len(data.test_images) == held
    both = np.concatenate([data.train_images, data.test_images])[:, 0]
    assert sorted(both) == list(range(n))
    np.testing.assert_array_equal(data.test_images, again.test_images)


def test_the_held_out_tenth_is_stratified():
    labels = np.repeat([0, 1, 2], [100, 50, 20])
    x = np.arange(170, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    data = from_arrays(x, labels)
    _, test_labels = labels_of(data)
    assert np.bincount(test_labels).tolist() == [10, 5, 2]
    np.testing.assert_array_equal(labels[data.test_images[:, 0].astype(int)], test_labels)


def test_without_holding_out_all_examples_keep_their_order():
    x, y = images(), np.repeat(["b", "a"], 10)
    data = from_arrays(x, y, hold_out=False)
    train_labels, test_labels = labels_of(data)
    np.testing.assert_array_equal(data.train_images, x)
    assert train_labels.tolist() == [1] * 10 + [0] * 10
    assert data.test_images.shape == (0, 4, 5, 1) and data.test_images.dtype == np.uint8
    assert test_labels.shape == (0,) and test_labels.dtype == np.int32
    assert data.fingerprint != from_arrays(x[::-1], y, hold_out=False).fingerprint
    assert len(from_arrays(x[:1], hold_out=False).train_images) == 1
    # a test part that was given stays one
    data = from_arrays(x, None, x[:3], hold_out=False)
    np.testing.assert_array_equal(data.test_images, x[:3])


def test_fingerprint_sees_every_part():
    x, y = images(), np.arange(20) % 3
    base = from_arrays(x, y, x, y)
    assert base.fingerprint == from_arrays(x.copy(), y, x, y).fingerprint
    other = x.copy()
    other[-1, -1, -1, 0] ^= 1
    changed = [
        from_arrays(other, y, x, y),
        from_arrays(x, y[::-1], x, y),
        from_arrays(x, y, other, y),
        from_arrays(x, y, x, y[::-1]),
        from_arrays(x, None, x, y),
        from_arrays(x.reshape(20, 5, 4), y, x.reshape(20, 5, 4), y),
    ]
    assert len({base.fingerprint, *(data.fingerprint for data in changed)}) == 7


# mnist5k


def test_mnist5k_is_split_by_digit_and_disjoint(tmp_path):
    data = load("mnist5k", tmp_path)
    assert data.train_images.shape == (4000, 28, 28, 1)
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    train_labels, test_labels = labels_of(data)
    assert np.bincount(train_labels).tolist() == [400] * 10
    assert np.bincount(test_labels).tolist() == [100] * 10
    train = {x.tobytes() for x in data.train_images}
    assert len(train) > 3990 and not train & {x.tobytes() for x in data.test_images}
    assert np.abs(np.diff(train_labels)).mean() > 2  # shuffled: 3.3, sorted: 0.002
    # the split on which published numbers rest
    assert data.fingerprint == load("mnist5k", tmp_path).fingerprint == MNIST5K


MNIST5K = "98b82d40"


# Files


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_npz_with_both_parts(tmp_path, keys):
    parts = [images(), np.arange(20) % 4, images(8, seed=1), np.arange(8) % 4]
    path = tmp_path / "a.npz"
    np.savez(path, **dict(zip(keys, parts, strict=True)))
    data = load(str(path), tmp_path)
    found = data.train_images, data.train_labels, data.test_images, data.test_labels
    for got, want in zip(found, parts, strict=True):
        np.testing.assert_array_equal(got, want)
    assert data.name == "a.npz"


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("data", "labels")])
def test_npz_without_a_test_part(tmp_path, keys):
    np.savez(tmp_path / "a.npz", **{keys[0]: images(), keys[1]: np.arange(20) % 2})
    data = load(str(tmp_path / "a.npz"), tmp_path)
    train_labels, test_labels = labels_of(data)
    assert len(train_labels) == 18 and test_labels.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (7,)])
def test_npy_stays_memory_mapped(tmp_path, shape):
    x = (images(shape=shape) / 255).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    data = load(str(tmp_path / "a.npy"), tmp_path)
    for part, want in ((data.train_images, x[:18]), (data.test_images, x[18:])):
        assert isinstance(part, np.memmap) and not part.flags.writeable
        np.testing.assert_array_equal(part.reshape(want.shape), want)


def test_files_and_folders_keep_their_order_without_holding_out(tmp_path):
    x = images()
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, y=np.arange(20) % 3)
    for i in range(20):
        (tmp_path / "c").mkdir(exist_ok=True)
        Image.fromarray(x[i, ..., 0]).save(tmp_path / "c" / f"{i:02d}.png")
    for name in ("a.npy", "b.npz", "c"):
        data = load(str(tmp_path / name), tmp_path, hold_out=False)
        np.testing.assert_array_equal(data.train_images, x)
        assert data.test_images.shape == (0, 4, 5, 1)
        assert (data.test_labels is None) == (name != "b.npz")


def test_nan_in_a_later_block_is_found(tmp_path):
    x = np.zeros((20_000, 1000), np.float32)  # 80 MB: two blocks
    x[19_999, 7] = np.nan
    np.save(tmp_path / "a.npy", x)
    fails(
        "1 values that are NaN or infinite, the first at index [19999, 7]",
        load,
        str(tmp_path / "a.npy"),
        tmp_path,
    )


def test_files_that_are_no_data(tmp_path):
    (tmp_path / "text.npz").write_text("some words")
    (tmp_path / "none.npy").write_bytes(b"")
    np.save(tmp_path / "pickle.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(tmp_path / "pickle.npz", allow_pickle=True, x=np.array([{}, {}]))
    np.savez(tmp_path / "keys.npz", pictures=images())
    whole = tmp_path / "keys.npz"
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:300])
    for name, fragment in [
        ("text.npz", "cannot be read as .npz or .npy"),
        ("none.npy", "cannot be read as .npz or .npy"),
        ("cut.npz", "cannot be read as .npz or .npy"),
        ("pickle.npy", "Python objects (pickles)"),
        ("pickle.npz", "Python objects (pickles)"),
        ("keys.npz", "holds the arrays pictures; images must be called x_train"),
        ("missing.npz", "there is no file or folder"),
        ("missing", "there is no file or folder"),
    ]:
        fails(fragment, load, str(tmp_path / name), tmp_path)


# Folders


def save(path, mode="L", size=(5, 4), value: int | tuple[int, ...] = 0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def test_folder_without_labels(tmp_path):
    root = tmp_path / "pictures"
    suffixes = ["png", "bmp", "gif", "tif", "tiff", "PNG"]
    for i, suffix in enumerate(suffixes):
        save(root / f"{i}.{suffix}", "RGB", value=(255, 0, 0))
    (root / "README.txt").write_text("no image")
    (root / ".hidden.png").write_text("no image")
    save(root / ".thumbs" / "a.png", size=(1, 1))
    data = load(str(root), tmp_path)
    assert data.name == "pictures" and data.train_labels is None
    both = np.concatenate([data.train_images, data.test_images])
    assert both.shape == (6, 4, 5, 3) and len(data.test_images) == 1
    assert (both == [255, 0, 0]).all()


def test_sub_folders_are_labels(tmp_path, monkeypatch):
    for i in range(10):
        save(tmp_path / "pics" / "dark" / f"{i}.png", value=10)
        save(tmp_path / "pics" / "bright" / "more" / f"{i}.png", value=200)
    (tmp_path / "pics" / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    data = load("pics", tmp_path / "data")  # a bare name that exists
    assert data.class_names == ("bright", "dark")
    train_labels, test_labels = labels_of(data)
    assert data.train_images.shape == (18, 4, 5, 1) and test_labels.tolist() == [0, 1]
    want = np.where(train_labels == 0, 200, 10)
    np.testing.assert_array_equal(data.train_images[:, 0, 0, 0], want)


@pytest.mark.parametrize("name", ["test", "val"])
def test_train_and_test_folders_are_the_splits(tmp_path, name):
    save(tmp_path / "train" / "a" / "1.png", value=1)
    save(tmp_path / "train" / "b" / "1.png", value=2)
    save(tmp_path / name / "b" / "1.png", value=3)
    data = load(str(tmp_path), tmp_path / "data")
    assert data.train_images[:, 0, 0, 0].tolist() == [1, 2]
    assert data.test_images[:, 0, 0, 0].tolist() == [3]
    assert [labels.tolist() for labels in labels_of(data)] == [[0, 1], [1]]


@pytest.mark.parametrize(
    ("mode", "value", "want"),
    [
        ("RGB", (9, 8, 7), [9, 8, 7]),
        ("RGBA", (9, 8, 7, 0), [9, 8, 7]),
        ("P", 0, [0, 0, 0]),
        ("LA", (9, 0), [9]),
        ("1", 1, [255]),
    ],
)
def test_one_coloured_image_makes_all_rgb(tmp_path, mode, value, want):
    save(tmp_path / "a.png", "L", value=50)
    save(tmp_path / "b.png", mode, value=value)
    data = load(str(tmp_path), tmp_path / "data")
    both = np.concatenate([data.train_images, data.test_images])
    assert sorted(both[:, 0, 0].tolist()) == sorted([[50] * len(want), want])


def test_refused_folders(tmp_path):
    def folder(name):
        save(tmp_path / name / "a.png")
        return tmp_path / name

    save(folder("sizes") / "b.png", size=(6, 4))
    (folder("broken") / "b.png").write_text("no image")
    cut = folder("cut") / "b.jpg"
    Image.fromarray(images(1, (64, 64, 3))[0]).resize((5, 4)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-40])
    save(folder("mixed") / "label" / "b.png")
    save(folder("deep") / "b.png", "I;16", value=40_000)
    (tmp_path / "empty").mkdir()
    for name, fragment in [
        ("sizes", "a.png is 5x4 but"),
        ("sizes", "b.png is 6x4; resize all images"),
        ("broken", "b.png cannot be decoded"),
        ("cut", "b.jpg cannot be decoded"),
        ("mixed", "beside them (a.png)"),
        ("deep", "b.png has over 8 bits"),
        ("empty", "holds no images; allowed are .png"),
    ]:
        fails(fragment, load, str(tmp_path / name), tmp_path / "data")


# TFDS


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("fashion_mnits", "near names: fashion_mnist"),
        ("no/such/place", "is no file or folder here and no TFDS set"),
        ("", "is no file or folder here and no TFDS set"),
        ("emnist/nosuch", "BuilderConfig nosuch not found"),
        ("mnist:9.9.9", "only: 3.0.1"),
    ],
)
def test_unknown_tfds_names(tmp_path, name, fragment):
    fails(fragment, load, name, tmp_path)


def test_failed_preparation_tells_why(tmp_path):
    # a set that has to be downloaded by hand fails at once and needs no network
    fails("Manual directory", load, "imagenet2012", tmp_path)
    fails(str(tmp_path / "downloads"), load, "imagenet2012", tmp_path)


@pytest.fixture(scope="module")
def mnist(mnist_dir) -> Dataset:
    return load("mnist", mnist_dir)


def test_tfds_mnist(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28, 1)
    assert mnist.test_images.shape == (10_000, 28, 28, 1)
    train_labels, test_labels = labels_of(mnist)
    assert mnist.train_images.dtype == np.uint8 and train_labels.dtype == np.int32
    assert mnist.class_names == tuple("0123456789")
    # the published counts of each digit
    assert np.bincount(train_labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    assert np.bincount(test_labels).tolist() == [
        *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    ]
    # the mean and standard deviation that everybody normalises with
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.train_images.std() / 255 == pytest.approx(0.3081, abs=1e-4)


def test_tfds_is_read_without_tensorflow_from_its_own_folder(mnist, mnist_dir):
    # `mnist` exists in the current folder, but it is TFDS's own and no image folder
    code = (
        "import sys; from aaejax.data import load; d = load('mnist', '.');"
        "assert 'tensorflow_datasets' in sys.modules;"
        "print(len(d.train_images), 'tensorflow' in sys.modules)"
    )
    root = str(Path(__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=mnist_dir,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["60000", "False"]
    assert "decoding" not in ran.stderr  # the decoded arrays are there already


def copied(mnist_dir, tmp_path):
    """A copy of the prepared set, for tests to spoil; its version folder."""
    shutil.copytree(mnist_dir / "mnist", tmp_path / "mnist")
    return tmp_path / "mnist" / "3.0.1"


def test_spoilt_decoded_arrays_are_made_anew(mnist, mnist_dir, tmp_path, capsys):
    folder = copied(mnist_dir, tmp_path) / "decoded-test"
    sums = json.loads((folder / "checksums.json").read_text())

    def flip_a_byte():
        content = bytearray((folder / "image.npy").read_bytes())
        content[-1] ^= 1
        (folder / "image.npy").write_bytes(content)

    def belong_to_other_shards():
        other = json.dumps({**sums, "shards": 1})
        (folder / "checksums.json").write_text(other)

    for spoil in (flip_a_byte, belong_to_other_shards):
        spoil()
        data = load("mnist", tmp_path)
        np.testing.assert_array_equal(data.test_images, mnist.test_images)
        np.testing.assert_array_equal(data.test_labels, mnist.test_labels)
        assert capsys.readouterr().err.count("decoding mnist/3.0.1 test") == 1
    assert not list(folder.parent.glob("decoding-*"))
    for name in ("image.npy", "checksums.json"):
        shutil.copytree(folder, tmp_path / name)
        keys = ("image", "label")
        assert tfds._load_decoded(tmp_path / name, sums["shards"], keys)
        (tmp_path / name / name).write_bytes(b"")
        assert not tfds._load_decoded(tmp_path / name, sums["shards"], keys)


def test_spoilt_shards_are_an_error(mnist_dir, tmp_path):
    folder = copied(mnist_dir, tmp_path)
    shard = folder / "mnist-test.array_record-00000-of-00001"
    os.truncate(shard, shard.stat().st_size // 2)
    fails("delete that folder to prepare it anew", load, "mnist", tmp_path)
    shard.unlink()
    fails("delete that folder to prepare it anew", load, "mnist", tmp_path)


def test_another_file_format_is_an_error(mnist_dir, tmp_path):
    info = copied(mnist_dir, tmp_path) / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    fails("another file format than array_record", load, "mnist", tmp_path)


def test_mnist_trains_through_tfds(mnist_dir, tmp_path):
    from tests.test_scripts import run

    done = run(
        "train.py", "aae", "--width", "16", "--dataset", "mnist", "--data-dir", mnist_dir,
        "--batch-size", "1000", "--epochs", "1", "--log-every", "30", "--save-every", "30",
        "--workdir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "60,000 training and 10,000 held-out" in done.stdout


def test_labels_are_kept_equally_per_class_and_the_rest_forgotten():
    y = np.repeat(np.arange(3), [50, 30, 20])
    data = from_arrays(images(100), y, hold_out=False)
    kept = data.keep_labels(12, seed=1).train_labels
    assert np.bincount(kept[kept >= 0]).tolist() == [4, 4, 4]
    assert (kept[kept >= 0] == y[kept >= 0]).all()
    assert (kept == -1).sum() == 88
    np.testing.assert_array_equal(kept, data.keep_labels(12, seed=1).train_labels)
    assert (kept != data.keep_labels(12, seed=2).train_labels).any()
    assert (data.keep_labels(0, seed=1).train_labels == -1).all()
    assert data.classes == 3
    for count, words in ((10, "multiple of the 3 classes"), (63, "class 2 has only 20")):
        fails(words, data.keep_labels, count, seed=0)
    fails("has no labels", from_arrays(images(9)).keep_labels, 3, seed=0)
