"""Where a run starts: at its own first parameters, with networks of another run, or where
it was before, perhaps for longer than was planned then.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.data.notes import Tell
from aaejax.models._base import BaseOptions
from aaejax.models._optimizers import Optimizer
from aaejax.phases import init_state
from aaejax.runs.config import RunConfig
from aaejax.runs.finite import name_of
from aaejax.runs.on_disk.about import fingerprint
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.on_disk.config_json import saved_model
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.types import Key, Model, TrainState, UserError, Variables


@dataclass(frozen=True)
class Start:
    """The networks of another run that a run starts from.

    Attributes:
      variables: The variables of these networks, on the host; none where the run has
        checkpoints of its own, or starts from no other.
      record: What config.json has of that run as "from"; None where there is no other run.
    """

    variables: Variables = field(default_factory=dict, repr=False)
    record: dict[str, Any] | None = None


def read_start(
    config: RunConfig,
    folder: RunFolder,
    like: TrainState,
    written: dict[str, Any],
    tell: Tell,
) -> Start:
    """Reads the networks that `--from` names; writes nothing.

    Args:
      config: The settings of the run.
      folder: The folder of the run. Where it has checkpoints the other run is not read any
        more.
      like: A state of the model, or the shapes of one.
      written: The contents that config.json is to have.
      tell: A function that gets a line that says which networks were taken.

    Raises:
      UserError: The other run is none, is this one, or has not these networks.
    """
    if config.from_run is None:
        return Start()
    run = RunFolder(config.from_run)
    if run.path.resolve() == folder.path.resolve():
        raise UserError(
            f"--from {run.path} is the run folder itself: leave --from out to go on there, "
            "or give another --workdir"
        )
    if folder.has_checkpoints() and folder.config.exists() and not config.overwrite:
        return Start(record=_recorded(config, folder, tell))
    _check_options(run.path, run.read_config(), written)
    if run.weights.exists():
        raise UserError(f"--from {run.path} is an export: give the run that it is of")
    if not run.has_checkpoints():
        raise UserError(f"--from {run.path} has no checkpoint yet: let it run to its first")
    said: list[str] = []
    with Checkpoints(run.checkpoints, tell=said.append) as checkpoints:
        step = checkpoints.newest() or 0
        try:
            shapes = checkpoints.shapes(step)
        except Exception as error:  # whatever damage may raise
            raise UserError(
                f"--from {run.path}: checkpoint {step} can't be read "
                f"({type(error).__name__}): move it away, or give another run"
            ) from error
        names = config.from_networks or tuple(shapes)
        for name in names:
            _check_network(run.path, name, shapes, like)
        step, variables = checkpoints.read_networks(
            like.replace(  # type: ignore[attr-defined]
                params={name: like.params[name] for name in names},
                network_state={name: like.network_state[name] for name in names},
            )
        )
    for line in said:
        tell(line)
    new = [name for name in like.params if name not in names]
    tell(
        f"starting from {run.path} at step {step}: {', '.join(names)}"
        f"{'; new: ' if new else ''}{', '.join(new)}"
    )
    record = {
        "run": str(run.path),
        "step": step,
        "networks": list(names),
        "fingerprint": fingerprint(variables),
    }
    return Start(variables, record)


def _recorded(config: RunConfig, folder: RunFolder, tell: Tell) -> dict[str, Any]:
    """What config.json has of the start of a run that goes on, as of this --from."""
    record = folder.read_config().get("from")
    if not isinstance(record, dict):
        raise UserError(
            f"{folder.path} has a run that did not start from another: leave --from out, "
            "or give another --workdir or --overwrite"
        )
    if str(config.from_run) != record.get("run"):
        tell(
            f"{folder.path} goes on: it began from {record.get('run')}, which is not read "
            f"again, and neither is {config.from_run}"
        )
    networks = list(config.from_networks) or record.get("networks")
    return {**record, "networks": networks}


def _check_options(run: Path, saved: dict[str, Any], written: dict[str, Any]) -> None:
    """Raises UserError where this model would read that run's parameters otherwise.

    By options that change what a network computes, and no shape of its parameters: those
    whose field says what older runs had (`config_json`).
    """
    name = written.get("model")
    if name is None or saved.get("model") != name:
        return
    theirs, ours = saved_model(saved), written["options"]
    for each in dataclasses.fields(theirs):  # type: ignore[arg-type]
        before, now = getattr(theirs, each.name), ours.get(each.name)
        if "older_runs" in each.metadata and list(before) != list(now):
            flag = each.name.replace("_", "-")
            raise UserError(
                f"--from {run} has {flag} {list(before)}, this model {list(now)}: give "
                f"--{flag} {' '.join(map(str, before))}"
            )


def _check_network(run: Path, name: str, shapes: dict[str, Any], like: TrainState) -> None:
    """Raises UserError where that run's network can't be this model's."""
    if name not in shapes:
        raise UserError(
            f"--from {run} has no network {name!r}: it has {', '.join(shapes)}; name some "
            "of them by --from-networks"
        )
    if name not in like.params:
        both = [other for other in shapes if other in like.params]
        raise UserError(
            f"--from {run} has the network {name!r}, and this model has not: take some by "
            f"--from-networks {' '.join(both) or '...'}"
        )
    tree = (like.params[name], like.network_state[name])
    wanted = {
        name_of(path[1:]): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for place in dict.fromkeys([*shapes[name], *wanted]):
        theirs, ours = shapes[name].get(place), wanted.get(place)
        if theirs != ours:
            said = ["none" if x is None else str(list(x)) for x in (theirs, ours)]
            raise UserError(
                f"--from {run}: {place} of its {name} is {said[0]}, of this model's "
                f"{said[1]}: give the options of that run's networks, or leave {name} out "
                "by --from-networks"
            )


def first_state(model: Model, key: Key, ema: float, taken: Variables) -> TrainState:
    """The state before the first step, with networks that were taken from another run."""

    def init(key: Key, taken: Variables) -> TrainState:
        started = dataclasses.replace(model, init=lambda k: {**model.init(k), **taken})
        return init_state(started, key, ema)

    return jax.jit(init)(key, taken)


def went_on(
    saved: dict[str, Any], epochs: int, state: TrainState | None
) -> list[dict[str, Any]]:
    """The record that config.json has of a run that goes on for more epochs, as "went_on".

    Args:
      saved: The contents of the config.json that is there.
      epochs: The number of epochs of the run from now on.
      state: The state at which it goes on; None where it starts anew.
    """
    before = saved.get("went_on")
    record = list(before) if isinstance(before, list) else []
    if state is not None and epochs > saved["run"]["epochs"]:
        record.append(
            {
                "epochs": saved["run"]["epochs"],
                "step": int(state.step),
                "fingerprint": fingerprint(state.variables),
            }
        )
    return record


def changed_rates(model: Any, step: int, before: int, now: int) -> str | None:
    """A line about learning rates that change as a run goes on for longer; None for none.

    Args:
      model: The options with `Optimizer`s, or a model built by hand, of which nothing is
        known.
      step: The step at which the run goes on.
      before: The number of steps of the whole run as it was planned.
      now: The number of steps of the whole run from now on.
    """
    if not dataclasses.is_dataclass(model):
        return None
    if isinstance(model, BaseOptions):
        model = dataclasses.replace(model, **model.decided())
    said = []
    for each in dataclasses.fields(model):
        optimizer = getattr(model, each.name)
        if not isinstance(optimizer, Optimizer):
            continue
        old, new = (np.asarray(optimizer.learning_rate_in(n)(step)) for n in (before, now))
        if old != new:
            phase = each.name.removesuffix("_optimizer")
            said.append(f"{phase} {new:.3g} (was to be {old:.3g})")
    if not said:
        return None
    return (
        f"learning rates go on as in a run of {now} steps, not {before}: at step {step} "
        f"{', '.join(said)}"
    )
