import jax
import numpy as np
import pytest

from aaejax import evaluation
from tests.conftest import TINY, tiny_options


def test_mmd_equals_the_sum_over_all_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(1, 2, size=(4, 2))
    scale = 2 * 2 * y.var(axis=0).mean()

    def k(a, b):
        d = ((a - b) ** 2).sum()
        return sum(c * scale / (c * scale + d) for c in (0.1, 0.2, 0.5, 1, 2, 5, 10))

    def pairs(a):
        return [k(p, q) for i, p in enumerate(a) for j, q in enumerate(a) if i != j]

    direct = (
        np.mean(pairs(x)) + np.mean(pairs(y)) - 2 * np.mean([k(p, q) for p in x for q in y])
    )
    found = evaluation.mmd(x.astype(np.float32), y.astype(np.float32))
    assert found == pytest.approx(direct, rel=1e-4)


def test_mmd_tells_samples_apart_and_is_level_where_they_match(getkey):
    def normal(mean=0.0, std=1.0):
        return mean + std * jax.random.normal(getkey(), (500, 4))

    same = [float(evaluation.mmd(normal(), normal())) for _ in range(5)]
    assert min(same) < 0.002
    assert max(np.abs(same)) < 0.01
    assert evaluation.mmd(normal(mean=0.5), normal()) > 0.05
    assert evaluation.mmd(normal(std=0.5), normal()) > 0.05


def test_heldout_scores_are_means_over_all_examples(getkey):
    model = tiny_options().build(TINY, 1)
    networks = model.init(getkey())
    images = np.random.default_rng(0).integers(0, 256, (1203, *TINY.shape), np.uint8)
    scores, codes = evaluation.HeldOut(model, images, None, getkey())(networks)
    unit = images.astype(np.float32) / 255
    expected = model.encode(networks, unit, getkey())
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    errors = model.error(networks, unit, expected)
    assert scores["heldout/reconstruction"] == pytest.approx(float(errors.mean()), rel=1e-5)
    # Codes of an untrained encoder are nothing like the prior.
    assert scores["heldout/prior_mmd"] > 10 * abs(scores["heldout/prior_mmd_chance"])
