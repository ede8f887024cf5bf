"""A decoder with dispersions, of each feature or of all, that are trained with it."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from aaejax.networks.network import Network, as_network
from aaejax.types import Array, Key, NetworkState, NetworkVariables


def with_dispersions(decoder: Any, shape: tuple[int, ...]) -> Network:
    """A network that gives what a decoder gives, and numbers that no code changes.

    Args:
      decoder: The decoder, `codes [B, Z] -> [B, ...]`: anything that `as_network` takes.
      shape: The shape of the dispersions: that of one example, or () for one number.

    Returns:
      A network `codes [B, Z] -> [B, 2, ...]`, which gives the decoder's outputs, then these
      further parameters, which begin at 0.
    """
    network = as_network(decoder)

    def init(key: Key, *inputs: Array) -> NetworkVariables:
        made = network.init(key, *inputs)
        dispersions = jnp.zeros(shape, jnp.float32)
        params = {"network": made["params"], "dispersions": dispersions}
        return {**made, "params": params}

    def apply(
        variables: NetworkVariables, *inputs: Array, **how: Any
    ) -> tuple[Array, NetworkState]:
        params = variables["params"]
        inner = {**variables, "params": params["network"]}
        outputs, state = network.apply(inner, *inputs, **how)
        own = jnp.broadcast_to(params["dispersions"], outputs.shape)
        return jnp.stack([outputs, own], axis=1), state

    return replace(network, init=init, apply=apply)
