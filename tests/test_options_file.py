"""`--options FILE` and `--print-options`."""

import dataclasses
import json
import sys

import pytest

from aaejax.models._optimizers import Optimizer
from aaejax.models.aae import Options
from aaejax.runs.command_line import command
from aaejax.runs.command_line.command import parse_run
from aaejax.runs.config import RunConfig
from aaejax.runs.on_disk.config_json import run_json
from aaejax.types import UserError

pytestmark = pytest.mark.quick
SLOW = Optimizer("sgd", 0.5, drops=(3, 9))
MADE = Options(latent=3, norm="batch", generator_optimizer=SLOW)
CONFIG = RunConfig(dataset="my_data.npz", flip=True, labels=30)


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """What --print-options prints of these."""
    words = [
        "aae",
        "--latent",
        "3",
        "--norm",
        "batch",
        "--dataset",
        "my_data.npz",
        "--flip",
        "--labels",
        "30",
        "--generator-optimizer.algorithm",
        "sgd",
        "--generator-optimizer.learning-rate",
        "0.5",
        "--generator-optimizer.drops",
        "3",
        "9",
        "--generator-optimizer.momentum",
        "0.9",
        "--generator-optimizer.schedule",
        "constant",
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words, "--print-options"])
    assert command.main() == 0
    assert list(tmp_path.iterdir()) == []
    return capsys.readouterr().out


def test_what_is_printed_is_taken_back(printed, tmp_path):
    file = tmp_path / "o.json"
    file.write_text(printed)
    assert json.loads(printed)["model"] == "aae"
    assert parse_run(["--options", str(file)]) == (MADE, CONFIG)
    # Flags of the command line go before, wherever they stand.
    for words in (["--latent", "5", f"--options={file}"], ["--options", str(file)]):
        words = ["aae", *words, *([] if "5" in words else ["--latent", "5"])]
        assert parse_run(words) == (dataclasses.replace(MADE, latent=5), CONFIG)


def test_a_config_json_and_a_sweeps_yaml_are_taken(tmp_path):
    saved = {"format": 3, "model": "aae", "run": run_json(CONFIG), "data": {"train": 1}}
    saved["options"] = {k: v for k, v in dataclasses.asdict(MADE).items() if k != "own"}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert parse_run(["--options", str(tmp_path / "config.json")]) == (MADE, CONFIG)
    (tmp_path / "sweep.yaml").write_text(
        "latent: 4\nflip: false\nlabels: null\nseed: 7\n"
        "reconstruction_optimizer:\n  learning_rate: 1e-4\n  drops: [5]\n"
    )
    options, config = parse_run(["vae", "--options", str(tmp_path / "sweep.yaml")])
    assert (type(options).__module__, options.latent) == ("aaejax.models.vae", 4)
    optimizer = options.reconstruction_optimizer
    assert (optimizer.learning_rate, optimizer.drops) == (1e-4, (5,))
    assert (config.seed, config.labels, config.flip) == (7, None, False)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("gone.json", None, "can't be read"),
        ("x.json", "{", "can't be read"),
        ("x.yaml", "a: [", "can't be read"),
        ("x.json", "[1]", "none of options by name"),
        ("x.yaml", "1: 2", "none of options by name"),
        ("x.json", '{"model": 3}', "model is 3, no name"),
        ("x.json", '{"model": "gan"}', "is of the model gan, not aae"),
        ("x.json", '{"format": 3, "custom_model": true}', "built by hand"),
        ("x.json", '{"format": 9, "model": "aae"}', "has format 9"),
    ],
)
def test_a_file_that_is_none_is_one_line(name, text, words, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        parse_run(["aae", "--options", str(tmp_path / name)])


def test_a_flag_without_a_file_and_an_option_that_there_is_not(tmp_path, capsys):
    with pytest.raises(UserError, match="needs a file"):
        parse_run(["aae", "--options"])
    with pytest.raises(UserError, match="there twice"):
        parse_run(["aae", "--options", "a.json", "--options=b.json"])
    (tmp_path / "x.json").write_text('{"latnet": 3}')
    with pytest.raises(SystemExit):
        parse_run(["aae", "--options", str(tmp_path / "x.json")])
    assert "--latnet" in capsys.readouterr().err
