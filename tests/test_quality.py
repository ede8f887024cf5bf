"""A bar on real digits that a healthy model passes and a broken one fails."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aaejax import data, init_state, scan_steps, train_step
from aaejax.components.pixels import to_unit
from aaejax.data import batches
from aaejax.metrics.heldout import HeldOut
from aaejax.models._optimizers import Optimizer
from aaejax.models.aae import Options
from aaejax.runs.examples import data_spec

STEPS, BATCH = 800, 50
PHASES = ("reconstruction", "discriminator", "generator")


@pytest.fixture(scope="module")
def scores():
    """Held-out scores of four models trained together: healthy, and each phase frozen."""
    whole = data.load("mnist5k", "unused")
    train, test = whole.train_images[:, ::2, ::2], whole.test_images[:, ::2, ::2]
    digits = dataclasses.replace(whole, train_images=train, test_images=test)
    adversarial = Optimizer(learning_rate=1e-3, momentum=0.5, schedule="cosine")
    options = Options(
        latent=4,
        width=64,
        r1=0.0,
        reconstruction_optimizer=Optimizer(schedule="cosine"),
        discriminator_optimizer=adversarial,
        generator_optimizer=adversarial,
    )
    model = options.build(data_spec(digits), STEPS)
    init_key, run_key, heldout_key = jax.random.split(jax.random.key(0), 3)
    images = jnp.asarray(digits.train_images)
    rows = batches.batch_indices(0, 0, STEPS, len(images), BATCH)

    def trained(alive):
        phases = [
            dataclasses.replace(
                phase,
                optimizer=optax.chain(
                    phase.optimizer,
                    optax.stateless(lambda u, _, on=on: jax.tree.map(lambda x: on * x, u)),
                ),
            )
            for phase, on in zip(model.phases, alive, strict=True)
        ]
        state = init_state(dataclasses.replace(model, phases=tuple(phases)), init_key)

        def step(state, rows, key):
            batch = {"image": to_unit(images[rows["rows"]])}
            return train_step(phases)(state, batch, key)

        return scan_steps(step)(state, {"rows": rows}, run_key)[0].variables

    alive = np.ones((4, 3), np.float32) - np.eye(4, 3, -1, np.float32)
    networks = jax.jit(jax.vmap(trained))(alive)
    score = HeldOut(model, digits.test_images, None, heldout_key)
    return {
        name: score(jax.tree.map(lambda x, i=i: x[i], networks))[0]
        for i, name in enumerate((None, *PHASES))
    }


def passes(found):
    # Measured, seed 0: healthy 0.08 and 43; without the phases: reconstruction 2.3 and
    # 141, discriminator 4.7 and 43, generator 2.8 and 39.
    return found["heldout/prior_mmd"] < 0.6 and found["heldout/reconstruction"] < 75


def test_a_healthy_model_passes(scores):
    assert passes(scores[None]), scores


@pytest.mark.parametrize("phase", PHASES)
def test_a_model_with_a_frozen_phase_fails(scores, phase):
    assert not passes(scores[phase]), scores
