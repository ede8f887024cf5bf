"""Image sets of TensorFlow Datasets."""

import json
import os
import shutil

import numpy as np
import pytest

from aaejax.ask import sources
from aaejax.data import Dataset, load, tfds
from aaejax.data.lazy import Rows
from tests.conftest import ROOT, run_python
from tests.made_data import fails, labels_of


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


def test_a_set_of_tfds_is_found_in_the_users_folder_alone(mnist, mnist_dir, tmp_path):
    assert sources._prepared("mnist", mnist_dir)
    assert not sources._prepared("mnist", tmp_path)
    (tmp_path / "mnist").mkdir()
    assert not sources._prepared("mnist", tmp_path)  # nothing is downloaded
    assert not (tmp_path / "mnist" / "3.0.1").exists()


def test_tfds_is_read_without_tensorflow_from_its_own_folder(mnist, mnist_dir):
    # `mnist` exists in the current folder, but it is TFDS's own and no image folder
    code = (
        "import sys; from aaejax.data import load; d = load('mnist', '.');"
        "assert 'tensorflow_datasets' in sys.modules;"
        "print(len(d.train_images), 'tensorflow' in sys.modules)"
    )
    ran = run_python("-c", code, cwd=mnist_dir, environ={"PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr
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

    left = folder.parent / "decoding-left"  # as by a process that was killed
    left.mkdir()
    os.utime(left, (1, 1))
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
    done = run_python(
        "train.py", "aae", "--width", "16", "--dataset", "mnist", "--data-dir", mnist_dir,
        "--batch-size", "1000", "--epochs", "1", "--log-every", "30", "--save-every", "30",
        "--workdir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "60,000 training and 10,000 held-out" in done.stdout


def test_a_large_set_is_decoded_as_it_is_read(mnist, mnist_dir, tmp_path, monkeypatch):
    for path in copied(mnist_dir, tmp_path).glob("decoded-*"):
        shutil.rmtree(path)
    monkeypatch.setattr(tfds, "READ_BELOW", 2**23)  # the 60,000, not the 10,000
    data = load("mnist", tmp_path, tell=print)
    assert isinstance(data.train_images, Rows)
    rows = np.array([59_999, 0, 31_234])
    np.testing.assert_array_equal(data.train_images[rows], mnist.train_images[rows])
    for part, labels in zip(labels_of(data), labels_of(mnist), strict=True):
        np.testing.assert_array_equal(part, labels)
    assert not list(tmp_path.rglob("decoded-train"))  # nothing is decoded whole
