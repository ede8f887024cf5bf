"""The training of one run: its folder, checkpoints, scores, hooks and signals."""

import contextlib
import reprlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.components.distortions import flipped
from aaejax.data import Dataset, batches
from aaejax.data.lazy import Images, Rows, in_unit_range
from aaejax.data.notes import Tell, listing
from aaejax.metrics.heldout import HeldOut, mixed_order
from aaejax.phases import init_state, train_step
from aaejax.runs import pictures
from aaejax.runs.best import Best, best_metrics, best_score
from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.chunks import Ran, chunk_ends, run_chunks
from aaejax.runs.config import RunConfig
from aaejax.runs.config_json import config_json, decides, model_json, model_name
from aaejax.runs.devices import (
    Chunk,
    check_batch_size,
    feed,
    replicate,
    steps_alone,
    train_chunk,
)
from aaejax.runs.finite import NonFiniteLoss, finite_copy
from aaejax.runs.folder import RunFolder, locked
from aaejax.runs.hooks import Event, Hook, Hooks, Progress
from aaejax.runs.interrupts import Interrupts
from aaejax.runs.memory import check_model
from aaejax.runs.metrics_log import MetricsLog
from aaejax.runs.snapshots import RunPictures
from aaejax.runs.start import changed_rates, first_state, read_start, went_on
from aaejax.types import (
    DataSpec,
    Device,
    Model,
    ModelOptions,
    TrainState,
    UserError,
    Variables,
)


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
      folder: of the run.
      step: steps done.
      steps: of the whole run.
      metrics: the last line of metrics.jsonl.
      stopped_by: what ended it before its last step: the name of a signal, or "stop-early".
      best: the step of the best evaluation; None where there is no score to go by.
    """

    folder: Path
    step: int
    steps: int
    metrics: dict[str, Any]
    stopped_by: str | None = None
    best: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, as of `pandas.DataFrame(result.history)`."""
        return RunFolder(self.folder).history()


