"""A phase -> a pure step; a list of phases -> the train step.

A step is `(state, batch, key) -> (state, metrics)`. Without `axis_name` it runs under jit
(also over a mesh), vmap and scan; with one it averages gradients and metrics over that
axis, and runs under pmap or shard_map, each device holding its part of the global batch.

The key is the run's and is never carried: run key -> fold_in(step) -> fold_in(phase) ->
fold_in(name of the draw) -> fold_in(position in the global batch). Where phases share a
name, fold_in(stream) comes behind it. So a step draws the same noise on any number of
devices, and a resumed run the same as an unbroken one.
"""

import reprlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aaejax import cpu
from aaejax.components.inputs import batch_size
from aaejax.types import (
    Array,
    Batch,
    Draw,
    Key,
    Keys,
    Metrics,
    Model,
    Phase,
    Step,
    TrainState,
    UserError,
)


def init_state(model: Model, key: Key, ema: float = 0.0) -> TrainState:
    """Makes the state before the first step.

    Args:
      model: The model to train.
      key: The key of the first parameters; it is consumed.
      ema: The decay of a moving average, as of `train_step`; 0 for none.

    Raises:
      UserError: Phases don't fit each other or the networks, or an optimizer is none or has
        a random key in its state.
    """
    variables = model.init(key)
    _check_phases(model.phases, variables)
    params = {name: variables[name]["params"] for name in variables}
    opt_state = {
        phase.name: phase.optimizer.init({name: params[name] for name in phase.trains})
        for phase in model.phases
    }
    for name, state in opt_state.items():
        leaves = jax.tree.leaves(state)
        if any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves):
            raise UserError(
                f"the optimizer of phase {name} has a random key in its state, and the "
                "state of training carries none: draw noise in the loss, by its draw"
            )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        network_state={
            name: {k: x for k, x in variables[name].items() if k != "params"}
            for name in variables
        },
        opt_state=opt_state,
        ema=optax.ema(ema).init(params) if ema else None,
    )


def phase_step(phase: Phase, axis_name: str | None = None) -> Step:
    """Makes the step of one phase: an update of its networks; `state.step` stays.

    The metrics are "<phase>/loss", "<phase>/gradient_norm" and those of the loss, each
    under the phase's name: float32, shape (), means over the global batch.

    Args:
      phase: The phase.
      axis_name: The axis over devices, under pmap or shard_map; None where there is none.

    Returns:
      `(state, batch, key) -> (state, metrics)`. When traced it raises UserError where the
      batch lacks what the phase reads, or has it in another shape or dtype.
    """

    @jax.named_scope(phase.name)  # a profile says of each operation which phase it is of
    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        size = batch_size(phase, batch)
        key = _fold_in_name(jax.random.fold_in(key, state.step), phase.name)
        if phase.stream:
            key = jax.random.fold_in(key, phase.stream)
        draw = _ExampleDraw(key, size, axis_name)
        trained = {name: state.params[name] for name in phase.trains}
        if axis_name is not None:
            trained = _of_each_device(trained, axis_name)

        def loss(trained):
            own = {
                name: {"params": trained[name], **state.network_state[name]}
                for name in trained
            }
            value, metrics, states = phase.loss({**state.variables, **own}, batch, draw)
            return value, ({"loss": value, **metrics}, states)

        gradients, (metrics, states) = jax.grad(loss, has_aux=True)(trained)
        # A network that this phase does not train keeps its state.
        states = {name: states[name] for name in phase.trains if states.get(name)}
        if axis_name is not None:
            gradients, metrics, states = jax.lax.pmean(
                (gradients, metrics, states), axis_name
            )
        metrics["gradient_norm"] = optax.tree.norm(cpu.unshared(gradients))
        trained = {name: state.params[name] for name in phase.trains}
        # The value is for those that ask for it, such as `optax.contrib.reduce_on_plateau`.
        optimizer = optax.with_extra_args_support(phase.optimizer)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state[phase.name], trained, value=metrics["loss"]
        )
        state = state.replace(  # type: ignore[attr-defined]
            params=state.params | optax.apply_updates(trained, updates),  # type: ignore
            network_state=state.network_state | states,
            opt_state={**state.opt_state, phase.name: opt_state},
        )
        return state, {f"{phase.name}/{name}": metrics[name] for name in metrics}

    return step


