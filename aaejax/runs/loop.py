"""The loop: chunks of steps, logging, pictures, checkpoints, stopping."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.data import Dataset, batches
from aaejax.data.notes import listing
from aaejax.metrics.heldout import HeldOut, mixed_order
from aaejax.phases import init_state, train_step
from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.config import RunConfig, decides
from aaejax.runs.devices import (
    Chunk,
    check_batch_size,
    feed,
    replicate,
    steps_alone,
    to_host,
    train_chunk,
)
from aaejax.runs.finite import NonFiniteLoss, check_finite, finite_copy
from aaejax.runs.folder import RunFolder, locked
from aaejax.runs.hooks import Event, Hook, Hooks, Progress
from aaejax.runs.interrupts import Interrupts
from aaejax.runs.memory import check_model
from aaejax.runs.metrics_log import MetricsLog
from aaejax.runs.snapshots import RunPictures
from aaejax.types import (
    DataSpec,
    Device,
    Model,
    TrainState,
    UserError,
)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    step: int  # steps done
    steps: int  # steps of the whole run
    metrics: dict[str, Any]  # the last line of metrics.jsonl
    stopped_by: str | None = None  # the signal that ended it early

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, as of `pandas.DataFrame(result.history)`."""
        return RunFolder(self.folder).history()


def train(
    config: RunConfig,
    dataset: Dataset,
    model: Model | None = None,
    devices: list[Device] | None = None,
    tell: Tell = print,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Trains, from the newest checkpoint of the run folder where there is one.

    Args:
      config: of the run.
      dataset: to train on.
      model: by default the one that `config.model` builds.
      devices: by default all.
      tell: gets lines for the user.
      hooks: watch the run; where one raises, the run ends with a checkpoint.

    Raises:
      UserError: settings, data and run folder that don't fit together; nothing is written.
      NonFiniteLoss: training diverged; of such a state no checkpoint is written.
      OSError: the disk is full or read-only.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"this is process {jax.process_index()} of {jax.process_count()}: a run has "
            "one process; start it without jax.distributed"
        )
    devices = devices or jax.local_devices()
    if config.labels is not None:
        dataset = dataset.keep_labels(config.labels, config.seed)
    examples = len(dataset.train_images)
    if config.batch_size > examples:
        raise UserError(
            f"a batch of {config.batch_size} is larger than the training set of "
            f"{examples}: take a --batch-size of at most {examples}"
        )
    check_batch_size(config.batch_size, devices)
    steps_per_epoch = examples // config.batch_size
    steps = config.epochs * steps_per_epoch
    spec = data_spec(dataset)
    if steps >= 2**31:
        raise UserError(f"{steps:,} steps are too many to count: take fewer --epochs")
    built: Model = model or config.model.build(spec, steps)
    _check_classes(built, dataset)
    state = jax.eval_shape(
        lambda key: init_state(built, key, config.ema), jax.random.key(0)
    )
    check_model(state, devices, copies=2)  # the one that a step reads, and what it makes
    with locked(config.folder) as folder, Interrupts() as interrupts:
        written = _config_json(config, dataset, spec, custom_model=model is not None)
        folder.prepare(written, config.overwrite, tell)
        images, labels = held_out(dataset)
        folder.write_heldout(images[:256], None if labels is None else labels[:256])
        with Checkpoints(
            folder.checkpoints, config.keep, tell, decides(written)
        ) as checkpoints:
            run = _Run(config, dataset, built, devices, steps, folder, tell)
            try:
                return run.loop(checkpoints, interrupts, hooks)
            except NonFiniteLoss as error:
                step = checkpoints.newest()
                kept = "there is no checkpoint yet"
                if step is not None:
                    kept = f"the last good checkpoint, of step {step}, is kept"
                raise NonFiniteLoss(
                    f"{error}: {kept}; try a smaller learning rate or a "
                    "--*-optimizer.clip, in another --workdir"
                ) from error


def _check_classes(model: Model, dataset: Dataset) -> None:
    """Raises UserError where a model that reads labels would never see one of a class."""
    reads_labels = any(each.classes for phase in model.phases for each in phase.inputs)
    unseen = dataset.unseen_classes()
    if reads_labels and unseen:
        raise UserError(
            f"{dataset.name}: no training example has the class {listing(unseen)}, and "
            "the model learns from labels: add such examples, or leave that class out"
        )


