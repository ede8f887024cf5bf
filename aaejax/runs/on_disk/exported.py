"""The weights of an exported folder: written for one, and read back into a model.

The folder is a run folder whose parameters are a file, model.safetensors, in the place of
checkpoints. As in those, each array has a checksum, and what decides the result of the run
is beside them, so that a changed config.json is noticed.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from aaejax.runs.finite import name_of
from aaejax.runs.on_disk.about import checksums
from aaejax.runs.on_disk.config_json import changes, completed, decides
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.on_disk.tensors_file import read_tensors, write_tensors
from aaejax.types import UserError, Variables

FORMAT = 1
Weights = Literal["last", "ema"]


@dataclass(frozen=True)
class Exported:
    """The parameters of one checkpoint, and which they are."""

    variables: Variables
    step: int
    weights: Weights


def flat(variables: Variables) -> dict[str, np.ndarray]:
    """The arrays of networks by their place, such as encoder/params/mlp/hidden_0/kernel."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(variables))
    return {name_of(path): np.asarray(leaf) for path, leaf in leaves}


def write_weights(folder: RunFolder, found: Exported, config: dict[str, Any]) -> None:
    """Writes model.safetensors.

    Args:
      folder: The folder that gets the file.
      found: The parameters to write, and which they are.
      config: The contents of config.json of the run.
    """
    tensors = flat(found.variables)
    about = {
        "format": FORMAT,
        "step": found.step,
        "weights": found.weights,
        "run": decides(config),
        "checksums": checksums(tensors),
    }
    write_tensors(folder.weights, tensors, {"aaejax": json.dumps(about)})


def read_weights(
    folder: RunFolder,
    like: Variables,
    step: int | Literal["best"] | None,
    weights: Weights,
    run: dict[str, Any],
) -> Exported:
    """Reads model.safetensors.

    Args:
      folder: An exported folder.
      like: The variables of its model, or their shapes.
      step: The step that is asked for; None for the one that is there.
      weights: The weights that are asked for: "last" for those that are there, "ema" for a
        moving average.
      run: The part of config.json that decides the result of the run.

    Raises:
      UserError: The file can't be read, or has not what is asked for.
    """
    try:
        tensors, metadata = read_tensors(folder.weights)
        about = json.loads(metadata["aaejax"])
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r:.80}, not {FORMAT}")
        there, kind = about["step"], about["weights"]
        if type(there) is not int or kind not in ("last", "ema"):
            raise ValueError(f"step {there!r:.80}, weights {kind!r:.80}")
        changed = changes(decides(completed(about["run"])), run)
        if changed:
            raise ValueError(f"config.json is another's: {'; '.join(changed)}")
        if checksums(tensors) != about["checksums"]:
            raise ValueError("an array does not have its checksum")
        variables = in_places(tensors, like)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"{folder.weights} can't be used ({said}): export the run again, or restore "
            "the folder from a copy"
        ) from error
    if step not in (None, there):
        raise UserError(
            f"{folder.path} is an export of step {there} alone: leave out step {step}, or "
            "ask the run"
        )
    if weights == "ema" and kind != "ema":
        raise UserError(
            f"{folder.path} is an export without the moving average: ask for its last "
            "weights, or export the run with --weights ema"
        )
    return Exported(variables, there, kind)


def in_places(tensors: dict[str, np.ndarray], like: Variables) -> Variables:
    """Puts arrays in their places; raises ValueError where they are not of such a model."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {name_of(path): leaf for path, leaf in leaves}
    for name in dict.fromkeys([*wanted, *tensors]):
        said = [
            f"{each[name].dtype}{list(each[name].shape)}" if name in each else "none"
            for each in (tensors, wanted)
        ]
        if said[0] != said[1]:
            raise ValueError(f"{name} is {said[0]}, of this model {said[1]}")
    return jax.tree_util.tree_unflatten(structure, [tensors[name] for name in wanted])
