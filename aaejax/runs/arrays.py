"""The loop of `chunks.py` over arrays in memory, without a run folder."""

from functools import partial

import jax
import numpy as np

from aaejax.data import batches
from aaejax.phases import train_step
from aaejax.runs.chunks import chunk_ends, run_chunks
from aaejax.runs.devices import Chunk, feed, replicate, steps_alone, train_chunk
from aaejax.runs.finite import finite_copy
from aaejax.runs.run import batch_shapes, seed_start
from aaejax.types import Key, Model, TrainState, Variables

CHUNK = 500  # steps in one dispatch


class ArrayTrainer:
    """Trains one model on one device, as often as it is asked, by programs compiled once.

    A seed is the run that `train` makes of it.
    """

    def __init__(self, model: Model, steps: int, batch_size: int):
        """Takes a model that reads no labels.

        Args:
          model: The model, built for so many steps.
          steps: The number of steps of each training.
          batch_size: B, the number of examples in a batch.
        """
        self._model, self._steps, self._batch_size = model, steps, batch_size
        self._every = min(CHUNK, steps)
        self._device = jax.local_devices()[:1]
        self._chunk: Chunk | None = None
        self._start = jax.jit(partial(seed_start, model=model))

    def __call__(self, images: np.ndarray, seed: int) -> Variables:
        """Trains the model from its first step to its last.

        Args:
          images: The training examples, float32 [N, ...], N >= B.
          seed: The seed of the parameters, the order and all noise.

        Returns:
          The variables of the networks, on the host.

        Raises:
          NonFiniteLoss: Training diverged.
        """
        arrays = {"image": _filled(images)}
        reads, count = self._model.reads, {"image": images}
        rows = [
            partial(
                batches.step_rows,
                reads,
                seed,
                first,
                first + self._every,
                count,
                self._batch_size,
            )
            for first in range(0, self._steps, self._every)
        ]
        state, key = replicate(self._start(np.uint32(seed)), self._device)
        if self._chunk is None:
            self._chunk = self._program(state, arrays, key)
        ends = chunk_ends(0, self._steps, self._every)
        fed = feed(arrays, rows, self._device, streamed=False)
        phases = self._model.phases
        for ran in run_chunks(self._chunk, state, key, fed=fed, ends=ends, phases=phases):
            state = ran.state
        return finite_copy(state).variables

    def _program(self, state: TrainState, arrays: dict[str, np.ndarray], key: Key) -> Chunk:
        batch = batch_shapes(self._model, arrays, self._batch_size)
        alone = steps_alone(self._model.phases, self._device, state, batch, key)
        return train_chunk(
            partial(train_step, self._model.phases),
            partial(batches.step_batch, self._model.reads),
            self._device,
            one_by_one=alone,
        )


def _filled(images: np.ndarray) -> np.ndarray:
    """Behind few examples zeros, which no step reads: many sizes need few programs."""
    n = len(images)
    if n >= 8192:
        return images
    more = (1 << (n - 1).bit_length()) - n
    return np.concatenate([images, np.zeros((more, *images.shape[1:]), images.dtype)])