def train(
    model: Model | ModelOptions,
    dataset: Dataset,
    config: RunConfig | None = None,
    *,
    devices: list[Device] | None = None,
    tell: Tell = print,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Trains, from the newest checkpoint of the run folder where there is one.

    Args:
      model: built by hand, or the `Options` of one, which is built for these data.
      dataset: to train on.
      config: of the run; by default all its defaults.
      devices: by default all.
      tell: gets lines for the user.
      hooks: watch the run; where one raises, the run ends with a checkpoint.

    Raises:
      UserError: settings, data and run folder that don't fit together; nothing is written.
      NonFiniteLoss: training diverged; of such a state no checkpoint is written.
      OSError: the disk is full or read-only.
    """
    config = RunConfig() if config is None else config
    _check_kinds(model, config)
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
    if config.flip and len(dataset.example_shape) != 3:
        raise UserError(f"--flip: {dataset.name} are vectors, no pictures: leave it out")
    steps = config.epochs * (examples // config.batch_size)
    spec = data_spec(dataset)
    if steps >= 2**31:
        raise UserError(f"{steps:,} steps are too many to count: take fewer --epochs")
    built = model if isinstance(model, Model) else model.build(spec, steps)
    _check_classes(built, dataset)
    like = jax.eval_shape(lambda key: init_state(built, key, config.ema), jax.random.key(0))
    check_model(like, devices, copies=2)  # the one that a step reads, and what it makes
    folder = RunFolder(run_folder(model, dataset, config))
    start = read_start(config, folder, like, tell)
    shown = held_out(dataset)
    arrays = training_arrays(dataset, devices[0], tell)
    if len(spec.shape) == 3:
        pictures.tell_of_channels(spec.shape[2], tell)
    run = _Run(
        config,
        dataset,
        built,
        devices,
        steps,
        folder,
        tell,
        start.variables,
        shown,
        arrays,
    )
    with locked(folder.path), Interrupts() as interrupts:
        written = config_json(config, dataset, spec, model_json(model, built, like))
        if start.record is not None:
            written["from"] = start.record
        saved = folder.prepare(written, config.overwrite, tell)
        images, labels = shown
        folder.write_heldout(images[:256], None if labels is None else labels[:256])
        with Checkpoints(
            folder.checkpoints, config.keep, tell, decides(written)
        ) as checkpoints:
            state = checkpoints.restore_state(like)
            if saved is not None:
                record = went_on(saved, config.epochs, state)
                folder.write_config(written | ({"went_on": record} if record else {}))
                before = saved["run"]["epochs"] * (examples // config.batch_size)
                if state is not None and steps > before:
                    line = changed_rates(model, int(state.step), before, steps)
                    if line is not None:
                        tell(line)
            try:
                return run.loop(state, checkpoints, interrupts, hooks)
            except NonFiniteLoss as error:
                step = checkpoints.newest()
                kept = "there is no checkpoint yet"
                if step is not None:
                    kept = f"the last good checkpoint, of step {step}, is kept"
                raise NonFiniteLoss(
                    f"{error}: {kept}; try a smaller learning rate or a "
                    "--*-optimizer.clip, in another --workdir"
                ) from error


def run_folder(model: Model | ModelOptions, dataset: Dataset, config: RunConfig) -> Path:
    """The folder of a run: that of `config.workdir`, or runs/<model>-<dataset>."""
    if config.workdir is not None:
        return config.workdir
    return Path("runs") / f"{model_name(model) or 'custom'}-{Path(dataset.name).stem}"


def _check_kinds(model: Any, config: Any) -> None:
    """Raises UserError where the arguments of `train` are none of theirs."""
    if isinstance(model, type) or not (isinstance(model, Model) or hasattr(model, "build")):
        raise UserError(
            f"model is {reprlib.repr(model)}: it must be one built by hand or the options "
            'of one, such as aaejax.models.options("aae")()'
        )
    if not isinstance(config, RunConfig):
        raise UserError(f"config is {reprlib.repr(config)}: it must be a RunConfig")


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
    that a part of them is like the whole: a folder's images come class by class. Of data
    that are read as they are needed no more than take 256 MiB, but 256 at least.
    """
    most = 10_000
    if isinstance(dataset.test_images, Rows) and len(dataset.test_images):
        each = dataset.test_images.nbytes // len(dataset.test_images)
        most = min(most, max(256, 2**28 // each))
    order = mixed_order(len(dataset.test_images))[:most]
    labels = dataset.test_labels
    return dataset.test_images[order], None if labels is None else labels[order]


def training_arrays(dataset: Dataset, device: Device, tell: Tell) -> dict[str, Images]:
    """What steps read: "image" [N, ...] and perhaps "label" [N].

    Images that are read as they are needed are read now where they fit.
    """
    arrays: dict[str, Images] = {"image": dataset.train_images}
    if dataset.train_labels is not None:
        arrays["label"] = dataset.train_labels
    images = dataset.train_images
    if isinstance(images, Rows) and batches.fits_on(device, arrays):
        tell(f"reading {len(images):,} examples, {images.nbytes / 2**30:,.1f} GiB")
        arrays["image"] = np.asarray(images)
    return arrays


def data_spec(dataset: Dataset) -> DataSpec:
    """What a model has to know of a dataset."""
    unit = dataset.train_images.dtype == np.uint8 or len(dataset.example_shape) == 3
    if not unit:
        # The test part too: what is scaled by the training part may lie outside.
        parts = [x for x in (dataset.train_images, dataset.test_images) if len(x)]
        unit = all(map(in_unit_range, parts))
    labels = dataset.train_labels
    labelled = 0 if labels is None else int((labels >= 0).sum())
    return DataSpec(dataset.example_shape, dataset.classes, bool(unit), labelled)


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
        taken: Variables,
        shown: tuple[np.ndarray, np.ndarray | None],
        arrays: dict[str, Images],
    ):
        self.config, self.dataset, self.model = config, dataset, model
        self.devices, self.steps, self.folder, self.tell = devices, steps, folder, tell
        self.steps_per_epoch = len(dataset.train_images) // config.batch_size
        self.init_key, self.run_key, heldout_key, picture_key = run_keys(config.seed)
        self.taken = taken
        self.heldout = HeldOut(model, *shown, heldout_key)
        self.best_of = best_metrics(config.best, self.heldout.names, config.stop_early > 0)
        self.best = Best()
        self.pictures = RunPictures(
            model, *shown, dataset.class_names, folder.pictures, picture_key
        )
        self.arrays = arrays
        self.streamed = not batches.fits_on(devices[0], arrays)
        self.every = config.log_every
        if self.streamed:
            read = config.batch_size * len(model.reads)
            self.every = batches.steps_at_once(arrays, read, config.log_every)

    def loop(
        self,
        restored: TrainState | None,
        checkpoints: Checkpoints,
        interrupts: Interrupts,
        hooks: Sequence[Hook],
    ) -> Result:
        first = 0 if restored is None else int(restored.step)
        log = MetricsLog(self.folder.metrics)
        log.resume(first, checkpoints.segments(first), self.tell)
        if restored is not None:
            self.best = checkpoints.best(first)
            self.tell(f"resuming {self.folder.path} at step {first} of {self.steps}")
            if first >= self.steps or self._stops_early():
                at_first = jax.device_put(restored, self.devices[0])
                event = self._evaluated(at_first, {"step": first})
                self.pictures.on_checkpoint(event)
                return self._result(event.metrics, None)
        initial = restored or first_state(
            self.model, self.init_key, self.config.ema, self.taken
        )
        state = replicate(initial, self.devices)
        key = replicate(self.run_key, self.devices)
        ends = chunk_ends(first, self.steps, self.every)
        length = min(self.every, self.steps)
        rows = [partial(self._rows, start, start + length) for start in [first, *ends[:-1]]]
        fed = feed(self.arrays, rows, self.devices, streamed=self.streamed)
        bar = Progress(self.steps, first, self.config.batch_size, self.config.save_every)
        told = Hooks([self.pictures, bar, *hooks])
        line: dict[str, Any] = {"step": first}
        chunk = self._chunk(state, key)
        with contextlib.closing(bar):
            last = first
            for ran in run_chunks(
                chunk, state, key, fed, ends, self.model.phases, bar.resume
            ):
                line = self._line(ran, ran.step - last)
                last = ran.step
                # Read once: a signal between two looks would stop without a checkpoint.
                stopping = interrupts.requested is not None or told.error is not None
                event = Event(ran.step, line, ran.state)
                planned = ran.step == self.steps or ran.step % self.config.save_every == 0
                if stopping or planned:
                    started = time.perf_counter()
                    event = self._commit(ran.state, line, log, checkpoints, told, planned)
                    bar.saved(time.perf_counter() - started)
                else:
                    log.append(log.add(line))
                told.on_log(event)
                if stopping or (planned and self._stops_early()):
                    break
        checkpoints.close()  # so that nobody is told of a checkpoint that is not there
        requested = interrupts.requested
        result = self._result(line, requested.name if requested else None)
        told.on_end(result)
        if told.error is not None:
            raise told.error
        return result

    def _stops_early(self) -> bool:
        return 0 < self.config.stop_early <= self.best.since

    def _result(self, line: dict[str, Any], signal: str | None) -> Result:
        done = line["step"] >= self.steps
        early = "stop-early" if self._stops_early() else signal
        return Result(
            self.folder.path,
            line["step"],
            self.steps,
            line,
            None if done else early,
            self.best.step or None,
        )

    def _line(self, ran: Ran, count: int) -> dict[str, Any]:
        """The line of metrics.jsonl of a chunk of so many steps."""
        rate = count * self.config.batch_size / ran.seconds
        return {
            "step": ran.step,
            "epoch": round(ran.step / self.steps_per_epoch, 4),
            **{name: float(np.mean(values)) for name, values in ran.metrics.items()},
            "images_per_second": round(rate, 1),
        }

    def _chunk(self, state: TrainState, key: jax.Array) -> Chunk:
        make_batch = partial(batches.step_batch, self.model.reads)
        example = jax.eval_shape(
            make_batch,
            {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in self.arrays.items()},
            jax.ShapeDtypeStruct((self.config.batch_size, len(self.model.reads)), np.int32),
        )
        return train_chunk(
            partial(
                train_step,
                self.model.phases,
                ema=self.config.ema,
                augment=flipped if self.config.flip else None,
            ),
            make_batch,
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
        planned: bool,
    ) -> Event:
        """A checkpoint with its scores and line in it; then what follows from it.

        An evaluation that was not planned, as at a signal, does not count for the best: an
        unbroken run has none there.
        """
        host = finite_copy(state)
        event = self._evaluated(jax.device_put(state, self.devices[0]), line)
        self._check_scores(line)
        if planned and self.best_of:
            self.best = self.best.after(line["step"], best_score(line, self.best_of))
        told.on_evaluate(event)
        text = log.add(line)
        checkpoints.save(host, log.segment(), self.best)
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


def run_keys(seed: int | jax.Array) -> jax.Array:
    """The keys of the run of a seed, wherever it is trained: typed keys [4].

    Of the first parameters, of the steps, of the scores and of the pictures.
    """
    return jax.random.split(jax.random.key(seed), 4)
