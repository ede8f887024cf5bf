"""The loop: chunks of steps, logging, pictures, checkpoints, stopping."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from aaejax.data import Dataset, batches
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


def train(
    config: RunConfig,
    dataset: Dataset,
    model: Model | None = None,
    devices: list[Device] | None = None,
    tell: Tell = print,
) -> Result:
    """Trains, from the newest checkpoint of the run folder where there is one.

    Args:
      config: of the run.
      dataset: to train on.
      model: by default the one that `config.model` builds.
      devices: by default all.
      tell: gets lines for the user.

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
                return run.loop(checkpoints, interrupts)
            except NonFiniteLoss as error:
                kept = checkpoints.newest()
                raise NonFiniteLoss(
                    f"{error}: "
                    + (
                        "there is no checkpoint yet"
                        if kept is None
                        else f"the last good checkpoint, of step {kept}, is kept"
                    )
                    + "; try a smaller learning rate or a --*-optimizer.clip, in another "
                    "--workdir"
                ) from error


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
    unit = dataset.train_images.dtype == np.uint8 or (
        len(dataset.example_shape) == 3
        or (dataset.train_images.min() >= 0 and dataset.train_images.max() <= 1)
    )
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

    def loop(self, checkpoints: Checkpoints, interrupts: Interrupts) -> Result:
        restored = checkpoints.restore_state(self.initial)
        first = 0 if restored is None else int(restored.step)
        log = MetricsLog(self.folder.metrics)
        log.resume(first, checkpoints.segments(first), self.tell)
        line: dict[str, Any] = {"step": first}
        if first:
            self.tell(f"resuming {self.folder.path} at step {first} of {self.steps}")
        if first >= self.steps:
            networks = jax.device_put(restored.variables, self.devices[0])  # type: ignore
            scores, codes = self.heldout(networks)
            self.pictures(networks, codes)
            line |= scores
            return Result(self.folder.path, first, self.steps, line)
        state = replicate(restored or self.initial, self.devices)
        key = replicate(self.run_key, self.devices)
        chunk = self._chunk(state, key)
        starts = range(first, self.steps, self.config.log_every)
        stops = [*starts[1:], self.steps]
        indices = [partial(self._rows, *ends) for ends in zip(starts, stops, strict=True)]
        fed = feed(self.arrays, indices, self.devices, streamed=self.streamed)
        bar = Progress(self.steps, first, self.config.batch_size, self.config.save_every)
        with bar:
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
                stopping = interrupts.requested is not None
                if stopping or stop == self.steps or stop % self.config.save_every == 0:
                    started = time.perf_counter()
                    self._commit(state, line, log, checkpoints)
                    bar.saved(time.perf_counter() - started)
                else:
                    log.append(log.add(line))
                bar.show(line)
                if stopping:
                    break
                started = time.perf_counter()
        checkpoints.close()  # so that nobody is told of a checkpoint that is not there
        stopped = interrupts.requested if line["step"] < self.steps else None
        return Result(
            self.folder.path,
            line["step"],
            self.steps,
            line,
            stopped.name if stopped else None,
        )

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
    ) -> None:
        """A checkpoint with its scores and line in it; then what follows from it."""
        host = finite_copy(state)
        networks = jax.device_put(state.variables, self.devices[0])
        scores, codes = self.heldout(networks)
        line |= scores
        text = log.add(line)
        checkpoints.save(host, log.segment())
        log.append(text)
        self.pictures(networks, codes)


def in_phase_order(model: Model, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics in the order of their phases, which jit sorts by name."""
    names = [phase.name for phase in model.phases]
    return dict(sorted(metrics.items(), key=lambda m: names.index(m[0].split("/")[0])))


class Progress:
    """A progress bar on a terminal, plain lines in a pipe."""

    def __init__(self, steps: int, first: int, batch_size: int, save_every: int):
        self._steps, self._first, self._save_every = steps, first, save_every
        self._batch_size, self._shown = batch_size, first
        self._trained, self._to_save = 0.0, math.inf  # seconds
        self._bar = tqdm(
            total=steps, initial=first, unit="step", disable=not sys.stderr.isatty()
        )
        self._bar.set_postfix_str("compiling")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def resume(self) -> None:
        """Leaves the time since the last line, a compiler's, out of the bar's rate."""
        self._bar.unpause()

    def saved(self, seconds: float) -> None:
        """Learns how long a checkpoint and its evaluation take; the first compiles too."""
        self._to_save = min(self._to_save, seconds)

    def show(self, line: dict[str, Any]) -> None:
        """Shows one line of metrics.jsonl."""
        losses = "  ".join(
            f"{name.removesuffix('/loss')} {value:.4g}"
            for name, value in line.items()
            if name.endswith("/loss")
        )
        rate = line["images_per_second"]
        self._trained += (line["step"] - self._shown) * self._batch_size / rate
        self._shown = line["step"]
        text = f"epoch {line['epoch']:.4g}  {losses}  {rate:,.0f} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(line["step"] - self._bar.n)
        if self._bar.disable:
            left = self._left()
            print(
                f"step {line['step']}/{self._steps}  {text}  {left:.0f} s left", flush=True
            )

    def _left(self) -> float:
        """Seconds to the end, from what steps and checkpoints have taken so far."""
        left, done = self._steps - self._shown, self._shown - self._first
        if not left:
            return 0.0
        saves = -(-self._steps // self._save_every) - self._shown // self._save_every
        saving = saves * self._to_save if math.isfinite(self._to_save) else 0.0
        return left * self._trained / done + saving
