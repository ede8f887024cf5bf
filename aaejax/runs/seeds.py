"""Several seeds of one model at once: the loop of `chunks.py` over steps under vmap.

Each seed has the parameters, the order of the data and the noise of the run that `train`
makes of it. Where steps are dispatched alone (`devices.steps_alone`) the seeds of a chunk
run in turn.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.data import batches
from aaejax.phases import averaged_params, train_step
from aaejax.runs.chunks import Program, chunk_ends, run_chunks
from aaejax.runs.devices import Chunk, feed, replicate, steps_alone, train_chunk
from aaejax.runs.finite import finite_copy
from aaejax.runs.hooks import Event, Hook, Hooks
from aaejax.runs.on_disk.about import fingerprint
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.run import batch_shapes, seed_start
from aaejax.types import Array, Key, Model, Step, TrainState, Variables

# One step for all seeds; all else has an axis of seeds in front.
AXES: Any = TrainState(step=None, params=0, network_state=0, opt_state=0, ema=0)  # type: ignore[arg-type]


def train_seeds(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    seeds: Sequence[int],
    steps: int,
    batch_size: int,
    folder: Path | None = None,
    chunk: int = 500,
    ema: float = 0.0,
    options: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    hooks: Sequence[Hook] = (),
) -> list[Variables]:
    """Trains on one device, from the newest checkpoint in the folder where there is one.

    A checkpoint of other data, seeds, steps, batches or options is refused.

    Args:
      model: The model, built for so many steps.
      images: The training images, [N, ...], uint8 or float32.
      labels: Their labels, int32 [N], or [seeds, N] where the seeds know different ones; -1
        for unknown.
      seeds: The seeds of the runs, one for each.
      steps: The steps of each run.
      batch_size: The examples of a step, B.
      folder: The folder of the checkpoints, one after each chunk; None for none.
      chunk: How many steps are one dispatch.
      ema: The decay of a moving average of the parameters after each step; 0 for none.
      options: What else decides the runs, as JSON, such as the options of the model, of
        which nothing can be seen in the model itself; None for nothing that is known.
      tell: A function that gets a line after each chunk.
      hooks: What watches the runs. The events have a metric of each seed, float32 [seeds],
        beside the step and images_per_second of all together; the axis of seeds comes first
        in the state, whose step is that of all. Nothing is evaluated, so that `on_log` and,
        where there is a folder, `on_checkpoint` are called alone. Where a hook raises, the
        runs end.

    Returns:
      The variables of each seed's networks, on the host; where there is a moving average,
      the parameters are those of it.

    Raises:
      UserError: The checkpoints in the folder are of other runs.
      NonFiniteLoss: One of the seeds diverged.
      OSError: A checkpoint could not be written.
    """
    labels = np.broadcast_to(labels, (len(seeds), len(images)))
    arrays = {"image": images, "label": labels}
    start = partial(seed_start, model=model, ema=ema)
    starts = jax.jit(jax.vmap(start, out_axes=(AXES, 0)))
    state, keys = starts(np.array(seeds, np.uint32))
    devices = jax.local_devices()[:1]

    def rows_of(first: int) -> np.ndarray:
        """Of all seeds: int32 [steps, B, seeds, R]."""
        each = [
            batches.step_rows(
                model.reads,
                seed,
                first,
                first + min(chunk, steps),
                {"image": images, "label": known},
                batch_size,
            )
            for seed, known in zip(seeds, labels, strict=True)
        ]
        return np.stack(each, axis=2)

    run: dict[str, Any] = {"seeds": list(seeds), "steps": steps, "batch_size": batch_size}
    if ema:
        run["ema"] = ema
    if options is not None:
        run["options"] = dict(options)
    if folder:
        run["fingerprint"] = fingerprint({"images": images, "labels": labels})
    opened = Checkpoints(folder, keep=1, run=run) if folder else nullcontext()
    told = Hooks(hooks)
    with opened as checkpoints:
        if checkpoints:
            state = checkpoints.restore_state(state) or state
        first = last = int(state.step)
        if first:
            tell(f"going on at step {first} of {steps}")
        ends = chunk_ends(first, steps, chunk) if first < steps else []
        rows = [partial(rows_of, start) for start in [first, *ends[:-1]]]
        state = replicate(state, devices)
        keys = replicate(keys, devices)
        fed = feed(arrays, rows[: len(ends)], devices, streamed=False)
        make_step = partial(train_step, model.phases, ema=ema)
        program = _program(model, make_step, state, arrays, keys, batch_size)
        for ran in run_chunks(
            program, state, keys, fed=fed, ends=ends, phases=model.phases
        ):
            state = ran.state
            seen = (ran.step - last) * batch_size * len(seeds)
            last = ran.step
            means = {name: values.mean(axis=0) for name, values in ran.metrics.items()}
            line = {"step": last, **means, "images_per_second": seen / ran.seconds}
            if checkpoints:
                checkpoints.save(finite_copy(state))
            tell(f"step {last}/{steps} of {len(seeds)} seeds")
            event = Event(last, line, state)
            told.on_log(event)
            if checkpoints:
                told.on_checkpoint(event)
            if told.error is not None:
                raise told.error
    if ema:
        averaged = jax.vmap(partial(averaged_params, ema=ema), (AXES,))(state)
        state = replace(state, params=averaged)
    variables = jax.device_get(state.variables)
    return [jax.tree.map(lambda x, n=n: x[n], variables) for n in range(len(seeds))]


def _program(
    model: Model,
    make_step: Callable[..., Step],
    state: TrainState,
    arrays: dict[str, np.ndarray],
    keys: Key,
    batch_size: int,
) -> Program:
    """All seeds as one program, or in turn."""
    devices = jax.local_devices()[:1]
    data = {"image": arrays["image"], "label": arrays["label"][0]}
    make_batch = partial(batches.step_batch, model.reads)
    batch = batch_shapes(model, data, batch_size)
    one = jax.eval_shape(partial(_of_seed, number=0), state)
    if steps_alone(model.phases, devices, one, batch, jax.random.key(0)):
        alone = train_chunk(
            make_step,
            make_batch,
            devices,
            one_by_one=True,
        )
        return _InTurn(alone, list(keys))

    def of_all(data: dict[str, Any], rows: Array) -> dict[str, Any]:
        def of_one(label: Array, rows: Array) -> dict[str, Any]:
            return make_batch({"image": data["image"], "label": label}, rows)

        return jax.vmap(of_one, (0, 1))(data["label"], rows)

    def make_steps(axis_name: str | None):
        return jax.vmap(make_step(axis_name), (AXES, 0, 0), (AXES, 0))

    return train_chunk(make_steps, of_all, devices, one_by_one=False)


class _InTurn:
    """A chunk of each seed after the other, as one program of all."""

    def __init__(self, chunk: Chunk, keys: Sequence[Key]):
        self._chunk, self._keys = chunk, keys

    def compile(self, state: TrainState, data: Any, rows: np.ndarray, key: Key) -> None:
        first = {"image": data["image"], "label": data["label"][0]}
        self._chunk.compile(_of_seed(state, 0), first, rows[:, :, 0], self._keys[0])

    def __call__(
        self, state: TrainState, data: Any, rows: np.ndarray, key: Key, count: int
    ) -> tuple[TrainState, dict[str, Any]]:
        ended = []
        for number, own_key in enumerate(self._keys):
            own = {"image": data["image"], "label": data["label"][number]}
            one = _of_seed(state, number)
            ended.append(self._chunk(one, own, rows[:, :, number], own_key, count))
        states, each = zip(*ended, strict=True)
        metrics = jax.device_get([{k: jnp.stack(m[k]) for k in m} for m in each])
        return _stack(states), jax.tree.map(lambda *x: np.stack(x, axis=1), *metrics)


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
