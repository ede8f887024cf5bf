"""Whatever makes the step fast, its losses are those of three plain phases."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aaejax import init_state, scan_steps, train_step
from aaejax.models import aae
from aaejax.models._optimizers import Optimizer
from aaejax.types import DataSpec

STEPS, BATCH, LATENT = 20, 16, 4
TRAINS = {
    "reconstruction": ("encoder", "decoder"),
    "discriminator": ("discriminator",),
    "generator": ("encoder",),
}


def mlp(params, x):
    layers = params["mlp"]
    for number in range(2):
        layer = layers[f"hidden_{number}"]
        x = jnp.maximum(x @ layer["kernel"] + layer["bias"], 0)
    return x @ layers["output"]["kernel"] + layers["output"]["bias"]


def reconstruction(params, x, real):
    logits = mlp(params["decoder"], mlp(params["encoder"], x))
    return (jax.nn.softplus(logits) - x * logits).sum(axis=1).mean()


def discriminator(params, x, real):
    to_real = mlp(params["discriminator"], real)
    to_fake = mlp(params["discriminator"], mlp(params["encoder"], x))
    return jax.nn.softplus(-to_real).mean() + jax.nn.softplus(to_fake).mean()


def generator(params, x, real):
    to_fake = mlp(params["discriminator"], mlp(params["encoder"], x))
    return jax.nn.softplus(-to_fake).mean()


def prior_samples(key, step):
    key = jax.random.fold_in(key, step)
    for name in ("discriminator", "prior"):  # the phase, then the draw
        key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    keys = [jax.random.fold_in(key, position) for position in range(BATCH)]
    return jnp.concatenate([jax.random.normal(k, (1, LATENT)) for k in keys])


def plain_losses(params, batches, key, options):
    """[STEPS, 3]: each phase a program of its own, with Optax's Adam."""

    def phase(loss):
        chosen = getattr(options, f"{loss.__name__}_optimizer")
        rate = optax.cosine_decay_schedule(chosen.with_defaults().learning_rate, STEPS)
        adam = optax.adam(rate, chosen.momentum)

        def update(params, state, x, real):
            trained = {name: params[name] for name in TRAINS[loss.__name__]}
            value, gradients = jax.value_and_grad(
                lambda trained: loss({**params, **trained}, x, real)
            )(trained)
            updates, state = adam.update(gradients, state)
            return value, {**params, **optax.apply_updates(trained, updates)}, state

        start = adam.init({name: params[name] for name in TRAINS[loss.__name__]})
        return jax.jit(update), start

    phases = {loss: phase(loss) for loss in (reconstruction, discriminator, generator)}
    states = {loss: start for loss, (_, start) in phases.items()}
    draw, losses = jax.jit(prior_samples), []
    for step, x in enumerate(batches):
        for loss, (update, _) in phases.items():
            value, params, states[loss] = update(params, states[loss], x, draw(key, step))
            losses.append(float(value))
    return np.array(losses).reshape(STEPS, 3)


@pytest.mark.quick
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.05)])
def test_losses_are_those_of_plain_phases(precision, tolerance):
    slow = Optimizer(learning_rate=3e-4, momentum=0.5, schedule="cosine")
    options = aae.Options(
        latent=LATENT,
        width=200,
        depth=2,
        r1=0.0,
        precision=precision,
        reconstruction_optimizer=Optimizer(learning_rate=1e-3, schedule="cosine"),
        discriminator_optimizer=slow,
        generator_optimizer=slow,
    )
    model = options.build(DataSpec((30,), 0, True), STEPS)
    images = np.random.default_rng(0).random((STEPS, BATCH, 30), np.float32)
    state, key = init_state(model, jax.random.key(0)), jax.random.key(1)
    steps = jax.jit(scan_steps(train_step(model.phases)))
    _, metrics = steps(state, {"image": images}, key)
    with jax.numpy_rank_promotion("allow"):
        expected = plain_losses(state.params, images, key, options)
    for column, name in enumerate(TRAINS):
        np.testing.assert_allclose(
            metrics[f"{name}/loss"], expected[:, column], rtol=tolerance, err_msg=name
        )
