import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import models, networks
from aaejax.networks import conv, dcgan
from aaejax.phases import init_state, train_step
from aaejax.types import DataSpec


@pytest.mark.quick
@pytest.mark.parametrize(
    ("shape", "scales", "sides"),
    [
        ((28, 28, 1), 0, [2, 2]),
        ((32, 32, 3), 0, [2, 2, 2]),
        ((64, 64, 3), 0, [4, 2, 2]),
        ((128, 128, 3), 0, [8, 2, 2]),
        ((9, 14, 3), 0, [2]),
        ((9, 50, 2), 0, [4, 2]),
        ((1, 1, 1), 0, [2]),
        ((28, 28, 1), 1, [2]),
        ((5, 4, 1), 3, [2, 2, 2]),
    ],
)
def test_convolutions_take_images_of_any_size(shape, scales, sides, getkey):
    assert conv.patches(*shape[:2], scales) == sides
    encoder = networks.ConvEncoder(3, channels=4, scales=scales)
    decoder = networks.ConvDecoder(shape, channels=4, scales=scales)
    images = jnp.zeros((2, *shape))
    codes, variables = jax.eval_shape(encoder.init_with_output, getkey(), images)
    made, _ = jax.eval_shape(decoder.init_with_output, getkey(), codes)
    assert codes.shape == (2, 3)
    assert made.shape == images.shape
    rows, columns = (-(-side // np.prod(sides)) for side in shape[:2])
    inputs = rows * columns * 4 * min(2 ** (len(sides) - 1), 4)
    assert variables["params"]["output"]["kernel"].shape == (inputs, 3)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("shape", "scales", "grids"),
    [
        ((64, 64, 3), 0, [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((28, 28, 1), 0, [(28, 28), (14, 14), (7, 7), (4, 4)]),
        ((9, 50, 2), 2, [(9, 50), (5, 25), (3, 13)]),
        ((1, 1, 1), 0, [(1, 1), (1, 1)]),
    ],
)
def test_the_networks_of_dcgan_have_its_layers(shape, scales, grids, getkey):
    assert dcgan.sizes(*shape[:2], scales) == grids
    encoder = networks.DCGANEncoder(3, channels=8, scales=scales)
    decoder = networks.DCGANDecoder(shape, channels=8, scales=scales)
    images = jnp.zeros((2, *shape))
    codes, encoding = jax.eval_shape(encoder.init_with_output, getkey(), images)
    made, decoding = jax.eval_shape(decoder.init_with_output, getkey(), codes)
    assert (codes.shape, made.shape) == ((2, 3), images.shape)
    layers = len(grids) - 1
    widths = [shape[2], *(8 * 2**layer for layer in range(layers))]
    for layer in range(layers):
        kernel = encoding["params"][f"conv_{layer}"]["kernel"]
        assert kernel.shape == (5, 5, widths[layer], widths[layer + 1])
        kernel = decoding["params"][f"conv_{layers - 1 - layer}"]["kernel"]
        assert kernel.shape == (5, 5, widths[layer + 1], widths[layer])
    # Not next to the image.
    norms = {name for name in encoding["params"] if "norm" in name}
    assert norms == {f"norm_{layer}" for layer in range(1, layers)}
    assert {f"norm_{layer}" for layer in range(layers)} <= decoding["params"].keys()


@pytest.mark.quick
@pytest.mark.parametrize("side", [2, 4])
def test_moving_pixels_to_channels_is_undone(side, getkey):
    x = jax.random.uniform(getkey(), (2, 2 * side, 3 * side, 3))
    packed = conv.pixels_to_channels(x, side)
    assert packed.shape == (2, 2, 3, side**2 * 3)
    np.testing.assert_array_equal(conv.channels_to_pixels(packed, side), x)
    # The pixels of a patch stand in one place.
    patch = packed[0, 0, 0].reshape(side, side, 3)
    np.testing.assert_array_equal(patch, x[0, :side, :side])


@pytest.mark.quick
def test_convolutions_normalise_and_drop_out_as_asked(getkey):
    images = jax.random.uniform(getkey(), (16, 6, 6, 2))
    codes = jax.random.normal(getkey(), (16, 3))
    keys = jax.random.split(getkey(), 16)
    for norm, dropout in (("none", 0.0), ("layer", 0.3), ("batch", 0.0)):
        sizes = {"channels": 4, "norm": norm, "dropout": dropout}
        for module, x in (
            (networks.ConvEncoder(3, **sizes), images),
            (networks.ConvDecoder((6, 6, 2), **sizes), codes),
        ):
            network = networks.as_network(module)
            variables = network.init(getkey(), x)
            assert ("batch_stats" in variables) == (norm == "batch")
            assert network.same_in_training == (norm != "batch" and not dropout)
            made, state = network.apply(variables, x, train=True, key=keys, axis_name=None)
            assert set(state) == set(variables) - {"params"}
            same = np.allclose(made, network.evaluate(variables, x), atol=1e-5)
            assert same == network.same_in_training


@pytest.mark.quick
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_gradients_of_a_flat_image_are_of_ordinary_size(norm, getkey):
    """All features of a flat image are alike: its variances are 0."""
    encoder = networks.ConvEncoder(3, channels=4, norm=norm)
    images = jnp.zeros((2, 8, 8, 3)) + jnp.array([0, 1])[:, None, None, None]
    variables = jax.jit(encoder.init)(getkey(), images)
    gradient = jax.jit(jax.grad(lambda x: encoder.apply(variables, x).sum()))(images)
    assert 0 < abs(gradient).max() < 100


def discs(count: int, side: int) -> np.ndarray:
    """Discs on a ground, each in a random colour."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    images = np.empty((count, side, side, 3), np.float32)
    for image in images:
        row, column, radius = rng.uniform(0.3, 0.7, 3) * side * (1, 1, 0.4)
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        disc, ground = rng.uniform(0.35, 1, 3), rng.uniform(0, 0.35, 3)
        image[:] = np.where(inside[..., None], disc, ground)
    return images


def test_colours_of_shapes_are_reconstructed(getkey):
    """With the default rates; colour is what is left out when this goes wrong."""
    images, steps = discs(600, 16), 200
    options = models.options("autoencoder")(network="conv", channels=16, latent=32)
    model = options.build(DataSpec(images.shape[1:], 0, True), steps)
    state, key = jax.jit(lambda key: init_state(model, key))(getkey()), getkey()
    step = jax.jit(train_step(model.phases))
    for number in range(steps):
        rows = slice(number % 20 * 25, number % 20 * 25 + 25)
        state, _ = step(state, {"image": images[rows]}, key)
    held_out = images[500:]

    @jax.jit
    def reconstruct(variables, images):
        return model.decode(variables, model.encode(variables, images, key))

    made = np.asarray(reconstruct(state.variables, held_out))

    def hue(x):
        return x - x.mean(axis=3, keepdims=True)

    kept = (hue(held_out) * hue(made)).sum() / np.square(hue(held_out)).sum()
    error = abs(made - held_out).mean() / abs(held_out - held_out.mean(axis=0)).mean()
    assert kept > 0.5
    assert error < 0.6
