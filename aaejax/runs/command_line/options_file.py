"""`--options FILE` and `--print-options`: the options of a run as a file.

A file becomes the flags that it stands for, so that the command line alone says what an
option is and what it may be.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aaejax.runs.config import RunConfig
from aaejax.runs.on_disk.config_json import model_name, run_json
from aaejax.runs.on_disk.files import read_bytes
from aaejax.runs.reports.summary import train_arguments
from aaejax.types import UserError

FLAG = "--options"


def with_file(args: Sequence[str]) -> list[str]:
    """Puts the flags of `--options FILE` into `[MODEL] [FLAGS]`, before the others.

    Raises:
      UserError: The file can't be read, has no options, or is of another model.
    """
    words, file = [], None
    rest = iter(args)
    for word in rest:
        name, sign, value = word.partition("=")
        if name != FLAG:
            words.append(word)
            continue
        if file is not None:
            raise UserError(f"{FLAG} stands there twice: give one file")
        file = value if sign else next(rest, "")
        if not file:
            raise UserError(f"{FLAG} needs a file: give one")
    if file is None:
        return words
    model, flags = _read(file)
    if words and not words[0].startswith("-"):
        named = words.pop(0)
        if model not in (None, named):
            raise UserError(f"{FLAG} {file} is of the model {model}, not {named}")
        model = named
    return [*([] if model is None else [model]), *flags, *words]


def options_json(model: Any, config: RunConfig) -> str:
    """All options of a command line as JSON that `--options` takes, but for places."""
    values = dataclasses.asdict(model)
    chosen = {f.name: values[f.name] for f in dataclasses.fields(model) if f.init}
    whole = {"model": model_name(model), **chosen, **run_json(config)}
    return json.dumps(whole, indent=2)


def _read(file: str) -> tuple[str | None, list[str]]:
    """The model that a file names, if any, and its flags."""
    try:
        raw = read_bytes(Path(file))
        if Path(file).suffix.lower() in (".yaml", ".yml"):
            import yaml  # Flax and Orbax need it

            tree = yaml.safe_load(raw)
        else:
            tree = json.loads(raw)
    except Exception as error:  # of the file, of JSON, of a YAML that may not be there
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{FLAG} {file} can't be read ({said}): give JSON or YAML, as of "
            "--print-options"
        ) from error
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise UserError(f"{FLAG} {file} is none of options by name: see --print-options")
    if "format" in tree:  # a config.json
        words = train_arguments(tree)
        if words is None:
            raise UserError(
                f"{FLAG} {file} is of a model built by hand: train it in Python"
            )
        return words[0], words[1:]
    model = tree.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise UserError(f"{FLAG} {file}: model is {model!r:.80}, no name")
    return model, list(_flags(tree))


def _flags(tree: dict[str, Any], prefix: str = "--") -> Iterator[str]:
    for name, value in tree.items():
        name = str(name).replace("_", "-")
        if isinstance(value, dict):
            yield from _flags(value, f"{prefix}{name}.")
        elif value == "":  # as an option says that it has none
            continue
        elif isinstance(value, bool):
            yield f"{prefix}{'' if value else 'no-'}{name}"
        else:
            many = value if isinstance(value, list | tuple) else (value,)
            yield from (f"{prefix}{name}", *map(str, many))
