"""Several seeds of one model at once: a vmap over states and keys, not a loop.

What the loop of `runs/loop.py` does for one run, without its pictures and log: each seed
has the parameters, the order of the data and the noise of a run of its own. Where steps are
dispatched alone (`devices.steps_alone`) the seeds of a chunk run in turn.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.data import batches
from aaejax.phases import init_state, scan_steps, train_step
from aaejax.runs.checkpoints import Checkpoints
from aaejax.runs.devices import steps_alone, to_host, train_chunk
from aaejax.runs.finite import check_finite, finite_copy
from aaejax.runs.loop import in_phase_order
from aaejax.types import Array, Batch, Device, Key, Model, TrainState, Variables

# One step for all seeds; all else has an axis of seeds in front.
AXES: Any = TrainState(step=None, params=0, network_state=0, opt_state=0, ema=0)  # type: ignore[arg-type]


def train_seeds(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    *,
    folder: Path | None = None,
    chunk: int = 500,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Variables]:
    """Trains on one device, from the newest checkpoint in the folder where there is one.

    Args:
      model: built for so many steps.
      images: [N, ...], uint8 or float32.
      labels: int32 [N], or [seeds, N] where the seeds know different ones; -1 for unknown.
      seeds: of the runs.
      steps: of each run.
      batch_size: B.
      folder: for checkpoints, one after each chunk; None for none.
      chunk: steps in one dispatch.
      tell: gets a line after each.

    Returns:
      The variables of each seed's networks, on the host.

    Raises:
      NonFiniteLoss: one of the seeds diverged.
      OSError: a checkpoint could not be written.
    """
    labels = np.broadcast_to(labels, (len(seeds), len(images)))

    def start(seed: Array) -> tuple[TrainState, Key]:
        # As in runs/loop.py: a seed is the same run here and there.
        init_key, run_key, *_ = jax.random.split(jax.random.key(seed), 4)
        return init_state(model, init_key), run_key

    starts = jax.jit(jax.vmap(start, out_axes=(AXES, 0)))
    state, run_keys = starts(np.array(seeds, np.uint32))
    program = _program(model, state, images, labels, run_keys)
    resident = jax.device_put((images, labels))
    run = {"seeds": list(seeds), "steps": steps, "batch_size": batch_size}
    opened = Checkpoints(folder, keep=1, run=run) if folder else nullcontext()
    with opened as checkpoints:
        if checkpoints:
            state = jax.device_put(checkpoints.restore_state(state) or state)
        for first in range(int(state.step), steps, chunk):
            last = min(first + chunk, steps)
            rows = [
                batches.step_rows(
                    model.reads,
                    seed,
                    first,
                    last,
                    {"image": images, "label": known},
                    batch_size,
                )
                for seed, known in zip(seeds, labels, strict=True)
            ]
            state, metrics = program(state, *resident, np.stack(rows))
            host = in_phase_order(model, metrics)
            for number in range(len(seeds)):
                check_finite({name: host[name][number] for name in host}, first)
            if checkpoints:
                checkpoints.save(finite_copy(state))
            tell(f"step {last}/{steps} of {len(seeds)} seeds")
    variables = jax.device_get(state.variables)
    return [jax.tree.map(lambda x, n=n: x[n], variables) for n in range(len(seeds))]


# (state, images [N, ...], labels [seeds, N], rows [seeds, steps, B, R])
# -> (state, metrics on the host [seeds, steps])
Program = Callable[..., tuple[TrainState, dict[str, np.ndarray]]]


def _program(model: Model, state: TrainState, images, labels, keys: Key) -> Program:
    """All seeds as one program, or in turn."""
    devices = jax.local_devices()[:1]
    mapped = jax.vmap(seed_steps(model), (AXES, None, 0, 0, 0), (AXES, 0))
    rows = jax.ShapeDtypeStruct((len(labels), 1, 1, len(model.reads)), np.int32)
    if steps_alone(mapped, devices, state, images, labels, rows, keys):
        return _in_turn(model, devices, list(keys))
    compiled = jax.jit(mapped, donate_argnums=0)

    def program(state, images, labels, rows):
        state, metrics = compiled(state, images, labels, rows, keys)
        return state, jax.device_get(metrics)

    return program


def _in_turn(model: Model, devices: Sequence[Device], keys: Sequence[Key]) -> Program:
    """A chunk of each seed as in `runs/loop.py`."""
    chunk = train_chunk(
        partial(train_step, model.phases),
        partial(batches.step_batch, model.reads),
        devices,
        one_by_one=True,
    )

    def program(state, images, labels, rows):
        ended = []
        for number, key in enumerate(keys):
            data = {"image": images, "label": labels[number]}
            one, metrics = chunk(_of_seed(state, number), data, rows[number], key)
            ended.append((one, to_host(metrics)))
        states, metrics = zip(*ended, strict=True)
        stacked = jax.tree.map(lambda *each: np.stack(each), *metrics)
        return _stack(states), stacked

    return program


def _of_seed(state: TrainState, number: int) -> TrainState:
    """A copy of one seed's state, from that of all."""
    stepless = replace(state, step=None)  # type: ignore[arg-type]
    one = jax.tree.map(lambda x: x[number], stepless)
    return replace(one, step=jnp.copy(state.step))


def _stack(states: Sequence[TrainState]) -> TrainState:
    """The state of all seeds; `_of_seed` undone."""
    stepless = [replace(state, step=None) for state in states]  # type: ignore[arg-type]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *stepless)
    return replace(stacked, step=states[0].step)


def seed_steps(model: Model) -> Callable:
    """Many steps of one seed, to be mapped over seeds.

    Returns:
      `(state, images [N, ...], labels [N], rows [steps, B, R], key) -> (state, metrics)`,
      the rows those of `batches.step_rows`.
    """
    step = train_step(model.phases)

    def steps(state: TrainState, images: Array, labels: Array, rows: Array, key: Key):
        def gathered(state: TrainState, batch: Batch, key: Key):
            at = batch["rows"]
            examples = {"image": images[at], "label": labels[at]}
            return step(state, batches.step_batch(model.reads, examples), key)

        return scan_steps(gathered)(state, {"rows": rows}, key)

    return steps
