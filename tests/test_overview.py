"""What a run says of itself, and the command that repeats it."""

import dataclasses
import json
import shlex

import numpy as np
import pytest

from aaejax.ask.kinds import kinds
from aaejax.ask.overview import describe
from aaejax.models import NAMES, options
from aaejax.models._optimizers import Optimizer
from aaejax.runs.command_line.command import parse_run
from aaejax.runs.config import RunConfig
from aaejax.runs.on_disk.config_json import model_options_json, run_json
from aaejax.runs.reports.summary import command, scores_at, train_arguments
from aaejax.runs.restore import restore


def test_weights_of_a_regularized_autoencoder_repeat_it():
    made = options("autoencoder")(regularize="l2", code_weight=0.5)
    saved = {"format": 3, "model": "autoencoder", "run": run_json(RunConfig())}
    saved["options"] = model_options_json(made)
    words = train_arguments(saved)
    assert words == ["autoencoder", "--regularize", "l2", "--code-weight", "0.5"]


@pytest.mark.parametrize("name", NAMES)
def test_the_words_that_repeat_a_run_are_parsed_to_its_options(name):
    cls = options(name)
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    other = Optimizer(learning_rate=0.5, momentum=0.9, drops=(3, 9), clip=2.0)
    made = cls(
        **{field: other for field in fields if field.endswith("_optimizer")},
        **{"joint_style": True} if "joint_style" in fields else {},
        **{"width": 5} if "width" in fields else {},
    )
    config = RunConfig(dataset="my data/x'y.npz", flip=True, labels=30, best="heldout/elbo")
    saved = {"format": 3, "model": name, "run": run_json(config)}
    saved["options"] = {field: dataclasses.asdict(made)[field] for field in fields}
    words = train_arguments(json.loads(json.dumps(saved)))
    assert parse_run(shlex.split(command(words))) == (made, config)


def test_a_run_says_what_it_is_and_each_command(finished_run):
    trained = restore(finished_run)
    text = describe(trained, ["ask"]).splitlines()
    assert text[0] == "aae on mnist5k: 28x28x1, 400 training and 100 held-out examples"
    assert text[1] == f"step 40 of 40, best at step {trained.best} (--step best)"
    reached = trained.history[-1]["heldout/reconstruction"]
    assert text[2].startswith(f"held-out scores at step 40: reconstruction {reached:.4g}, ")
    assert "classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in text
    assert any(
        line.startswith("trained by: python train.py aae --latent 2") for line in text
    )
    asked = [line.split("  ")[2] for line in text if line.startswith("    ask ")]
    more = {"arithmetic": " --plus 1 --minus 0"}
    expected = [*kinds(trained.model), "explore", "export"]
    assert asked == [f"ask {finished_run} {kind}{more.get(kind, '')}" for kind in expected]
    # Only what this model can be asked for.
    assert "of the prior" in text[9] and "--label" not in text[9]
    for name, more in (("prior_classes", "--label"), ("conditions", "--condition")):
        model = dataclasses.replace(trained.model, **{name: 1})
        told = describe(dataclasses.replace(trained, model=model), ["ask"]).splitlines()
        assert [line.split()[-1] for line in told if " with --" in line] == [more, more]


def test_text_of_a_strangers_folder_is_text(run):
    trained = restore(run)
    data = {**trained.config["data"], "class_names": ["$(reboot)", "a\x1b[2J\nb"]}
    config = {**trained.config, "data": {**data, "classes": 2}}
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "heldout/x\ny": 1.0, "heldout/z": "2"}) + "\n")
    text = describe(dataclasses.replace(trained, config=config))
    assert all(line.isprintable() for line in text.splitlines())
    assert "held-out scores at step 40: x y 1\n" in text
    assert r"--plus 'a\x1b[2J b' --minus '$(reboot)'" in text


def test_scores_are_those_of_a_step_or_of_the_last_before_it():
    lines = [
        {"step": 1, "heldout/a": 1.0, "loss": 3.0},
        {"step": 2, "loss": 2.0},
        {"step": 3, "heldout/a": np.nan, "heldout/b": True, "heldout/c": 5},
    ]
    assert scores_at(lines, 2) == (1, {"a": 1.0})
    assert scores_at(lines, 9) == (3, {"c": 5.0})
    assert scores_at(lines, 0) == (0, {})
