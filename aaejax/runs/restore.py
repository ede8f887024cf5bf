"""A run folder -> a trained model."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax

from aaejax.components.checks import check_word
from aaejax.phases import averaged_params, init_state
from aaejax.runs import own_networks
from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.config_json import decides, made_of, saved_model
from aaejax.runs.folder import RunFolder
from aaejax.runs.memory import check_model
from aaejax.types import DataSpec, Model, TrainState, UserError, Variables

Weights = Literal["last", "ema"]
ATTEMPTS = 5  # at reading checkpoints that a training beside us replaces
MOST_STEPS = 2**31 - 1  # of a run; a restored model's optimizers are not asked
MOST_VALUES, MOST_CLASSES = 2**28, 10**6  # of one example, of a run


@dataclass(frozen=True)
class RunData:
    """What config.json records of the data that the run was trained on."""

    spec: DataSpec
    class_names: tuple[str, ...]  # [K], of class 0, 1, ...
    train: int  # examples
    test: int
    fingerprint: str  # `Dataset.fingerprint`


@dataclass(frozen=True, repr=False)
class Trained:
    """A model with the parameters of one checkpoint."""

    model: Model
    variables: Variables
    step: int
    folder: RunFolder
    config: dict[str, Any]  # config.json; {} of networks that come from no run folder

    def __repr__(self) -> str:
        """One line: what it is, without its parameters."""
        name, classes = self.config.get("model", "a model"), self.model.prior_classes
        kinds = f", {classes} classes" if classes else ""
        return (
            f"<{name} of {self.folder.path} at step {self.step}: "
            f"codes of {self.model.latent}{kinds}>"
        )

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of the run's metrics.jsonl, those after this step too."""
        return self.folder.history()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the run's data, by class number; () where they have none."""
        return self.data.class_names if self.config else ()

    @cached_property
    def data(self) -> RunData:
        """What the run records of its data.

        Raises:
          UserError: config.json has no such record, or one that can't be.
        """
        try:
            return _run_data(self.config["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.folder.config} is not one that this aaejax wrote "
                f"(data: {error!r}): use the aaejax that wrote it"
            ) from error


def restore(
    run: str | Path,
    step: int | Literal["best"] | None = None,
    model: Model | None = None,
    tell: Callable = print,
    *,
    network: str | Path | None = None,
    weights: Weights = "last",
) -> Trained:
    """The trained model of a run folder, on this machine's first device.

    The run may be training at the same time.

    Args:
      run: the folder that train.py wrote, on any number of devices.
      step: of the checkpoint; by default the newest good one, "best" for that of the best
        evaluation.
      model: needed where the run was trained on a model built by hand.
      tell: gets a line about each checkpoint that can't be used.
      network: the file of networks that the run was trained with, where there is one. It is
        run; what config.json says of it never is.
      weights: "last", or "ema" for the moving average of a run that keeps one.

    Raises:
      UserError: no run, no checkpoint, or none that can be used; no such average; a file
        of networks that is lacking, or given where the run has none.
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
    # A record without model and parameters yet, for what it says of the data.
    trained = Trained(model, {}, 0, folder, config)  # type: ignore[arg-type]
    spec = trained.data.spec
    built: Model = model or _options(config, network, tell).build(spec, MOST_STEPS)
    ema = config.get("run", {}).get("ema", 0.0) if weights == "ema" else 0.0
    if weights == "ema" and not (isinstance(ema, float) and 0 < ema < 1):
        raise UserError(
            f"{run} keeps no moving average: it was trained without --ema; ask for its "
            "last weights"
        )
    like = jax.eval_shape(lambda key: init_state(built, key, ema), jax.random.key(0))
    # As read, and on the device.
    check_model(like.replace(opt_state={}), jax.local_devices()[:1], copies=2)
    state = _restore_state(folder, like, step, tell, decides(config))
    if ema:
        state = state.replace(params=averaged_params(state, ema))  # type: ignore[attr-defined]
    return dataclasses.replace(
        trained,
        model=built,
        variables=jax.device_put(state.variables),
        step=int(state.step),
    )


def _options(config: dict[str, Any], network: str | Path | None, tell: Callable) -> Any:
    """The options of the run's model, with the networks of the user's file."""
    options: Any = saved_model(config)
    if not options.network.endswith(".py"):
        if network is not None:
            raise UserError(
                f"--network {network}: the run has networks of its own "
                f"({options.network}); leave it out"
            )
        return options
    if network is None:
        raise UserError(
            f"the run was trained with the networks of {options.network}: say "
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
) -> TrainState:
    """Lists and reads checkpoints; again where a training replaced them in between."""
    if not folder.checkpoints.is_dir():
        raise UserError(
            f"{folder.path} has no checkpoint yet: let train.py run to its first one"
        )
    for attempt in range(ATTEMPTS):
        listed, lines = _listed(folder), []
        try:
            with Checkpoints(folder.checkpoints, tell=lines.append, run=run) as checkpoints:
                found = checkpoints.restore_weights(like, step)
            break
        # FileNotFoundError: Orbax lists the folder too, entry by entry.
        except (UserError, FileNotFoundError):
            if _listed(folder) == listed or attempt == ATTEMPTS - 1:
                for line in lines:
                    tell(line)
                raise
    for line in lines:
        tell(line)
    return found


def _listed(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.checkpoints.iterdir() if path.name.isdecimal()}


def _run_data(saved: dict[str, Any]) -> RunData:
    """The record of config.json; raises ValueError or TypeError for one that can't be."""
    spec = DataSpec(
        tuple(_integer(length, 1, MOST_VALUES) for length in saved["shape"]),
        _integer(saved["classes"], 0, MOST_CLASSES),
        saved["unit_range"],
        _integer(saved["labelled"]),
    )
    if len(spec.shape) not in (1, 3) or math.prod(spec.shape) > MOST_VALUES:
        raise ValueError(f"shape {saved['shape']}")
    if not isinstance(spec.unit_range, bool):
        raise TypeError(f"unit_range {spec.unit_range!r}"[:100])
    names, fingerprint = saved["class_names"], saved["fingerprint"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("class_names")
    if len(names) != spec.classes:
        raise ValueError(f"{len(names)} class_names of {spec.classes} classes")
    if not isinstance(fingerprint, str):
        raise TypeError("fingerprint")
    counts = _integer(saved["train"]), _integer(saved["test"])
    return RunData(spec, tuple(names), *counts, fingerprint)


def _integer(value: Any, least: int = 0, most: int = 2**63) -> int:
    # A bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{value!r:.50} where a whole number is needed")
    return value
