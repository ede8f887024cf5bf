"""Flax modules as pure functions: all that the models know of Flax."""

from collections.abc import Callable

import flax.linen as nn

from aaejax.types import Array, Key, Params, UserError


def applier(module: nn.Module) -> Callable[..., Array]:
    """`apply(params, *inputs)` of a Flax module: all that the models know of Flax."""

    def apply(params: Params, *inputs: Array) -> Array:
        return module.apply({"params": params}, *inputs)  # type: ignore[return-value]

    return apply


def init_params(module: nn.Module, key: Key, *inputs: Array) -> Params:
    """Parameters of a Flax module for inputs of these shapes; the key is consumed.

    Raises:
      UserError: the module keeps something besides parameters, such as batch statistics.
    """
    variables = dict(module.init(key, *inputs))
    params = variables.pop("params", {})
    if variables:
        raise UserError(
            f"{type(module).__name__} keeps {', '.join(variables)}: networks may have "
            "parameters only; use LayerNorm or GroupNorm in place of BatchNorm"
        )
    return params
