"""The run that everything is done to, and what it is compared with when it ended."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax import data
from aaejax.phases import init_state
from aaejax.runs.command_line.command import parse_run
from aaejax.runs.loop import train
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.on_disk.config_json import decides
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.on_disk.metrics_log import MetricsLog
from aaejax.runs.restore import restore
from aaejax.types import TrainState

ROOT = Path(__file__).parents[2]
# 40 steps, 20 lines of metrics.jsonl, 10 checkpoints.
OPTIONS = [
    *("aae", "--latent", "3", "--width", "16", "--batch-size", "9", "--epochs", "2"),
    *("--log-every", "2", "--save-every", "4"),
]
LAST = 40


class Tiny:
    """An unbroken run, and others of the same command."""

    def __init__(self, place: Path):
        """Trains the unbroken one, in a process of its own."""
        self.place = place
        self._made = 0
        rng = np.random.default_rng(0)
        images = rng.integers(0, 255, (200, 8, 8)).astype(np.uint8)
        np.savez(place / "digits.npz", images=images, labels=np.arange(200) % 3)
        self.good = place / "unbroken"
        self.run("train.py", *self.arguments(place / "first"))  # fills the compile cache
        log = place / "events"
        status, said, self.seconds = self.finish(self.start(self.good, "", 0, log))
        assert status == 0, said
        self.events = log.read_text().splitlines()
        self.lines = metrics(self.good)
        self.heldout = RunFolder(self.good).read_heldout()
        self.dataset = data.load(str(place / "digits.npz"), place)
        self.trained = restore(self.good)
        self.like = jax.eval_shape(
            lambda key: init_state(self.trained.model, key), jax.random.key(0)
        )
        self.decides = decides(self.trained.config)
        self.states = {}  # by step
        folder = self.copy()
        for step in sorted(map(int, os.listdir(folder / "checkpoints")), reverse=True):
            self.states[step] = self.read(folder, [].append)
            shutil.rmtree(folder / "checkpoints" / str(step))

    def folder(self) -> Path:
        """A name that is free."""
        self._made += 1
        return self.place / f"run-{self._made}"

    def copy(self, of: Path | None = None) -> Path:
        """A copy of the unbroken run, or of another."""
        return Path(shutil.copytree(of or self.good, self.folder()))

    def arguments(self, folder: Path) -> list[str]:
        """Of train.py."""
        return [*OPTIONS, "--dataset", f"{self.place}/digits.npz", "--workdir", str(folder)]

    def start(self, folder: Path, kind: str, count: int, log: Path) -> subprocess.Popen:
        """train.py, which is killed at an operation of that kind where there is one."""
        wrapper = [str(Path(__file__).with_name("killed.py")), str(folder), kind]
        arguments = [str(count), str(log), str(ROOT / "train.py"), *self.arguments(folder)]
        return popen(*wrapper, *arguments)

    def finish(
        self, process: subprocess.Popen, seconds: float | None = None
    ) -> tuple[int, str, float]:
        """Status, what it said, seconds since it had read its data; killed after some."""
        said = process.stdout.readline()  # type: ignore[union-attr]
        started = time.perf_counter()
        if seconds is not None:
            time.sleep(seconds)
            process.kill()
        said += process.communicate(timeout=300)[0]
        return process.returncode, said, time.perf_counter() - started

    def run(self, script: str, *arguments: str) -> tuple[int, str]:
        """Status and output of a script."""
        process = popen(str(ROOT / script), *arguments)
        said = process.communicate(timeout=300)[0]
        return process.returncode, said

    def train(self, folder: Path, tell: Callable) -> None:
        """As train.py, in this process."""
        options, config = parse_run(self.arguments(folder))
        train(options, self.dataset, config, tell=tell)

    def read(self, folder: Path, tell: Callable) -> TrainState:
        """What a resumed run begins with; makes metrics.jsonl as it does."""
        with Checkpoints(folder / "checkpoints", 3, tell, self.decides) as checkpoints:
            state = checkpoints.restore_state(self.like)
            assert state is not None
            step = int(state.step)
            log = MetricsLog(folder / "metrics.jsonl")
            log.resume(step, checkpoints.segments(step), tell)
        return state

    def differs(self, folder: Path) -> str | None:
        """In what a run that is done differs from the unbroken one."""
        told: list[str] = []
        state = self.read(self.copy(folder), told.append)
        if told:
            return f"said when read: {told}"
        if int(state.step) != LAST or not same(state, self.states[LAST]):
            return f"another state at step {int(state.step)}"
        if metrics(folder) != self.lines:
            return f"metrics of steps {[line['step'] for line in metrics(folder)]}"
        for part in ("", "checkpoints", "pictures"):
            there, right = ({*os.listdir(each / part)} for each in (folder, self.good))
            if there != right:
                return f"{part or 'the folder'} has {sorted(there ^ right)} or lacks it"
        for picture in (self.good / "pictures").iterdir():
            if (folder / "pictures" / picture.name).read_bytes() != picture.read_bytes():
                return f"another {picture.name}"
        return None


def popen(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the machine's load."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in ln.items() if k != "images_per_second"} for ln in lines]


def same(one: Any, other: Any) -> bool:
    """Whether two trees have the same bits."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def one_line(status: int, said: str) -> bool:
    """Whether a script ended as on a user's mistake: one line of error, no traceback."""
    errors = [x for x in said.splitlines() if x.startswith(("train.py: ", "sample.py: "))]
    return status == 2 and "Traceback" not in said and len(errors) == 1