def train_step(
    phases: Sequence[Phase],
    axis_name: str | None = None,
    ema: float = 0.0,
    augment: Callable[[Batch, Draw], Batch] | None = None,
) -> Step:
    """Makes the step of all phases in order, each seeing what the one before left.

    Args:
      phases: The phases of the step. Of those of one name the last one's metrics are kept.
      axis_name: The axis over devices, as of `phase_step`.
      ema: The decay of the exponential moving average of all parameters after each step,
        as of `optax.ema` with its bias correction; 0 for none. The state must be of
        `init_state(..., ema)`.
      augment: A function that changes the batch that all phases of a step see, by draws of
        its own, as `distortions.flipped` does; None for no change.

    Returns:
      `(state, batch, key) -> (state, metrics)`; the key is the run's, the same at every
      step. When traced it raises UserError as `phase_step`, and where the state has a
      moving average and `ema` is 0, or the other way round.

    Raises:
      UserError: Two phases of one name have one stream of noise.
    """
    streams = [(phase.name, phase.stream) for phase in phases]
    for name, stream in streams:
        if streams.count((name, stream)) > 1:
            raise UserError(
                f"two phases are called {name} and have one stream of noise: give each "
                "another, by dataclasses.replace(phase, stream=1)"
            )
    steps = [phase_step(phase, axis_name) for phase in phases]

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        metrics: Metrics = {}
        if bool(ema) != (state.ema is not None):
            has = "no" if state.ema is None else "a"
            raise UserError(
                f"the state has {has} moving average, and train_step was told ema={ema:g}: "
                "give init_state and train_step the same"
            )
        if augment is not None:
            own_key = _fold_in_name(jax.random.fold_in(key, state.step), "augment")
            size = jax.tree.leaves(dict(batch))[0].shape[0]
            batch = augment(batch, _ExampleDraw(own_key, size, axis_name))
        for one in steps:
            state, more = one(state, batch, key)
            metrics |= more
        if ema:
            _, averaged = optax.ema(ema).update(state.params, state.ema)
            state = state.replace(ema=averaged)  # type: ignore[attr-defined]
        return state.replace(step=state.step + 1), metrics  # type: ignore[attr-defined]

    return step


def averaged_params(state: TrainState, ema: float) -> dict[str, Any]:
    """The moving average of the parameters, by network name, corrected for its start."""
    return optax.tree.bias_correction(state.ema.ema, ema, state.ema.count)


def phase_losses(
    phases: Sequence[Phase],
) -> Callable[[TrainState, Batch, Key], list[Array]]:
    """Makes a step without its gradients: `(state, batch, key) -> losses`, float32 () each.

    All are of the parameters before the step. It is meant to be traced, in a third of the
    time that a step takes, for a look at what the phases compute; it raises UserError as
    `phase_step` does.
    """

    def losses(state: TrainState, batch: Batch, key: Key) -> list[Array]:
        def value(phase: Phase) -> Array:
            draw = _ExampleDraw(key, batch_size(phase, batch), None)
            return phase.loss(state.variables, batch, draw)[0]

        return [value(phase) for phase in phases]

    return losses


def scan_steps(step: Step) -> Callable:
    """Makes one program of many steps.

    It is `(state, batches, key, count=None) -> (state, metrics)`. `batches` has a leading
    axis of steps on every array, and so have the metrics. With a `count`, an integer (),
    only so many steps of them run and the other metrics are 0: one compiled program for any
    number of steps, which all come out of it bit for bit alike.
    """

    def steps(state: TrainState, batches: Batch, key: Key, count: Array | None = None):
        if count is None:
            return jax.lax.scan(lambda s, b: step(s, b, key), state, batches)
        total = jax.tree.leaves(dict(batches))[0].shape[0]

        def at(number):
            return jax.tree.map(lambda x: x[number], dict(batches))

        shapes = jax.eval_shape(lambda: step(state, at(0), key)[1])
        metrics = jax.tree.map(lambda x: jnp.zeros((total, *x.shape), x.dtype), shapes)

        def one(number, carry):
            state, metrics = carry
            state, new = step(state, at(number), key)
            return state, jax.tree.map(lambda x, y: x.at[number].set(y), metrics, new)

        return jax.lax.fori_loop(0, count, one, (state, metrics))

    return steps


class _ExampleDraw(Draw):
    def __init__(self, key: Key, batch_size: int, axis_name: str | None):
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch_size
        self._position = first + jnp.arange(batch_size)
        self._key, self.axis_name = key, axis_name

    def __call__(self, name: str, sampler: Callable[..., Array], *args: Array) -> Array:
        return jax.vmap(sampler)(self.keys(name), *args)

    def keys(self, name: str) -> Keys:
        key = _fold_in_name(self._key, name)
        return jax.vmap(jax.random.fold_in, (None, 0))(key, self._position)

    def gather(self, x: Array) -> Array:
        if self.axis_name is None:
            return x
        return jax.lax.all_gather(x, self.axis_name, tiled=True)


def _fold_in_name(key: Key, name: str) -> Key:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _of_each_device(params: Any, axis_name: str) -> Any:
    """Parameters whose gradients are those of each device's own examples.

    Under `shard_map` with its default `check_vma`, gradients of what all devices share are
    sums over devices; those of a value that varies from device to device are not.
    """

    def vary(x: Array) -> Array:
        if axis_name in getattr(jax.typeof(x), "vma", ()):
            return x
        return jax.lax.pcast(x, axis_name, to="varying")

    return jax.tree.map(vary, params)


def _check_phases(phases: Sequence[Phase], variables: Any) -> None:
    """Raises UserError for a network that is not there, or one name for unlike phases."""
    first: dict[str, Phase] = {}
    for phase in phases:
        if not all(hasattr(phase.optimizer, name) for name in ("init", "update")):
            raise UserError(
                f"the optimizer of phase {phase.name} is {reprlib.repr(phase.optimizer)}: "
                "it must be an optax.GradientTransformation, such as optax.adam(1e-3)"
            )
        for name in phase.trains:
            if name not in variables:
                raise UserError(
                    f"phase {phase.name} trains {name!r}: the model has the networks "
                    f"{', '.join(variables)}"
                )
        same = first.setdefault(phase.name, phase)
        if set(same.trains) != set(phase.trains):
            raise UserError(
                f"two phases are called {phase.name} but train {', '.join(same.trains)} "
                f"and {', '.join(phase.trains)}: give them two names"
            )
