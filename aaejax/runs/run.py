"""From a state to the last step of a run or a signal: lines, scores, checkpoints, hooks."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.components.distortions import binarized, flipped
from aaejax.data import batches
from aaejax.data.notes import Tell
from aaejax.metrics.heldout import HeldOut
from aaejax.phases import train_step
from aaejax.runs.best import Best, best_metrics, best_score
from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.chunks import Ran, chunk_ends, run_chunks
from aaejax.runs.config import RunConfig
from aaejax.runs.devices import Chunk, feed, replicate, steps_alone, train_chunk
from aaejax.runs.examples import Examples
from aaejax.runs.finite import NonFiniteLoss, finite_copy
from aaejax.runs.folder import RunFolder
from aaejax.runs.hooks import Event, Hook, Hooks, Progress
from aaejax.runs.interrupts import Interrupts
from aaejax.runs.metrics_log import MetricsLog
from aaejax.runs.snapshots import RunPictures
from aaejax.runs.start import first_state
from aaejax.types import Batch, Device, Draw, Model, TrainState, Variables


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


class Run:
    """One process's share of a run, from the newest checkpoint to the end or a signal."""

    def __init__(
        self,
        config: RunConfig,
        model: Model,
        devices: list[Device],
        examples: Examples,
        steps: int,
        folder: RunFolder,
        tell: Tell,
    ):
        self.config, self.model, self.devices, self.steps = config, model, devices, steps
        self.arrays, self.streamed = examples.arrays, examples.streamed
        self.folder, self.tell = folder, tell
        self.steps_per_epoch = len(self.arrays["image"]) // config.batch_size
        self.init_key, self.run_key, heldout_key, picture_key = run_keys(config.seed)
        self.heldout = HeldOut(model, *examples.shown, heldout_key)
        # Of a finite state: how well it reconstructs, or what it samples. Two are needed.
        needed = 1 if model.encodes else 2
        if len(examples.shown[0]) < needed:
            self.needed_score = None
        else:
            self.needed_score = (
                "heldout/reconstruction" if model.encodes else "heldout/sample_mmd"
            )
        self.best_of = best_metrics(config.best, self.heldout.names, config.stop_early > 0)
        self.best = Best()
        self.pictures = RunPictures(
            model, *examples.shown, examples.class_names, folder, picture_key
        )
        self.every = config.log_every
        if self.streamed:
            read = config.batch_size * len(model.reads)
            self.every = batches.steps_at_once(self.arrays, read, config.log_every)

    def loop(
        self,
        restored: TrainState | None,
        taken: Variables,
        checkpoints: Checkpoints,
        interrupts: Interrupts,
        hooks: Sequence[Hook],
    ) -> Result:
        """Trains to the end, from a restored state or networks taken from another run."""
        first = 0 if restored is None else int(restored.step)
        log = MetricsLog(self.folder.metrics)
        log.resume(first, checkpoints.segments(first), self.tell)
        if restored is not None:
            self.best = checkpoints.best(first)
            self.tell(f"resuming {self.folder.path} at step {first} of {self.steps}")
            if first >= self.steps or self._stops_early():
                at_first = jax.device_put(restored, self.devices[0])
                last = self.folder.history()[-1:]
                event = self._evaluated(
                    at_first, {"step": first, **(last[0] if last else {})}
                )
                told = Hooks([self.pictures, *hooks])
                told.on_evaluate(event)
                self.pictures.on_checkpoint(event)
                return self._ended(told, self._result(event.metrics, None))
        initial = restored or first_state(self.model, self.init_key, self.config.ema, taken)
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
                chunk,
                state,
                key,
                fed=fed,
                ends=ends,
                phases=self.model.phases,
                compiled=bar.resume,
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
        return self._ended(told, self._result(line, requested.name if requested else None))

    def _ended(self, told: Hooks, result: Result) -> Result:
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
                augment=augmentation(self.config),
            ),
            make_batch,
            self.devices,
            one_by_one=steps_alone(self.model.phases, self.devices, state, example, key),
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
        name = self.needed_score
        if name is not None and not np.isfinite(line.get(name, np.nan)):
            raise NonFiniteLoss(f"{name} is not finite after step {line['step']}")

    def _evaluated(self, state: TrainState, line: dict[str, Any]) -> Event:
        """Adds held-out scores to a line; the state is on one device."""
        scores, plane = self.heldout(state.variables)
        line |= scores
        return Event(line["step"], line, state, plane)


def augmentation(config: RunConfig) -> Callable[[Batch, Draw], Batch] | None:
    """What is drawn anew of a batch at each step; None for nothing."""
    changes = [flipped] * config.flip + [binarized] * (config.binarize == "dynamic")
    if not changes:
        return None

    def augment(batch: Batch, draw: Draw) -> Batch:
        for change in changes:
            batch = change(batch, draw)
        return batch

    return augment


def run_keys(seed: int | jax.Array) -> jax.Array:
    """The keys of the run of a seed, wherever it is trained: typed keys [4].

    Of the first parameters, of the steps, of the scores and of the pictures.
    """
    return jax.random.split(jax.random.key(seed), 4)
