"""A run goes on for longer, starts from another run's networks, stops early."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from aaejax import data
from aaejax.models._optimizers import Optimizer
from aaejax.runs import devices
from aaejax.runs.best import Best, best_metrics, best_score
from aaejax.runs.hooks import Hook
from aaejax.runs.on_disk.about import _crc32
from aaejax.runs.on_disk.config_json import FORMAT
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import TINY, final_params, read_lines, same, tiny_options, train_tiny


@pytest.fixture(scope="module")
def pixels():
    """80 training examples, 10 steps an epoch."""
    rng = np.random.default_rng(0)
    return data.from_arrays(
        rng.random((80, *TINY.shape), np.float32),
        test_images=rng.random((20, *TINY.shape), np.float32),
    )


SETTINGS = {"batch_size": 8, "log_every": 4, "save_every": 8}


def go(folder, dataset, told=None, **changes):
    tell = (lambda _: None) if told is None else told.append
    changed = {**SETTINGS, **changes}
    return train_tiny(folder, dataset, devices=1, tell=tell, **changed)


@pytest.fixture(scope="module")
def whole(pixels, tmp_path_factory):
    """A run of two epochs."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    go(folder, pixels, epochs=2)
    return folder


def lines_of(folder, *steps):
    return [
        {name: line[name] for name in line if name != "images_per_second"}
        for line in read_lines(folder)
        if line["step"] in steps
    ]


def test_more_epochs_go_on_bit_for_bit_as_if_they_had_been_planned(whole, pixels, tmp_path):
    # The first epoch ends in the middle of a chunk of four steps.
    go(tmp_path, pixels, epochs=1)
    told = []
    assert go(tmp_path, pixels, told, epochs=2).step == 20
    assert told == [f"resuming {tmp_path} at step 10 of 20"]
    assert same(final_params(tmp_path)[1], final_params(whole)[1])
    assert lines_of(tmp_path, 4, 8, 16, 20) == lines_of(whole, 4, 8, 16, 20)
    config = json.loads((tmp_path / "config.json").read_text())
    (record,) = config["went_on"]
    assert (record["epochs"], record["step"]) == (1, 10)
    assert len(record["fingerprint"]) == 16
    assert config["run"]["epochs"] == 2
    with pytest.raises(UserError, match="a run of 2 epochs: it can go on for more"):
        go(tmp_path, pixels, epochs=1)


def test_a_cosine_that_ends_elsewhere_is_told(pixels, tmp_path):
    cosine = Optimizer(learning_rate=1e-2, schedule="cosine")
    model = tiny_options(generator_optimizer=cosine)
    go(tmp_path, pixels, epochs=1, model=model)
    told = []
    go(tmp_path, pixels, told, epochs=2, model=model)
    # (1 + cos(pi / 2)) / 2 of 0.01, in place of the end of a cosine.
    line = (
        "learning rates go on as in a run of 20 steps, not 10: at step 10 generator 0.005"
    )
    assert f"{line} (was to be 0)" in told


def test_chunks_of_any_length_are_one_program(pixels, tmp_path, monkeypatch):
    compiled = []
    before = devices.Chunk._program

    def count(self, *arguments):
        found = before(self, *arguments)
        compiled.append((id(self), len(self._compiled)))
        return found

    monkeypatch.setattr(devices.Chunk, "_program", count)
    # Ends at 7 and 10 of ten steps; then goes on at 10, to 14, 20.
    go(tmp_path, pixels, epochs=1, log_every=7, save_every=7)
    go(tmp_path, pixels, epochs=2, log_every=7, save_every=7)
    assert len({chunk for chunk, _ in compiled}) == 2
    assert {programs for _, programs in compiled} == {1}
    assert [line["step"] for line in read_lines(tmp_path)] == [7, 10, 14, 20]


