"""Pictures: what is drawn of names, and of runs with little held out."""

import jax
import numpy as np
import pytest
from PIL import Image

from aaejax.runs.pictures import shortened, write_scatter
from aaejax.runs.snapshots import RunPictures
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


def test_names_are_short_and_visible():
    assert shortened("a\x1b[31mred\nb") == "a\\x1b[31mred b"
    assert shortened("x" * 100) == "x" * 39 + "\u2026"
    assert shortened("\udcff") == "\\udcff"


@pytest.mark.parametrize(("n", "reconstructed"), [(0, False), (1, True), (3, True)])
def test_pictures_of_a_run_with_little_held_out(n, reconstructed, tmp_path):
    model = tiny_options().build(TINY, 1)
    images = np.zeros((n, *TINY.shape), np.uint8)
    labels = np.zeros(n, np.int32)
    pictures = RunPictures(model, images, labels, ("a",), tmp_path, jax.random.key(1))
    codes = np.zeros((n, 2), np.float32) if n else None
    pictures.write(model.init(jax.random.key(0)), codes)
    names = {path.stem for path in tmp_path.iterdir()}
    assert {"samples", "manifold"} <= names
    assert ("reconstructions" in names) == reconstructed
    assert ("codes" in names) == reconstructed
