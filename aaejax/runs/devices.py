"""Devices: the only file that says pmap.

The state is one unstacked copy on every device, index arrays are split over devices, and
what comes back is one copy. How many steps go into one dispatch is decided here too.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax._src.pmap
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aaejax.cpu import CONVOLUTION_OPTIONS
from aaejax.data import batches
from aaejax.data.lazy import Images
from aaejax.phases import phase_losses, scan_steps
from aaejax.types import Array, Batch, Device, Key, Phase, Step, TrainState, UserError

AXIS = "devices"

pmap_cache = getattr(jax._src.pmap, "_cached_shard_map", None)


def check_batch_size(batch_size: int, devices: Sequence[Device]) -> None:
    """Raises UserError where a batch can't be split evenly over the devices."""
    if batch_size % len(devices):
        below = batch_size - batch_size % len(devices)
        near = [str(size) for size in (below, below + len(devices)) if size]
        raise UserError(
            f"a batch of {batch_size} does not divide over {len(devices)} devices: "
            f"take {' or '.join(near)}"
        )


def replicate(tree: Any, devices: Sequence[Device]) -> Any:
    """One unstacked copy of the arrays on every device."""
    mesh = Mesh(np.array(devices), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def train_chunk(
    make_step: Callable[[str | None], Step],
    make_batch: Callable[[dict[str, Any], Array], dict[str, Any]],
    devices: Sequence[Device],
    *,
    one_by_one: bool,
    streamed: bool = False,
) -> "Chunk":
    """Many steps as few dispatches.

    Args:
      make_step: from the name of the axis to average over to a step; None, on one device,
        for nothing to average (XLA:CPU would copy every gradient: 4 % of a step).
      make_batch: from the data and the rows of one step, int32 [B / devices, ...], to its
        batch; runs on the device.
      devices: to run on.
      one_by_one: a dispatch for each step, in place of one for all (`steps_alone`).
      streamed: the data hold the examples of this chunk alone, split over devices
        (leading axis), in place of the whole set on each.
    """
    # Inlined, it changes no program, and is traced once: `scan_steps` asks for its shapes
    # first. A function of its arguments alone, for JAX keeps what a closure traced.
    step = jax.jit(make_step(AXIS if len(devices) > 1 else None), inline=True)

    def gathered_step(state, data, rows, key):
        return step(state, make_batch(data, rows), key)

    def steps(state, data, rows, key, count):
        # rows: [steps, B / devices, ...]
        def one(state: TrainState, batch: Batch, key: Key):
            return gathered_step(state, data, batch["rows"], key)

        return scan_steps(one)(state, {"rows": rows}, key, count)

    function = gathered_step if one_by_one else steps
    mapped = jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None, 0 if streamed else None, 0, None, *[None] * (not one_by_one)),
        out_axes=None,  # type: ignore[arg-type]
        devices=list(devices),
        donate_argnums=0,
    )

    chunk = Chunk(mapped, len(devices), one_by_one)
    weakref.finalize(chunk, _forget, function).atexit = False
    return chunk


class Chunk:
    """Many steps as few dispatches, compiled once for each shape of its arguments."""

    def __init__(self, mapped: Any, devices: int, one_by_one: bool):
        self._mapped, self._devices, self._one_by_one = mapped, devices, one_by_one
        self._compiled: dict[Any, Any] = {}

    def __call__(
        self,
        state: TrainState,
        data: dict[str, Any],
        rows: np.ndarray,
        key: Key,
        count: int | None = None,
    ) -> tuple[TrainState, dict[str, Any]]:
        """Runs a step for each of the rows, int [steps, B, ...]; donates the state.

        With a count, runs the first of them alone, by the same program.

        Returns:
          The state, and metrics [steps] by name, of which the first `count` are those of a
          step.
        """
        count = len(rows) if count is None else count
        program, split = self._program(state, data, rows, key)
        if not self._one_by_one:
            return program(state, data, split, key, np.int32(count))
        each = []
        for number in range(count):
            state, metrics = program(state, data, split[:, number], key)
            each.append(metrics)
        return state, {name: [metrics[name] for metrics in each] for name in each[0]}

    def compile(
        self, state: TrainState, data: dict[str, Any], rows: np.ndarray, key: Key
    ) -> None:
        """Compiles for these arguments, unless that is done, so that calls take no longer
        than their steps.
        """
        self._program(state, data, rows, key)

    def _program(self, state, data, indices, key) -> tuple[Any, np.ndarray]:
        # [steps, B, ...] -> [devices, steps, B / devices, ...]
        count, batch_size, *more = indices.shape
        split = indices.reshape(count, self._devices, batch_size // self._devices, *more)
        split = split.swapaxes(0, 1)
        rows = split[:, 0] if self._one_by_one else split
        shapes = (rows.shape, *(values.shape for values in data.values()))
        if shapes not in self._compiled:
            arguments = (state, data, rows, key, *[np.int32(0)] * (not self._one_by_one))
            self._compiled[shapes] = self._mapped.lower(*arguments).compile(
                CONVOLUTION_OPTIONS if self._one_by_one else None
            )
        return self._compiled[shapes], split


def _forget(function: Callable) -> None:
    """Lets go of a pmapped function and its programs, 16 MB for a small model.

    JAX keeps them for ever: its cache has the function weakly as a key, but the value that
    belongs to the key refers to it.
    """
    evict = getattr(pmap_cache, "evict_function", None)
    if evict is not None:  # it is no part of JAX's public face
        evict(function)


def feed(
    arrays: Mapping[str, Images],
    indices: Sequence[Callable[[], np.ndarray]],
    devices: Sequence[Device],
    *,
    streamed: bool,
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The data and the indices that a `Chunk` takes, one pair for each chunk.

    Args:
      arrays: the whole set, [N, ...] each.
      indices: for each chunk a function that gives its int32 [steps, B, ...].
      devices: to run on.
      streamed: as of `train_chunk`.
    """
    if streamed:
        # Each chunk goes to the devices once, though each of its steps may be a dispatch.
        mesh = Mesh(np.array(devices), (AXIS,))
        sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        for examples, rows in batches.stream(arrays, indices, len(devices)):
            yield jax.device_put(examples, sharding), rows
    else:
        resident = replicate(arrays, devices)
        for rows in indices:
            yield resident, rows()


def steps_alone(
    phases: Sequence[Phase],
    devices: Sequence[Device],
    state: TrainState,
    batch: Batch,
    key: Key,
) -> bool:
    """Whether each step should be a dispatch of its own; shapes will do for arrays.

    XLA:CPU runs a convolution inside `lax.scan` about six times slower than outside it
    (jax-ml/jax#12868), and beside a convolution the cost of a dispatch is nothing.
    """
    if devices[0].platform != "cpu":
        return False
    losses = jax.make_jaxpr(phase_losses(phases))(state, batch, key)
    return "conv_general_dilated" in str(losses)


def to_host(metrics: dict[str, Any]) -> dict[str, np.ndarray]:
    """A chunk's metrics as float32 [steps], one transfer."""
    return {name: np.asarray(value) for name, value in jax.device_get(metrics).items()}
