"""What records look like, and the version."""

import dataclasses
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np

import aaejax
import aaejax_commands
from aaejax import data, init_state
from aaejax.runs.hooks import Event
from tests.conftest import TINY, tiny_options

ROOT = Path(__file__).parent.parent


def test_records_print_as_a_few_lines():
    model = tiny_options().build(TINY, 1)
    state = init_state(model, jax.random.key(0))
    dataset = data.from_arrays(np.zeros((500, *TINY.shape), np.uint8))
    event = Event(1, {"reconstruction/loss": 0.5}, state, np.zeros((400, 2), np.float32))
    for record in (model, state, dataset, event, *model.phases):
        assert len(repr(record)) < 1000
    assert "encoder of 266 parameters" in repr(event)
    assert dataclasses.replace(event, step=2) != event


def test_the_version_is_that_of_pyproject(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert aaejax.__version__ == project["version"]
    assert not hasattr(aaejax, "version")
    # Names of the commands lead somewhere, and a mistake is one line under that name.
    for command, target in project["scripts"].items():
        module, _, function = target.partition(":")
        code = f"import sys, {module}; sys.exit({module}.{function}())"
        done = subprocess.run(
            [sys.executable, "-c", code, "--no-such"], cwd=ROOT, capture_output=True
        )
        assert done.returncode == 2
        assert command in done.stderr.decode() + done.stdout.decode()


def test_commands_say_the_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aaejax-train", "--version"])
    before = signal.getsignal(signal.SIGINT)
    try:
        assert aaejax_commands.train() == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out == f"{aaejax.__version__}\n"
    with open("/dev/full", "w") as full:
        code = "import aaejax_commands, sys; sys.exit(aaejax_commands.train('x'))"
        done = subprocess.run(
            [sys.executable, "-c", code, "--version"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