def test_a_run_starts_from_networks_of_another(whole, pixels, tmp_path):
    told = []
    other = data.from_arrays(pixels.train_images[::-1], test_images=pixels.test_images)
    more = {"from_run": whole, "from_networks": ("encoder", "decoder")}

    class First(Hook):
        def on_log(self, event):
            if event.step == 1:
                self.variables = jax.device_get(event.state.variables)

    first = First()
    slow = {
        f"{name}_optimizer": Optimizer("sgd", 1e-20)
        for name in ("reconstruction", "discriminator", "generator")
    }
    model = tiny_options(**slow)
    short = {"epochs": 1, "log_every": 1, "save_every": 5}
    train_tiny(
        tmp_path / "a", other, model=model, devices=1, tell=told.append, hooks=[first],
        **{**SETTINGS, **short, **more},
    )  # fmt: skip
    step, trained = final_params(whole)
    assert told == [
        f"starting from {whole} at step {step}: encoder, decoder; new: discriminator"
    ]
    for name in ("encoder", "decoder"):
        assert same(first.variables[name], trained[name])
    assert not same(first.variables["discriminator"], trained["discriminator"])
    record = json.loads((tmp_path / "a/config.json").read_text())["from"]
    assert (record["run"], record["step"]) == (str(whole), step)
    assert record["networks"] == ["encoder", "decoder"]
    # It goes on without the other run, and only as what it is.
    gone = {**more, "from_run": tmp_path / "gone"}
    again = {"model": model, **short}
    assert go(tmp_path / "a", other, **{**again, **gone, "epochs": 2}).step == 20
    with pytest.raises(UserError, match="from was"):
        go(tmp_path / "a", other, **{**again, "epochs": 2})
    with pytest.raises(UserError, match="did not start from another: leave --from out"):
        go(whole, pixels, epochs=2, from_run=tmp_path / "a")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"from_networks": ("critic",)}, "has no network 'critic': it has"),
        (
            {"model": tiny_options("autoencoder")},
            "model has not: take some by --from-networks decoder encoder",
        ),
        ({"model": tiny_options(width=9)}, r"decoder is \[8\], of this model's \[9\]"),
        ({"workdir": "itself"}, "is the run folder itself"),
        ({"from_run": "nowhere"}, "is no run folder"),
    ],
)
def test_a_start_that_cannot_be_is_one_line(changes, words, whole, pixels, tmp_path):
    settings = {"from_run": whole, **changes}
    folder = whole if settings.pop("workdir", None) else tmp_path / "new"
    with pytest.raises(UserError, match=words) as error:
        go(folder, pixels, epochs=1, **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


def test_a_run_stops_after_evaluations_without_a_better_one(pixels, tmp_path):
    settings = {
        "epochs": 20, "stop_early": 2, "keep": 1, "best": "heldout/prior_mmd",
    }  # fmt: skip
    result = go(tmp_path / "whole", pixels, **settings)
    assert result.stopped_by == "stop-early"
    scores = {
        line["step"]: line["heldout/prior_mmd"]
        for line in result.history
        if line["step"] % 8 == 0
    }
    assert result.best == min(scores, key=lambda step: scores[step])
    assert result.step == result.best + 2 * 8
    kept = {int(path.name) for path in (tmp_path / "whole/checkpoints").iterdir()}
    assert kept == {result.best, result.step}
    assert restore(tmp_path / "whole", "best").step == result.best
    assert restore(tmp_path / "whole").history == result.history

    class Stop(Hook):
        """Ends the run as a signal does, where no evaluation is planned."""

        def on_log(self, event):
            if event.step == result.best + 8:
                raise KeyError

    with pytest.raises(KeyError):
        train_tiny(
            tmp_path / "cut", pixels, devices=1, tell=lambda _: None, hooks=[Stop()],
            **{**SETTINGS, **settings},
        )  # fmt: skip
    again = go(tmp_path / "cut", pixels, **settings)
    assert (again.step, again.best) == (result.step, result.best)
    assert go(tmp_path / "cut", pixels, **settings).stopped_by == "stop-early"


def test_the_best_is_by_held_out_scores_alone():
    names = ("heldout/reconstruction", "heldout/prior_mmd", "heldout/prior_mmd_chance")
    both = best_metrics("", names, needed=True)
    line = {"heldout/reconstruction": 3.0, "heldout/prior_mmd": 0.5, "generator/loss": 9.0}
    assert best_score(line, both) == 3.5
    assert best_score({"heldout/elbo": -7.0}, ["heldout/elbo"]) == 7.0
    assert math.isnan(best_score({}, both))
    with pytest.raises(UserError, match="this run has heldout/reconstruction, heldout/pri"):
        best_metrics("generator/loss", names, needed=False)
    with pytest.raises(UserError, match="nothing, or too little, is held out"):
        best_metrics("", (), needed=True)
    seen = Best()
    for step, score in ((1, 5.0), (2, 4.0), (3, math.nan), (4, 4.0)):
        seen = seen.after(step, score)
    assert seen == Best(2, 4.0, 2)


def as_format_2(config):
    """A config.json, or what a checkpoint has of it, as the format before wrote it."""
    options = {
        name: {**option, "beta2": None} if name.endswith("_optimizer") else option
        for name, option in config["options"].items()
    }
    run = {name: x for name, x in config["run"].items() if name != "matmul_precision"}
    return {**config, "format": 2, "options": options, "run": run}


def test_a_run_of_the_format_before_can_be_asked_and_goes_on(pixels, whole, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(whole, old)
    config = old / "config.json"
    config.write_text(json.dumps(as_format_2(json.loads(config.read_text()))))
    for file in (old / "checkpoints").glob("*/about/metadata"):
        saved = json.loads(file.read_text())
        about = {**saved["about"], "run": as_format_2(saved["about"]["run"])}
        file.write_text(json.dumps({"crc32": _crc32(about), "about": about}))
    assert restore(old).step == 20
    assert go(old, pixels, epochs=3).step == 30
    assert json.loads(config.read_text())["format"] == FORMAT


@pytest.mark.parametrize(
    ("model", "changes", "what"),
    [
        ("autoencoder", {}, "the Gaussian of the codes"),
        ("gan", {"discriminator_steps": 2}, "a discriminator of several updates a step"),
        ("gan", {}, None),
    ],
)
def test_a_run_that_was_trained_otherwise_can_be_asked_and_does_not_go_on(
    model, changes, what, pixels, tmp_path
):
    options = tiny_options(model, **changes)
    go(tmp_path, pixels, epochs=1, model=options)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "format": 3}))
    assert np.isfinite(restore(tmp_path).sample(2)).all()
    if what is None:
        assert go(tmp_path, pixels, epochs=2, model=options).step == 20
    else:
        with pytest.raises(UserError, match=f"an older aaejax, which trained {what}"):
            go(tmp_path, pixels, epochs=2, model=options)


def test_a_weight_that_was_not_read_does_not_keep_an_older_run_from_being_asked(
    pixels, tmp_path
):
    go(tmp_path, pixels, epochs=1, model=tiny_options("moment-matching", method="gmmn"))
    config = tmp_path / "config.json"
    saved = json.loads(config.read_text())
    options = {**saved["options"], "weight": 3.0}
    config.write_text(json.dumps({**saved, "format": 3, "options": options}))
    assert np.isfinite(restore(tmp_path).sample(2)).all()
