"""Does it pay to split Adam's state over the devices of a host?

    python benchmarks/sharded_adam.py            # two CPU devices on this machine
    python benchmarks/sharded_adam.py --devices 4 --batch-size 1000

Every device of a host has all parameters and makes Adam's whole step, which is the same on
all. Here each makes that of its part of every large parameter and gathers the others' (the
first stage of ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054). Both are the step of an AAE
by shard_map, many in one dispatch, in turn in one process, and must have the
same parameters after the first dispatch.
"""

import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What is measured."""

    devices: int = 2
    """CPU devices, which share the cores."""
    width: int = 1000
    """Units of a hidden layer of the AAE."""
    batch_size: int = 100
    """Examples a step, of all devices."""
    steps: int = 20
    """In one dispatch."""
    rounds: int = 5
    """Dispatches of each, in turn, of which the median is shown."""
    smallest: int = 10_000
    """Parameters of fewer numbers are not split."""


def sharded(optimizer: Any, axis: str, devices: int, smallest: int) -> Any:
    """An optimizer of which each device has the state of its part alone.

    Args:
      optimizer: treats each number of a parameter by itself, as Adam does.
      axis: the name of that of the devices.
      devices: how many.
      smallest: numbers of a parameter from which on it is split.

    Returns:
      An `optax.GradientTransformation`; gradients are those of the whole batch. `init` is
      of whole parameters, and its state has the parts of all devices, padded.
    """
    import jax
    import jax.numpy as jnp
    import optax

    def padded(x):
        flat = x.reshape(-1)
        return jnp.pad(flat, (0, -flat.size % devices))

    def part(x):
        if x.size < smallest:
            return x
        flat = padded(x)
        size = flat.size // devices
        return jax.lax.dynamic_slice(flat, (jax.lax.axis_index(axis) * size,), (size,))

    def whole(update, x):
        if x.size < smallest:
            return update
        return jax.lax.all_gather(update, axis, tiled=True)[: x.size].reshape(x.shape)

    def init(params):
        split = jax.tree.map(lambda x: x if x.size < smallest else padded(x), params)
        return optimizer.init(split)

    def update(gradients, state, params=None):
        parts = (None if params is None else jax.tree.map(part, params),)
        updates, state = optimizer.update(jax.tree.map(part, gradients), state, *parts)
        return jax.tree.map(whole, updates, gradients), state

    return optax.GradientTransformation(init, update)


def main() -> None:
    """Times both and prints one line of JSON."""
    arguments = tyro.cli(Arguments, description=__doc__)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + f" --xla_force_host_platform_device_count={arguments.devices}"
    )
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from aaejax import init_state, models, train_step
    from aaejax.types import DataSpec

    options = models.options("aae")(width=arguments.width, depth=2)
    model = options.build(DataSpec((28, 28, 1), 0, True), 1000)
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    shared, split = PartitionSpec(), PartitionSpec("devices")
    batches = {
        "image": np.random.default_rng(0).random(
            (arguments.steps, arguments.batch_size, 28, 28, 1), np.float32
        )
    }

    def program(parted: bool):
        phases = model.phases
        if parted:
            phases = tuple(
                dataclasses.replace(
                    phase,
                    optimizer=sharded(
                        phase.optimizer, "devices", arguments.devices, arguments.smallest
                    ),
                )
                for phase in phases
            )
        state = init_state(dataclasses.replace(model, phases=phases), jax.random.key(0))

        def place(path, x):
            of_adam = any(getattr(key, "name", None) == "opt_state" for key in path)
            large = x.ndim == 1 and x.size >= arguments.smallest
            return split if parted and of_adam and large else shared

        specs = jax.tree_util.tree_map_with_path(place, state)
        step = train_step(phases, "devices")
        run = jax.shard_map(
            lambda state, batches, key: jax.lax.scan(
                lambda s, b: step(s, b, key), state, batches
            ),
            mesh=mesh,
            in_specs=(specs, PartitionSpec(None, "devices"), shared),
            out_specs=(specs, shared),
            check_vma=False,
        )
        state = jax.tree.map(
            lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), state, specs
        )
        return jax.jit(run, donate_argnums=0), state

    key, found, ended = jax.random.key(1), {"whole": [], "split": []}, {}
    programs = {name: program(name == "split") for name in found}
    for round_ in range(arguments.rounds + 1):
        for name, (run, state) in programs.items():
            began = time.perf_counter()
            state, _ = jax.block_until_ready(run(state, batches, key))
            if round_:
                found[name].append(1e3 * (time.perf_counter() - began) / arguments.steps)
            else:  # it compiles; later ones are apart by what rounding has grown to
                ended[name] = jax.device_get(state.params)
            programs[name] = run, state
    away = max(
        float(np.abs(a - b).max())
        for a, b in zip(*(jax.tree.leaves(ended[name]) for name in found), strict=True)
    )
    ms = {name: round(statistics.median(times), 2) for name, times in found.items()}
    said = {**dataclasses.asdict(arguments), "ms": ms, "parameters_apart": away}
    print(json.dumps({**said, "split_over_whole": round(ms["split"] / ms["whole"], 3)}))


if __name__ == "__main__":
    main()
