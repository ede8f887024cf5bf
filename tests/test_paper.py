"""The choices of `benchmarks/paper.py`, which no label may make."""

import jax
import numpy as np
import pytest

from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.trained import Trained
from benchmarks.paper_scores import Scored, best_runs
from tests.conftest import TINY, tiny_options


def test_the_run_of_a_seed_that_has_the_least_counts():
    # Of two seeds: their first runs, their second, their third.
    assert best_runs([3.0, 1.0, 2.0, 5.0, 2.0, 0.5], 2) == [2, 5]
    assert best_runs([0.0, 0.0, 0.0], 3) == [0, 1, 2]


def test_disagreement_is_of_the_mean_over_shifts(tmp_path):
    model = tiny_options("clustering", clusters=4).build(TINY, 1)
    # Fresh biases of 0 put all into one cluster.
    keys = iter(jax.random.split(jax.random.key(1), 100))
    variables = jax.tree.map(
        lambda x: jax.random.normal(next(keys), x.shape), model.init(jax.random.key(0))
    )
    images = np.random.default_rng(0).integers(0, 256, (40, *TINY.shape), np.uint8)
    trained = Trained(model, variables, 0, RunFolder(tmp_path), {})
    scored = Scored(trained, (images, np.zeros(40)), (images, np.zeros(40)))

    def by_hand(moved):
        assert model.classify is not None
        pixels = moved.astype(np.float32) / 255
        return np.asarray(model.classify(variables, pixels, jax.random.key(1)))

    once, total = by_hand(images), 0.0
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = np.zeros_like(images)
            rows, columns = TINY.shape[:2]
            to = np.s_[:, max(down, 0) : rows + min(down, 0)]
            of = np.s_[:, max(-down, 0) : rows + min(-down, 0)]
            there = np.s_[:, :, max(right, 0) : columns + min(right, 0)]
            here = np.s_[:, :, max(-right, 0) : columns + min(-right, 0)]
            moved[to][there] = images[of][here]
            total = total + by_hand(moved)
    assert scored.mean_probabilities(images) == pytest.approx(total / 25, abs=1e-6)
    changed = np.argmax(once, axis=1) != np.argmax(total, axis=1)
    assert scored.disagreement() == changed.mean()
    assert 0 < changed.mean() < 1
