"""The run folder: config.json, metrics.jsonl, heldout.npz, checkpoints/, pictures/."""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.runs.on_disk.checkpoint_folder import UNUSABLE, check_folder, is_checkpoint
from aaejax.runs.on_disk.config_json import (
    changes,
    completed,
    decides,
    trained_otherwise,
)
from aaejax.runs.on_disk.files import (
    atomic,
    check_no_link,
    open_own,
    read_bytes,
    remove_temporary,
    write_atomically,
)
from aaejax.runs.on_disk.heldout_file import checked_heldout
from aaejax.runs.on_disk.metrics_log import MetricsLog
from aaejax.types import UserError

# All that a run writes besides checkpoints, and all that --overwrite removes.
SAMPLERS = ("sampler-gaussian.npz", "sampler-gmm.npz")  # that sample.py fitted
FILES = ("metrics.jsonl", "heldout.npz", "report.html", *SAMPLERS, "config.json")
# Of the folder that --log tensorboard writes; its event files have names of their own.
TENSORBOARD = ("codes.tsv", "labels.tsv", "sprite.png", "projector_config.pbtxt")
EVENTS = "events.out.tfevents."
STRIP = "samples-step-{step}.png"  # samples of some evaluations
PICTURES = ("samples.png", "reconstructions.png", "manifold.png", "styles.png", "codes.png")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run, and what is written there besides checkpoints and pictures."""

    path: Path

    @property
    def config(self) -> Path:
        """The file that has everything needed to rebuild the model."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The file of metrics, one line for each log point."""
        return self.path / "metrics.jsonl"

    @property
    def heldout(self) -> Path:
        """The file of a few held-out examples, so that sampling needs only the folder."""
        return self.path / "heldout.npz"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, which Orbax writes."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The file of parameters that an exported folder has in place of checkpoints."""
        return self.path / "model.safetensors"

    @property
    def unusable(self) -> Path:
        """The folder where checkpoints go that could not be read."""
        return self.path / UNUSABLE

    @property
    def pictures(self) -> Path:
        """The folder of PNG files, a set at each evaluation."""
        return self.path / "pictures"

    @property
    def report(self) -> Path:
        """A page about the run."""
        return self.path / "report.html"

    def strips(self) -> dict[int, Path]:
        """The rows of samples that were kept of evaluations, by step."""
        found = {}
        for path in _entries(self.pictures):
            step = re.fullmatch(r"samples-step-(\d{1,10})\.png", path.name, re.ASCII)
            if step:
                found[int(step[1])] = path
        return found

    @property
    def tensorboard(self) -> Path:
        """The folder of the event files of --log tensorboard."""
        return self.path / "tensorboard"

    @property
    def profile(self) -> Path:
        """The folder of the traces of --profile."""
        return self.path / "profile"

    def read_config(self) -> dict[str, Any]:
        """Reads config.json.

        Raises:
          UserError: The folder is no run, or the file is damaged.
        """
        if not self.config.exists():
            hint = (
                "its checkpoints are there: restore config.json from a copy"
                if self.has_checkpoints()
                else "give one that train.py wrote"
            )
            raise UserError(f"{self.path} is no run folder (it has no config.json): {hint}")
        try:
            saved = json.loads(read_bytes(self.config))
            if not isinstance(saved, dict):
                raise ValueError("it is no object")
            for name in ("format", "model"):
                if name not in saved and not (name == "model" and "custom_model" in saved):
                    raise ValueError(f"it has no {name}")
            for name in ("options", "run", "where", "network_file"):
                if not isinstance(saved.get(name, {}), dict):
                    raise ValueError(f"its {name} is no object")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.config} is damaged, or no run's ({_one_line(error)}): restore it "
                "from a copy (checkpoints are as they were), or give another run folder"
            ) from error
        return saved

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, the oldest first; [] where there are none yet."""
        return [json.loads(line) for line in MetricsLog(self.metrics).lines()]

    def check_foreign(self, out: Path) -> None:
        """Raises UserError where a file that is to be written is one of the run's own."""
        own, path = self.path.resolve(), out.resolve()
        if path in [own / name for name in (*FILES, ".lock")] or path.is_relative_to(
            own / "checkpoints"
        ):
            raise UserError(f"--out {out} is a file of the run itself: give another name")

    def write_config(self, config: dict[str, Any]) -> None:
        """Writes config.json."""
        write_atomically(self.config, (json.dumps(config, indent=2) + "\n").encode())

    def prepare(
        self, config: dict[str, Any], overwrite: bool, tell: Callable = print
    ) -> dict[str, Any] | None:
        """Makes the folder ready for a run with this config.json: new, or to resume.

        Returns:
          The config.json of the run that is there, which stays as it is; None where the run
          is new.

        Raises:
          UserError: The folder has a run with another configuration, or is something else.
        """
        check_folder(self.checkpoints)
        if self.weights.exists():
            raise UserError(
                f"{self.path} is an export ({self.weights.name}), not to be trained in: "
                "give another --workdir"
            )
        for path in (self.pictures, self.unusable, self.tensorboard, self.profile):
            check_no_link(path)
        saved = None
        if not (self.config.exists() or self.config.is_symlink()):
            self._check_empty()
        elif overwrite:
            self.read_config()
            self._remove_run()
        else:
            saved = self._check_same(config, tell)
        remove_temporary(self.path, FILES)
        remove_temporary(self.pictures, (*PICTURES, STRIP.format(step="*")))
        remove_temporary(self.tensorboard, TENSORBOARD)
        if saved is None:
            self.write_config(config)
        self.pictures.mkdir(exist_ok=True)
        return saved

    def _check_empty(self) -> None:
        """Raises UserError where a run would write among files that are no run's."""
        folders = (self.checkpoints, self.pictures, self.unusable, self.tensorboard)
        found = [path.name for path in folders if path.exists() and _entries(path)]
        found += [name for name in FILES if (self.path / name).exists()]
        if found:
            raise UserError(
                f"{self.path} has {', '.join(found)} but no config.json, so that it is no "
                "run's: give another --workdir, or, for a run, restore config.json from a "
                "copy"
            )

    def _check_same(self, config: dict[str, Any], tell: Callable) -> dict[str, Any]:
        """Its config.json; raises UserError where that is of another configuration."""
        # An option younger than the run had its default, and the run may have moved.
        read = self.read_config()
        saved = completed(read)
        if changes(decides(saved), decides(config)):
            named = changes(*({**each, "where": None} for each in (saved, config)))
            raise UserError(
                f"{self.path} has a run with another configuration "
                f"({'; '.join(named)}): give the same one, as --options {self.config} "
                "does, another --workdir, or --overwrite"
            )
        otherwise = trained_otherwise(read)
        if otherwise is not None:
            raise UserError(
                f"{self.path} is of an older aaejax, which trained {otherwise} in another "
                "way: ask it as it is, or give another --workdir or --overwrite"
            )
        before, now = saved["run"]["epochs"], config["run"]["epochs"]
        if now < before:
            raise UserError(
                f"{self.path} has a run of {before} epochs: it can go on for more, not for "
                f"{now}; give more, or another --workdir"
            )
        if self.metrics.exists() and not self.has_checkpoints():
            tell(f"{self.path} has metrics but no checkpoint: training starts anew")
        return saved

    def _remove_run(self) -> None:
        """Removes what a run wrote and nothing else; config.json last."""
        for folder in (self.checkpoints, self.unusable):
            for path in filter(is_checkpoint, _entries(folder)):
                shutil.rmtree(path)
        for path in (*(self.pictures / name for name in PICTURES), *self.strips().values()):
            path.unlink(missing_ok=True)
        for path in _entries(self.tensorboard):
            if path.name in TENSORBOARD or path.name.startswith(EVENTS):
                path.unlink()
        for folder in (self.profile / "plugins" / "profile", self.profile / "plugins"):
            check_no_link(folder)
        shutil.rmtree(self.profile / "plugins" / "profile", ignore_errors=True)
        folders = (self.checkpoints, self.unusable, self.pictures, self.tensorboard)
        for folder in (*folders, self.profile / "plugins", self.profile):
            if folder.is_dir() and not folder.is_symlink() and not _entries(folder):
                folder.rmdir()
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)

    def has_checkpoints(self) -> bool:
        """Whether there is a checkpoint, good or not."""
        return any(map(is_checkpoint, _entries(self.checkpoints)))

    def write_heldout(self, **arrays: np.ndarray) -> None:
        """Keeps examples (images as they came) for sampling, by the names of the arrays."""
        with atomic(self.heldout) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def read_heldout(self, instead: str = "--data gives others") -> dict[str, np.ndarray]:
        """Reads images [N, ...], and labels [N] and condition [N, C] where there are any.

        Args:
          instead: What the error says of how the caller can do without the examples.

        Raises:
          UserError: They are not there, damaged, or none that the run's model can take.
        """
        data = self.read_config().get("data") if self.config.exists() else None
        try:
            return checked_heldout(self.heldout, data if isinstance(data, dict) else {})
        except Exception as error:  # zipfile, zlib and numpy raise many kinds
            raise UserError(
                f"{self.heldout} can't be read ({_one_line(error)}): what needs no "
                f"examples works, {instead}, and train.py writes it again when it is "
                "started on the run"
            ) from error


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def locked(path: Path) -> Iterator[RunFolder]:
    """Locks the run folder, made if need be, for this process alone.

    The lock is the kernel's: it goes with the process, however that ends.

    Raises:
      UserError: Another process has the folder, or the path is no folder.
      OSError: The folder can't be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(
            f"{path} is there and is no folder: give another --workdir"
        ) from error
    file, before = path / ".lock", set(os.listdir(path))
    with open(open_own(file, os.O_RDWR), "r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{path} is in use by another process: wait for it, "
                "or give another --workdir"
            ) from error
        try:
            yield RunFolder(path)
        except UserError:
            if set(os.listdir(path)) - before == {file.name}:  # it did not become a run
                file.unlink()
            raise
