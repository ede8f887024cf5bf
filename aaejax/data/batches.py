"""Which examples each step sees, and how they get to the devices.

The order is a permutation keyed by (seed, epoch): the step alone says which examples come
next, so a resumed run needs no other state.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from aaejax.components.pixels import to_unit
from aaejax.data import lazy, memory
from aaejax.data.lazy import Images, Rows
from aaejax.types import LABELLED, Array, Device

CHUNK_BYTES = 2**26  # of streamed examples
CHUNKS_AHEAD = 2  # of the one that is trained on


def batch_indices(
    seed: int,
    start: int,
    stop: int,
    examples: int,
    batch_size: int,
    stream: int = 0,
    share: int = 0,
) -> np.ndarray:
    """Draws the examples of steps `start` ... `stop - 1`.

    Every epoch is a new permutation; what doesn't fill a batch at its end is left out.
    Each stream has an order of its own, as each share has (`step_rows`).

    Returns:
      The places of the examples in the data: [stop - start, batch_size], int32.
    """
    steps_per_epoch = examples // batch_size
    rows = []
    for epoch in range(start // steps_per_epoch, -(-stop // steps_per_epoch)):
        generator = np.random.default_rng([seed, epoch, 2 * stream, share])
        order = generator.permutation(examples)
        order = order[: steps_per_epoch * batch_size].reshape(-1, batch_size)
        first = epoch * steps_per_epoch
        rows.append(order[max(start - first, 0) : max(stop - first, 0)])
    return np.concatenate(rows).astype(np.int32)


def labelled_indices(
    seed: int, start: int, stop: int, labelled: np.ndarray, batch_size: int, share: int = 0
) -> np.ndarray:
    """Draws the labelled examples of steps `start` ... `stop - 1`.

    They come round in a new order each time; there may be fewer of them than a batch has.

    Args:
      seed: The seed of the order.
      start: The first step.
      stop: The last step + 1.
      labelled: The places of the labelled examples in the data, [N], int.
      batch_size: B, the number of examples in a batch.
      share: The part of all data that these are, as in `step_rows`.

    Returns:
      The places of the examples in the data: [stop - start, B], int32.
    """
    first, last, n = start * batch_size, stop * batch_size, len(labelled)
    rounds = range(first // n, -(-last // n))
    # 1: not the order of any stream of `batch_indices`.
    orders = [
        np.random.default_rng([seed, r, 1, share]).permutation(labelled) for r in rounds
    ]
    skipped = first - rounds[0] * n
    rows = np.concatenate(orders)[skipped : skipped + last - first]
    return rows.reshape(-1, batch_size).astype(np.int32)


def step_rows(
    reads: Sequence[str],
    seed: int,
    start: int,
    stop: int,
    arrays: Mapping[str, Images],
    batch_size: int,
    share: int = 0,
) -> np.ndarray:
    """Draws all examples that steps `start` ... `stop - 1` see, for each batch of a step.

    Args:
      reads: The prefixes of the R batches that a step reads, as in `Model.reads`.
      seed: The seed of the order.
      start: The first step.
      stop: The last step + 1.
      arrays: The data by name: "image" [N, ...] and perhaps "label" [N].
      batch_size: B, the number of examples in a batch.
      share: The number of the part of all data that the arrays are, where each host has its
        own.

    Returns:
      The places of the examples in the data: [stop - start, B, R], int32.
    """
    rows = []
    for stream, prefix in enumerate(reads):
        if prefix == LABELLED:
            labelled = np.flatnonzero(np.asarray(arrays["label"]) >= 0)
            rows.append(labelled_indices(seed, start, stop, labelled, batch_size, share))
        else:
            examples = len(arrays["image"])
            rows.append(
                batch_indices(seed, start, stop, examples, batch_size, stream, share)
            )
    return np.stack(rows, axis=2)


def step_batch(
    reads: Sequence[str], data: Mapping[str, Array], rows: Array
) -> dict[str, Array]:
    """Makes the batch of a step: the rows [B, R] of `step_rows` of each array [N, ...].

    Each array is there once for each of the R prefixes in `reads`, under that prefix and
    its name.
    """
    gathered = {name: values[rows] for name, values in data.items()}
    gathered["image"] = to_unit(gathered["image"])
    return {
        f"{prefix}{name}": values[:, number]
        for number, prefix in enumerate(reads)
        for name, values in gathered.items()
    }


def fits_on(device: Device, arrays: Mapping[str, Images]) -> bool:
    """Whether the arrays take at most half of the device's memory (on a CPU: 4 GiB).

    What is still to be read needs as much of the host's, half of which is left free.
    """
    stats = device.memory_stats() or {}
    room = stats.get("bytes_limit", 8 * 2**30) // 2
    if sum(values.nbytes for values in arrays.values()) > room:
        return False
    return fits_on_host(arrays)


def fits_on_host(arrays: Mapping[str, Images]) -> bool:
    """Whether what is still to be read of the arrays takes at most half of free memory."""
    to_read = sum(x.nbytes for x in arrays.values() if isinstance(x, Rows))
    return 2 * to_read <= memory.free()


def steps_at_once(arrays: Mapping[str, Images], batch_size: int, most: int) -> int:
    """Computes how many steps a chunk of streamed examples has: a divisor of `most`.

    Chunks are counted in bytes, so that memory is bounded and a chunk is soon done. The
    number depends on the data and the batch alone, not on the machine.

    Args:
      arrays: The arrays of the data, by name.
      batch_size: The number of examples that one step reads.
      most: The number of steps between two lines of metrics.jsonl.
    """
    each = sum(values.nbytes // max(1, len(values)) for values in arrays.values())
    room = CHUNK_BYTES // max(1, each * batch_size)
    return max(n for n in range(1, most + 1) if most % n == 0 and n <= max(1, room))


def stream(
    arrays: Mapping[str, Images],
    indices: Sequence[Callable[[], np.ndarray]],
    devices: int,
    workers: int | None = None,
    own: slice = slice(None),
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Gathers chunks of examples on the host, ahead of time, by threads.

    Args:
      arrays: The arrays by name, [N, ...] each; `Rows` are read as needed.
      indices: For each chunk, a function that gives the places of its examples in the
        arrays, [steps, B, ...], int32.
      devices: The number of devices that each batch is split over.
      workers: The number of threads; by default as many as all arrays are worth. The chunks
        are the same with any number.
      own: The devices that are this host's; no row of another host's is read.

    Yields:
      For each chunk, the examples of every array, [own devices, steps * B / devices, ...],
      and where on its device each example is: [steps, B, ...], int32, as the indices.
    """
    workers = workers or min(map(lazy.workers, arrays.values()))
    with ThreadPoolExecutor(workers, "data") as pool:
        ahead: deque[_Gathering] = deque()
        left = iter(indices)
        try:
            while True:
                for index in itertools.islice(left, CHUNKS_AHEAD + 1 - len(ahead)):
                    ahead.append(_Gathering(pool, arrays, index(), devices, workers, own))
                if not ahead:
                    return
                yield ahead.popleft().result()
        finally:  # also where nobody asks for the next
            pool.shutdown(cancel_futures=True)


