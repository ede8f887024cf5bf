"""The run folder: config.json, metrics.jsonl, heldout.npz, checkpoints/, pictures/."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.runs.config import differences, from_json
from aaejax.types import UserError


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run, and what is written there besides checkpoints and pictures."""

    path: Path

    @property
    def config(self) -> Path:
        """Everything needed to rebuild the model."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line a log point."""
        return self.path / "metrics.jsonl"

    @property
    def heldout(self) -> Path:
        """A few held-out examples, so that sampling needs nothing but the folder."""
        return self.path / "heldout.npz"

    @property
    def checkpoints(self) -> Path:
        """Orbax's folder."""
        return self.path / "checkpoints"

    @property
    def unusable(self) -> Path:
        """Where checkpoints go that could not be read."""
        return self.path / "unusable-checkpoints"

    @property
    def pictures(self) -> Path:
        """PNGs, a set at each evaluation."""
        return self.path / "pictures"

    def read_config(self) -> dict[str, Any]:
        """config.json.

        Raises:
          UserError: the folder is no run, or the file is damaged.
        """
        if not self.config.is_file():
            raise UserError(
                f"{self.path} is no run folder (it has no config.json): "
                "give one that train.py wrote"
            )
        try:
            return json.loads(self.config.read_text())
        except ValueError as error:
            raise UserError(
                f"{self.config} is damaged ({error}): train again with --overwrite"
            ) from error

    def prepare(self, config: dict[str, Any], overwrite: bool) -> None:
        """Makes the folder ready for a run with this config.json: new, or to resume.

        Raises:
          UserError: the folder has a run with another configuration, or is something else.
        """
        if overwrite:
            for path in (self.checkpoints, self.pictures, self.unusable):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.config, self.metrics, self.heldout):
                path.unlink(missing_ok=True)
        if self.config.exists():
            saved = self.read_config()
            # An option younger than the run had its default, and the run may have moved.
            saved |= from_json(saved).to_json() | {"where": config["where"]}
            changed = differences(saved, config)
            if changed:
                raise UserError(
                    f"{self.path} has a run with another configuration "
                    f"({'; '.join(changed)}): give the same one, another --workdir, "
                    "or --overwrite"
                )
        elif self.checkpoints.exists():
            raise UserError(
                f"{self.path} has checkpoints but no config.json: "
                "give another --workdir, or --overwrite"
            )
        self.pictures.mkdir(exist_ok=True)
        write_atomically(self.config, json.dumps(config, indent=2) + "\n")

    def write_heldout(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Keeps these examples (as they came, uint8 or float32) for sampling."""
        arrays = (
            {"images": images} if labels is None else dict(images=images, labels=labels)
        )
        with open(self.heldout, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def read_heldout(self) -> dict[str, np.ndarray]:
        """Arrays: images [N, ...], and labels [N] where there are any."""
        with np.load(self.heldout) as arrays:
            return dict(arrays)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl."""
        with open(self.metrics, "a") as file:
            file.write(json.dumps(line) + "\n")

    def drop_metrics_after(self, step: int) -> None:
        """Forgets what a killed run logged past the checkpoint that it resumes from."""
        if not self.metrics.exists():
            return
        kept = []
        for line in self.metrics.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except ValueError:  # cut in the middle of the write
                continue
        write_atomically(self.metrics, "".join(kept))


@contextmanager
def locked(path: Path) -> Iterator[RunFolder]:
    """The run folder, made if need be, for this process alone.

    The lock is the kernel's: it goes with the process, however that ends.

    Raises:
      UserError: another process has it.
      OSError: it can't be made or written.
    """
    path.mkdir(parents=True, exist_ok=True)
    with open(path / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{path} is in use by another process: wait for it, "
                "or give another --workdir"
            ) from error
        yield RunFolder(path)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old text or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
