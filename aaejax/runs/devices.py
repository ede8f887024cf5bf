"""Devices: the only file that says pmap.

The state is one unstacked copy on every device, index arrays are split over devices, and
what comes back is one copy. How many steps go into one dispatch is decided here too.

The devices may be those of several hosts, host by host. Each host then moves its own share
of what is split, and all of what is not.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax._src.pmap
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aaejax.cpu import CONVOLUTION_OPTIONS
from aaejax.data import batches
from aaejax.data.lazy import Images
from aaejax.phases import phase_losses, scan_steps
from aaejax.runs.hosts.agreement import Hosts
from aaejax.types import Array, Batch, Device, Key, Phase, Step, TrainState, UserError

AXIS = "devices"
Parallel = Literal["pmap", "shard_map"]  # by which a step runs on many devices

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


def all_devices() -> list[Device]:
    """The devices of all hosts, host by host."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


def own_part(devices: Sequence[Device]) -> slice:
    """The part of the devices that are this host's.

    Raises:
      UserError: No device is this host's, or they do not stand together.
    """
    own = [
        number
        for number, device in enumerate(devices)
        if device.process_index == jax.process_index()
    ]
    if not own or own[-1] - own[0] + 1 != len(own):
        raise UserError(
            f"devices {[device.id for device in devices]} are not those of all hosts, host "
            "by host: leave devices out"
        )
    return slice(own[0], own[-1] + 1)


def replicate(tree: Any, devices: Sequence[Device]) -> Any:
    """Puts one unstacked copy of the arrays on every device; all hosts have the same."""
    sharding = _sharding(devices)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: _on_all_hosts(x, sharding), tree)


def from_first(tree: Any, devices: Sequence[Device], hosts: Hosts) -> Any:
    """Gives the arrays of the first host, bit for bit, to the others too.

    Args:
      tree: A pytree of arrays; other hosts have some of the same shapes and dtypes.
      devices: The devices of all hosts.
      hosts: The hosts that take part.

    Returns:
      The arrays of the first host, as NumPy arrays where there are several hosts.
    """
    if hosts.count == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.device_get(tree))
    leaves = [np.asarray(leaf) for leaf in leaves]
    raw = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    own = devices[own_part(devices)]
    # As bytes, for a sum of floats makes 0.0 of -0.0.
    mine = np.zeros((len(own), len(raw)), np.uint8)
    if hosts.first:
        mine[0] = raw
    whole = _split(mine, devices)
    total = jax.jit(
        lambda x: x.sum(axis=0, dtype=jnp.uint8), out_shardings=_sharding(devices)
    )
    program = total.lower(whole).compile()
    # Gloo gives up where one host comes half a minute after the others.
    hosts.agree(None)
    raw = np.asarray(program(whole))
    ends = np.cumsum([leaf.nbytes for leaf in leaves])[:-1]
    parts = [
        np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape)
        for part, leaf in zip(np.split(raw, ends), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, parts)


def local(tree: Any) -> Any:
    """The copy on this host's first device, of arrays that are the same on all."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def _sharding(devices: Sequence[Device], *axes: str) -> NamedSharding:
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(*axes))


def _on_all_hosts(x: Any, sharding: NamedSharding) -> jax.Array:
    """Does as `jax.device_put`, but without comparing all hosts' values collectively."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _on_all_hosts(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    x = np.asarray(x, jax.dtypes.canonicalize_dtype(x.dtype))
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _split(tree: Any, devices: Sequence[Device]) -> Any:
    """Each array [own devices, ...] of this host as its part of one of [devices, ...]."""
    sharding = _sharding(devices, AXIS)

    def put(x: np.ndarray) -> jax.Array:
        shape = (len(devices), *x.shape[1:])
        return jax.make_array_from_process_local_data(sharding, x, shape)

    return jax.tree.map(put, tree)


