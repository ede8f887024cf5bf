from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.components import losses
from aaejax.metrics.codes import (
    classifier_two_sample,
    knn_accuracy,
    linear_accuracy,
    mmd_p_value,
    permuted_mmds,
)
from aaejax.types import UserError


def test_the_statistic_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    mmd = jax.jit(losses.mmd)
    for mean in (0.0, 1.0):
        codes, prior = rng.normal(mean, 1, (70, 3)), rng.normal(0, 2, (50, 3))
        expected = mmd(jnp.float32(codes), jnp.float32(prior))
        found = permuted_mmds(codes, prior, 0, 5)
        assert found.shape == (6,)
        assert found[0] == pytest.approx(float(expected), abs=1e-5)


def test_permutations_reach_every_division_of_the_samples():
    codes, prior = np.array([[0.0], [0.4]]), np.array([[1.0], [1.5], [0.2]])
    pooled = np.concatenate([codes, prior])[:, 0]
    scale = 2 * prior.var()

    def k(i, j):
        d = (pooled[i] - pooled[j]) ** 2
        return sum(c * scale / (c * scale + d) for c in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    def statistic(x):
        y = [i for i in range(5) if i not in x]
        return (
            k(*x)
            + np.mean([k(i, j) for i, j in combinations(y, 2)])
            - 2 * np.mean([k(i, j) for i in x for j in y])
        )

    direct = [statistic(x) for x in combinations(range(5), 2)]
    found = permuted_mmds(codes, prior, 0, 2000)
    assert found[0] == pytest.approx(direct[0])
    np.testing.assert_allclose(np.unique(found.round(9)), np.sort(direct), atol=1e-8)
    # The observed division is one of its own permutations, a tie that counts.
    share = np.mean(np.array(direct) >= direct[0] - 1e-9)
    assert mmd_p_value(codes, prior, 0, 2000) == pytest.approx(share, abs=0.04)


def test_p_is_uniform_where_codes_follow_the_prior_and_small_where_they_do_not():
    rng = np.random.default_rng(0)
    same = [
        mmd_p_value(rng.normal(size=(30, 2)), rng.normal(size=(40, 2)), seed, 99)
        for seed in range(200)
    ]
    assert np.mean(np.array(same) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(same) == pytest.approx(0.5, abs=0.07)
    prior = rng.normal(size=(200, 2))
    for codes in (
        rng.normal(0.5, 1, (150, 2)),
        rng.normal(0, 0.5, (150, 2)),
        np.zeros((150, 2)),
    ):
        assert mmd_p_value(codes, prior, 0, 99) == 1 / 100


def test_p_of_twins_is_one_and_of_broken_samples_none():
    # No division of two pairs of twins is closer than this one; those that are it tie.
    twins = np.array([[0.1], [0.7]])
    assert mmd_p_value(twins, twins, 0) == 1
    x = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(UserError, match="finite"):
        mmd_p_value(np.full((5, 2), np.nan), x, 0)
    with pytest.raises(UserError, match="vary"):
        mmd_p_value(x, np.zeros((5, 2)), 0)
    with pytest.raises(UserError, match="1 codes and 5 prior"):
        mmd_p_value(x[:1], x, 0)


def test_a_classifier_tells_codes_from_the_prior_only_where_they_differ():
    rng = np.random.default_rng(0)
    codes, prior, ring = rng.normal(size=(3, 200, 2))
    # In the order of some label, as a folder of images comes.
    codes = codes[codes[:, 0].argsort()]
    assert classifier_two_sample(codes, prior, 0) == pytest.approx(0.5, abs=0.08)
    # A ring with the prior's mean and covariance, which no line tells apart.
    ring *= np.sqrt(2) / np.linalg.norm(ring, axis=1, keepdims=True)
    assert classifier_two_sample(ring, prior, 0) > 0.75
    with pytest.raises(UserError, match="200 codes and 199 prior"):
        classifier_two_sample(codes, prior[:199], 0)


def test_linear_accuracy_reads_lines_and_no_more():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(600, 2))
    # Three sectors: a classifier of each against the rest would lose the middle one.
    bands = np.digitize(codes[:, 0], [-0.4, 0.4])
    train, test = slice(0, 400), slice(400, 600)

    def accuracy(codes, labels):
        return linear_accuracy(codes[train], labels[train], codes[test], labels[test])

    assert accuracy(codes, bands) > 0.95
    # Standardised by the training codes: neither small units nor an offset matter.
    assert accuracy(1e-4 * codes + 5, bands) == accuracy(codes, bands)
    # float32 from JAX, a dimension that died, and labels of chance.
    dead = jnp.float32(np.concatenate([codes, np.ones((600, 1))], axis=1))
    assert accuracy(dead, bands) == pytest.approx(accuracy(codes, bands), abs=0.01)
    assert accuracy(codes, rng.permutation(bands)) < 0.5
    quadrants = (codes[:, 0] > 0) ^ (codes[:, 1] > 0)
    assert accuracy(codes, quadrants) < 0.65
    assert knn_accuracy(codes[train], quadrants[train], codes[test], quadrants[test]) > 0.9


def test_accuracies_by_hand():
    train, labels = (
        jnp.array([[0.0], [1.0], [2.0], [10.0], [11.0]]),
        jnp.array([0, 1, 1, 7, 7]),
    )
    test, named = jnp.array([[0.1], [3.0], [9.0], [12.0]]), jnp.array([0, 1, 7, 1])
    # One neighbour names 0, 1, 7, 7; three name 1, 1, 7, 7.
    assert knn_accuracy(train, labels, test, named, k=1) == 3 / 4
    assert knn_accuracy(train, labels, test, named, k=3) == 2 / 4
    assert linear_accuracy(train, labels > 1, test, named > 1) == 3 / 4
