"""Data from .npz and .npy files."""

import io
import os
import socket
import zipfile

import numpy as np
import pytest
from PIL import Image

from aaejax.data import from_arrays, load
from aaejax.data.lazy import Rows
from tests.made_data import fails, images, labels_of


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


@pytest.mark.parametrize(
    "keys",
    [
        "images label",
        "X Y",
        "x_train target",
        "Train_X train-targets",
        "data targets",
        "train_images train_labels",
        "trainX trainY",
        "arr_0 labels",
    ],
)
def test_npz_under_other_names(tmp_path, keys):
    x, y = keys.split()
    np.savez(tmp_path / "a.npz", **{x: images(), y: np.arange(20) // 10})
    said = []
    data = load(tmp_path / "a.npz", tmp_path, tell=said.append)
    assert np.concatenate(labels_of(data)).tolist() == [0] * 9 + [1] * 9 + [0, 1]
    assert data.class_names == ("0", "1") and not said


@pytest.mark.parametrize(
    "keys", ["x_val y_val", "val_images val_labels", "X_valid Y_valid"]
)
def test_the_validation_part_of_an_npz_stands_in_for_a_test_part(tmp_path, keys):
    x, y = keys.split()
    parts = {"x_train": images(), "y_train": np.arange(20) % 2}
    parts |= {x: images(6), y: np.arange(6) % 2}
    np.savez(tmp_path / "a.npz", **parts)
    said = []
    data = load(tmp_path / "a.npz", tmp_path, tell=said.append)
    assert len(data.train_images) == 20 and not said
    np.testing.assert_array_equal(data.test_images, images(6))
    np.savez(tmp_path / "a.npz", **parts, x_test=images(3, seed=1), ids=np.arange(3))
    data = load(tmp_path / "a.npz", tmp_path, tell=said.append)
    np.testing.assert_array_equal(data.test_images, images(3, seed=1))
    assert data.test_labels is None
    assert said == [
        f"a.npz: not read: {x}, {y}, ids; read: x_train as train images, y_train as train "
        "labels, x_test as test images"
    ]


def test_names_in_an_npz_do_nothing_to_the_terminal(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=images(), **{"a\x1b[31m\nred": images(3)})
    load(tmp_path / "a.npz", tmp_path)
    assert capsys.readouterr().err == (
        "note: a.npz: not read: a\\x1b[31m red; read: x as train images\n"
    )
    np.savez(tmp_path / "a.npz", **{"a\x1b[31m\nred": images(3)})
    fails(
        "holds the arrays a\\x1b[31m red; images must", load, tmp_path / "a.npz", tmp_path
    )


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (7,)])
def test_npy_is_held_out_from_at_random_or_stays_memory_mapped(tmp_path, shape):
    x = (images(shape=shape) / 255).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    mapped = load(str(tmp_path / "a.npy"), tmp_path, hold_out=False).train_images
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    np.testing.assert_array_equal(mapped.reshape(x.shape), x)
    data, want = load(tmp_path / "a.npy", tmp_path), from_arrays(x)
    np.testing.assert_array_equal(data.train_images, want.train_images)
    np.testing.assert_array_equal(data.test_images, want.test_images)


def head_of(shape, descr="|u1"):
    head = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, fields)
    return head.getvalue()


@pytest.mark.parametrize("shape", [(2**26, 32, 32), (3, 4), (1, 4), (-2, -4), (2**70,)])
def test_arrays_whose_head_claims_what_is_not_there(tmp_path, shape):
    npy = head_of(shape) + bytes(8)
    (tmp_path / "a.npy").write_bytes(npy)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as content:
        content.writestr("x.npy", npy)
    fails("save it anew", load, tmp_path / "a.npy", tmp_path)
    fails("save it anew", load, tmp_path / "a.npz", tmp_path)


def test_arrays_that_expand_beyond_the_memory(tmp_path):
    # A directory that claims 2^50 bytes as the head of the array does: nothing is unpacked.
    claimed, head = 2**50, head_of((2**25, 2**25))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as content:
        content.writestr("x_train.npy", head + bytes(100))
        content.getinfo("x_train.npy").file_size = claimed + len(head)
    fails(
        "x_train would take 1,048,576.0 GiB of memory", load, tmp_path / "a.npz", tmp_path
    )


@pytest.mark.parametrize("name", ["pipe.npz", "pipe.npy", "pipe", "socket", "/dev/zero"])
def test_pipes_and_devices_are_not_opened(tmp_path, name):
    path = tmp_path / name
    if name.startswith("pipe"):
        os.mkfifo(path)
    elif name == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    fails("is a pipe, a socket or a device", load, path, tmp_path)


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


def test_a_map_that_is_changed_in_memory_is_not_read_from_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("aaejax.data.datasets.READ_BELOW", 100)
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((40, 7), np.float32))
    for mode, lazy in (("r", True), ("c", False)):
        x = np.load(tmp_path / "a.npy", mmap_mode=mode)
        if mode == "c":
            x -= 0.25
        data = from_arrays(x, hold_out=False)
        assert isinstance(data.train_images, Rows) == lazy
        np.testing.assert_array_equal(data.train_images[:], x)
