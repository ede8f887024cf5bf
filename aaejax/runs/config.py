"""What a run is made of, as frozen dataclasses, validated when built, and as JSON."""

import dataclasses
import reprlib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aaejax import models
from aaejax.components.checks import check_at_least, check_fields
from aaejax.models._options import NetworkOptions
from aaejax.types import UserError

FORMAT = 2  # of config.json


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
    ema: float = 0.0
    """Decay of an exponential moving average of the parameters, such as 0.999, which
    sample.py --weights ema asks; 0 for none."""
    background: str = "white"
    """Ground under transparent pixels of pictures: white, black or #rrggbb."""
    data_dir: Path = field(default=Path("data"), metadata={"where": True})
    """Where TFDS datasets are prepared, once."""
    workdir: Path | None = field(default=None, metadata={"where": True})
    """The run folder; by default runs/<model>-<dataset>."""
    overwrite: bool = field(default=False, metadata={"where": True})
    """Throw away what the run folder has and start anew."""

    def __post_init__(self) -> None:
        for name in ("dataset", "data_dir", "workdir"):  # a path may be given as a string
            value, kind = getattr(self, name), str if name == "dataset" else Path
            if kind is Path and isinstance(value, str) and not value.strip():
                raise UserError(f"{name} is {value!r}: give a folder, or leave it out")
            if isinstance(value, str | Path):
                object.__setattr__(self, name, kind(value))
        check_fields(self)
        if not isinstance(self.model, NetworkOptions):
            raise UserError(
                f"model is {reprlib.repr(self.model)}: it must be the options of one, such "
                'as aaejax.models.options("aae")()'
            )
        lengths = "epochs", "batch_size", "log_every", "save_every", "keep"
        check_at_least(self, 1, *lengths, most=2**31 - 1)  # steps are counted in int32
        check_at_least(self, 0, "seed", most=2**32 - 1)
        if not 0 <= np.float32(self.ema) < 1:
            raise UserError(f"ema is {self.ema}: it must be in [0, 1)")
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
        own = self.model.own
        return {
            "format": FORMAT,
            "model": self.model_name,
            **({"network_file": {"sha256": own.sha256}} if own else {}),
            "options": {
                name: value
                for name, value in dataclasses.asdict(self.model).items()
                if self.model.__dataclass_fields__[name].init
            },
            "run": self.run_json(),
        }

    def run_json(self) -> dict[str, Any]:
        """The part of it that is no model's."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name != "model" and not f.metadata.get("where")
        }


def from_json(saved: dict[str, Any]) -> RunConfig:
    """`RunConfig.to_json` undone; places take their defaults.

    Raises:
      UserError: written by another version of aaejax, or damaged.
    """
    if saved.get("custom_model"):
        raise UserError("config.json is of a model passed from Python: pass it again")
    saved = _of_this_format(saved)
    if saved["model"] not in models.NAMES:
        raise UserError(
            f"config.json has the model {saved['model']!r}, this aaejax has "
            f"{', '.join(models.NAMES)}: use the aaejax that wrote it"
        )
    options = _build(models.options(saved["model"]), saved.get("options"), "options")
    return _build(RunConfig, saved.get("run"), "run", model=options)


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """A config.json with the defaults of the options that are younger than it.

    Raises:
      UserError: as of `from_json`.
    """
    saved = _of_this_format(saved)
    if not saved.get("custom_model"):
        return {**saved, **from_json(saved).to_json()}
    run = _build(RunConfig, saved.get("run"), "run", model=NetworkOptions()).run_json()
    kept = {name: saved[name] for name in saved if name not in ("model", "options")}
    return {**kept, "run": run}


def decides(config: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that decides the result: no places, and of the data what
    they are, not what they are called.
    """
    kept = {name: config[name] for name in config if name != "where"}
    for part, name in (("run", "dataset"), ("data", "name")):
        if isinstance(kept.get(part), dict):
            kept[part] = {key: kept[part][key] for key in kept[part] if key != name}
    return kept


def _of_this_format(saved: dict[str, Any]) -> dict[str, Any]:
    """A config.json of this format, from one of this or the one before.

    Raises:
      UserError: it is of another.
    """
    if saved["format"] == 1 and isinstance(saved.get("options"), dict):
        # "generator" was the name of a loss, a phase and a network.
        names = {"generator": "generator_loss"}
        options = {names.get(name, name): x for name, x in saved["options"].items()}
        saved = {**saved, "options": options}
    elif saved["format"] not in (1, FORMAT):
        raise UserError(
            f"config.json has format {saved['format']!r}, this aaejax reads 1 and "
            f"{FORMAT}: use the aaejax that wrote it"
        )
    return {**saved, "format": FORMAT}


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


def changes(old: Any, new: Any) -> list[str]:
    """As `differences`, but for the leaves that `new` alone has."""
    return differences(old, _shared(new, old))


def _shared(new: Any, old: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _shared(new[key], old[key]) for key in new if key in old}
    return new


def _build(cls: type, values: Any, name: str, **more: Any) -> Any:
    """A dataclass from JSON: nested ones from dicts, tuples from lists.

    Raises:
      UserError: a field that the class has not, or a value of another type than its.
    """
    if not isinstance(values, dict):
        raise _damaged(f"{name} is {_short(values)}, no object")
    hints = typing.get_type_hints(cls)
    places = {f.name for f in dataclasses.fields(cls) if f.metadata.get("where")}
    made = {}
    for key, value in values.items():
        if key not in hints or key in places or key in more:
            raise _damaged(f"{name} has {key!r}, which this aaejax does not know")
        if dataclasses.is_dataclass(hints[key]):
            made[key] = _build(hints[key], value, f"{name}.{key}")  # type: ignore[arg-type]
            continue
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, hints[key]):
            raise _damaged(f"{name}.{key} is {_short(value)}")
        made[key] = value
    try:
        return cls(**made, **more)
    except UserError as error:
        raise UserError(f"config.json: {error}") from error
    except TypeError as error:
        raise _damaged(f"{name}: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value read from JSON is of the type of a field."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is typing.Literal:
        return any(type(value) is type(each) and value == each for each in parts)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in parts)
    if origin is tuple:
        each = parts[0] if parts else Any
        return isinstance(value, tuple) and all(_fits(x, each) for x in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is (type(None) if hint is None else hint)


def _damaged(what: str) -> UserError:
    return UserError(
        f"config.json is not one that this aaejax wrote ({what}): restore it from a copy, "
        "or use the aaejax that wrote it"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:60]}..."
