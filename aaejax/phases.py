"""A phase -> a pure step; a list of phases -> the train step.

A step is `(state, batch, key) -> (state, metrics)`. Without `axis_name` it runs under jit,
vmap and scan; with one it averages gradients and metrics over that axis, and runs under
pmap or shard_map, each device holding its part of the global batch.

The key is the run's and is never carried: run key -> fold_in(step) -> fold_in(phase) ->
fold_in(name of the draw) -> fold_in(position in the global batch). So a step draws the same
noise on any number of devices, and a resumed run the same as an unbroken one.
"""

import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from aaejax.types import (
    Array,
    Batch,
    Draw,
    Key,
    Metrics,
    Model,
    Phase,
    Step,
    TrainState,
)


def init_state(model: Model, key: Key) -> TrainState:
    """The state before the first step; the key is consumed."""
    params = model.init(key)
    opt_state = {
        phase.name: phase.optimizer.init({name: params[name] for name in phase.trains})
        for phase in model.phases
    }
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=opt_state)


def phase_step(phase: Phase, axis_name: str | None = None) -> Step:
    """One update of the networks that the phase trains; `state.step` stays.

    The metrics are "<phase>/loss", "<phase>/gradient_norm" and those of the loss, each
    under the phase's name: float32, shape (), means over the global batch.
    """

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        key = _fold_in_name(jax.random.fold_in(key, state.step), phase.name)
        batch_size = jax.tree.leaves(dict(batch))[0].shape[0]
        draw = _ExampleDraw(key, batch_size, axis_name)
        trained = {name: state.params[name] for name in phase.trains}

        def loss(trained):
            return phase.loss({**state.params, **trained}, batch, draw)

        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
        metrics = {"loss": value, **metrics}
        if axis_name is not None:
            gradients, metrics = jax.lax.pmean((gradients, metrics), axis_name)
        # The barrier keeps XLA from sharing these squares with Adam's, for which it would
        # write them all to memory: 6 % of a step on a CPU.
        metrics["gradient_norm"] = optax.tree.norm(jax.lax.optimization_barrier(gradients))
        updates, opt_state = phase.optimizer.update(
            gradients, state.opt_state[phase.name], trained
        )
        state = state.replace(  # type: ignore[attr-defined]
            params=state.params | optax.apply_updates(trained, updates),  # type: ignore
            opt_state={**state.opt_state, phase.name: opt_state},
        )
        return state, {f"{phase.name}/{name}": metrics[name] for name in metrics}

    return step


def train_step(phases: Sequence[Phase], axis_name: str | None = None) -> Step:
    """All phases in order, each seeing the parameters that the one before left."""
    steps = [phase_step(phase, axis_name) for phase in phases]

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        metrics: Metrics = {}
        for one in steps:
            state, more = one(state, batch, key)
            metrics |= more
        return state.replace(step=state.step + 1), metrics  # type: ignore[attr-defined]

    return step


def scan_steps(step: Step) -> Callable:
    """Many steps as one program: `(state, batches, key) -> (state, metrics)`.

    `batches` has a leading axis of steps on every array, and so have the metrics.
    """

    def steps(state: TrainState, batches: Batch, key: Key):
        return jax.lax.scan(lambda s, b: step(s, b, key), state, batches)

    return steps


class _ExampleDraw(Draw):
    def __init__(self, key: Key, batch_size: int, axis_name: str | None):
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch_size
        self._position = first + jnp.arange(batch_size)
        self._key, self._axis_name = key, axis_name

    def __call__(self, name: str, sampler: Callable[..., Array], *args: Array) -> Array:
        key = _fold_in_name(self._key, name)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, self._position)
        return jax.vmap(sampler)(keys, *args)

    def gather(self, x: Array) -> Array:
        if self._axis_name is None:
            return x
        return jax.lax.all_gather(x, self._axis_name, tiled=True)


def _fold_in_name(key: Key, name: str) -> Key:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
