"""Ways through a code space."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import sampling
from aaejax.sampling import arithmetic, between, walk
from aaejax.types import DataSpec, UserError
from tests.conftest import TINY, tiny_options


def test_a_straight_line_and_a_great_circle_by_hand():
    start, end = jnp.array([2.0, 0.0]), jnp.array([0.0, 2.0])
    half = jnp.float32(0.5)
    np.testing.assert_allclose(between(start, end, half, "linear"), [1, 1])
    root = np.sqrt(2)
    np.testing.assert_allclose(between(start, end, half, "spherical"), [root, root], 1e-5)
    third = between(start, end, jnp.float32(1 / 3), "spherical")
    np.testing.assert_allclose(third, [np.sqrt(3), 1], rtol=1e-5)


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("end", [[3.0, 1.0], [-1.5, -0.5], [1.5, 0.5], [0.0, 0.0]])
def test_a_way_begins_and_ends_at_its_codes(path, end):
    start, end = jnp.array([1.5, 0.5]), jnp.array(end)
    for t, expected in ((0.0, start), (1.0, end)):
        found = between(start, end, jnp.float32(t), path)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_arithmetic_goes_from_the_reconstruction_along_the_direction(getkey):
    model = tiny_options().build(TINY, 1)
    networks = model.init(getkey())
    images = np.random.default_rng(0).random((3, *TINY.shape), np.float32)
    direction = jnp.array([1.0, -2.0])
    made = arithmetic(model, networks, images, direction=direction, steps=5, key=getkey())
    assert made.shape == (3, 5, *TINY.shape)
    codes = model.encode(networks, images, getkey())
    for step, t in ((0, 0.0), (2, 0.5), (4, 1.0)):
        expected = model.decode(networks, codes + t * direction[None])
        np.testing.assert_allclose(made[:, step], expected, rtol=1e-4)


def test_a_walk_goes_outwards_along_each_component(getkey):
    spec = DataSpec(TINY.shape, 3, unit_range=True, labelled=8)
    model = tiny_options("label-regularized", components=3).build(spec, 1)
    # The codes of the walk themselves, as an image of two pixels.
    model = dataclasses.replace(model, decode=lambda _, codes: codes)
    made = np.asarray(walk(model, model.init(getkey()), getkey(), 8))
    assert made.shape == (3, 8, 2)
    for label, line in enumerate(made):
        ray = [np.cos(2 * np.pi * label / 3), np.sin(2 * np.pi * label / 3)]
        along = line @ ray
        assert (np.diff(along) > 0).all()
        assert along.mean() == pytest.approx(1.4, abs=0.05)
        np.testing.assert_allclose(line, along[:, None] * ray, atol=0.05)


def test_a_walk_in_one_dimension_is_sorted(getkey):
    spec = DataSpec(TINY.shape, 3, unit_range=True, labelled=8)
    model = tiny_options("label-regularized", prior="uniform", latent=1).build(spec, 1)
    model = dataclasses.replace(model, decode=lambda _, codes: codes)
    made = np.asarray(walk(model, model.init(getkey()), getkey(), 8))
    assert made.shape == (3, 8, 1)
    for label, line in enumerate(made[..., 0]):  # outwards, in the class's third of [-2, 2]
        steps = np.diff(line)
        assert (steps > 0).all() or (steps < 0).all()
        assert np.abs(line - (-4 / 3 + 4 / 3 * label)).max() < 2 / 3


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda *of: sampling.samples(*of, 2, jnp.array([0, 1])), "leave labels out"),
        (lambda *of: sampling.styles(*of, 2), "codes have a class"),
        (lambda model, variables, _: sampling.heads(model, variables), "have a class"),
        (lambda *of: sampling.walk(*of, 4), "prior has classes"),
        (lambda *of: sampling.manifold(*of, 3), "two dimensions: this model's have 3"),
        (
            lambda model, variables, key: sampling.probabilities(
                model, variables, np.zeros((2, *TINY.shape), np.float32), key
            ),
            "encoder classifies",
        ),
    ],
)
def test_what_a_model_does_not_have_is_refused(ask, reason, getkey):
    model = tiny_options(latent=3).build(TINY, 1)
    with pytest.raises(UserError, match=reason):
        ask(model, model.init(getkey()), getkey())


def test_bytes_are_the_images_that_they_are_a_255th_of(getkey):
    model = tiny_options().build(TINY, 1)
    networks, key = model.init(getkey()), jax.random.key(3)
    given = np.random.default_rng(0).integers(0, 256, (2, *TINY.shape), np.uint8)
    made = sampling.reconstructions(model, networks, given, key)
    unit = given.astype(np.float32) / 255
    expected = sampling.reconstructions(model, networks, unit, jax.random.key(3))
    np.testing.assert_array_equal(made, expected)


def test_bytes_that_are_counts_stay_counts(getkey):
    spec = DataSpec((6,), 0, unit_range=False, counts=True)
    counts = {"output": "softmax", "reconstruction": "negative-binomial"}
    options = tiny_options("autoencoder", **counts)
    model, key = options.build(spec, 1), getkey()
    networks = model.init(getkey())
    given = np.random.default_rng(0).integers(0, 256, (2, 6), np.uint8)
    made = sampling.reconstructions(model, networks, given, key)
    np.testing.assert_allclose(made.sum(axis=1), given.sum(axis=1), rtol=1e-5)


def test_asking_again_for_classes_traces_nothing(getkey):
    spec = DataSpec(TINY.shape, 3, unit_range=True, labelled=8)
    model = tiny_options("semi-supervised").build(spec, 1)
    networks, traced = model.init(getkey()), []
    images = np.zeros((2, *TINY.shape), np.float32)

    def classify(*given):
        traced.append(given)
        return model.classify(*given)

    watched = dataclasses.replace(model, classify=classify)
    for _ in range(2):
        found = sampling.probabilities(watched, networks, images, jax.random.key(0))
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert len(traced) == 1
