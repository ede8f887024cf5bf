"""Which examples each step sees, and how they get to the devices.

The order is a permutation keyed by (seed, epoch): the step alone says which examples come
next, so a resumed run needs no other state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aaejax.components.pixels import to_unit
from aaejax.types import LABELLED, Array, Device


def batch_indices(
    seed: int, start: int, stop: int, examples: int, batch_size: int, stream: int = 0
) -> np.ndarray:
    """The examples of steps `start` ... `stop - 1`.

    Every epoch is a new permutation; what doesn't fill a batch at its end is left out.
    Each stream has an order of its own.

    Returns:
      int32 [stop - start, batch_size].
    """
    steps_per_epoch = examples // batch_size
    rows = []
    for epoch in range(start // steps_per_epoch, -(-stop // steps_per_epoch)):
        order = np.random.default_rng([seed, epoch, 2 * stream]).permutation(examples)
        order = order[: steps_per_epoch * batch_size].reshape(-1, batch_size)
        first = epoch * steps_per_epoch
        rows.append(order[max(start - first, 0) : max(stop - first, 0)])
    return np.concatenate(rows).astype(np.int32)


def labelled_indices(
    seed: int, start: int, stop: int, labelled: np.ndarray, batch_size: int
) -> np.ndarray:
    """The labelled examples of steps `start` ... `stop - 1`.

    They come round in a new order each time; there may be fewer of them than a batch has.

    Args:
      seed: of the order.
      start: first step.
      stop: last step + 1.
      labelled: int [N], where in the data they are.
      batch_size: B.

    Returns:
      int32 [stop - start, B].
    """
    first, last, n = start * batch_size, stop * batch_size, len(labelled)
    rounds = range(first // n, -(-last // n))
    # 1: not the order of any stream of `batch_indices`.
    orders = [np.random.default_rng([seed, r, 1]).permutation(labelled) for r in rounds]
    skipped = first - rounds[0] * n
    rows = np.concatenate(orders)[skipped : skipped + last - first]
    return rows.reshape(-1, batch_size).astype(np.int32)


def step_rows(
    reads: Sequence[str],
    seed: int,
    start: int,
    stop: int,
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
) -> np.ndarray:
    """All examples that steps `start` ... `stop - 1` see, of each batch that a step reads.

    Args:
      reads: `Model.reads`, R prefixes.
      seed: of the order.
      start: first step.
      stop: last step + 1.
      arrays: "image" [N, ...] and perhaps "label" [N].
      batch_size: B.

    Returns:
      int32 [stop - start, B, R].
    """
    rows = []
    for stream, prefix in enumerate(reads):
        if prefix == LABELLED:
            labelled = np.flatnonzero(arrays["label"] >= 0)
            rows.append(labelled_indices(seed, start, stop, labelled, batch_size))
        else:
            examples = len(arrays["image"])
            rows.append(batch_indices(seed, start, stop, examples, batch_size, stream))
    return np.stack(rows, axis=2)


def step_batch(
    reads: Sequence[str], data: Mapping[str, Array], rows: Array
) -> dict[str, Array]:
    """The batch of a step: the rows [B, R] of `step_rows`, of arrays [N, ...] under the
    prefixes.
    """
    gathered = {name: values[rows] for name, values in data.items()}
    gathered["image"] = to_unit(gathered["image"])
    return {
        f"{prefix}{name}": values[:, number]
        for number, prefix in enumerate(reads)
        for name, values in gathered.items()
    }


def fits_on(device: Device, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays take at most half of the device's memory (on a CPU: 4 GiB)."""
    stats = device.memory_stats() or {}
    room = stats.get("bytes_limit", 8 * 2**30) // 2
    return sum(values.nbytes for values in arrays.values()) <= room


class _Chunks:
    """Chunk number -> its examples and where they are, as of `stream`, for Grain."""

    def __init__(self, arrays: dict[str, np.ndarray], indices: Sequence[Any], devices: int):
        self._arrays, self._indices, self._devices = arrays, indices, devices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        indices = self._indices[number]()
        rows = indices.reshape(len(indices), self._devices, -1).swapaxes(0, 1)
        rows = rows.reshape(self._devices, -1)
        examples = {name: values[rows] for name, values in self._arrays.items()}
        return examples, _local_rows(indices.shape, self._devices)


def stream(
    arrays: dict[str, np.ndarray], indices: Sequence[Any], devices: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Chunks of examples gathered on the host, ahead of time, by Grain's threads.

    Args:
      arrays: [N, ...] each; memory-mapped ones are read as needed.
      indices: for each chunk a function that gives its int32 [steps, B, ...].
      devices: to split each batch over.

    Yields:
      For each chunk [devices, steps * B / devices, ...] of every array, and where on its
      device each example is: int32 [steps, B, ...], as the indices.
    """
    import grain  # takes over a second: only those who stream pay for it

    source: Any = _Chunks(arrays, indices, devices)
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    yield from grain.MapDataset.source(source).to_iter_dataset(options)


def _local_rows(shape: tuple[int, ...], devices: int) -> np.ndarray:
    steps, batch_size, *more = shape
    rows = np.arange(math.prod(shape) // devices, dtype=np.int32)
    rows = rows.reshape(steps, batch_size // devices, *more)
    return np.concatenate([rows] * devices, axis=1)
