"""What a run is made of, as frozen dataclasses, validated when built, and as JSON."""

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aaejax import models
from aaejax.models._fields import check_at_least, check_fields
from aaejax.types import UserError

FORMAT = 1  # of config.json


@dataclass(frozen=True)
class RunConfig:
    """A training run. Lengths are in steps but for `epochs`."""

    model: Any
    """The `Options` of a model."""
    dataset: str = "mnist5k"
    """mnist5k, a TFDS image dataset by name, or a path: .npz, .npy or folder of images."""
    labels: int | None = None
    """Training labels that are kept, as many of each class; by default all."""
    epochs: int = 20
    """How often each training example is seen."""
    batch_size: int = 100
    """Examples a step, over all devices."""
    seed: int = 0
    """Of the parameters, the order of the data and all noise."""
    log_every: int = 200
    """Steps in one dispatch, and between lines of metrics.jsonl."""
    save_every: int = 400
    """Steps between checkpoints, each with an evaluation and pictures."""
    keep: int = 3
    """How many checkpoints are kept."""
    data_dir: Path = field(default=Path("data"), metadata={"where": True})
    """Where TFDS datasets are prepared, once."""
    workdir: Path | None = field(default=None, metadata={"where": True})
    """The run folder; by default runs/<model>-<dataset>."""
    overwrite: bool = field(default=False, metadata={"where": True})
    """Throw away what the run folder has and start anew."""

    def __post_init__(self) -> None:
        for name in ("dataset", "data_dir", "workdir"):  # a path may be given as a string
            value, kind = getattr(self, name), str if name == "dataset" else Path
            if isinstance(value, str | Path):
                object.__setattr__(self, name, kind(value))
        check_fields(self)
        lengths = "epochs", "batch_size", "log_every", "save_every", "keep"
        check_at_least(self, 1, *lengths, most=2**31 - 1)  # steps are counted in int32
        check_at_least(self, 0, "seed", most=2**32 - 1)
        if self.save_every % self.log_every:
            raise UserError(
                f"save_every {self.save_every} is no multiple of log_every "
                f"{self.log_every}: checkpoints are written between dispatches"
            )

    @property
    def model_name(self) -> str:
        """The word that chose the model on the command line."""
        return type(self.model).__module__.rpartition(".")[2].replace("_", "-")

    @property
    def folder(self) -> Path:
        """The run folder."""
        if self.workdir is not None:
            return self.workdir
        return Path("runs") / f"{self.model_name}-{Path(self.dataset).stem}"

    def to_json(self) -> dict[str, Any]:
        """What decides the result of the run, for config.json: all but places."""
        return {
            "format": FORMAT,
            "model": self.model_name,
            "options": dataclasses.asdict(self.model),
            "run": {
                f.name: getattr(self, f.name)
                for f in dataclasses.fields(self)
                if f.name != "model" and not f.metadata.get("where")
            },
        }


def from_json(saved: dict[str, Any]) -> RunConfig:
    """`RunConfig.to_json` undone; places take their defaults.

    Raises:
      UserError: written by another version of aaejax.
    """
    try:
        if saved["format"] != FORMAT:
            raise UserError(
                f"config.json has format {saved['format']}, this aaejax reads {FORMAT}: "
                "use the aaejax that wrote it"
            )
        options = _build(models.options(saved["model"]), saved["options"])
        return RunConfig(model=options, **saved["run"])
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        raise UserError(
            f"config.json is not one that this aaejax wrote ({error!r}): "
            "use the aaejax that wrote it"
        ) from error


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """The leaves in which two JSON trees differ, as "name: old, now new"."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in dict.fromkeys([*old, *new])
            for line in differences(old.get(key), new.get(key), f"{name}.{key}".strip("."))
        ]
    as_lists = [list(x) if isinstance(x, tuple) else x for x in (old, new)]
    if as_lists[0] == as_lists[1]:
        return []
    return [f"{name} was {old!r}, now {new!r}"]


def _build(cls: type, values: dict[str, Any]) -> Any:
    """A dataclass from JSON: nested ones from dicts, tuples from lists."""
    types = typing.get_type_hints(cls)
    made = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(types.get(name)):
            value = _build(types[name], value)
        made[name] = tuple(value) if isinstance(value, list) else value
    return cls(**made)
