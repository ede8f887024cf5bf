"""Seeds trained together against runs of their own."""

import jax
import numpy as np
import pytest

from aaejax.data import from_arrays
from aaejax.runs import seeds
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import NonFiniteLoss, data_spec, train
from aaejax.runs.restore import restore
from aaejax.runs.seeds import train_seeds
from tests.conftest import TINY, tiny_options

STEPS, BATCH = 40, 20


@pytest.fixture(scope="module", params=["mlp", "conv"])
def case(request):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (100, *TINY.shape)).astype(np.float32)
    dataset = from_arrays(images, np.arange(100) % 3)
    options = tiny_options("supervised", posterior="gaussian", network=request.param)
    return dataset, options, options.build(data_spec(dataset), STEPS)


def together(case, folder=None, steps=STEPS):
    dataset, _, model = case
    known = np.stack([dataset.keep_labels(12, seed).train_labels for seed in (0, 3)])
    images = dataset.train_images
    return train_seeds(model, images, known, (0, 3), steps, BATCH, folder=folder, chunk=10)


def test_a_seed_is_the_run_of_that_seed_and_of_no_other(case, tmp_path):
    dataset, options, _ = case
    found = together(case)
    steps_per_epoch = len(dataset.train_images) // BATCH
    config = RunConfig(
        model=options,
        labels=12,
        seed=3,
        epochs=STEPS // steps_per_epoch,
        batch_size=BATCH,
        log_every=20,
        save_every=40,
        workdir=tmp_path,
    )
    train(config, dataset, devices=jax.devices()[:1])
    alone = jax.tree.leaves(restore(config.folder).variables)
    for networks, seed in zip(found, (0, 3), strict=True):
        both = zip(jax.tree.leaves(networks), alone, strict=True)
        near = [np.allclose(new, old, atol=5e-3) for new, old in both]
        assert all(near) == (seed == 3)


def test_seeds_cut_short_go_on_where_they_stopped(case, tmp_path, monkeypatch):
    class Cut(Exception):
        pass

    def cut(step):
        def check(metrics, first):
            if first == step:
                raise Cut

        monkeypatch.setattr(seeds, "check_finite", check)

    for step in (10, 30):
        cut(step)
        with pytest.raises(Cut):
            together(case, tmp_path)
    monkeypatch.undo()
    told = []
    monkeypatch.setattr(seeds, "check_finite", lambda _, first: told.append(first))
    found = together(case, tmp_path)
    assert set(told) == {30}
    unbroken = together(case)
    for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(unbroken), strict=True):
        np.testing.assert_array_equal(new, old)


def test_one_seed_that_diverges_stops_them(case):
    dataset, _, model = case
    images = np.full_like(dataset.train_images, np.nan)
    with pytest.raises(NonFiniteLoss, match="in the reconstruction phase of step 1"):
        train_seeds(model, images, dataset.train_labels, (0,), 5, BATCH)
