"""The bounds of a VAE against the log-likelihood of a linear Gaussian model."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aaejax import Autoencoder, Likelihood, Posterior, init_state
from aaejax.components import densities, priors
from aaejax.metrics.heldout import importance_bound
from aaejax.models.vae import vae
from aaejax.phases import phase_step, train_step

STD = 0.5
FIXED = Likelihood("squared-error", "linear", STD)


class Affine(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x, noise=None):
        return nn.Dense(self.outputs)(x)


def build(
    beta=1.0, closed=True, likelihood=FIXED, learning_rate: optax.ScalarOrSchedule = 0.0
):
    return vae(
        Autoencoder(
            Affine(4),
            Affine(3),
            posterior=Posterior("gaussian", 2),
            likelihood=likelihood,
            shape=(3,),
        ),
        priors.gaussian(2),
        densities.gaussian(2),
        {"reconstruction": optax.adam(learning_rate)},
        gaussian_std=1.0 if closed else None,
        beta=beta,
    )


def whole(params):
    return {name: {"params": params[name]} for name in params}


@pytest.fixture(scope="module")
def case():
    """Networks whose q(z|x) is the exact posterior but for a factor on its std."""
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(2, 3)), rng.normal(size=3)
    # p(x|z) = N(z W + b, STD^2 I): the posterior of z, and log p(x), in closed form; W with
    # orthogonal rows makes the posterior's covariance diagonal.
    weights = np.linalg.qr(weights.T)[0].T * np.array([[1.5], [0.7]])
    variance = 1 / (1 + np.square(weights).sum(axis=1) / STD**2)
    mean_kernel = weights.T / STD**2 * variance
    images = rng.normal(size=(20, 3)).astype(np.float32)

    def networks(factor):
        log_std = 0.5 * np.log(variance) + math.log(factor)
        encoder = {
            "kernel": np.concatenate([mean_kernel, np.zeros((3, 2))], axis=1),
            "bias": np.concatenate([-bias @ mean_kernel, log_std]),
        }
        params = {
            "encoder": {"Dense_0": encoder},
            "decoder": {"Dense_0": {"kernel": weights, "bias": bias}},
        }
        return jax.tree.map(jnp.float32, params)

    covariance = weights.T @ weights + STD**2 * np.eye(3)
    offset = images - bias
    squares = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
    constant = 3 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1]
    return networks, images, -0.5 * (squares + constant)


def test_with_the_exact_posterior_every_bound_is_the_likelihood(case):
    networks, images, expected = case
    for samples in (1, 7):
        found = importance_bound(
            build(),
            whole(networks(1.0)),
            images,
            key=jax.random.key(0),
            samples=samples,
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_bound_grows_with_samples_towards_the_likelihood(case):
    networks, images, expected = case
    bounds = [
        importance_bound(
            build(),
            whole(networks(1.6)),
            images,
            key=jax.random.key(0),
            samples=samples,
        ).mean()
        for samples in (1, 10, 5000)
    ]
    assert bounds[0] < bounds[1] - 0.1 < expected.mean()
    assert bounds[2] == pytest.approx(expected.mean(), abs=0.03)


def test_the_loss_is_the_negative_elbo(case):
    networks, images, expected = case
    constant = 3 * math.log(STD * math.sqrt(2 * math.pi))  # not in the squared error
    model = build()
    state = init_state(model, jax.random.key(0)).replace(params=networks(1.0))
    batch = {"image": jnp.repeat(images, 500, axis=0)}
    losses = {}
    for closed in (True, False):
        step = jax.jit(phase_step(build(closed=closed).phases[0]))
        losses[closed] = step(state, batch, jax.random.key(1))[1]["elbo/loss"]
    assert -losses[True] - constant == pytest.approx(expected.mean(), abs=0.05)
    # The sampled KL has no variance where q is exact: log weights are all log p(x).
    assert -losses[False] - constant == pytest.approx(expected.mean(), abs=1e-3)


def test_beta_weighs_the_divergence(case):
    networks, images, _ = case
    metrics = {}
    for beta in (0.0, 1.0, 4.0):
        model = build(beta)
        state = init_state(model, jax.random.key(0)).replace(params=networks(1.0))
        metrics[beta] = jax.jit(phase_step(model.phases[0]))(
            state, {"image": jnp.asarray(images)}, jax.random.key(1)
        )[1]
    kl = metrics[1.0]["elbo/kl"]
    assert kl > 0.1
    for beta, found in metrics.items():
        expected = float(metrics[0.0]["elbo/loss"] + beta * kl)
        assert found["elbo/loss"] == pytest.approx(expected, rel=1e-5)


def test_a_trained_variance_is_that_of_probabilistic_pca():
    """A linear VAE's optimum (Tipping & Bishop 1999): what the components leave, its mean.

    There the log-likelihood is in closed form, and the bound is as large.
    """
    rng = np.random.default_rng(1)
    images = (rng.normal(size=(300, 3)) * [2.0, 1.5, 0.5] + 0.5).astype(np.float32)
    covariance = np.cov(images.T, bias=True)
    variance = np.linalg.eigvalsh(covariance)[0]  # two of three are kept
    expected = -0.5 * (3 * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + 3)
    likelihood, steps = Likelihood("gaussian", "linear"), 1500
    rate = optax.cosine_decay_schedule(1e-2, steps)
    model = build(likelihood=likelihood, learning_rate=rate)
    step = train_step(model.phases)

    def train(state):
        def one(state, _):
            return step(state, {"image": jnp.asarray(images)}, jax.random.key(1))[0], None

        return jax.lax.scan(one, state, None, steps)[0]

    state = init_state(model, jax.random.key(0))
    # Stds of q(z|x) that begin at 1: random ones are as far away as exp(10).
    kernel = state.params["encoder"]["Dense_0"]["kernel"].at[:, 2:].set(0.0)
    encoder = {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(4)}}
    state = jax.jit(train)(state.replace(params={**state.params, "encoder": encoder}))
    outputs = jnp.full((1, 2, 3), state.params["decoder"]["dispersions"])
    found = jnp.exp(2 * likelihood.log_stds(outputs))
    np.testing.assert_allclose(found, variance, rtol=0.05)
    bound = importance_bound(
        model, state.variables, images, key=jax.random.key(2), samples=50
    )
    assert bound.mean() == pytest.approx(expected, abs=0.02)
