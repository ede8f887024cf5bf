"""The loop that all trainings run: one chunk of steps after the other.

`runs/run.py` runs it for one run with a folder, `runs/seeds.py` for several seeds at once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from aaejax.runs.devices import to_host
from aaejax.runs.finite import check_finite
from aaejax.types import Key, Phase, TrainState


class Program(Protocol):
    """A program of many steps, such as `devices.Chunk`."""

    def compile(self, state: TrainState, data: Any, rows: np.ndarray, key: Key, /) -> None:
        """Compiles the program, so that calls take no longer than their steps."""
        ...

    def __call__(
        self, state: TrainState, data: Any, rows: np.ndarray, key: Key, count: int, /
    ) -> tuple[TrainState, dict[str, Any]]:
        """Runs the first `count` of the steps; donates the state."""
        ...


@dataclass(frozen=True)
class Ran:
    """The results of one chunk: the steps done, the state, and each step's metrics.

    Attributes:
      step: The number of steps done since the start of the run.
      state: The state, on the devices.
      metrics: The metrics by name, in the order of the phases: float32 [steps], or
        [steps, seeds].
      seconds: The seconds that the chunk took, with the waiting for its data, without
        compiling.
    """

    step: int
    state: TrainState
    metrics: dict[str, np.ndarray] = field(repr=False)
    seconds: float


def chunk_ends(first: int, steps: int, every: int) -> list[int]:
    """The steps where chunks after step `first` end: multiples of `every`, and the last."""
    return [*range(first - first % every + every, steps, every), steps]


def run_chunks(
    program: Program,
    state: TrainState,
    key: Key,
    *,
    fed: Iterable[tuple[Any, np.ndarray]],
    ends: Sequence[int],
    phases: Sequence[Phase],
    compiled: Callable[[], None] = lambda: None,
    ready: Callable[[], object] = lambda: None,
) -> Iterator[Ran]:
    """Runs chunk after chunk, for as long as it is asked for the next.

    Args:
      program: A program of many steps in few dispatches.
      state: The state before the first chunk, on the devices; it is donated.
      key: The key of the run.
      fed: The data and rows for each chunk, as of `devices.feed`. All have as many rows, so
        that one program serves them; a shorter chunk runs the first of them.
      ends: The steps at which the chunks end, as of `chunk_ends`.
      phases: The phases of the model, in order.
      compiled: A function that is called before each chunk is timed.
      ready: A function that is called when a chunk could begin, and returns when it may: it
        waits for other hosts.

    Raises:
      NonFiniteLoss: A loss or a gradient became NaN or infinite.
    """
    first = int(state.step)
    started = time.perf_counter()
    for end, (data, rows) in zip(ends, fed, strict=True):
        seconds = time.perf_counter() - started  # that data took to come
        program.compile(state, data, rows, key)
        compiled()
        ready()  # which may wait for the compilers of other hosts
        started = time.perf_counter()
        state, metrics = program(state, data, rows, key, end - first)
        jax.block_until_ready(metrics)
        seconds += time.perf_counter() - started
        host = _in_phase_order(phases, to_host(metrics))
        host = {name: values[: end - first] for name, values in host.items()}
        check_finite(host, first)
        first = end
        yield Ran(end, state, host, seconds)
        started = time.perf_counter()


def _in_phase_order(
    phases: Sequence[Phase], metrics: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Metrics in the order of their phases, which jit sorts by name."""
    names = [phase.name for phase in phases]
    return dict(sorted(metrics.items(), key=lambda m: names.index(m[0].split("/")[0])))