def train_chunk(
    make_step: Callable[[str | None], Step],
    make_batch: Callable[[dict[str, Any], Array], dict[str, Any]],
    devices: Sequence[Device],
    *,
    one_by_one: bool,
    streamed: bool = False,
    parallel: Parallel = "pmap",
) -> "Chunk":
    """Makes a program of many steps in few dispatches.

    Args:
      make_step: A function from the name of the axis to average over to a step; the name is
        None, on one device, for nothing to average (XLA:CPU would copy every gradient: 4 %
        of a step).
      make_batch: A function from the data and the rows of one step, int32
        [B / devices, ...], to its batch; it runs on the device.
      devices: The devices to run on.
      one_by_one: Whether each step is a dispatch, in place of one for all (`steps_alone`).
      streamed: Whether the data hold the examples of this chunk alone, split over devices
        (leading axis), in place of the whole set on each.
      parallel: What runs a step on many devices: "pmap", or "shard_map": jit over a mesh.
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
    if parallel == "shard_map":
        return Chunk(_sharded(function, devices, one_by_one, streamed), devices, one_by_one)
    mapped = jax.pmap(
        function,
        axis_name=AXIS,
        in_axes=(None, 0 if streamed else None, 0, None, *[None] * (not one_by_one)),
        out_axes=None,  # type: ignore[arg-type]
        devices=list(devices),
        donate_argnums=0,
    )
    chunk = Chunk(mapped, devices, one_by_one)
    weakref.finalize(chunk, _forget, function).atexit = False
    return chunk


def _sharded(
    function: Callable, devices: Sequence[Device], one_by_one: bool, streamed: bool
) -> Any:
    """Maps a chunk's function over devices as `jax.pmap` does, by `jax.shard_map`."""

    def of_part(state, data, rows, key, *count):
        # Of the axis over devices each has one.
        if streamed:
            data = jax.tree.map(lambda x: x[0], data)
        return function(state, data, rows[0], key, *count)

    if len(devices) > 1:
        shared, split = PartitionSpec(), PartitionSpec(AXIS)
        of_part = jax.shard_map(
            of_part,
            mesh=Mesh(np.array(devices), (AXIS,)),
            in_specs=(
                shared,
                split if streamed else shared,
                split,
                shared,
                *[shared] * (not one_by_one),
            ),
            out_specs=shared,
        )
    return jax.jit(of_part, donate_argnums=0)


class Chunk:
    """A program of many steps, compiled once for each shape of its arguments."""

    def __init__(self, mapped: Any, devices: Sequence[Device], one_by_one: bool):
        self._mapped, self._devices, self._one_by_one = mapped, devices, one_by_one
        self._own = own_part(devices)
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
          The state, and metrics [steps] by name, of which the first `count` are those of
          the steps that ran.
        """
        count = len(rows) if count is None else count
        program, split = self._program(state, data, rows, key)
        if not self._one_by_one:
            return program(state, data, self._given(split), key, np.int32(count))
        each = []
        for number in range(count):
            own = self._given(split[:, number])
            state, metrics = program(state, data, own, key)
            each.append(metrics)
        return state, {name: [metrics[name] for metrics in each] for name in each[0]}

    def compile(
        self, state: TrainState, data: dict[str, Any], rows: np.ndarray, key: Key
    ) -> None:
        """Compiles the program for these arguments, unless that is done, so that calls take
        no longer than their steps.
        """
        self._program(state, data, rows, key)

    def _program(self, state, data, indices, key) -> tuple[Any, np.ndarray]:
        # [steps, B, ...] -> [devices, steps, B / devices, ...]
        count, batch_size, *more = indices.shape
        devices = len(self._devices)
        split = indices.reshape(count, devices, batch_size // devices, *more)
        split = split.swapaxes(0, 1)
        rows = split[:, 0] if self._one_by_one else split
        shapes = (rows.shape, *(values.shape for values in data.values()))
        if shapes not in self._compiled:
            given = self._given(rows)
            arguments = (state, data, given, key, *[np.int32(0)] * (not self._one_by_one))
            self._compiled[shapes] = self._mapped.lower(*arguments).compile(
                CONVOLUTION_OPTIONS if self._one_by_one else None
            )
        return self._compiled[shapes], split

    def _given(self, rows: np.ndarray) -> Any:
        """Rows [devices, ...] as the program takes them; of several hosts each its own."""
        own = rows[self._own]
        return rows if len(own) == len(rows) else _split(own, self._devices)


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
    """Yields the data and the indices that a `Chunk` takes, one pair for each chunk.

    Args:
      arrays: The arrays of the whole set by name, [N, ...] each.
      indices: For each chunk, a function that gives its row numbers, int32 [steps, B, ...].
      devices: The devices to run on.
      streamed: Whether each chunk brings its own examples, as of `train_chunk`.
    """
    if streamed:
        # Each chunk goes to the devices once, though each of its steps may be a dispatch.
        own = own_part(devices)
        for examples, rows in batches.stream(arrays, indices, len(devices), own=own):
            yield _split(examples, devices), rows
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
    """Copies a chunk's metrics to the host in one transfer: float32 [steps] by name."""
    return {name: np.asarray(value) for name, value in jax.device_get(metrics).items()}
