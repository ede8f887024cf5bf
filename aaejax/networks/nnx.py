"""Flax nnx modules as pure functions, as `linen.py` has it for linen.

An nnx module holds its arrays. Here it is split into parameters, state and a definition
without arrays, and put together again for each call.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aaejax.networks.linen import example_dropout, is_told, own_key
from aaejax.networks.network import Network
from aaejax.types import Array, Key, Keys, NetworkState, NetworkVariables


def from_nnx(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Makes a network of a function that makes an nnx module.

    In training `nnx.BatchNorm` takes its statistics over all devices and `nnx.Dropout`
    draws for each example by the example's own key. A module whose `__call__` has an
    argument `train` is told, and all are set by `train()` and `eval()`.

    Args:
      make: A function `(rngs) -> module`, which is called with fresh `nnx.Rngs` for each
        set of parameters.
    """
    example = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    definition, *parts = _split(example)
    params_like, streams_like, state_like = map(_flat, parts)
    signature = inspect.signature(type(example).__call__).parameters
    told = is_told(type(example).__call__, type(example).__name__)

    def init(key: Key, *inputs: Array) -> NetworkVariables:
        del inputs  # the module knows its sizes
        _, params, _, state = _split(make(nnx.Rngs(key)))
        return {"params": _named(params), **_collection(_named(state))}

    def apply(
        variables: NetworkVariables,
        *inputs: Array,
        train: bool,
        key: Keys | None,
        axis_name: str | None,
    ) -> tuple[Array, NetworkState]:
        module = nnx.merge(
            definition,
            _nested(params_like, variables["params"]),
            _nested(streams_like, _started(streams_like, key)),
            _nested(state_like, variables.get("state", {})),
        )
        if train:
            module.train()
            _take_global_batch(module, key, axis_name)
        else:
            module.eval()
        outputs = module(*inputs, **({"train": train} if told else {}))
        if not train:
            return outputs, {}
        return outputs, _collection(_named(_split(module)[3]))

    name = type(example).__name__
    return Network(init, apply, reads_noise="noise" in signature, name=name)


class _ExampleDropout(nnx.Dropout):
    """Dropout whose mask of an example comes from the example's own key.

    A layer that is called again in the same pass draws anew.
    """

    drop: Callable[..., Array]  # (x, rate, broadcast_dims) -> x

    def __call__(self, inputs: Array, *, deterministic: bool | None = None, **_: Any):
        off = self.deterministic if deterministic is None else deterministic
        if off or self.rate == 0.0:
            return inputs
        if self.rate == 1.0:
            return jnp.zeros_like(inputs)
        return self.drop(inputs, self.rate, tuple(self.broadcast_dims))


def _take_global_batch(module: nnx.Module, keys: Keys | None, axis_name: str | None):
    """Changes the layers of a module that lives for one call."""
    for path, layer in nnx.iter_modules(module):
        if isinstance(layer, nnx.BatchNorm):
            layer.axis_name = axis_name
        elif isinstance(layer, nnx.Dropout):
            layer.__class__ = _ExampleDropout
            layer.drop = _drops(keys, "/".join(map(str, path)))  # type: ignore[attr-defined]


def _drops(keys: Keys | None, layer: str) -> Callable[..., Array]:
    calls = itertools.count(1)
    return lambda *given: example_dropout(keys, f"{layer}/{next(calls)}", *given)


def _split(module: nnx.Module) -> Any:
    """A module's definition, parameters, random streams (anew in each call) and state."""
    return nnx.split(module, nnx.Param, nnx.RngState, ...)


def _flat(state: Any) -> dict[str, tuple[tuple, Any]]:
    """The path and variable by the path's name: checkpoints have names, lists numbers."""
    return {"/".join(map(str, path)): (path, v) for path, v in nnx.to_flat_state(state)}


def _named(state: Any) -> dict[str, Array]:
    return {name: variable[...] for name, (_, variable) in _flat(state).items()}


def _nested(like: Mapping[str, tuple[tuple, Any]], values: Mapping[str, Array]) -> dict:
    """Values by name as the nested dict that nnx merges."""
    nested: dict = {}
    for name, (path, _) in like.items():
        place = nested
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = values[name]
    return nested


def _started(like: Mapping[str, tuple[tuple, Any]], keys: Keys | None) -> dict[str, Array]:
    """Random streams at their start, for modules that draw by themselves."""
    return {
        name: jax.random.key(0)
        if keys is None
        else own_key(keys, name)
        if jnp.issubdtype(variable.get_raw_value().dtype, jax.dtypes.prng_key)
        else jnp.zeros((), jnp.uint32)
        for name, (_, variable) in like.items()
    }


def _collection(state: dict[str, Array]) -> NetworkState:
    return {"state": state} if state else {}
