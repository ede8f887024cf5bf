"""Seeds trained together against runs of their own."""

import jax
import numpy as np
import pytest

from aaejax.data import from_arrays
from aaejax.runs.config import RunConfig
from aaejax.runs.examples import data_spec
from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hooks import Hook
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.runs.seeds import train_seeds
from tests.conftest import TINY, tiny_options
from tests.made_data import fails

STEPS, BATCH = 40, 20


@pytest.fixture(scope="module", params=["mlp", "conv"])
def case(request):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (100, *TINY.shape)).astype(np.float32)
    dataset = from_arrays(images, np.arange(100) % 3)
    options = tiny_options("supervised", posterior="gaussian", network=request.param)
    return dataset, options, options.build(data_spec(dataset), STEPS)


class Log(Hook):
    """Keeps what it is told, and may break."""

    def __init__(self, breaks=None):
        self.lines, self.breaks, self.state, self.saved = [], breaks, None, []

    def on_log(self, event):
        self.lines.append(dict(event.metrics))
        self.state = event.state
        if event.step == self.breaks:
            raise KeyError(event.step)

    def on_checkpoint(self, event):
        self.saved.append(event.step)


def together(case, folder=None, log=None, images=None):
    """Two seeds, always by the same program."""
    dataset, _, model = case
    known = np.stack([dataset.keep_labels(12, seed).train_labels for seed in (0, 3)])
    return train_seeds(
        model,
        dataset.train_images if images is None else images,
        known,
        seeds=(0, 3),
        steps=STEPS,
        batch_size=BATCH,
        folder=folder,
        chunk=15,
        ema=0.9,
        hooks=[log or Log()],
    )


@pytest.fixture(scope="module")
def unbroken(case):
    """What both seeds end with, and their lines."""
    log = Log()
    return together(case, log=log), log


def test_a_seed_is_the_run_of_that_seed_and_of_no_other(case, unbroken, tmp_path):
    dataset, options, _ = case
    found, log = unbroken
    config = RunConfig(
        labels=12,
        seed=3,
        epochs=STEPS // (len(dataset.train_images) // BATCH),
        batch_size=BATCH,
        log_every=15,
        save_every=45,
        ema=0.9,
        workdir=tmp_path,
    )
    result = train(options, dataset, config, devices=jax.devices()[:1])
    assert [line["step"] for line in log.lines] == [15, 30, 40]
    for line, own in zip(log.lines, result.history, strict=True):
        names = [name for name in own if name.endswith("/loss")]
        assert len(names) == 3
        for number, same in ((0, False), (1, True)):
            losses = [line[name][number] for name in names]
            near = np.allclose(losses, [own[name] for name in names], rtol=2e-3)
            assert near == same
    last = [jax.tree.map(lambda x, n=n: x[n], log.state.variables) for n in (0, 1)]
    for weights, ended in (("last", last), ("ema", found)):
        alone = jax.tree.leaves(restore(tmp_path, weights=weights).variables)
        for networks, seed in zip(ended, (0, 3), strict=True):
            both = zip(jax.tree.leaves(networks), alone, strict=True)
            near = [np.allclose(new, old, atol=5e-3) for new, old in both]
            assert all(near) == (seed == 3)


def test_seeds_cut_short_go_on_where_they_stopped(case, unbroken, tmp_path):
    with pytest.raises(KeyError):
        together(case, tmp_path, Log(breaks=15))
    rest = Log()
    found = together(case, tmp_path, rest)
    assert [line["step"] for line in rest.lines] == rest.saved == [30, 40]
    assert not unbroken[1].saved  # without a folder nothing is saved
    both = zip(jax.tree.leaves(found), jax.tree.leaves(unbroken[0]), strict=True)
    for new, old in both:
        np.testing.assert_array_equal(new, old)
    # What is done is not done again.
    assert jax.tree.all(jax.tree.map(np.array_equal, together(case, tmp_path), found))


@pytest.mark.parametrize("case", ["mlp"], indirect=True)
def test_one_seed_that_diverges_stops_them(case):
    images = np.full_like(case[0].train_images, np.nan)
    with pytest.raises(NonFiniteLoss, match="in the reconstruction phase of step 1"):
        together(case, images=images)


def test_checkpoints_of_other_runs_are_not_taken_up(case, tmp_path):
    together(case, tmp_path)
    log = Log()
    together(case, tmp_path, log)
    assert not log.lines  # they had ended
    others = 1 - np.asarray(case[0].train_images)
    fails(
        "of another run: in them fingerprint was", together, case, tmp_path, images=others
    )
