"""What a run is and what it reached, in words: for overview, report and model card."""

import dataclasses
import itertools
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from aaejax.runs.on_disk.config_json import saved_model, saved_run
from aaejax.types import Variables, printable

HELD_OUT = "heldout/"


def train_arguments(config: dict[str, Any]) -> list[str] | None:
    """The words after `train.py` that repeat a run: its model, and what is no default.

    Args:
      config: The contents of config.json, of which places, such as --workdir, are no part.

    Returns:
      The words; None for a model that was built by hand, which no command line can name.

    Raises:
      UserError: The file config.json is damaged, or of another aaejax.
    """
    if config.get("custom_model"):
        return None
    model: Any = saved_model(config)
    model, run = dataclasses.replace(model, **model.decided()), saved_run(config)
    changed = _changed(model, _usual(model)), _changed(run, vars(type(run)()))
    return [config["model"], *itertools.chain(*changed)]


def _usual(model: Any) -> dict[str, Any]:
    """The default options, with what these would have decided of what they leave open."""
    default = type(model)()
    values = {f.name: getattr(default, f.name) for f in dataclasses.fields(default)}
    left_open = {name: values[name] for name in model.decided()}
    return values | dataclasses.replace(model, **left_open).decided()


def _changed(options: Any, usual: dict[str, Any], prefix: str = "--") -> Iterator[str]:
    """Flags and values of the fields of options that are not the usual ones."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        unsaid = not field.init or field.metadata.get("where") or value is None
        if unsaid or value == usual[field.name]:
            continue
        name = field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _changed(value, vars(usual[field.name]), f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"{prefix}{'' if value else 'no-'}{name}"
        else:
            many = value if isinstance(value, tuple) else (value,)
            yield from (f"{prefix}{name}", *map(str, many))


def command(words: Sequence[object]) -> str:
    """Joins words to a line to type, quoted where a shell asks for it."""
    return printable(shlex.join(map(str, words)))


def planned_steps(config: dict[str, Any]) -> int:
    """The number of steps of the whole run; config.json has been checked."""
    run, data = saved_run(config), config["data"]
    return run.epochs * data.get("steps_per_epoch", data["train"] // run.batch_size)


def scores_at(history: list[dict[str, Any]], step: int) -> tuple[int, dict[str, float]]:
    """The newest held-out scores up to a step, by name without "heldout/", and their step.

    Args:
      history: The lines of metrics.jsonl, the oldest first; what is no number is left out.
      step: The last step that counts.

    Returns:
      The step, and the scores by name; (0, {}) where there are none.
    """
    for line in reversed(history):
        found = {
            name.removeprefix(HELD_OUT): float(value)
            for name, value in line.items()
            if name.startswith(HELD_OUT) and is_number(value)
        }
        if found and line["step"] <= step:
            return line["step"], found
    return 0, {}


def is_number(value: Any) -> bool:
    """Whether a value of a line of metrics.jsonl is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def sizes(variables: Variables) -> dict[str, int]:
    """How many parameters each network has."""
    return {
        name: sum(x.size for x in jax.tree.leaves(network["params"]))
        for name, network in variables.items()
    }
