import math

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

from aaejax.metrics import parzen


def test_one_sample_by_hand():
    # One sample at the origin, an image at distance 5, sigma 2, two dimensions.
    found = parzen.log_likelihoods(np.array([[3.0, 4.0]]), [np.zeros((1, 2))], (2.0,))
    expected = -25 / 8 - 2 * math.log(2 * math.sqrt(2 * math.pi))
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-6)


def test_it_is_the_density_of_scikit_learn_however_the_samples_come():
    rng = np.random.default_rng(0)
    images, samples = rng.random((50, 12)), rng.random((300, 12))
    sigmas = (0.1, 0.3, 1.0)
    whole = parzen.log_likelihoods(images, [samples], sigmas)
    blocks = parzen.log_likelihoods(images, np.split(samples, [100, 200]), sigmas)
    np.testing.assert_allclose(whole, blocks, rtol=1e-5)
    for sigma, row in zip(sigmas, whole, strict=True):
        squares = np.square(images[:, None] - samples[None]).sum(axis=2)
        direct = logsumexp(-squares / (2 * sigma**2), axis=1)
        direct -= np.log(300) + 12 * np.log(sigma * np.sqrt(2 * np.pi))
        np.testing.assert_allclose(row, direct, rtol=1e-4)
    # scikit-learn's sums are floored far out in the tails, where sigma is 0.1.
    for sigma, row in zip(sigmas[1:], whole[1:], strict=True):
        density = KernelDensity(bandwidth=sigma).fit(samples)
        np.testing.assert_allclose(row, density.score_samples(images), rtol=1e-4)


def test_sigma_is_the_width_of_the_data():
    rng = np.random.default_rng(0)
    samples, images = rng.normal(0, 0.3, (2000, 2)), rng.normal(0, 0.3, (500, 2))
    chosen = parzen.choose_sigma(images, [samples], (0.001, 0.05, 3.0))
    assert chosen == 0.05


def test_bytes_are_the_images_that_they_are_a_255th_of():
    rng = np.random.default_rng(0)
    images, samples = (rng.integers(0, 256, (n, 12), np.uint8) for n in (5, 30))
    expected = parzen.log_likelihoods(images / 255, [samples / 255], (0.3,))
    found = parzen.log_likelihoods(images, [samples], (0.3,))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
