"""Mixtures of Gaussians: fitted, drawn from, and their density."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from aaejax.components import priors
from aaejax.metrics import mixtures
from aaejax.types import UserError

COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])


def two_heaps(n=2000):
    rng = np.random.default_rng(0)
    one = rng.multivariate_normal([5, 0], COVARIANCE, n // 4)
    other = rng.multivariate_normal([-5, 0], COVARIANCE, n - n // 4)
    return np.concatenate([one, other]).astype(np.float32)


def test_two_heaps_are_found(getkey):
    found = mixtures.fit(two_heaps(), (1, 2))
    order = np.argsort(found.means[:, 0])
    np.testing.assert_allclose(found.weights[order], [0.75, 0.25], atol=0.01)
    np.testing.assert_allclose(found.means[order], [[-5, 0], [5, 0]], atol=0.2)
    for covariance in found.covariances:
        np.testing.assert_allclose(covariance, COVARIANCE, atol=0.15)
    drawn = np.asarray(priors.gaussian_mixture(*found)(getkey(), 4000))
    assert (drawn[:, 0] > 0).mean() == pytest.approx(0.25, abs=0.03)
    np.testing.assert_allclose(np.cov(drawn[drawn[:, 0] > 0].T), COVARIANCE, atol=0.15)


def test_the_number_of_components_is_that_of_the_codes():
    one = two_heaps()[500:]
    assert len(mixtures.fit(one, (1, 20)).weights) == 1


def test_the_density_is_that_of_scipy():
    weights, means = np.array([0.3, 0.7], "f"), np.array([[0, 1], [2, -1]], "f")
    covariances = np.stack([np.eye(2), COVARIANCE]).astype(np.float32)
    density = priors.log_density(priors.gaussian_mixture(weights, means, covariances))
    assert density is not None
    codes = np.array([[0, 0], [1, 2], [-3, 4]], np.float32)
    expected = np.log(
        0.3 * multivariate_normal(means[0], covariances[0]).pdf(codes)
        + 0.7 * multivariate_normal(means[1], covariances[1]).pdf(codes)
    )
    np.testing.assert_allclose(density(codes), expected, rtol=1e-4)


@pytest.mark.parametrize("codes", [np.zeros((19, 2)), np.full((30, 2), np.nan)])
def test_codes_that_have_no_density_are_refused(codes):
    with pytest.raises(UserError, match="20 or more"):
        mixtures.fit(codes)


def test_codes_in_a_plane_have_a_density_in_float32():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 4)) * 1e3
    found = mixtures.fit(plane.astype(np.float32), (1, 2))
    again = mixtures.floored(found)  # as what was kept is read
    np.testing.assert_array_equal(again.covariances, found.covariances)
    density = priors.log_density(priors.gaussian_mixture(*found))
    assert density is not None
    inside, away = np.asarray(density(plane)), np.asarray(density(plane[::-1] * 2 + 900))
    assert np.isfinite(inside).all() and np.isfinite(away).all()
    assert inside.mean() > away.mean() + 10
