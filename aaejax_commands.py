"""The commands `aaejax-train` and `aaejax-sample`, the same as train.py and sample.py.

This module stands outside of the package, whose import takes JAX's seconds: before those
begin, Ctrl-C is made quiet.
"""

import importlib
import os
import signal
import sys


def train(name: str = "aaejax-train") -> int:
    """Trains a model; `aaejax.runs.command_line.command`. Returns the exit status."""
    return _run("aaejax.runs.command_line.command", name)


def sample(name: str = "aaejax-sample") -> int:
    """Asks a trained model for what `aaejax.ask.command` says; returns the exit status."""
    return _run("aaejax.ask.command", name)


def _run(module: str, name: str) -> int:
    def leave(*_: object) -> None:
        """Ctrl-C while there is nothing to save: one line and the status of SIGINT."""
        os.write(2, f"{name}: interrupted\n".encode())
        os._exit(128 + signal.SIGINT)

    signal.signal(signal.SIGINT, leave)
    if sys.argv[1:] == ["--version"]:
        scripts = importlib.import_module("aaejax.runs.command_line.scripts")
        return scripts.script(name)(scripts.say_version)()
    return importlib.import_module(module).main(name)
