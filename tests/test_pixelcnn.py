"""PixelCNN: what a pixel sees, densities that sum to one, samples that follow them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.ask.programs import programs
from aaejax.components.pixel_values import Bit, LogisticMixture
from aaejax.networks.masked_conv import GatedPixelCNN
from aaejax.runs.on_disk.exported import flat
from aaejax.types import DataSpec, UserError
from tests.conftest import tiny_options


def moved(variables, key, by=0.5):
    """Parameters far from 0, so that all that may matter does."""
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(key, len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return jax.tree.unflatten(
        structure, [x + by * jax.random.normal(key, x.shape) for x, key in pairs]
    )


@pytest.mark.parametrize("dilations", [(1,), (1, 2, 4, 8)])
def test_a_pixel_sees_all_before_it_and_nothing_else(getkey, dilations):
    height, width, colours = 5, 6, 2
    network = GatedPixelCNN(colours, 3, channels=8, layers=4, dilations=dilations)
    variables = moved(network.init(getkey()), getkey(), 0.2)
    x = jax.random.uniform(getkey(), (6, height, width, colours))
    of_one = jax.jacobian(lambda x: network(variables, x[None])[0].sum(axis=2))
    # Of several images, as a unit may be off in one.
    seen = np.abs(jax.jit(jax.vmap(of_one))(x)).sum(axis=(0, 5))  # [H, W, H, W]
    place = np.arange(height * width).reshape(height, width)
    before = place[None, None] < place[:, :, None, None]
    # Four layers of nine taps reach over all of so small an image: there is no blind spot.
    np.testing.assert_array_equal(seen > 0, before)


def test_a_colour_depends_on_those_before_it_alone(getkey):
    values = LogisticMixture(3, components=4)
    outputs = np.array(0.3 * jax.random.normal(getkey(), (values.outputs,)))
    outputs[4 * 4 : 7 * 4] -= 3  # narrow logistics, so that no colour is at its end
    outputs[7 * 4 :] += 1  # and each colour moves those after it
    numbers = jax.random.uniform(getkey(), (4,), minval=0.3, maxval=0.7)
    # As they are, and with a larger number for red, for green and for blue.
    rows = np.tile(numbers, (4, 1))
    rows[[1, 2, 3], [1, 2, 3]] = 0.99
    drawn = np.asarray(jax.jit(jax.vmap(values.draw, (None, 0)))(outputs, rows))
    for c in range(3):
        other = drawn[c + 1]
        assert (drawn[0, :c] == other[:c]).all() and drawn[0, c] < other[c]
        assert c == 2 or (drawn[0, c + 1 :] != other[c + 1 :]).all()
    # The mean of blue tells nothing of what red costs: with a blue that is as far from its
    # mean as before, the density of the pixel stays.
    levels = np.array([100, 120, 140], np.float32) / 255
    changed = outputs.copy()
    changed[3 * 4 : 4 * 4] += 2 * 10 / 255
    shifted = levels + np.array([0, 0, 10], np.float32) / 255
    found = jax.jit(values.log_density)(
        np.stack([outputs, changed]), np.stack([levels, shifted])
    )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("colours", "levels", "spread"),
    [(1, 256, 1.0), (1, 256, 8.0), (3, 4, 1.0)],
)
def test_the_mixture_sums_to_one_over_its_levels(colours, levels, spread, getkey):
    values, n = LogisticMixture(colours, components=3, levels=levels), 20_000
    outputs = spread * jax.random.normal(getkey(), (20, 1, values.outputs))
    each = np.array(list(itertools.product(range(levels), repeat=colours)))
    pixels = (each / (levels - 1)).astype(np.float32)
    numbers = jax.random.uniform(getkey(), (n, values.numbers))

    @jax.jit
    def ask(outputs, numbers):
        every = jnp.broadcast_to(outputs, (20, len(pixels), values.outputs))
        log_p = values.log_density(every, jnp.broadcast_to(pixels, (20, *pixels.shape)))
        many = jnp.broadcast_to(outputs[0], (n, values.outputs))
        return jnp.exp(log_p), values.draw(many, numbers)

    with jax.numpy_rank_promotion("allow"):
        p, drawn = map(np.asarray, ask(outputs, numbers))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-4)
    drawn = np.rint(drawn * (levels - 1)).astype(int)
    counts = np.bincount(drawn @ levels ** np.arange(colours)[::-1], minlength=len(pixels))
    enough = p[0] > 2e-4
    statistic = (np.square(counts - n * p[0]) / (n * p[0]))[enough]
    assert statistic.sum() < enough.sum() + 6 * math.sqrt(2 * enough.sum())


def test_what_is_sure_stays_finite():
    values, pixels = LogisticMixture(1, components=2), jnp.array([[0.0], [0.5], [1.0]])
    cost = jax.jit(jax.value_and_grad(lambda x: values.log_density(x, pixels).sum()))
    for shift in (-1e3, 1e3):
        found, slope = cost(np.full((3, values.outputs), shift, np.float32))
        assert np.isfinite(found) and np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("binary", "reach", "dilations"),
    [(True, 1, (1,)), (False, 1, (1, 2)), (True, 2, (1, 3))],
)
def test_an_image_is_made_as_it_is_scored(binary, reach, dilations, getkey):
    height, width = shape = (3, 4) if reach == 1 else (5, 9)
    shape = (*shape, 1 if binary else 2)
    mixture = {} if binary else {"components": 2}
    kernels = {"layers": 2, "reach": reach, "dilations": dilations}
    options = tiny_options("pixelcnn", conditional=True, **kernels, **mixture)
    model = options.build(DataSpec(shape, 3, True, labelled=8, binary=binary), 10)
    values = Bit() if binary else LogisticMixture(shape[2], 2)
    network = GatedPixelCNN(shape[2], values.outputs, channels=4, classes=3, **kernels)
    labels = np.arange(7) % 3
    variables = moved(model.init(getkey()), getkey(), 0.3)

    @jax.jit
    def ask(variables, key):
        codes = model.prior(variables, key, 7, labels)
        numbers = codes[:, 3:].reshape(7, height, width, values.numbers)

        def again(images):
            """What one pass says of images, and each pixel drawn again by its numbers."""
            outputs = network(variables["pixels"], images, jax.nn.one_hot(labels, 3))
            return outputs, values.draw(outputs, numbers)

        made = model.decode(variables, codes)
        kept = model.complete(variables, codes, 1 - made, 2)
        outputs, drawn = again(made)
        log_p = [
            model.log_likelihood(variables, made, y) for y in (labels, (labels + 1) % 3)
        ]
        own = values.log_density(outputs, made).sum(axis=(1, 2))
        return made, drawn, kept, again(kept)[1], log_p, own

    made, drawn, kept, redrawn, log_p, own = map(np.asarray, ask(variables, getkey()))
    np.testing.assert_allclose(drawn, made, atol=1e-6)
    np.testing.assert_allclose(log_p[0], own, rtol=1e-5)
    assert (log_p[0] != log_p[1]).all()
    np.testing.assert_array_equal(kept[:, :2], 1 - made[:, :2])
    np.testing.assert_allclose(redrawn[:, 2], kept[:, 2], atol=1e-6)


def test_it_sums_to_one_over_all_images(getkey):
    shape = (3, 3, 1)
    options = tiny_options("pixelcnn", layers=2)
    model = options.build(DataSpec(shape, 0, True, binary=True), 10)
    variables = moved(model.init(getkey()), getkey())
    every = np.array(list(itertools.product([0.0, 1.0], repeat=9)), np.float32)
    log_p = jax.jit(model.log_likelihood)(variables, every.reshape(-1, *shape))
    assert np.exp(np.asarray(log_p, np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_programs_that_need_no_aaejax_make_the_same(getkey):
    options = tiny_options("pixelcnn", components=2)
    model = options.build(DataSpec((3, 4, 1), 0, True), 10)
    variables = model.init(getkey())
    made = programs(model, variables, (3, 4, 1))
    assert set(made) == {"decode", "sample"}
    decode = jax.export.deserialize(bytearray(made["decode"])).call
    codes = model.prior(variables, getkey(), 3)
    found = decode(flat(variables), codes)
    np.testing.assert_allclose(found, jax.jit(model.decode)(variables, codes), atol=1e-5)


def test_what_is_no_picture_is_refused():
    for shape, unit in (((5,), True), ((4, 5, 1), False)):
        with pytest.raises(UserError, match="pixelcnn is of pictures"):
            tiny_options("pixelcnn").build(DataSpec(shape, 0, unit), 1)
    with pytest.raises(UserError, match="needs labels"):
        options = tiny_options("pixelcnn", conditional=True)
        options.build(DataSpec((4, 5, 1), 3, True), 1)
    for wrong in ((), (1, 0), (1,) * 101):
        with pytest.raises(UserError, match="dilations is"):
            tiny_options("pixelcnn", dilations=wrong)
