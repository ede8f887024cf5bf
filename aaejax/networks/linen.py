"""Flax linen modules as pure functions, with batch norm and dropout of the global batch.

A module whose `__call__` has an argument `train` is told whether it trains. In training,
`nn.BatchNorm` takes its statistics over all devices, whether or not it names their axis,
and `nn.Dropout` draws for each example by the example's own key. So a batch gives the same
results on one device and on eight.
"""

import inspect
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aaejax.types import Array, Key, Keys, NetworkVariables, UserError


def linen_functions(module: nn.Module) -> tuple[Callable, Callable, bool]:
    """Makes `init`, `apply` and `same_in_training`, as of `Network`, of a linen module.

    Modules without `train`, or with a true property `same_in_training`, are the same
    function in training and in evaluation.
    """
    told = is_told(type(module).__call__, type(module).__name__)

    def mode(train: bool) -> dict[str, Any]:
        return {"train": train} if told else {}

    def init(key: Key, *inputs: Array) -> NetworkVariables:
        variables = {"params": {}, **module.init(key, *inputs, **mode(False))}
        state = ", ".join(name for name in variables if name != "params")
        if state and not told:
            raise UserError(
                f"{type(module).__name__} keeps {state}, but its __call__ has no argument "
                "train: add one, so that it is told whether it trains"
            )
        return variables

    def apply(
        variables: NetworkVariables,
        *inputs: Array,
        train: bool,
        key: Keys | None,
        axis_name: str | None,
    ):
        if not train or not told:
            return module.apply(variables, *inputs, **mode(False)), {}
        collections = [name for name in variables if name != "params"]
        with nn.intercept_methods(_of_global_batch(key, axis_name)):
            return module.apply(
                variables,
                *inputs,
                **mode(True),
                mutable=collections,
                # For modules that draw by themselves: a key of this device's own.
                rngs={name: own_key(key, name) for name in ("dropout", "noise", "default")},
            )

    return init, apply, not told or getattr(module, "same_in_training", False)


# What other projects call `train`, each with that meaning or its opposite.
_OTHER_WORDS = (
    *("deterministic", "use_running_average", "inference", "testing"),
    *("training", "is_training", "is_train", "eval_mode", "evaluation"),
)


def is_told(call: Callable, name: str) -> bool:
    """Whether a call has an argument `train`.

    Raises:
      UserError: The call has an argument of another name for it, which nobody would set.
    """
    names = inspect.signature(call).parameters
    other = [word for word in _OTHER_WORDS if word in names]
    if other:
        raise UserError(
            f"the call of {name} has an argument {other[0]}, which would stay at its "
            "default: have one called train instead, true while the network trains"
        )
    return "train" in names


def example_dropout(
    keys: Keys | None,
    stream: str,
    x: Array,
    rate: float,
    broadcast_dims: tuple[int, ...] = (),
) -> Array:
    """Dropout (Srivastava et al. 2014) whose mask of an example comes from its own key.

    Args:
      keys: One key for each example, [B].
      stream: A name, which makes the mask another than those of other layers.
      x: The units, [B, ...].
      rate: The share of units that are set to 0; the others are scaled by 1 / (1 - rate).
      broadcast_dims: The axes of x along which the mask is the same.

    Returns:
      The units, [B, ...].

    Raises:
      UserError: There are no keys, or the first axis of x is not the batch.
    """
    if keys is None:
        raise UserError("dropout needs keys [B]: pass key= to apply where train is true")
    if x.shape[0] != len(keys) or 0 in broadcast_dims:
        raise UserError(
            f"dropout of an array {list(x.shape)} in a batch of {len(keys)}: its first "
            "axis must be the batch, and each example has a mask of its own"
        )
    shape = [1 if axis in broadcast_dims else n for axis, n in enumerate(x.shape)][1:]
    salt = zlib.crc32(stream.encode())
    keep = 1.0 - rate

    def mask(key: Key) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, salt), keep, shape)

    kept = jnp.broadcast_to(jax.vmap(mask)(keys), x.shape)
    return jnp.where(kept, x / keep, 0.0)


def _of_global_batch(keys: Keys | None, axis_name: str | None) -> Callable:
    """An interceptor of the methods of `nn.Dropout` and `nn.BatchNorm`."""
    calls: Counter = Counter()  # of each layer: one that is called twice draws twice

    def intercept(call: Callable, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, nn.Dropout):
            return dropped(module, *args, **kwargs)
        if isinstance(module, nn.BatchNorm):
            # Bound modules are frozen copies that live for this call alone.
            object.__setattr__(module, "axis_name", axis_name)
        return call(*args, **kwargs)

    def dropped(
        module: nn.Dropout, x: Array, deterministic: bool | None = None, rng: Any = None
    ) -> Array:
        off = nn.merge_param("deterministic", module.deterministic, deterministic)
        if off or module.rate == 0.0:
            return x
        if module.rate == 1.0:
            return jnp.zeros_like(x)
        layer = "/".join(module.path)
        calls[layer] += 1
        return example_dropout(
            keys, f"{layer}/{calls[layer]}", x, module.rate, tuple(module.broadcast_dims)
        )

    return intercept


def own_key(keys: Keys | None, stream: str) -> Key:
    """Makes one key for a whole pass, another on each device; a constant without keys."""
    if keys is None:
        return jax.random.key(0)
    salt = zlib.crc32(stream.encode())
    return jax.vmap(jax.random.fold_in, (0, None))(keys, salt)[0]
