"""A restored model in NumPy."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from aaejax import data
from aaejax.runs.restore import restore
from aaejax.sampling import in_batches
from aaejax.types import UserError
from tests.conftest import TINY, tiny_options, train_tiny

N = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, *TINY.shape), dtype=np.uint8)
    dataset = data.from_arrays(images, np.arange(60) % 3, name="noise")
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_tiny(
        folder,
        dataset,
        model=tiny_options("supervised"),
        devices=1,
        batch_size=9,
        log_every=12,
        save_every=12,
    )
    return restore(folder)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((N, *TINY.shape), np.float32)


def test_numpy_comes_and_goes_in_any_length(trained, images):
    labels = np.arange(N) % 3
    codes = trained.encode(images, labels)
    assert type(codes) is np.ndarray and codes.shape == (N, 5)
    expected = trained.model.encode(trained.variables, images, jax.random.key(0), labels)
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codes[:, :3], np.eye(3)[labels])
    for n in (0, 1, 3, 37):
        np.testing.assert_allclose(
            trained.encode(images[:n], labels[:n]), codes[:n], rtol=1e-4, atol=1e-5
        )
        assert trained.decode(codes[:n]).shape == (n, *TINY.shape)
        assert trained.sample(n).shape == (n, *TINY.shape)
        assert trained.score(images[:n]).shape == (n,)
    made = trained.reconstruct(images, labels)
    np.testing.assert_allclose(made, trained.decode(codes), rtol=1e-4, atol=1e-5)
    # uint8 is what float is over 255.
    whole = np.rint(images * 255).astype(np.uint8)
    np.testing.assert_allclose(
        trained.encode(whole), trained.encode(whole / 255), rtol=1e-4, atol=1e-5
    )


def test_lengths_between_powers_of_two_share_a_program():
    traced = []

    def shape_of(_, x, key, labels):
        traced.append(x.shape)
        return {"x": x}

    ask = in_batches(shape_of, batch=8)
    for n in (0, 1, 2, 3, 4, 5, 8, 9, 20):
        x = np.arange(n, dtype=np.float32)[:, None]
        found = ask({}, x, None, jax.random.key(0))["x"]
        np.testing.assert_array_equal(found, x)
    assert traced == [(1, 1), (2, 1), (4, 1), (8, 1)]


def test_samples_repeat_and_take_classes(trained):
    np.testing.assert_array_equal(trained.sample(3, seed=1), trained.sample(3, seed=1))
    assert np.abs(trained.sample(3, seed=1) - trained.sample(3)).max() > 0
    by_class = trained.sample(3, labels=2)
    np.testing.assert_array_equal(by_class, trained.sample(3, labels=[2, 2, 2]))
    assert np.abs(by_class - trained.sample(3, labels=1)).max() > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.sample(-1), "-1 samples"),
        (lambda t: t.sample(10**15), "1,000,000,000,000,000 examples, twice, would take"),
        (lambda t: t.sample(1, seed=2**32), "seed 4294967296"),
        (lambda t: t.sample(2, labels=3), r"in -1 \.\.\. 2"),
        (lambda t: t.sample(2, labels=[0.5, 1]), "give class numbers"),
        (lambda t: t.decode(np.zeros((2, 4))), r"this model's are \[N, 5\]"),
        (lambda t: t.encode(np.zeros((2, 5, 6))), "trained on"),
        (lambda t: t.encode(np.full((2, 6, 5), np.nan)), "NaN"),
        (lambda t: t.encode(np.full((2, 6, 5), 2.0)), r"must lie in \[0, 1\]"),
        (lambda t: t.encode(np.zeros((2, 6, 5)), labels=[0]), r"int \[2\]"),
    ],
)
def test_what_it_can_not_take_is_refused(trained, call, words):
    with pytest.raises(UserError, match=words):
        call(trained)


def test_a_notebook_shows_a_row_of_samples(trained):
    with Image.open(io.BytesIO(trained._repr_png_())) as picture:
        # Ten in a row, with borders, enlarged by one factor.
        assert picture.width * (2 + 8) == picture.height * (2 + 10 * 7)
    page = trained._repr_html_()
    assert "&lt;supervised of" in page and "data:image/png;base64," in page
