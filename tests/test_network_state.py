"""Networks with batch norm and dropout, in linen, nnx and as two functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aaejax import (
    Autoencoder,
    Likelihood,
    Posterior,
    UserError,
    aae,
    init_state,
    networks,
    phase_step,
    priors,
    train_step,
)
from tests.conftest import each_phase

SHAPE, LATENT = (4, 3, 1), 2


class Linen(nn.Module):
    """Layers with batch norm and dropout, of images or of codes."""

    shape: tuple[int, ...]  # of an example of the output
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = x.reshape(x.shape[0], -1)
        x = nn.BatchNorm(  # an axis that it names is not that of all devices here
            use_running_average=not train, momentum=0.9, axis_name="batch"
        )(nn.Dense(8)(x))
        x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(x))
        return nn.Dense(int(np.prod(self.shape)))(x).reshape(x.shape[0], *self.shape)


class Nnx(nnx.Module):
    """The same in nnx."""

    def __init__(self, inputs, shape, rngs):
        self.shape = shape
        self.hidden = nnx.List([nnx.Linear(inputs, 8, rngs=rngs)])
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.output = nnx.Linear(8, int(np.prod(shape)), rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.hidden[0](x.reshape(x.shape[0], -1)))
        x = self.output(self.dropout(nnx.relu(x)))
        return x.reshape(x.shape[0], *self.shape)


def pair(inputs, shape):
    """Batch norm and dropout by hand, as two functions."""

    def init(key, *_):
        kernel = jax.random.normal(key, (inputs, int(np.prod(shape))))
        return {"params": {"kernel": kernel}, "seen": {"mean": jnp.zeros(inputs)}}

    def apply(variables, x, *, train, key, axis_name):
        x, seen = x.reshape(x.shape[0], -1), variables["seen"]["mean"]
        state = {}
        if train:
            mean = x.mean(axis=0)
            mean = mean if axis_name is None else jax.lax.pmean(mean, axis_name)
            state = {"seen": {"mean": 0.9 * seen + 0.1 * mean}}
            kept = jax.vmap(lambda k: jax.random.bernoulli(k, 0.5, (inputs,)))(key)
            x = jnp.where(kept, x - mean[None], 0.0)
        else:
            x = x - seen[None]
        return (x @ variables["params"]["kernel"]).reshape(x.shape[0], *shape), state

    return init, apply


def coded(encoder, decoder=None, posterior=None):
    """An autoencoder of these networks, whose decoder fits where none is given."""
    return Autoencoder(
        encoder,
        decoder or Linen(SHAPE),
        posterior=posterior or Posterior("deterministic", LATENT),
        likelihood=Likelihood("bernoulli"),
        shape=SHAPE,
    )


def make(kind, optimizer=None):
    def network(inputs, shape):
        if kind == "linen":
            return Linen(shape)
        if kind == "nnx":
            return networks.from_nnx(lambda rngs: Nnx(inputs, shape, rngs))
        return pair(inputs, shape)

    names = ("reconstruction", "discriminator", "generator")
    return aae(
        coded(network(12, (LATENT,)), network(LATENT, SHAPE)),
        network(LATENT, ()),
        priors.gaussian(LATENT),
        dict.fromkeys(names, optimizer or optax.sgd(0.1)),
        r1=0.1,
    )


KINDS = ("linen", "nnx", "pair")


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """Kind, model, first state, batch, key, and state and metrics after a step."""
    model = make(request.param)
    state = init_state(model, jax.random.key(0))
    batch = {"image": jax.random.uniform(jax.random.key(1), (16, *SHAPE))}
    key = jax.random.key(2)
    return model, state, batch, key, *jax.jit(train_step(model.phases))(state, batch, key)


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), a, b)


def differs(a, b):
    return any(
        bool((x != y).any())
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


WAYS = [("pmap", 2), ("pmap", 4), ("pmap", 8)]
WAYS += [(way, 4) for way in ("shard_map", "unchecked shard_map", "mesh")]


@pytest.mark.parametrize(("way", "devices"), WAYS)
def test_statistics_and_dropout_are_those_of_the_global_batch(trained, way, devices):
    model, state, batch, key, expected, expected_metrics = trained
    mesh = Mesh(np.array(jax.devices()[:devices]), ("d",))
    shared, split = PartitionSpec(), PartitionSpec("d")
    if way == "pmap":
        parts = {"image": batch["image"].reshape(devices, -1, *SHAPE)}
        step = jax.pmap(
            train_step(model.phases, "d"),
            axis_name="d",
            in_axes=(None, 0, None),
            out_axes=None,
            devices=jax.devices()[:devices],
        )
        after, metrics = step(state, parts, key)
    elif way == "mesh":
        parts = jax.device_put(batch, NamedSharding(mesh, split))
        everywhere = jax.device_put((state, key), NamedSharding(mesh, shared))
        after, metrics = jax.jit(train_step(model.phases))(
            everywhere[0], parts, everywhere[1]
        )
    else:
        step = jax.shard_map(
            train_step(model.phases, "d"),
            mesh=mesh,
            in_specs=(shared, split, shared),
            out_specs=shared,
            check_vma=way == "shard_map",
        )
        after, metrics = jax.jit(step)(state, batch, key)
    close(after, expected)
    close(metrics, expected_metrics)


def test_seeds_under_vmap_are_runs_of_their_own(trained):
    model, state, batch, key, expected, _ = trained
    keys = jnp.stack([jax.random.key(9), key])
    states = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    after, _ = jax.jit(jax.vmap(train_step(model.phases), (0, None, 0)))(
        states, batch, keys
    )
    close(jax.tree.map(lambda x: x[1], after), expected)
    assert differs(jax.tree.map(lambda x: x[0], after.params), expected.params)


def test_a_phase_changes_the_state_of_the_networks_that_it_trains_alone(trained):
    model, state, batch, key, *_ = trained
    states = each_phase(model, state, batch, key)
    for phase, after in zip(model.phases, states, strict=True):
        for name in state.params:
            moved = differs(state.network_state[name], after.network_state[name])
            assert moved == (name in phase.trains), (phase.name, name)


def test_evaluation_uses_running_averages_and_no_dropout(trained):
    model, _, batch, _, state, _ = trained
    images, variables = batch["image"], state.variables
    codes = model.encode(variables, images, jax.random.key(0))
    # An image's code does not depend on the images beside it.
    alone = model.encode(variables, images[:1], jax.random.key(1))
    np.testing.assert_allclose(codes[:1], alone, rtol=1e-5, atol=1e-6)
    other = {
        name: {k: x if k == "params" else jax.tree.map(lambda v: v + 1, x)
               for k, x in variables[name].items()}
        for name in variables
    }  # fmt: skip
    assert differs(codes, model.encode(other, images, jax.random.key(0)))


def test_batch_norm_of_a_step_by_hand(getkey):
    # One unit: statistics of [1, 3, 5, 7] are mean 4, variance 5; momentum 0.9.
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)

    network = networks.as_network(Normed())
    x = jnp.array([[1.0], [3.0], [5.0], [7.0]])
    variables = network.init(getkey(), x)
    keys = jax.random.split(getkey(), 4)
    made, state = network.apply(variables, x, train=True, key=keys, axis_name=None)
    np.testing.assert_allclose(made, (x - 4) / np.sqrt(5 + 1e-5), rtol=1e-5)
    (found,) = state["batch_stats"].values()
    np.testing.assert_allclose(found["mean"], [0.4], rtol=1e-5)
    np.testing.assert_allclose(found["var"], [0.9 + 0.5], rtol=1e-5)
    evaluated = network.evaluate({**variables, **state}, x)
    np.testing.assert_allclose(evaluated, (x - 0.4) / np.sqrt(1.4 + 1e-5), rtol=1e-5)


def test_dropout_keeps_the_mean_and_draws_anew_for_each_layer_example_and_key(getkey):
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            first, second = (nn.Dropout(0.25, deterministic=not train) for _ in range(2))
            return jnp.stack([first(x), first(x), second(x)])

    network, x = networks.as_network(Twice()), jnp.ones((50, 40))
    keys = jax.random.split(getkey(), 50)
    made, _ = network.apply({"params": {}}, x, train=True, key=keys, axis_name=None)
    values, counts = np.unique(np.asarray(made), return_counts=True)
    np.testing.assert_allclose(values, [0, 4 / 3], rtol=1e-6)
    assert counts[1] / counts.sum() == pytest.approx(0.75, abs=0.02)
    assert len(np.unique(np.asarray(made).reshape(150, 40), axis=0)) == 150
    # A part of the batch draws what it draws in the whole.
    part, _ = network.apply(
        {"params": {}}, x[10:20], train=True, key=keys[10:20], axis_name=None
    )
    np.testing.assert_array_equal(part, made[:, 10:20])
    np.testing.assert_array_equal(network.evaluate({"params": {}}, x), jnp.stack([x] * 3))


def test_an_nnx_dropout_that_is_called_again_draws_anew(getkey):
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = (nnx.Dropout(0.25, rngs=rngs) for _ in range(2))

        def __call__(self, x):
            return jnp.stack([self.first(x), self.first(x), self.second(x)])

    network, x = networks.from_nnx(lambda rngs: Twice(rngs)), jnp.ones((50, 40))
    variables, keys = network.init(getkey(), x), jax.random.split(getkey(), 50)
    made, _ = network.apply(variables, x, train=True, key=keys, axis_name=None)
    assert len(np.unique(np.asarray(made).reshape(150, 40), axis=0)) == 150
    again, _ = network.apply(variables, x, train=True, key=keys, axis_name=None)
    np.testing.assert_array_equal(made, again)


def test_a_discriminator_with_state_sees_prior_and_codes_in_two_passes():
    # Prior N(0, 1) and codes far away: one pass over both would centre them together.
    model = make("linen")
    state = init_state(model, jax.random.key(0))
    seen = []

    def apply(variables, x, *, train, key, axis_name):
        seen.append(x.shape)
        return x @ variables["params"]["w"], {}

    def init(key, *_):
        return {"params": {"w": jnp.ones(LATENT)}}

    watched = aae(
        coded(Linen((LATENT,))),
        (init, apply),
        priors.gaussian(LATENT),
        dict.fromkeys(("reconstruction", "discriminator", "generator"), optax.sgd(0.1)),
    )
    state = init_state(watched, jax.random.key(0))
    seen.clear()
    batch = {"image": jnp.ones((6, *SHAPE))}
    jax.eval_shape(phase_step(watched.phases[1]), state, batch, jax.random.key(1))
    assert seen == [(6, LATENT)] * 2
    # A plain one sees both in one.
    plain = networks.as_network(networks.MLPDiscriminator(width=8))
    assert plain.same_in_training
    assert not networks.as_network(Linen(())).same_in_training


class NoTrain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(nn.Dense(2)(x.reshape(len(x), -1)))


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Dropout(0.5)(x.reshape(len(x), -1), deterministic=deterministic)
        return nn.Dense(2)(x)


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x.reshape(len(x), -1))


class Strict(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
        return nn.Dense(2)(x.reshape(len(x), -1)) * mask


class Half(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x.reshape(len(x), -1)).astype(jnp.bfloat16)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (NoTrain(), "keeps batch_stats, but its __call__ has no argument train"),
        (Deterministic(), "has an argument deterministic, .* have one called train"),
        (Wide(), r"encoder Wide gives \(2, 3\) .* it must give \[B, 2\]"),
        (Strict(), r"encoder Strict can't be called on \[B, 4, 3, 1\]"),
        (Half(), "gives bfloat16: it must give float32"),
        ("an encoder", "str is no network"),
        ((lambda key, x: {"w": x}, lambda v, x: (x, {})), 'must give a dict with "params"'),
        ((lambda key, x: {"params": {}}, lambda v, x: x[:, 0, :2, 0]), "must return"),
        (Nnx(12, (2,), nnx.Rngs(0)), "give networks.from_nnx"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_when_the_model_is_built(encoder, words):
    with pytest.raises(UserError, match=words) as refused:
        coded(encoder)
    assert "\n" not in str(refused.value)


def test_a_universal_posterior_needs_an_encoder_that_takes_noise():
    with pytest.raises(UserError, match="encoder Wide takes no argument noise"):
        coded(Wide(), posterior=Posterior("universal", 3))


def test_decoder_and_discriminator_are_checked_too():
    with pytest.raises(UserError, match=r"decoder Linen gives \(2, 5\)"):
        coded(Linen((LATENT,)), Linen((5,)))
    good = coded(Linen((LATENT,)))
    with pytest.raises(UserError, match=r"discriminator Linen gives \(2, 7\)"):
        phases = "reconstruction", "discriminator", "generator"
        optimizers = dict.fromkeys(phases, optax.sgd(0.1))
        aae(good, Linen((7,)), priors.gaussian(LATENT), optimizers)
