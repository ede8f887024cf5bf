"""Ways through a code space."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.sampling import arithmetic, between, walk
from aaejax.types import DataSpec
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