def held_out(dataset: Dataset) -> tuple[np.ndarray, np.ndarray | None]:
    """Held-out examples, [N, ...], and their labels: at most 10,000, of all classes.

    In an order that is always the same and has nothing to do with that of the data, so
    that a part of them is like the whole: a folder's images come class by class.
    """
    order = mixed_order(len(dataset.test_images))[:10_000]
    labels = dataset.test_labels
    return dataset.test_images[order], None if labels is None else labels[order]


def data_spec(dataset: Dataset) -> DataSpec:
    """What a model has to know of a dataset."""
    unit = dataset.train_images.dtype == np.uint8 or len(dataset.example_shape) == 3
    if not unit:
        # The test part too: what is scaled by the training part may lie outside.
        parts = [x for x in (dataset.train_images, dataset.test_images) if len(x)]
        unit = all(x.min() >= 0 and x.max() <= 1 for x in parts)
    labels = dataset.train_labels
    labelled = 0 if labels is None else int((labels >= 0).sum())
    return DataSpec(dataset.example_shape, dataset.classes, bool(unit), labelled)


def _config_json(
    config: RunConfig, dataset: Dataset, spec: DataSpec, custom_model: bool
) -> dict[str, Any]:
    whole = config.to_json()
    if custom_model:  # config.model built nothing
        whole = {"format": whole["format"], "custom_model": True, "run": whole["run"]}
    path = Path(config.dataset).expanduser()
    if dataset.name not in (config.dataset, path.name, path.resolve().name):
        # It was passed from Python.
        whole["run"]["dataset"] = dataset.name
    return {
        **whole,
        "data": {
            "name": dataset.name,
            **dataclasses.asdict(spec),
            "class_names": list(dataset.class_names),
            "train": len(dataset.train_images),
            "test": len(dataset.test_images),
            "fingerprint": dataset.fingerprint,
        },
        "where": {"data_dir": str(config.data_dir), "jax": jax.__version__},
    }


