"""`--log`: the lines and pictures of a run for TensorBoard and Weights & Biases.

They are hooks beside metrics.jsonl, which stays the truth. What each needs is imported
where it is asked for, before anything is trained.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.runs.on_disk.folder import PICTURES, RunFolder
from aaejax.types import Model, missing

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}


@dataclass(frozen=True)
class Watched:
    """The facts that a log is told of a run before its first line.

    Attributes:
      folder: The folder of the run.
      config: The contents of config.json.
      model: The model.
      images: The held-out images [N, ...], uint8 or float32; there may be none.
      labels: The labels of these [N], or None; of a model with conditions these, [N, C].
      class_names: The names of the classes.
      scores: The names of held-out scores, as in metrics.jsonl.
    """

    folder: RunFolder
    config: dict[str, Any]
    model: Model
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    scores: tuple[str, ...]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the run by dotted name: bools, numbers and text."""
        chosen = {
            name: self.config[name]
            for name in ("model", "options", "run")
            if name in self.config
        }
        return _flat(chosen)

    def pictures(self) -> dict[str, Path]:
        """The pictures that the last evaluation made, by name."""
        paths = [self.folder.pictures / name for name in PICTURES]
        return {path.stem: path for path in paths if path.exists()}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            found[f"{prefix}{name}"] = value
        elif value is not None:
            found[f"{prefix}{name}"] = " ".join(map(str, value))
    return found


def check(names: tuple[str, ...]) -> None:
    """Raises UserError where what a log needs is not installed."""
    for name in names:
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError as error:
            raise missing(f"--log {name}", name, PACKAGES[name], "leave it out") from error