class _Gathering:
    """The examples of one chunk on their way."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        arrays: Mapping[str, Images],
        indices: np.ndarray,
        devices: int,
        workers: int,
        own: slice,
    ):
        split = indices.reshape(len(indices), devices, -1)[:, own].swapaxes(0, 1)
        rows = split.reshape(-1)
        self._local = _local_rows(indices.shape, devices)
        self._devices = len(split)
        self._found = {
            name: np.empty((len(rows), *values.shape[1:]), values.dtype)
            for name, values in arrays.items()
        }

        def fill(part: slice) -> None:
            for name, values in arrays.items():
                self._found[name][part] = values[rows[part]]

        size = -(-len(rows) // (4 * workers))
        parts = [slice(at, at + size) for at in range(0, len(rows), size)]
        self._jobs = [pool.submit(fill, part) for part in parts]

    def result(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        for job in self._jobs:
            job.result()
        return {
            name: values.reshape(self._devices, -1, *values.shape[1:])
            for name, values in self._found.items()
        }, self._local


def _local_rows(shape: tuple[int, ...], devices: int) -> np.ndarray:
    steps, batch_size, *more = shape
    rows = np.arange(math.prod(shape) // devices, dtype=np.int32)
    rows = rows.reshape(steps, batch_size // devices, *more)
    return np.concatenate([rows] * devices, axis=1)
