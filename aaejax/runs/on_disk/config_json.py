"""config.json: what a run is, as JSON, read back and compared."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

import jax

from aaejax import models
from aaejax.data import Dataset
from aaejax.models import ModelOptions
from aaejax.runs.config import RunConfig
from aaejax.runs.hosts.shares import Shares
from aaejax.types import Model, TrainState, UserError

FORMAT = 4  # of config.json


def model_name(model: Model | ModelOptions) -> str | None:
    """The word that chooses the model on the command line; None for one built by hand."""
    name = type(model).__module__.rpartition(".")[2].replace("_", "-")
    named = name in models.NAMES and type(model) is models.options(name)
    return name if named else None


def model_json(model: Model | ModelOptions, built: Model, state: TrainState) -> dict:
    """The part of config.json that says what the model is.

    Args:
      model: The model or its options, as passed to `train`.
      built: The model itself, built from these.
      state: The first state of the model, or the shapes of it.
    """
    name = model_name(model)
    if name is None:
        sizes = {
            network: sum(x.size for x in jax.tree.leaves(params))
            for network, params in state.params.items()
        }
        return {
            "custom_model": True,
            "networks": sizes,
            "phases": [phase.name for phase in built.phases],
            "latent": built.latent,
        }
    options: Any = model
    sha256 = options.networks_sha256
    return {
        "model": name,
        **({} if sha256 is None else {"network_file": {"sha256": sha256}}),
        "options": model_options_json(options),
    }


def model_options_json(options: Any) -> dict[str, Any]:
    """The options of a model by name, with what they leave open decided."""
    chosen = [field.name for field in dataclasses.fields(options) if field.init]
    values = dataclasses.asdict(dataclasses.replace(options, **options.decided()))
    return {name: values[name] for name in chosen}


def run_json(config: RunConfig) -> dict[str, Any]:
    """The settings that decide the result of the run: all but places, such as folders."""
    return {
        f.name: getattr(config, f.name)
        for f in dataclasses.fields(config)
        if not f.metadata.get("where")
    }


def config_json(
    config: RunConfig, dataset: Dataset, shares: Shares, model: dict[str, Any]
) -> dict[str, Any]:
    """The whole of config.json, with `model_json` of the model."""
    run = run_json(config)
    path = Path(config.dataset).expanduser()
    if dataset.name not in (config.dataset, path.name, path.resolve().name):
        run["dataset"] = dataset.name  # it was passed from Python
    return {
        "format": FORMAT,
        **model,
        "run": run,
        "data": {
            "name": dataset.name,
            **dataclasses.asdict(shares.spec),
            "class_names": list(dataset.class_names),
            **({} if dataset.columns is None else {"columns": dataset.columns.json()}),
            "train": sum(shares.examples),
            **_unlike_whole(shares, config.batch_size),
            "test": shares.test,
            "fingerprint": shares.fingerprint,
        },
        "where": {"data_dir": str(config.data_dir), "jax": jax.__version__},
    }


def _unlike_whole(shares: Shares, batch_size: int) -> dict[str, int]:
    """The steps of an epoch, where they are not those of all examples together."""
    steps = shares.steps_per_epoch(batch_size)
    whole = sum(shares.examples) // batch_size
    return {} if steps == whole else {"steps_per_epoch": steps}


def saved_model(saved: dict[str, Any]) -> ModelOptions:
    """The options of the model that a config.json names.

    Raises:
      UserError: The model was built by hand, or the file is damaged or of another aaejax.
    """
    if saved.get("custom_model"):
        raise UserError(
            f"config.json is of a model built by hand{made_of(saved)}: pass that model"
        )
    saved = _of_this_format(saved)
    if saved.get("model") not in models.NAMES:
        raise UserError(
            f"config.json has the model {saved.get('model')!r:.80}, this aaejax has "
            f"{', '.join(models.NAMES)}: use the aaejax that wrote it"
        )
    return _build(models.options(saved["model"]), saved.get("options"), "options")


def made_of(saved: dict[str, Any]) -> str:
    """The record of a model built by hand, as words for messages."""
    sizes = saved.get("networks")
    if not isinstance(sizes, dict):
        return ""
    named = [f"{name} of {size} parameters" for name, size in sizes.items()]
    return f" ({_short(', '.join(named), 300)})"


def saved_run(saved: dict[str, Any]) -> RunConfig:
    """The settings that a config.json has; places take their defaults.

    Raises:
      UserError: The file is damaged, or of another aaejax.
    """
    return _build(RunConfig, _of_this_format(saved).get("run"), "run")


def completed(saved: dict[str, Any]) -> dict[str, Any]:
    """A config.json with the defaults of the options that are younger than it.

    Raises:
      UserError: The file is damaged, or of another aaejax.
    """
    whole = {**_of_this_format(saved), "run": run_json(saved_run(saved))}
    if isinstance(saved.get("data"), dict):
        younger = dict.fromkeys(("missing", "binary", "counts", "weighted"), False)
        whole["data"] = {**younger, "conditions": 0, **saved["data"]}
    if not saved.get("custom_model"):
        whole["options"] = model_options_json(saved_model(saved))
    return whole


def decides(config: dict[str, Any]) -> dict[str, Any]:
    """The part of config.json that decides what a step does.

    It has no places; of the data it has what they are, not what they are called; and it
    does not have how long the run is, so that the run can go on for longer.
    """
    kept = {name: config[name] for name in config if name not in ("where", "went_on")}
    for part, name in (
        ("run", "dataset"),
        ("run", "epochs"),
        ("data", "name"),
        ("from", "run"),
    ):
        if isinstance(kept.get(part), dict):
            kept[part] = {key: kept[part][key] for key in kept[part] if key != name}
    options = kept.get("options")
    if isinstance(options, dict) and options.get("network") == "mlp":
        # Which has no convolutions, whatever is said of them.
        unread = ("channels", "scales")
        kept["options"] = {key: options[key] for key in options if key not in unread}
    return kept


def _of_this_format(saved: dict[str, Any]) -> dict[str, Any]:
    """A config.json of this format, from one of this or an older one.

    Raises:
      UserError: It is of another format.
    """
    if saved["format"] == 1 and isinstance(saved.get("options"), dict):
        # "generator" was the name of a loss, a phase and a network.
        names = {"generator": "generator_loss"}
        options = {names.get(name, name): x for name, x in saved["options"].items()}
        saved = {**saved, "options": options}
    elif saved["format"] not in range(1, FORMAT + 1):
        raise UserError(
            f"config.json has format {saved['format']!r}, this aaejax reads 1 to "
            f"{FORMAT}: use the aaejax that wrote it"
        )
    if saved["format"] < 3 and isinstance(saved.get("options"), dict):
        saved = {**saved, "options": _as_they_were(saved["options"], saved.get("model"))}
    options = saved.get("options")
    if saved["format"] < 4 and isinstance(options, dict):
        if options.get("method", "wae") != "wae":  # which reads no weight
            options = {name: options[name] for name in options if name != "weight"}
        saved = {**saved, "options": options}
    return {**saved, "format": FORMAT}


def trained_otherwise(saved: dict[str, Any]) -> str | None:
    """What older aaejaxes trained in another way in a run of this config.json, or None."""
    options = saved.get("options")
    if saved["format"] >= 4 or not isinstance(options, dict):
        return None
    if saved.get("model") == "autoencoder":
        return "the Gaussian of the codes"
    if saved.get("model") == "gan" and options.get("discriminator_steps", 1) > 1:
        return "a discriminator of several updates a step"
    return None


def _as_they_were(options: dict[str, Any], model: Any) -> dict[str, Any]:
    """Options of format 2, with what they left open, or was not read, as it then was.

    Raises:
      UserError: The model is none of this aaejax any more.
    """
    if model == "nade" and options.get("masked"):
        raise UserError(
            "config.json is of a MADE whose bits do not act on later ones directly, which "
            "this aaejax has no more: use the aaejax that wrote it, or train it again"
        )
    made = {name: _rate_of_old(x) for name, x in options.items()}
    if "decoder_std" in made and made.get("reconstruction") != "squared-error":
        made["decoder_std"] = 1.0
    return made


def _rate_of_old(option: Any) -> Any:
    """An option; an optimizer whose rate was left open has that of then."""
    if isinstance(option, dict) and option.get("learning_rate", 0) is None:
        return {**option, "learning_rate": 1e-3}
    return option


def differences(old: Any, new: Any) -> list[str]:
    """The leaves in which two JSON trees differ, as "name was old, now new"."""
    return [
        f"{name} was {before}, now {now}"
        for name, before, now in leaves_that_differ(old, new)
    ]


def leaves_that_differ(one: Any, other: Any, name: str = "") -> list[tuple[str, str, str]]:
    """The leaves in which two JSON trees differ: dotted name, and what it is in either."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            leaf
            for key in dict.fromkeys([*one, *other])
            for leaf in leaves_that_differ(
                one.get(key), other.get(key), f"{name}.{key}".strip(".")
            )
        ]
    as_lists = [list(x) if isinstance(x, tuple) else x for x in (one, other)]
    if as_lists[0] == as_lists[1]:
        return []
    return [(name, _short(one), _short(other))]


def changes(old: Any, new: Any) -> list[str]:
    """The `differences` of two JSON trees, without the leaves that `new` alone has."""
    return differences(old, _shared(new, old))


def _shared(new: Any, old: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _shared(new[key], old[key]) for key in new if key in old}
    return new


def _build(cls: type, values: Any, name: str, **more: Any) -> Any:
    """A dataclass from JSON: nested ones from dicts, tuples from lists.

    An option that is not there is younger than the run: it has what its field's metadata
    call "older_runs", or else its default. (What older formats had otherwise stands in
    `_of_this_format`.)

    Raises:
      UserError: The class does not have a field, or a value is not of its field's type.
    """
    if not isinstance(values, dict):
        raise _damaged(f"{name} is {_short(values)}, no object")
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    places = {f.name for f in fields if f.metadata.get("where")}
    younger = {f.name: f.metadata for f in fields if f.name not in values}
    made = {n: has["older_runs"] for n, has in younger.items() if "older_runs" in has}
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


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) and most > 60 else repr(value)
    return text if len(text) < most else f"{text[:most]}..."
