"""Several seeds of one model at once: a vmap over states and keys, not a loop.

What the loop of `training.py` does for one run, without its pictures and log: each seed has
the parameters, the order of the data and the noise of a run of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np

from aaejax import batches
from aaejax.checkpoints import Checkpoints
from aaejax.phases import init_state, scan_steps, train_step
from aaejax.training import check_finite, in_phase_order
from aaejax.types import Array, Batch, Key, Model, Networks, TrainState

AXES = TrainState(step=None, params=0, opt_state=0)  # type: ignore[arg-type]


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
) -> list[Networks]:
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
      The networks of each seed, on the host.

    Raises:
      NonFiniteLoss: one of the seeds diverged.
      OSError: a checkpoint could not be written.
    """
    labels = np.broadcast_to(labels, (len(seeds), len(images)))
    program = jax.jit(
        jax.vmap(seed_steps(model), (AXES, None, 0, 0, 0), (AXES, 0)), donate_argnums=0
    )

    def start(seed: Array) -> tuple[TrainState, Key]:
        # As in training.py: a seed is the same run here and there.
        init_key, run_key, *_ = jax.random.split(jax.random.key(seed), 4)
        return init_state(model, init_key), run_key

    starts = jax.jit(jax.vmap(start, out_axes=(AXES, 0)))
    state, run_keys = starts(np.array(seeds, np.uint32))
    resident = jax.device_put((images, labels))
    with Checkpoints(folder, keep=1) if folder else nullcontext() as checkpoints:
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
            state, metrics = program(state, *resident, np.stack(rows), run_keys)
            host = in_phase_order(model, jax.device_get(metrics))
            for number in range(len(seeds)):
                check_finite({name: host[name][number] for name in host}, first)
            if checkpoints:
                checkpoints.save(state)
            tell(f"step {last}/{steps} of {len(seeds)} seeds")
    networks = jax.device_get(state.params)
    return [jax.tree.map(lambda x, n=n: x[n], networks) for n in range(len(seeds))]


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
