"""HDF5: arrays by name, and the tables of .h5ad files."""

import dataclasses
import sys
import threading

import numpy as np
import pytest

from aaejax.data import from_arrays, load
from aaejax.data.array_files.hdf5 import File, HDF5Rows
from aaejax.data.lazy import Rows
from tests.made_data import fails, images

h5py = pytest.importorskip("h5py")


def write_h5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def write_h5ad(path, x, names, layout="csr", label=None, categorical=True):
    """As anndata writes it: what is read here of the layout, and a little more."""
    sparse = pytest.importorskip("scipy.sparse")
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs["encoding-type"] = "anndata"
        if layout == "dense":
            file["X"] = x
        else:
            matrix = getattr(sparse, f"{layout}_matrix")(x)
            group = file.create_group("X")
            group.attrs["encoding-type"] = f"{layout}_matrix"
            group.attrs["shape"] = x.shape
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
        var = file.create_group("var")
        var.attrs["_index"] = "genes"
        var.create_dataset("genes", data=names, dtype=text)
        obs = file.create_group("obs")
        obs.attrs["_index"] = "cells"
        obs.create_dataset("cells", data=[f"c{n}" for n in range(len(x))], dtype=text)
        if label is not None and categorical:
            kinds, codes = np.unique(label, return_inverse=True)
            group = obs.create_group("kind")
            group.attrs["encoding-type"] = "categorical"
            group["codes"] = codes.astype(np.int8)
            group.create_dataset("categories", data=kinds.tolist(), dtype=text)
        elif label is not None:
            obs.create_dataset("kind", data=label, dtype=text)
    return path


def counts(n=40, genes=6):
    return np.random.default_rng(0).poisson(0.7, (n, genes)).astype(np.float32)


def test_arrays_by_key(tmp_path):
    x, y = images(), np.arange(20) % 3
    path = write_h5(tmp_path / "x.h5", **{"a/pictures": x, "a/kinds": y, "other": y})
    asked = {"hold_out": False, "key": "a/pictures", "label_key": "/a/kinds"}
    data = load(path, tmp_path, **asked)
    np.testing.assert_array_equal(data.train_images, x)
    assert data.train_labels is not None and data.train_labels.tolist() == y.tolist()
    fails("say which by --key", load, path, tmp_path)
    fails("no array 'b': it has 'a/kinds', 'a/pictures'", load, path, tmp_path, key="b")
    fails("int64", load, path, tmp_path, key="other")


def test_arrays_by_the_names_that_an_npz_has(tmp_path):
    said: list[str] = []
    path = write_h5(
        tmp_path / "x.hdf5",
        x_train=images(),
        y_train=[b"no", b"yes"] * 10,
        x_test=images(4),
        y_test=[b"no"] * 4,
        more=[1],
    )
    data = load(path, tmp_path, tell=said.append)
    assert len(data.test_images) == 4 and data.class_names == ("no", "yes")
    assert said == ["x.hdf5: not read: 'more'"]
    only = write_h5(tmp_path / "only.h5", Matrix=np.ones((9, 3)))
    assert load(only, tmp_path, standardise=True).example_shape == (3,)


def test_a_name_of_labels_is_for_files_of_one_part(tmp_path):
    x, y = images(6), np.arange(6) % 2
    parts = {"x_train": x, "x_test": x, "y_train": y, "y_test": y, "fine": y}
    path = write_h5(tmp_path / "x.h5", **parts)
    fails("--label-key names the labels of one", load, path, tmp_path, label_key="fine")


def test_values_that_are_there_twice_are_summed_as_by_scipy(tmp_path):
    path = write_h5ad(tmp_path / "x.h5ad", np.eye(2, dtype=np.float32), ["a", "b"])
    with h5py.File(path, "r+") as file:
        for name, values in (("data", [1, 2, 4]), ("indices", [0, 0, 1])):
            del file["X"][name]
            file["X"][name] = np.array(values, np.float32 if name == "data" else np.int32)
        file["X"]["indptr"][:] = [0, 2, 3]
        # Texts that might be missing, as newer anndata writes them.
        genes = file["var"]["genes"][:]
        del file["var"]["genes"]
        group = file["var"].create_group("genes")
        group["values"], group["mask"] = genes, np.zeros(2, bool)
    data = load(path, tmp_path, hold_out=False)
    assert data.columns.features == ("a", "b")
    assert np.asarray(data.train_images).tolist() == [[3, 0], [0, 4]]


