"""The training of one run: what is checked before it, its folder, and how it ends."""

import dataclasses
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.data import Dataset
from aaejax.data.notes import Tell
from aaejax.models import ModelOptions
from aaejax.phases import init_state
from aaejax.runs.config import RunConfig
from aaejax.runs.devices import all_devices, check_batch_size, own_part
from aaejax.runs.examples import Examples
from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hooks import Hook
from aaejax.runs.hosts.agreement import Hosts
from aaejax.runs.hosts.alike import check_alike
from aaejax.runs.hosts.shares import Shares
from aaejax.runs.hosts.watch import joined
from aaejax.runs.interrupts import Interrupts
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.on_disk.config_json import config_json, decides, model_json, model_name
from aaejax.runs.on_disk.folder import RunFolder, locked
from aaejax.runs.precision import at_precision
from aaejax.runs.record import Record, Recorder, Result
from aaejax.runs.reports import logs, pictures
from aaejax.runs.reports.log_tensorboard import TensorBoard
from aaejax.runs.reports.log_wandb import WeightsAndBiases
from aaejax.runs.reports.report import Report
from aaejax.runs.run import Run, run_keys
from aaejax.runs.start import Start, changed_rates, read_start, went_on
from aaejax.runs.state_size import check_model
from aaejax.types import Device, Model, UserError


