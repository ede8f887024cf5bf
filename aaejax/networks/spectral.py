"""Spectral normalization (Miyato et al. 2018, arXiv 1802.05957) of any network."""

from typing import Any

import jax
import jax.numpy as jnp

from aaejax.networks.network import Network, as_network
from aaejax.types import Array, Key, Keys, NetworkState, NetworkVariables

COLLECTION = "spectral"
FIRST_STEPS = 20  # of power iteration, at the start


def spectral_norm(given: Any) -> Network:
    """Makes a network each of whose kernels is divided by its largest singular value.

    A kernel is every parameter of two dimensions or more, as a matrix whose columns are its
    outputs. One step of power iteration in each pass of training keeps up with it; the
    directions are state, in the collection "spectral".

    Args:
      given: The network: anything that `as_network` takes.
    """
    network = as_network(given)

    def init(key: Key, *inputs: Array) -> NetworkVariables:
        network_key, directions_key = jax.random.split(key)
        variables = network.init(network_key, *inputs)
        kernels = _kernels(variables["params"])
        keys = jax.random.split(directions_key, max(1, len(kernels)))
        directions = {
            name: jax.random.normal(own_key, (kernel.shape[1],), jnp.float32)
            for own_key, (name, kernel) in zip(keys, kernels.items(), strict=False)
        }
        for _ in range(FIRST_STEPS):
            directions = {n: _turned(kernels[n], u)[1] for n, u in directions.items()}
        return {**variables, COLLECTION: directions}

    def apply(
        variables: NetworkVariables,
        *inputs: Array,
        train: bool,
        key: Keys | None,
        axis_name: str | None,
    ) -> tuple[Array, NetworkState]:
        own = {name: x for name, x in variables.items() if name != COLLECTION}
        directions, scales = dict(variables[COLLECTION]), {}
        for name, kernel in _kernels(own["params"]).items():
            direction = directions[name]
            if train:
                _, direction = _turned(kernel, direction)
            left, _ = _turned(kernel, direction)
            # Of constant directions: the gradient is that of the singular value.
            left, direction = map(jax.lax.stop_gradient, (left, direction))
            scales[name] = left @ kernel @ direction
            directions[name] = direction
        leaves, structure = jax.tree.flatten(own["params"])
        leaves = [
            _divided(x, scales[str(n)]) if str(n) in scales else x
            for n, x in enumerate(leaves)
        ]
        divided = {**own, "params": jax.tree.unflatten(structure, leaves)}
        outputs, state = network.apply(
            divided, *inputs, train=train, key=key, axis_name=axis_name
        )
        if not train:
            return outputs, {}
        kept = {name: own[name] for name in own if name != "params"}
        return outputs, {**kept, **state, COLLECTION: directions}

    name = f"{network.name} with spectral norm"
    return Network(init, apply, False, network.reads_noise, name)


def _kernels(params: Any) -> dict[str, Array]:
    """Matrices [inputs, outputs] by the number of their leaf."""
    return {
        str(number): x.reshape(-1, x.shape[-1])
        for number, x in enumerate(jax.tree.leaves(params))
        if x.ndim > 1
    }


def _turned(kernel: Array, direction: Array) -> tuple[Array, Array]:
    """A step of power iteration: directions of length 1 of inputs and of outputs."""
    left = _unit(kernel @ direction)
    right = _unit(kernel.T @ left)
    # Of a kernel of zeros the direction stays, for when it is no longer one.
    return left, jnp.where(jnp.square(right).sum() > 0.5, right, direction)


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x) + 1e-12)


def _divided(kernel: Array, scale: Array) -> Array:
    """The kernel over its scale; one of zeros, which has none, as it is."""
    return kernel / jnp.where(scale > 1e-12, scale, 1.0)