@pytest.mark.parametrize("largest", [100, 2**30])
def test_pictures_are_resized_and_grey_however_they_are_read(
    tmp_path, monkeypatch, largest
):
    monkeypatch.setattr("aaejax.data.array_files.hdf5.READ_BELOW", largest)
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    path = write_h5(tmp_path / "x.h5", images=x)
    data = load(path, tmp_path, hold_out=False, resize="4x4", grey=True)
    expected = from_arrays(x, hold_out=False, resize="4x4", grey=True).train_images
    assert data.train_images.shape == (20, 4, 4, 1)
    np.testing.assert_array_equal(np.asarray(data.train_images), expected)
    vectors = write_h5(tmp_path / "vectors.h5", Matrix=np.ones((90, 3), np.float32))
    fails("are vectors: --resize is for images", load, vectors, tmp_path, resize="4")


def test_what_does_not_fit_is_read_by_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("aaejax.data.array_files.hdf5.READ_BELOW", 100)
    x = images(50)
    path = write_h5(tmp_path / "x.h5", images=x)
    data = load(path, tmp_path, hold_out=False)
    assert isinstance(data.train_images, Rows)
    rows = np.array([7, 3, 3, 49, 4, 0])
    np.testing.assert_array_equal(data.train_images[rows], x[rows])
    source, wrong = HDF5Rows(File(path), "images"), []

    def look(seed):
        some = np.random.default_rng(seed).integers(0, 50, 20)
        if not np.array_equal(source[some]["image"], x[some]):
            wrong.append(seed)

    threads = [threading.Thread(target=look, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    again = load(path, tmp_path, hold_out=False)
    assert data.fingerprint == again.fingerprint
    for _ in range(2):  # written, and read
        said: list[str] = []
        kept = load(path, "", hold_out=False, cache=tmp_path / "kept", tell=said.append)
        assert kept.fingerprint == data.fingerprint
        np.testing.assert_array_equal(kept.train_images[rows], x[rows])
    assert not said and len(list((tmp_path / "kept").iterdir())) == 1


def test_files_that_are_no_hdf5(tmp_path, monkeypatch):
    (tmp_path / "x.h5").write_text("no such thing")
    fails("can't be read as HDF5", load, tmp_path / "x.h5", tmp_path)
    fails(
        "no table: leave --label-column out", load, tmp_path / "x.h5", "", label_column="y"
    )
    np.save(tmp_path / "x.npy", np.zeros((3, 3), np.float32))
    fails("no HDF5 file: leave --key out", load, tmp_path / "x.npy", tmp_path, key="x")
    path = write_h5(tmp_path / "other.h5", images=images())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("other.h5", "images")
    fails("holds the arrays (none)", load, tmp_path / "link.h5", tmp_path)
    fails("no array 'images'", load, tmp_path / "link.h5", tmp_path, key="images")
    monkeypatch.setitem(sys.modules, "h5py", None)
    fails("pip install 'aaejax[hdf5]', or pip install h5py", load, path, tmp_path)


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_cells_by_genes(tmp_path, monkeypatch, layout):
    x, names = counts(), [f"gene{n}" for n in range(6)]
    label = ["T cell", "B cell"] * 20
    path = write_h5ad(tmp_path / "x.h5ad", x, names, layout, label, layout == "csr")
    data = load(path, tmp_path, hold_out=False, label_column="kind")
    np.testing.assert_array_equal(data.train_images, x)
    assert data.columns is not None and data.columns.names == tuple(names)
    assert data.class_names == ("B cell", "T cell")
    assert data.train_labels is not None and data.train_labels.tolist() == [1, 0] * 20
    # The columns of a run, by their names.
    order = [3, 1, 0, 2, 5, 4]
    other = write_h5ad(tmp_path / "y.h5ad", x[:, order], [names[n] for n in order], layout)
    again = load(other, tmp_path, hold_out=False, columns=data.columns)
    np.testing.assert_array_equal(again.train_images, x)
    assert again.train_labels is None
    strange = write_h5ad(tmp_path / "z.h5ad", x, [*names[:5], "gene9"], layout)
    fails("no column 'gene5' and 'gene9', unknown", load, strange, "", columns=data.columns)
    # Where it does not fit it is read by its rows, and standardised as they come.
    whole = load(path, tmp_path, standardise=True)
    monkeypatch.setattr("aaejax.data.array_files.hdf5.READ_BELOW", 100)
    lazy = load(path, tmp_path, standardise=True)
    assert isinstance(lazy.train_images, Rows) and lazy.columns == whole.columns
    np.testing.assert_array_equal(lazy.test_images[:], whole.test_images)
    kept = load(path, tmp_path, standardise=True, cache=tmp_path / "kept")
    assert kept.fingerprint == lazy.fingerprint
    np.testing.assert_array_equal(kept.test_images[:], whole.test_images)
    # The columns of the run find its data again, and in another order they are others.
    asked = load(path, tmp_path, standardise=True, columns=lazy.columns)
    assert asked.fingerprint == lazy.fingerprint


def test_many_columns_in_another_order_are_other_data(tmp_path, monkeypatch):
    monkeypatch.setattr("aaejax.data.array_files.hdf5.READ_BELOW", 100)
    names = [f"gene{n}" for n in range(1200)]
    path = write_h5ad(tmp_path / "x.h5ad", counts(20, 1200), names)
    columns = load(path, tmp_path).columns
    assert columns is not None
    found = []
    for first, second in ((600, 601), (700, 701)):
        order = list(columns.columns)
        order[first], order[second] = order[second], order[first]
        changed = dataclasses.replace(columns, columns=tuple(order))
        found.append(load(path, tmp_path, columns=changed, cache=tmp_path / "kept"))
    assert found[0].fingerprint != found[1].fingerprint
    assert (found[0].train_images[:] != found[1].train_images[:]).any()


def test_cells_that_are_refused(tmp_path):
    x, names = counts(), [f"gene{n}" for n in range(6)]
    path = write_h5ad(tmp_path / "x.h5ad", x, names, "csc")
    fails("csc_matrix, not dense or CSR", load, path, tmp_path)
    path = write_h5ad(tmp_path / "x.h5ad", x, ["a"] * 6)
    fails("5 names of var are there twice", load, path, tmp_path)
    path = write_h5ad(tmp_path / "x.h5ad", x, names)
    fails("obs has no column 'kind'", load, path, tmp_path, label_column="kind")
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 99
    fails("outside of its columns", load, path, tmp_path)
    with h5py.File(path, "a") as file:
        file["X/indptr"][-1] = 99
    fails("damaged", load, path, tmp_path)
    x[3, 2] = np.inf
    path = write_h5ad(tmp_path / "x.h5ad", x, names, "dense")
    fails("row 3", load, path, tmp_path)
    with h5py.File(path, "a") as file:  # a categorical, as anndata 0.7 wrote it
        file["obs/kind"] = np.array([1, -1, *[0] * (len(x) - 2)], np.int8)
        file["obs/__categories/kind"] = np.array([b"one", b"two"], "S3")
        file["X"][3, 2] = 1
    of_07 = load(path, tmp_path, label_column="kind")
    assert of_07.class_names == ("one", "two")
    with h5py.File(path, "a") as file:  # rows of records, as anndata wrote before 0.7
        del file["var"]
        file["var"] = np.array([(b"gene0", 1.0)], [("index", "S5"), ("mean", "f4")])
    fails("anndata before 0.7", load, path, tmp_path)
