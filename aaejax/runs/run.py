"""From a state to the last step of a run or a signal: chunk after chunk, on all hosts."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from aaejax.components.distortions import binarized, flipped
from aaejax.data import batches
from aaejax.data.lazy import Images
from aaejax.phases import init_state, train_step
from aaejax.runs.chunks import chunk_ends, run_chunks
from aaejax.runs.config import RunConfig
from aaejax.runs.devices import (
    Chunk,
    feed,
    from_first,
    replicate,
    steps_alone,
    train_chunk,
)
from aaejax.runs.examples import Examples
from aaejax.runs.hosts.agreement import Hosts
from aaejax.runs.hosts.shares import Shares
from aaejax.runs.interrupts import Interrupts
from aaejax.runs.record import Recorder, Result
from aaejax.runs.start import first_state
from aaejax.types import Batch, Device, Draw, Key, Model, TrainState, Variables


class Run:
    """One process's share of a run, from the newest checkpoint to the end or a signal."""

    def __init__(
        self,
        config: RunConfig,
        model: Model,
        devices: list[Device],
        examples: Examples,
        steps: int,
        hosts: Hosts,
        shares: Shares,
    ):
        self.config, self.model, self.devices, self.steps = config, model, devices, steps
        self.arrays, self.streamed = examples.arrays, examples.streamed
        self.hosts, self.shares = hosts, shares
        self.steps_per_epoch = shares.steps_per_epoch(config.batch_size)
        self.init_key, self.run_key, *_ = run_keys(config.seed)
        self.every = config.log_every
        if self.streamed:
            read = config.batch_size * len(model.reads)
            self.every = batches.steps_at_once(self.arrays, read, config.log_every)

    def loop(
        self,
        restored: TrainState | None,
        taken: Variables,
        record: Recorder,
        interrupts: Interrupts,
    ) -> Result:
        """Trains to the end, from a restored state or networks taken from another run.

        Args:
          restored: The state of the newest checkpoint, on the host; None where there is
            none. What other hosts than the first give has the right shapes alone.
          taken: The networks of another run, by name.
          record: The recorder, which keeps what comes of the run, on the first host.
          interrupts: The signals, which ask to stop.
        """
        first = 0 if restored is None else int(restored.step)
        first, over = self.hosts.agree([first, record.resume(restored)])[0]
        if over:
            return record.again(restored, first)
        initial = restored or first_state(self.model, self.init_key, self.config.ema, taken)
        initial = from_first(initial, self.devices, self.hosts)
        state = replicate(initial, self.devices)
        key = replicate(self.run_key, self.devices)
        ends = chunk_ends(first, self.steps, self.every)
        length, log_every = min(self.every, self.steps), self.config.log_every
        rows = [partial(self._rows, start, start + length) for start in [first, *ends[:-1]]]
        fed = feed(self.arrays, rows, self.devices, streamed=self.streamed)
        chunk = self._chunk(state, key)
        line: dict[str, Any] = {"step": first}
        stopping, early, since = None, False, list[tuple[dict[str, np.ndarray], float]]()
        with contextlib.closing(record):
            for ran in run_chunks(
                chunk,
                state,
                key,
                fed=fed,
                ends=ends,
                phases=self.model.phases,
                compiled=record.started,
                ready=partial(self.hosts.agree, None),
            ):
                record.ran(ran.step)
                since.append((ran.metrics, ran.seconds))
                # Asked once, of all hosts: a signal may reach one of them alone, and one
                # between two looks would stop without a checkpoint.
                asked = self.hosts.agree(interrupts.name or record.failed)
                stopping = next(filter(None, asked), None)
                # A chunk of streamed data may be less than what a line is of.
                if not stopping and ran.step != self.steps and ran.step % log_every:
                    continue
                line = self._line(since, ran.step, ran.step - first)
                first, since = ran.step, []
                planned = ran.step == self.steps or ran.step % self.config.save_every == 0
                record.add(
                    line, ran.state, commit=bool(stopping or planned), planned=planned
                )
                # The others wait: what host 0 does now may take long.
                early = self.hosts.agree(record.stops_early)[0]
                if stopping or (planned and early):
                    break
        return record.ended(line, stopping or ("stop-early" if early else None))

    def _line(
        self, chunks: list[tuple[dict[str, np.ndarray], float]], step: int, count: int
    ) -> dict[str, Any]:
        """The line of metrics.jsonl of the chunks before a step, of so many steps in all.

        Of each chunk the metrics of its steps and the seconds that it took.
        """
        each, seconds = zip(*chunks, strict=True)
        rate = count * self.config.batch_size / sum(seconds)
        metrics = {name: np.concatenate([m[name] for m in each]) for name in each[0]}
        return {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 4),
            **{name: float(np.mean(values)) for name, values in metrics.items()},
            "images_per_second": round(rate, 1),
        }

    def _chunk(self, state: TrainState, key: Key) -> Chunk:
        example = batch_shapes(self.model, self.arrays, self.config.batch_size)
        return train_chunk(
            partial(
                train_step,
                self.model.phases,
                ema=self.config.ema,
                augment=augmentation(self.config),
            ),
            partial(batches.step_batch, self.model.reads),
            self.devices,
            one_by_one=steps_alone(self.model.phases, self.devices, state, example, key),
            streamed=self.streamed,
            parallel=self.config.parallel,
        )

    def _rows(self, start: int, stop: int) -> np.ndarray:
        """The examples of these steps: int32 [steps, B, R], of R batches at each step.

        Where each host has its own data, the block of each host has the row numbers of this
        one's, for which alone they are looked up.
        """
        shares = len(self.shares.examples)
        rows = batches.step_rows(
            self.model.reads,
            self.config.seed,
            start,
            stop,
            self.arrays,
            self.config.batch_size // shares,
            self.shares.index,
        )
        return np.tile(rows, (1, shares, 1))


def augmentation(config: RunConfig) -> Callable[[Batch, Draw], Batch] | None:
    """The function that draws parts of a batch anew at each step; None for none."""
    changes = [flipped] * config.flip + [binarized] * (config.binarize == "dynamic")
    if not changes:
        return None

    def augment(batch: Batch, draw: Draw) -> Batch:
        for change in changes:
            batch = change(batch, draw)
        return batch

    return augment


def batch_shapes(
    model: Model, arrays: Mapping[str, Images], batch_size: int
) -> dict[str, Any]:
    """The shapes and dtypes of the batch that a step reads of arrays [N, ...]."""
    return jax.eval_shape(
        partial(batches.step_batch, model.reads),
        {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()},
        jax.ShapeDtypeStruct((batch_size, len(model.reads)), np.int32),
    )


def seed_start(
    seed: int | jax.Array, model: Model, ema: float = 0.0
) -> tuple[TrainState, Key]:
    """The state before the first step of the run of a seed, and the key of its steps."""
    init_key, run_key, *_ = run_keys(seed)
    return init_state(model, init_key, ema), run_key


def run_keys(seed: int | jax.Array) -> jax.Array:
    """The keys of the run of a seed, wherever it is trained: typed keys [4].

    They are those of the first parameters, the steps, the scores and the pictures.
    """
    return jax.random.split(jax.random.key(seed), 4)
