import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import Autoencoder, Likelihood, models, networks
from aaejax.components.posteriors import Posterior
from aaejax.types import DataSpec

pytestmark = pytest.mark.quick


def test_every_pixel_reaches_the_code_and_is_reached_by_it(getkey):
    images = jax.random.uniform(getkey(), (1, 9, 7, 2))
    for encoder, decoder in (
        (networks.ConvEncoder(3, channels=4), networks.ConvDecoder((9, 7, 2), channels=4)),
        (networks.MLPEncoder(3, width=30), networks.MLPDecoder((9, 7, 2), width=30)),
    ):
        codes, params = jax.jit(encoder.init_with_output)(getkey(), images)
        value = jax.grad(lambda x, e=encoder, p=params: e.apply(p, x).sum())
        gradient = jax.jit(value)(images)
        assert (gradient != 0).all()
        params = jax.jit(decoder.init)(getkey(), codes)
        decode = jax.jit(decoder.apply)
        moved = decode(params, codes + 1) - decode(params, codes)
        assert (moved != 0).all()


def test_mlp_sizes_are_those_of_the_paper(getkey):
    images, codes = jnp.zeros((1, 28, 28, 1)), jnp.zeros((1, 8))

    def count(module, *inputs):
        init = networks.as_network(module).init
        params = jax.eval_shape(init, getkey(), *inputs)["params"]
        return sum(x.size for x in jax.tree.leaves(params))

    middle = 1000 * 1000 + 1000
    assert count(networks.MLPEncoder(8), images) == 784_000 + 1000 + middle + 8008
    assert count(networks.MLPDecoder((28, 28, 1)), codes) == 9000 + middle + 784_784
    assert count(networks.MLPDiscriminator(), codes) == 9000 + middle + 1001


def test_first_weights_of_mlps_are_drawn_with_the_std_asked_for(getkey):
    data = DataSpec((28, 28, 1), classes=10, unit_range=True, labelled=100)
    for std, of_hidden in ((0.01, 0.01), (0.0, 1000**-0.5)):
        options = models.options("semi-supervised")(initial_std=std)
        params = options.build(data, 1).init(getkey())
        assert len(params) == 4  # encoder, decoder, a discriminator each for y and z
        for network in params.values():
            hidden = network["params"]["mlp"]["hidden_1"]
            np.testing.assert_allclose(hidden["kernel"].std(), of_hidden, rtol=0.02)
            assert not hidden["bias"].any()


def test_gaussian_posterior_has_the_mean_and_std_of_its_encoder(getkey):
    posterior = Posterior("gaussian", 2)
    assert posterior.encoder_outputs == 4

    outputs = jnp.tile(jnp.array([[1.0, -2.0, jnp.log(0.5), jnp.log(3.0)]]), (5000, 1))
    noise = jax.vmap(posterior.noise)(jax.random.split(getkey(), 5000))
    codes = posterior.code(outputs, noise)
    np.testing.assert_allclose(codes.mean(axis=0), [1, -2], atol=0.15)
    np.testing.assert_allclose(codes.std(axis=0), [0.5, 3], rtol=0.05)


def test_deterministic_posterior_ignores_noise_and_universal_reads_it(getkey):
    images = jax.random.uniform(getkey(), (4, 3))
    for kind in ("deterministic", "universal"):
        posterior = Posterior(kind, 2, noise_inputs=5)
        first, second = (
            jax.vmap(posterior.noise)(jax.random.split(getkey(), 4)) for _ in range(2)
        )
        assert first.shape == (4, 5 if kind == "universal" else 0)
        module = Autoencoder(
            networks.MLPEncoder(posterior.encoder_outputs, width=8),
            networks.MLPDecoder((3,), width=8),
            posterior=posterior,
            likelihood=Likelihood(),
            shape=(3,),
        )
        params = module.init(getkey())
        codes = [module.code(params, images, noise) for noise in (first, second)]
        assert bool((codes[0] == codes[1]).all()) == (kind == "deterministic")


def test_an_mlp_normalises_and_drops_out_as_asked(getkey):
    x, keys = jax.random.normal(getkey(), (64, 5)) * 3 + 2, jax.random.split(getkey(), 64)
    for norm, state in (("none", {}), ("layer", {}), ("batch", {"batch_stats"})):
        network = networks.as_network(networks.MLP(3, width=16, norm=norm))
        variables = network.init(getkey(), x)
        assert set(variables) == {"params", *state}
        assert network.same_in_training == (norm != "batch")
        assert network.evaluate(variables, x).shape == (64, 3)
    dropping = networks.as_network(networks.MLPDiscriminator(width=16, dropout=0.3))
    assert not dropping.same_in_training
    variables = dropping.init(getkey(), x)
    trained, _ = dropping.apply(variables, x, train=True, key=keys, axis_name=None)
    assert (trained != dropping.evaluate(variables, x)).mean() > 0.9


def test_hidden_layers_of_an_mlp_are_dropped_out_with_its_inputs(getkey):
    # Width 1 and depth 1: an output is 0 where the input or the hidden unit is.
    module = networks.MLP(1, width=1, depth=1, dropout=0.5)
    network = networks.as_network(module)
    one = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    variables = {"params": {"hidden_0": one, "output": one}}
    keys = jax.random.split(getkey(), 2000)
    made, _ = network.apply(
        variables, jnp.ones((2000, 1)), train=True, key=keys, axis_name=None
    )
    assert set(np.unique(made)) == {0.0, 4.0}
    assert (made > 0).mean() == pytest.approx(0.25, abs=0.03)
