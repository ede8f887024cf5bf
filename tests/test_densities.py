"""Each density against the samples of the prior of its name, and as a density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.components import densities, priors
from aaejax.types import UserError

PAIRS = {
    "gaussian": (priors.gaussian(2, 1.5), densities.gaussian(2, 1.5)),
    "mixture": (priors.mixture(2, 7), densities.mixture(2, 7)),
    "swiss roll": (priors.swiss_roll(std=0.1), densities.swiss_roll(std=0.1)),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", PAIRS)
def test_a_density_is_that_of_the_samples(name):
    prior, log_density = PAIRS[name]
    log_density = jax.jit(log_density)
    side = np.linspace(-6, 6, 300)  # a cell is less than half of the narrowest width
    cell = (side[1] - side[0]) ** 2
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2).astype(np.float32)
    density = np.exp(np.concatenate([log_density(x) for x in np.split(grid, 18)]))
    assert density.sum() * cell == pytest.approx(1, abs=0.01)
    # Its mean over samples is the integral of its square, to the spread of the samples.
    at_samples = np.exp(log_density(prior(jax.random.key(0), 20_000)))
    expected, error = np.square(density).sum() * cell, at_samples.std() / 20_000**0.5
    assert at_samples.mean() == pytest.approx(expected, abs=4 * error + 0.005 * expected)


def test_a_mixture_of_more_pairs_keeps_them_on_one_petal():
    codes = priors.mixture(4, 5)(jax.random.key(0), 500)
    log_density = densities.mixture(4, 5)
    # Swapped against one another the pairs of two codes lie on different petals.
    swapped = jnp.concatenate([codes[:, :2], jnp.roll(codes[:, 2:], 1, axis=0)], axis=1)
    assert log_density(codes).mean() > log_density(swapped).mean() + 2


@pytest.mark.quick
def test_a_mixture_of_any_gaussians_is_normalised_and_of_one_size():
    means, covariances = np.zeros((2, 3)), np.tile(np.eye(3), (2, 1, 1))
    found = [
        priors.log_density(priors.gaussian_mixture(np.array(w), means, covariances))
        for w in ([0.3, 0.7], [30.0, 70.0])
    ]
    codes = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(found[0](codes), found[1](codes), rtol=1e-5)
    np.testing.assert_allclose(found[0](codes), densities.gaussian(3)(codes), rtol=1e-5)
    with pytest.raises(UserError, match="of 3 dimensions is asked for codes"):
        found[0](np.ones((4, 1), np.float32))
