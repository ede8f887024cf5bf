"""A model as compiled programs that need no aaejax: StableHLO, by `jax.export`.

Each is of one example, mapped over a batch of any size, so that networks which take the
length of a batch for a number are exported too. The parameters are no part of a program but
its first argument: the arrays of model.safetensors by name.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from aaejax.runs.on_disk.exported import flat
from aaejax.types import Array, Key, Model, Variables

PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".jaxexport"


def programs(
    model: Model,
    variables: Variables,
    shape: tuple[int, ...],
    tell: Callable[[str], None] = print,
) -> dict[str, bytes]:
    """Makes programs that `jax.export.deserialize` reads, by name, for all of `PLATFORMS`.

    - "decode": `(weights, codes float32 [B, Z]) -> examples float32 [B, ...]`
    - "encode": `(weights, examples float32 [B, ...], labels int32 [B], seed uint32 ()) ->
      codes float32 [B, Z]`, of a model that encodes; labels are -1 where unknown
    - "sample": `(weights, labels int32 [B], seed uint32 ()) -> examples float32 [B, ...]`;
      a label of -1 is any class, as is each where the prior has none to ask for

    Of a model with conditions these, float32 [B, C], stand in the place of labels.

    Args:
      model: The model.
      variables: The variables of its networks; only their shapes and dtypes count.
      shape: The shape of an example.
      tell: Takes a line about each program that can't be made, as of a network that one of
        the platforms can't run.
    """
    found = {}
    for name, (function, arguments) in functions(model, shape).items():
        program = export.export(
            jax.jit(of_a_batch(function, variables), keep_unused=True),
            platforms=PLATFORMS,
        )
        try:
            # JAX's own check of keys takes parts of keys [B], B a symbol, for the whole.
            with jax.debug_key_reuse(False):
                made = program(likes(flat(variables)), *arguments.values())
        except NotImplementedError as error:
            reason = str(error).partition("\n")[0][:200]
            tell(f"note: no program for {name} ({reason}); the weights are there")
        else:
            found[name] = bytes(made.serialize())
    return found


def functions(
    model: Model, shape: tuple[int, ...]
) -> dict[str, tuple[Callable[..., Array], dict[str, jax.ShapeDtypeStruct]]]:
    """Makes the functions of one example, with what a batch of their arguments is like.

    Args:
      model: The model.
      shape: The shape of an example.

    Returns:
      By name, each function and the shapes and dtypes of its arguments by name.
    """

    def decode(variables: Variables, code: Array) -> Array:
        return model.decode(variables, code[None])[0]

    def encode(variables: Variables, image: Array, label: Array, key: Key) -> Array:
        return model.encode(variables, image[None], key, label[None])[0]

    def sample(variables: Variables, label: Array, key: Key) -> Array:
        # What has no parts for classes is not asked for one.
        asked = model.prior_classes or model.conditions
        code = model.prior(variables, key, 1, label[None] if asked else None)
        return model.decode(variables, code)[0]

    (batch,) = export.symbolic_shape("B")
    labels = _like((batch,), np.int32)
    if model.conditions:
        labels = _like((batch, model.conditions), np.float32)
    noise = {"labels": labels, "seed": _like((), np.uint32)}
    examples = {"examples": _like((batch, *shape), np.float32)}
    codes = {"codes": _like((batch, model.latent), np.float32)}
    found = {
        "decode": (decode, codes),
        "encode": (encode, examples | noise),
        "sample": (sample, noise),
    }
    if not model.encodes:
        del found["encode"]
    return found


def of_a_batch(function: Callable[..., Array], variables: Variables) -> Callable:
    """Turns a function of one example, and perhaps a key, into one of weights and a batch.

    Where there are more arguments than one, the last is a seed: an example's key follows
    from it and the example's position in the batch.
    """
    structure, names = jax.tree.structure(variables), list(flat(variables))

    def of_a_batch(weights: dict[str, Array], first: Array, *more: Array) -> Array:
        whole = jax.tree.unflatten(structure, [weights[name] for name in names])
        if not more:
            return jax.vmap(lambda x: function(whole, x))(first)
        *arrays, seed = more
        key = jax.random.key(seed, impl="threefry2x32")
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(first.shape[0]))
        return jax.vmap(lambda *given: function(whole, *given))(first, *arrays, keys)

    return of_a_batch


def _like(shape: tuple[Any, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def likes(arrays: Mapping[str, np.ndarray]) -> dict[str, jax.ShapeDtypeStruct]:
    """Finds the shapes and dtypes of arrays, by name."""
    return {name: _like(x.shape, x.dtype) for name, x in arrays.items()}