def train(
    model: Model | ModelOptions,
    dataset: Dataset,
    config: RunConfig | None = None,
    *,
    devices: list[Device] | None = None,
    tell: Tell = print,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Trains a model, from the newest checkpoint of the run folder where there is one.

    Args:
      model: A model built by hand, or the `Options` of one, which is built for these data.
      dataset: The data to train on.
      config: The settings of the run; by default all their defaults.
      devices: The devices to train on; by default all, of all hosts where `jax.distributed`
        is initialised.
      tell: A function that gets lines for the user.
      hooks: The hooks that watch the run; where one raises, the run ends with a checkpoint.
        Of several hosts the first alone has them, and writes.

    Raises:
      UserError: Settings, data and run folder don't fit together; nothing is written.
      NonFiniteLoss: Training diverged; of such a state no checkpoint is written.
      OSError: The disk is full or read-only.
    """
    config = RunConfig() if config is None else config
    _check_kinds(model, config, hooks)
    logs.check(config.log)
    with joined() as hosts:
        return _train(model, dataset, config, devices or all_devices(), tell, hooks, hosts)


def _train(
    model: Model | ModelOptions,
    dataset: Dataset,
    config: RunConfig,
    devices: list[Device],
    tell: Tell,
    hooks: Sequence[Hook],
    hosts: Hosts,
) -> Result:
    """Trains as `train` does, on hosts that have joined."""
    own = devices[own_part(devices)]
    if {device.process_index for device in devices} != set(range(hosts.count)):
        raise UserError(
            "devices are not those of all hosts: leave devices out, or give some of each"
        )
    if config.labels is not None:
        dataset = dataset.keep_labels(config.labels, config.seed)
    if config.binarize != "no":
        _check_likelihood(model, config)
        dataset = dataset.binarize(config.binarize)
    if config.flip and len(dataset.example_shape) != 3:
        raise UserError(f"--flip: {dataset.name} are vectors, no pictures: leave it out")
    shares = Shares.of(config, dataset, hosts)
    steps_per_epoch = shares.steps_per_epoch(config.batch_size)
    check_batch_size(config.batch_size, devices)
    steps = config.epochs * steps_per_epoch
    if steps >= 2**31:
        raise UserError(f"{steps:,} steps are too many to count: take fewer --epochs")
    built = model if isinstance(model, Model) else model.build(shares.spec, steps)
    built = at_precision(built, config.matmul_precision)
    shares.check(built, dataset.name)
    if shares.spec.missing:
        _check_missing(built, dataset)
    _check_beside(built, dataset)
    if built.counts:
        dataset = dataset.counted()
    else:  # other data may be none
        shares = dataclasses.replace(
            shares, spec=dataclasses.replace(shares.spec, counts=False)
        )
    like = jax.eval_shape(lambda key: init_state(built, key, config.ema), jax.random.key(0))
    check_model(like, own, copies=2)  # the one that a step reads, and what it makes
    written = config_json(config, dataset, shares, model_json(model, built, like))
    check_alike(hosts, {**written, "parallel": config.parallel}, devices)
    folder = RunFolder(run_folder(model, dataset, config))
    start = read_start(config, folder, like, written, tell) if hosts.first else Start()
    examples = Examples.of(dataset, own[0], tell, hosts, config.own_data)
    run = Run(config, built, devices, examples, steps, hosts, shares)
    if not hosts.first:
        shapes = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        with Interrupts() as interrupts:
            return run.loop(shapes, {}, Recorder(folder.path, steps), interrupts)
    if len(shares.spec.shape) == 3:
        pictures.tell_of_channels(shares.spec.shape[2], tell)
    *_, heldout_key, picture_key = run_keys(config.seed)
    keys = heldout_key, picture_key
    record = Record(config, built, examples, steps, folder, keys, own[0], tell)
    with locked(folder.path), Interrupts() as interrupts:
        if start.record is not None:
            written["from"] = start.record
        saved = folder.prepare(written, config.overwrite, tell)
        folder.write_heldout(**examples.shown.first(256))
        with Checkpoints(
            folder.checkpoints, config.keep, tell, decides(written)
        ) as checkpoints:
            state = checkpoints.restore_state(like)
            if saved is not None:
                again = went_on(saved, config.epochs, state)
                folder.write_config(written | ({"went_on": again} if again else {}))
                before = saved["run"]["epochs"] * steps_per_epoch
                if state is not None and steps > before:
                    line = changed_rates(model, int(state.step), before, steps)
                    if line is not None:
                        tell(line)
            watching = [Report(folder), *_logs(config, record, built, written, examples)]
            record.watched(checkpoints, [*watching, *hooks])
            try:
                return run.loop(state, start.variables, record, interrupts)
            except NonFiniteLoss as error:
                step = checkpoints.newest()
                kept = "there is no checkpoint yet"
                if step is not None:
                    kept = f"the last good checkpoint, of step {step}, is kept"
                raise NonFiniteLoss(
                    f"{error}: {kept}; try a smaller learning rate or a "
                    "--*-optimizer.clip, in another --workdir"
                ) from error


def _logs(
    config: RunConfig,
    record: Record,
    model: Model,
    written: dict[str, Any],
    examples: Examples,
) -> list[Hook]:
    """The hooks of `--log`."""
    makes = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}
    watched = logs.Watched(
        record.folder,
        written,
        model,
        examples.shown.images,
        examples.shown.told(model),
        examples.class_names,
        tuple(record.heldout.names),
    )
    return [makes[name](watched) for name in dict.fromkeys(config.log)]


def run_folder(model: Model | ModelOptions, dataset: Dataset, config: RunConfig) -> Path:
    """The folder of a run: that of `config.workdir`, or runs/<model>-<dataset>."""
    if config.workdir is not None:
        return config.workdir
    return Path("runs") / f"{model_name(model) or 'custom'}-{Path(dataset.name).stem}"


def _check_kinds(model: Any, config: Any, hooks: Any) -> None:
    """Raises UserError where the arguments of `train` are none of theirs."""
    if isinstance(model, type) or not (isinstance(model, Model) or hasattr(model, "build")):
        raise UserError(
            f"model is {reprlib.repr(model)}: it must be one built by hand or the options "
            'of one, such as aaejax.models.options("aae")()'
        )
    if not isinstance(config, RunConfig):
        raise UserError(f"config is {reprlib.repr(config)}: it must be a RunConfig")
    listed = isinstance(hooks, Sequence)
    if not listed or not all(isinstance(each, Hook) for each in hooks):
        raise UserError(
            f"hooks are {reprlib.repr(hooks)}: they must be a list of objects of "
            "subclasses of aaejax.runs.hooks.Hook"
        )


def _check_likelihood(model: Model | ModelOptions, config: RunConfig) -> None:
    """Raises UserError where bits would be learned as if they were real numbers."""
    reconstruction = getattr(model, "reconstruction", None)
    if reconstruction in ("squared-error", "gaussian"):
        raise UserError(
            f"--binarize {config.binarize} with --reconstruction {reconstruction}: bits "
            "have no squared error; take bernoulli, or leave --binarize out"
        )


def _check_beside(model: Model, dataset: Dataset) -> None:
    """Raises UserError where a condition or weights would not be read."""
    beside = dataset.train_beside
    phases = {phase.name: {each.name for each in phase.inputs} for phase in model.phases}
    read = {name for names in phases.values() for name in names}
    if beside.condition is not None and "condition" not in read:
        raise UserError(
            f"{dataset.name} has a condition, which the model does not read: take "
            "supervised, vae --conditional or gan --conditional, or leave the condition out"
        )
    if beside.weight is None:
        return
    for phase, names in phases.items():
        for prefix in (n.removesuffix("image") for n in names if n.endswith("image")):
            if f"{prefix}weight" not in names:
                raise UserError(
                    f"{dataset.name} has weights, and phase {phase} of the model takes all "
                    "examples alike: take a model with an encoder, nade or pixelcnn, or "
                    "leave the weights out"
                )


def _check_missing(model: Model, dataset: Dataset) -> None:
    """Raises UserError where a model would take values that are missing for numbers."""
    inputs = [(phase.name, each) for phase in model.phases for each in phase.inputs]
    for phase, each in inputs:
        if each.name.endswith("image") and not each.missing:
            raise UserError(
                f"{dataset.name} has missing values, and phase {phase} of the model reads "
                "whole examples: fill them, or take a model with an encoder (by hand, with "
                "Likelihood(missing=True))"
            )
