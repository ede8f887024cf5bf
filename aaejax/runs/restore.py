"""A run folder -> a trained model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax

from aaejax.components.checks import check_word
from aaejax.phases import averaged_params, init_state
from aaejax.runs import own_networks
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.on_disk.config_json import (
    completed,
    decides,
    made_of,
    saved_model,
    saved_run,
)
from aaejax.runs.on_disk.exported import Weights, read_weights
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.precision import at_precision
from aaejax.runs.state_size import check_model
from aaejax.runs.trained import Trained
from aaejax.types import Model, TrainState, UserError

ATTEMPTS = 5  # at reading checkpoints that a training beside us replaces
MOST_STEPS = 2**31 - 1  # of a run; a restored model's optimizers are not asked


def restore(
    run: str | Path,
    step: int | Literal["best"] | None = None,
    *,
    model: Model | None = None,
    tell: Callable = print,
    network: str | Path | None = None,
    weights: Weights = "last",
) -> Trained:
    """The trained model of a run folder, on this machine's first device.

    The run may be training at the same time.

    Args:
      run: The folder that train.py wrote, on any number of devices, or one that was
        exported.
      step: The step of the checkpoint; by default the newest good one, "best" for that of
        the best evaluation.
      model: The model, needed where the run was trained on one built by hand.
      tell: A function that gets a line about each checkpoint that can't be used.
      network: The file of networks that the run was trained with, where there is one. It is
        run; what config.json says of it never is.
      weights: The weights: "last", or "ema" for the moving average of a run that keeps one.

    Raises:
      UserError: There is no run, no checkpoint, or none that can be used; there is no such
        average; or a file of networks is lacking, or given where the run has none.
    """
    check_word("weights", weights, Weights)
    folder = RunFolder(Path(run))
    config = folder.read_config()
    if not isinstance(config, dict):
        raise UserError(
            f"{folder.config} is not one that this aaejax wrote "
            f"(a {type(config).__name__}): use the aaejax that wrote it"
        )
    if model is None and config.get("custom_model"):
        raise UserError(
            f"{run} was trained on a model built by hand{made_of(config)}: "
            "call aaejax.runs.restore.restore(run, model=...) with that model"
        )
    settings = saved_run(config)
    # A record without model and parameters yet, for what it says of the data.
    trained = Trained(model, {}, 0, folder, config)  # type: ignore[arg-type]
    spec = trained.data.spec
    built: Model = model or _options(config, network, tell).build(spec, MOST_STEPS)
    built = at_precision(built, settings.matmul_precision)
    of_run = decides(completed(config))
    if folder.weights.exists():
        like = jax.eval_shape(built.init, jax.random.key(0))
        check_model(like, jax.local_devices()[:1], copies=2)
        found = read_weights(folder, like, step, weights, of_run)
        return dataclasses.replace(
            trained,
            model=built,
            variables=jax.device_put(found.variables),
            step=found.step,
            weights=found.weights,
        )
    ema = config.get("run", {}).get("ema", 0.0) if weights == "ema" else 0.0
    if weights == "ema" and not (isinstance(ema, float) and 0 < ema < 1):
        raise UserError(
            f"{run} keeps no moving average: it was trained without --ema; ask for its "
            "last weights"
        )
    like = jax.eval_shape(lambda key: init_state(built, key, ema), jax.random.key(0))
    # As read, and on the device.
    check_model(like.replace(opt_state={}), jax.local_devices()[:1], copies=2)
    state, best = _restore_state(folder, like, step, tell, of_run)
    if ema:
        state = state.replace(params=averaged_params(state, ema))  # type: ignore[attr-defined]
    return dataclasses.replace(
        trained,
        model=built,
        variables=jax.device_put(state.variables),
        step=int(state.step),
        best=best,
        weights=weights,
    )


def _options(config: dict[str, Any], network: str | Path | None, tell: Callable) -> Any:
    """The options of the run's model, with the networks of the user's file."""
    options: Any = saved_model(config)
    if options.network_file is None:
        if network is not None:
            raise UserError(
                f"--network {network}: the run has networks of its own; leave it out"
            )
        return options
    if network is None:
        raise UserError(
            f"the run was trained with the networks of {options.network_file}: say "
            "--network FILE.py; the file is run"
        )
    own = own_networks.load(network)
    if own.sha256 != config.get("network_file", {}).get("sha256"):
        tell(
            f"note: {network} is not, byte for byte, the file that the run was trained with"
        )
    return options.with_networks(own)


def _restore_state(
    folder: RunFolder,
    like: TrainState,
    step: int | Literal["best"] | None,
    tell: Callable,
    run: dict[str, Any] | None,
) -> tuple[TrainState, int | None]:
    """Lists and reads checkpoints; again where a training replaced them in between.

    Returns:
      The state, and the step of the best evaluation where that is known.
    """
    if not folder.checkpoints.is_dir():
        raise UserError(
            f"{folder.path} has no checkpoint yet: let train.py run to its first one"
        )
    for attempt in range(ATTEMPTS):
        listed, lines = _listed(folder), []
        try:
            with Checkpoints(folder.checkpoints, tell=lines.append, run=run) as checkpoints:
                found = checkpoints.restore_weights(like, step)
                best = checkpoints.best().step or None
            break
        # FileNotFoundError: Orbax lists the folder too, entry by entry.
        except (UserError, FileNotFoundError):
            if _listed(folder) == listed or attempt == ATTEMPTS - 1:
                for line in lines:
                    tell(line)
                raise
    for line in lines:
        tell(line)
    return found, best


def _listed(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.checkpoints.iterdir() if path.name.isdecimal()}
