"""A run folder -> a trained model."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.config import decides, from_json
from aaejax.runs.folder import RunFolder
from aaejax.types import DataSpec, Model, Networks, UserError


@dataclass(frozen=True)
class Trained:
    """A model with the parameters of one checkpoint."""

    model: Model
    networks: Networks
    step: int
    folder: RunFolder
    config: dict[str, Any]  # config.json


def restore(
    run: Path,
    step: int | None = None,
    model: Model | None = None,
    tell: Callable = print,
) -> Trained:
    """The trained model of a run folder, on this machine's first device.

    Args:
      run: the folder that train.py wrote, on any number of devices.
      step: of the checkpoint; by default the newest good one.
      model: needed where the run was trained on a model passed from Python.
      tell: gets a line about each checkpoint that can't be used.

    Raises:
      UserError: no run, no checkpoint, or none that can be used.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    if model is None:
        if config.get("custom_model"):
            raise UserError(
                f"{run} was trained on a model passed from Python: "
                "call aaejax.runs.restore.restore(run, model=...)"
            )
        try:
            kept = {f.name: config["data"][f.name] for f in dataclasses.fields(DataSpec)}
            spec = DataSpec(**{**kept, "shape": tuple(kept["shape"])})
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{folder.config} is not one that this aaejax wrote: no {error}"
            ) from error
        built: Model = from_json(config).model.build(spec, steps=1)
    else:
        built = model
    if not folder.checkpoints.is_dir():
        raise UserError(f"{run} has no checkpoint yet: let train.py run to its first one")
    like = jax.eval_shape(built.init, jax.random.key(0))
    with Checkpoints(folder.checkpoints, tell=tell, run=decides(config)) as checkpoints:
        found, networks = checkpoints.restore_params(like, step)
    return Trained(built, jax.device_put(networks), found, folder, config)
