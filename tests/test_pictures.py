"""Pictures: what is drawn of names, and of runs with little held out."""

import jax
import numpy as np
import pytest
from PIL import Image

from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.reports.pictures import (
    shortened,
    write_grid,
    write_pairs,
    write_rows,
    write_scatter,
)
from aaejax.runs.reports.snapshots import RunPictures
from tests.conftest import TINY, tiny_options

CODES = np.random.default_rng(0).normal(size=(30, 2))


def scatter(path, names):
    labels = np.arange(30) % len(names)
    write_scatter(path, CODES, labels, CODES, names)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")).astype(int)


@pytest.mark.parametrize(
    "name", ["$5_to_$10", "$\\frac{1}$", "$", "_hidden", "a\x1b[31mred", "\udcff", "\u732b"]
)
def test_any_class_name_is_drawn_as_text(name, tmp_path):
    picture = scatter(tmp_path / "a.png", (name, "b"))
    without = scatter(tmp_path / "b.png", ("", "b"))
    # It has letters in it.
    assert picture.shape != without.shape or (picture != without).any()


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_images_stand_in_rows_with_white_between_them(tmp_path):
    images = np.array([[0.0, 0.2], [0.4, 1.5], [-1.0, 0.6]])[:, None, :, None]  # 1 x 2
    write_grid(tmp_path / "a.png", images, columns=2)
    # 640 pixels over 2 + 2 + 2 + 2 + 2: each becomes 64 x 64.
    picture = pixels(tmp_path / "a.png")
    assert picture.shape == (64 * 8, 64 * 10)
    small = picture[::64, ::64]
    np.testing.assert_array_equal(np.kron(small, np.ones((64, 64))), picture)
    white = [255] * 10
    first = [255, 255, 0, 51, 255, 255, 102, 255, 255, 255]
    second = [255, 255, 0, 153, *[255] * 6]
    assert small.tolist() == [white, white, first, white, white, second, white, white]


def test_what_was_made_stands_under_its_originals(tmp_path):
    originals = np.linspace(0, 0.44, 12)[:, None, None, None]  # 1 x 1
    write_pairs(tmp_path / "a.png", originals, originals + 0.5)
    small = pixels(tmp_path / "a.png")[::20, ::20][2::3, 2::3]  # of 32 x 14
    rows = [*np.split(np.rint(originals.ravel() * 255), [10])]
    made = [*np.split(np.rint((originals.ravel() + 0.5) * 255), [10])]
    assert small[:2].tolist() == [rows[0].tolist(), made[0].tolist()]
    assert small[2:, :2].tolist() == [rows[1].tolist(), made[1].tolist()]
    assert (small[2:, 2:] == 255).all()


def test_colours_are_kept(tmp_path):
    write_rows(tmp_path / "a.png", np.array([0.0, 1.0, 0.2]).reshape(1, 1, 1, 1, 3))
    assert pixels(tmp_path / "a.png")[320, 320].tolist() == [0, 255, 51]


def test_names_are_short_and_visible():
    assert shortened("a\x1b[31mred\nb") == "a\\x1b[31mred b"
    assert shortened("x" * 100) == "x" * 39 + "\u2026"
    assert shortened("\udcff") == "\\udcff"


@pytest.mark.parametrize(("n", "reconstructed"), [(0, False), (1, True), (3, True)])
def test_pictures_of_a_run_with_little_held_out(n, reconstructed, tmp_path):
    model = tiny_options().build(TINY, 1)
    images = np.zeros((n, *TINY.shape), np.uint8)
    labels = np.zeros(n, np.int32)
    folder = RunFolder(tmp_path)
    folder.pictures.mkdir()
    pictures = RunPictures(model, images, labels, ("a",), folder, jax.random.key(1))
    codes = np.zeros((n, 2), np.float32) if n else None
    pictures.write(model.init(jax.random.key(0)), codes)
    names = {path.stem for path in folder.pictures.iterdir()}
    assert {"samples", "manifold"} <= names
    assert ("reconstructions" in names) == reconstructed
    assert ("codes" in names) == reconstructed
