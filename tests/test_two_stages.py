"""A VAE of the codes of a VAE: its own phase, its samples, its bounds and its runs."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aaejax import Autoencoder, Likelihood, Posterior, init_state, networks, train_step
from aaejax.components import densities, priors
from aaejax.metrics.heldout import importance_bound
from aaejax.models.vae import vae
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import (
    TINY,
    Cut,
    CutAt,
    each_phase,
    final_params,
    read_lines,
    same,
    tiny_options,
    train_tiny,
)


def build(**changes):
    spec = dataclasses.replace(TINY, labelled=8)
    return tiny_options("vae", two_stage=True, **changes).build(spec, 100)


def test_the_first_stage_is_that_of_a_run_without_a_second(batch):
    key, states = jax.random.key(3), []
    for two_stage in (False, True):
        model = tiny_options("vae", two_stage=two_stage).build(TINY, 100)
        state = init_state(model, jax.random.key(0))
        step = jax.jit(train_step(model.phases))
        for _ in range(3):
            state, _ = step(state, batch, key)
        states.append(state)
    alone, both = states
    assert set(both.params) - set(alone.params) == {"second_encoder", "second_decoder"}
    for name in alone.params:
        assert same(alone.params[name], both.params[name]), name


def test_a_second_stage_changes_itself_alone(batch):
    model = build(conditional=True)
    state = init_state(model, jax.random.key(0))
    _, after = each_phase(model, state, batch, jax.random.key(1))
    for name in state.params:
        kept = same(state.params[name], after.params[name])
        assert kept != name.startswith("second_"), name
    # And it depends on what it is to learn: the codes of the first, and the label.
    for changed in (
        {**batch, "image": 1 - batch["image"]},
        {**batch, "label": (batch["label"] + 1) % 3},
    ):
        _, other = each_phase(model, state, changed, jax.random.key(1))
        name = "second_encoder"
        assert not same(after.params[name], other.params[name])


def test_samples_go_through_both_stages():
    model = build()
    variables = model.init(jax.random.key(0))
    kernel = jnp.zeros_like(
        variables["second_decoder"]["params"]["network"]["mlp"]["output"]["kernel"]
    )
    output = {"kernel": kernel, "bias": jnp.array([3.0, -5.0])}
    params = {
        "network": {
            "mlp": {
                **variables["second_decoder"]["params"]["network"]["mlp"],
                "output": output,
            }
        },
        "dispersions": jnp.float32(np.log(0.1) / 10),
    }
    variables = {**variables, "second_decoder": {"params": params}}
    codes = np.asarray(model.prior(variables, jax.random.key(1), 4000))
    np.testing.assert_allclose(codes.mean(axis=0), [3, -5], atol=0.01)
    np.testing.assert_allclose(codes.std(axis=0), 0.1, rtol=0.05)
    assert model.decode(variables, codes[:3]).shape == (3, *TINY.shape)


def test_its_bound_is_that_of_what_it_samples():
    """A second stage that ignores its code is a Gaussian p(z), in closed form."""
    model, plain = build(), tiny_options("vae").build(TINY, 100)
    variables = model.init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, variables)
    # q(u|z) and p(u) are N(0, I), and p(z|u) is N(0, I): the prior of the plain model.
    variables = {
        name: zeros[name] if name.startswith("second_") else variables[name]
        for name in variables
    }
    images = jax.random.uniform(jax.random.key(1), (4, *TINY.shape))
    for samples in (1, 5):
        found, expected = (
            importance_bound(
                each, variables, images, key=jax.random.key(2), samples=samples
            )
            for each in (model, plain)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_run_resumes_bit_for_bit_and_is_asked(digits, tmp_path):
    options = tiny_options("vae", two_stage=True)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train_tiny(whole, digits, model=options, devices=2)
    with pytest.raises(Cut):
        train_tiny(cut, digits, model=options, devices=2, hooks=[CutAt(30)])
    train_tiny(cut, digits, model=options, devices=2)
    assert same(final_params(whole), final_params(cut))
    assert "second/kl" in read_lines(whole)[-1]
    trained = restore(Path(shutil.move(cut, tmp_path / "moved")))
    assert trained.sample(3).shape == (3, 28, 28, 1)


def test_codes_that_are_learned_better_are_matched_better(digits):
    """Codes of a cross-entropy alone (beta 0) are far from p(z), and not from samples."""
    options = tiny_options("vae", two_stage=True, beta=0.0, width=32)
    spec = dataclasses.replace(TINY, shape=(28, 28, 1), classes=10)
    model = options.build(spec, 1500)
    state = init_state(model, jax.random.key(0))
    images = jnp.float32(digits.train_images[:200]) / 255
    step = jax.jit(train_step(model.phases))
    for _ in range(600):
        state, _ = step(state, {"image": images}, jax.random.key(1))
    codes = model.encode(state.variables, images, jax.random.key(2))
    drawn = model.prior(state.variables, jax.random.key(3), 2000)
    assert codes.std() > 3
    apart = (drawn.mean(axis=0) - codes.mean(axis=0)) / codes.std(axis=0)
    np.testing.assert_allclose(apart, 0, atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), codes.std(axis=0), rtol=0.3)


def test_a_second_stage_that_does_not_fit_is_refused():
    def autoencoder(shape, latent, reconstruction="gaussian"):
        return Autoencoder(
            networks.MLPEncoder(2 * latent, width=4),
            networks.MLPDecoder(shape, width=4),
            posterior=Posterior("gaussian", latent),
            likelihood=Likelihood(reconstruction, "linear"),
            shape=shape,
        )

    optimizers = dict.fromkeys(("reconstruction", "second"), optax.sgd(0.1))
    arguments = (autoencoder((5,), 2), priors.gaussian(2), densities.gaussian(2))
    for second, wrong in (
        (autoencoder((3,), 2), r"\(3,\)"),
        (autoencoder((2,), 2, "squared-error"), "squared-error"),
    ):
        with pytest.raises(UserError, match=f"{wrong}.*they must be"):
            vae(*arguments, optimizers, second=second)
    with pytest.raises(UserError, match="no second"):
        first = {"reconstruction": optax.sgd(0.1)}
        vae(*arguments, first, second=autoencoder((2,), 2))


def test_the_noise_of_a_code_is_another_than_that_it_is_decoded_from():
    model = build(conditional=True)
    zeros = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    # Decodes u as relu(u) - relu(-u); beside u stands the label, which it does not read.
    kernel = np.zeros((5, 8), np.float32)
    kernel[3:, :4] = [[1, -1, 0, 0], [0, 0, 1, -1]]
    output = np.zeros((8, 2), np.float32)
    output[:4] = [[1, 0], [-1, 0], [0, 1], [0, -1]]
    mlp = zeros["second_decoder"]["params"]["network"]["mlp"]
    mlp["hidden_0"]["kernel"], mlp["output"]["kernel"] = kernel, output
    codes = model.prior(zeros, jax.random.key(1), 4000, jnp.ones(4000, jnp.int32))
    # z = u + noise, each N(0, I): of variance 2, and 4 where both are the same.
    np.testing.assert_allclose(np.cov(codes[:, 3:].T), 2 * np.eye(2), atol=0.2)