class _Run:
    """One process's share of a run, from the newest checkpoint to the end or a signal."""

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        model: Model,
        devices: list[Device],
        steps: int,
        folder: RunFolder,
        tell: Tell,
    ):
        self.config, self.dataset, self.model = config, dataset, model
        self.devices, self.steps, self.folder, self.tell = devices, steps, folder, tell
        self.steps_per_epoch = len(dataset.train_images) // config.batch_size
        init_key, self.run_key, heldout_key, picture_key = jax.random.split(
            jax.random.key(config.seed), 4
        )
        self.initial = jax.jit(lambda key: init_state(model, key, config.ema))(init_key)
        shown = held_out(dataset)
        self.heldout = HeldOut(model, *shown, heldout_key)
        self.pictures = RunPictures(
            model, *shown, dataset.class_names, folder.pictures, picture_key
        )
        self.arrays = {"image": dataset.train_images}
        if dataset.train_labels is not None:
            self.arrays["label"] = dataset.train_labels
        self.streamed = not batches.fits_on(devices[0], self.arrays)

    def loop(
        self, checkpoints: Checkpoints, interrupts: Interrupts, hooks: Sequence[Hook]
    ) -> Result:
        restored = checkpoints.restore_state(self.initial)
        first = 0 if restored is None else int(restored.step)
        log = MetricsLog(self.folder.metrics)
        log.resume(first, checkpoints.segments(first), self.tell)
        line: dict[str, Any] = {"step": first}
        if first:
            self.tell(f"resuming {self.folder.path} at step {first} of {self.steps}")
        if first >= self.steps:
            at_first = jax.device_put(restored, self.devices[0])
            self.pictures.on_checkpoint(self._evaluated(at_first, line))
            return Result(self.folder.path, first, self.steps, line)
        state = replicate(restored or self.initial, self.devices)
        key = replicate(self.run_key, self.devices)
        chunk = self._chunk(state, key)
        starts = range(first, self.steps, self.config.log_every)
        stops = [*starts[1:], self.steps]
        indices = [partial(self._rows, *ends) for ends in zip(starts, stops, strict=True)]
        fed = feed(self.arrays, indices, self.devices, streamed=self.streamed)
        bar = Progress(self.steps, first, self.config.batch_size, self.config.save_every)
        told = Hooks([self.pictures, bar, *hooks])
        with contextlib.closing(bar):
            started = time.perf_counter()
            for stop, (data, rows) in zip(stops, fed, strict=True):
                number = stop - len(rows)
                seconds = time.perf_counter() - started  # that data took to come
                chunk.compile(state, data, rows, key)
                bar.resume()
                started = time.perf_counter()
                state, metrics = chunk(state, data, rows, key)
                jax.block_until_ready(metrics)
                seconds += time.perf_counter() - started
                host = in_phase_order(self.model, to_host(metrics))
                check_finite(host, number)
                line = {
                    "step": stop,
                    "epoch": round(stop / self.steps_per_epoch, 4),
                    **{name: float(np.mean(values)) for name, values in host.items()},
                    "images_per_second": round(
                        len(rows) * self.config.batch_size / seconds, 1
                    ),
                }
                # Read once: a signal between two looks would stop without a checkpoint.
                stopping = interrupts.requested is not None or told.error is not None
                event = Event(stop, line, state)
                if stopping or stop == self.steps or stop % self.config.save_every == 0:
                    started = time.perf_counter()
                    event = self._commit(state, line, log, checkpoints, told)
                    bar.saved(time.perf_counter() - started)
                else:
                    log.append(log.add(line))
                told.on_log(event)
                if stopping:
                    break
                started = time.perf_counter()
        checkpoints.close()  # so that nobody is told of a checkpoint that is not there
        stopped = interrupts.requested if line["step"] < self.steps else None
        result = Result(
            self.folder.path,
            line["step"],
            self.steps,
            line,
            stopped.name if stopped else None,
        )
        told.on_end(result)
        if told.error is not None:
            raise told.error
        return result

    def _chunk(self, state: TrainState, key: jax.Array) -> Chunk:
        prepare = partial(batches.step_batch, self.model.reads)
        example = jax.eval_shape(
            lambda data, rows: prepare({name: data[name][rows] for name in data}),
            self.arrays,
            jax.ShapeDtypeStruct((self.config.batch_size, len(self.model.reads)), np.int32),
        )
        return train_chunk(
            partial(train_step, self.model.phases, ema=self.config.ema),
            prepare,
            self.devices,
            one_by_one=steps_alone(
                train_step(self.model.phases), self.devices, state, example, key
            ),
            streamed=self.streamed,
        )

    def _rows(self, start: int, stop: int) -> np.ndarray:
        """The examples of these steps: int32 [steps, B, R], of R batches at each step."""
        return batches.step_rows(
            self.model.reads,
            self.config.seed,
            start,
            stop,
            self.arrays,
            self.config.batch_size,
        )

    def _commit(
        self,
        state: TrainState,
        line: dict[str, Any],
        log: MetricsLog,
        checkpoints: Checkpoints,
        told: Hooks,
    ) -> Event:
        """A checkpoint with its scores and line in it; then what follows from it."""
        host = finite_copy(state)
        event = self._evaluated(jax.device_put(state, self.devices[0]), line)
        self._check_scores(line)
        told.on_evaluate(event)
        text = log.add(line)
        checkpoints.save(host, log.segment())
        log.append(text)
        told.on_checkpoint(event)
        return event

    def _check_scores(self, line: dict[str, Any]) -> None:
        """Raises NonFiniteLoss for a finite state that gives nothing finite any more."""
        encodes = self.model.encodes
        name = "heldout/reconstruction" if encodes else "heldout/sample_mmd"
        can_be_had = len(self.dataset.test_images) >= (1 if encodes else 2)
        if can_be_had and not np.isfinite(line.get(name, np.nan)):
            raise NonFiniteLoss(f"{name} is not finite after step {line['step']}")

    def _evaluated(self, state: TrainState, line: dict[str, Any]) -> Event:
        """Adds held-out scores to a line; the state is on one device."""
        scores, plane = self.heldout(state.variables)
        line |= scores
        return Event(line["step"], line, state, plane)


def in_phase_order(model: Model, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics in the order of their phases, which jit sorts by name."""
    names = [phase.name for phase in model.phases]
    return dict(sorted(metrics.items(), key=lambda m: names.index(m[0].split("/")[0])))
