"""What a trained decoder and encoder can be asked for.

Pure functions of (model, networks, ...): usable on any restored parameters, under jit.
`KINDS` lists the words of `sample.py` and what each needs of a model.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.batches import to_unit
from aaejax.types import Array, Key, Model, Networks


def samples(model: Model, networks: Networks, key: Key, n: int) -> Array:
    """Decodes n samples of the prior: [n, ...]."""
    return model.decode(networks, model.prior(key, n))


def reconstructions(model: Model, networks: Networks, images: Array, key: Key) -> Array:
    """Encodes and decodes images [n, ...] in [0, 1]: [n, ...]."""
    return model.decode(networks, model.encode(networks, images, key))


def interpolation(
    model: Model, networks: Networks, first: Array, last: Array, steps: int, key: Key
) -> Array:
    """Decodes points on the straight lines between pairs of codes.

    Args:
      model: the model.
      networks: its parameters.
      first: [n, ...] images where the lines start.
      last: [n, ...] images where they end.
      steps: points on each line, both ends included.
      key: of the posterior's noise.

    Returns:
      [n, steps, ...].
    """
    codes = model.encode(networks, jnp.concatenate([first, last]), key)
    start, end = jnp.split(codes, 2)
    t = jnp.linspace(0, 1, steps)[None, :, None]
    line = start[:, None] * (1 - t) + end[:, None] * t  # [n, steps, Z]
    images = model.decode(networks, line.reshape(-1, line.shape[-1]))
    return images.reshape(len(first), steps, *images.shape[1:])


def manifold(model: Model, networks: Networks, key: Key, side: int) -> Array:
    """Decodes a grid over a 2-D prior, at evenly spaced percentiles of each dimension.

    As figure 2e of Makhzani et al. 2015. The percentiles are those of 10,000 samples, so
    that any prior has them. z1 grows to the right, z2 upwards.

    Returns:
      [side, side, ...].
    """
    drawn = model.prior(key, 10_000)
    levels = (jnp.arange(side) + 0.5) / side
    z1 = jnp.quantile(drawn[:, 0], levels)
    z2 = jnp.quantile(drawn[:, 1], levels)[::-1]
    grid = jnp.stack(jnp.meshgrid(z1, z2), axis=-1).reshape(-1, 2)
    images = model.decode(networks, grid)
    return images.reshape(side, side, *images.shape[1:])


def codes(
    model: Model, networks: Networks, images: np.ndarray, key: Key, batch: int = 500
) -> np.ndarray:
    """Encodes a dataset on the host, in its order and in batches.

    Args:
      model: the model.
      networks: its parameters.
      images: [N, ...], uint8 or float32 in [0, 1].
      key: of the posterior's noise.
      batch: images at once.

    Returns:
      float32 [N, Z].
    """
    encode = jax.jit(lambda n, images, key: model.encode(n, to_unit(images), key))
    found = [
        encode(networks, images[first : first + batch], jax.random.fold_in(key, first))
        for first in range(0, len(images), batch)
    ]
    return np.concatenate(jax.device_get(found))


def square(n: int) -> int:
    """The side of the largest square of at most n: how n images become a manifold."""
    return max(1, math.isqrt(n))


def _any(model: Model) -> bool:
    return True


def _plane(model: Model) -> bool:
    return model.latent == 2


KINDS: dict[str, Callable[[Model], bool]] = {
    "samples": _any,
    "reconstructions": _any,
    "interpolation": _any,
    "manifold": _plane,
    "codes": _any,
}


def kinds(model: Model) -> list[str]:
    """The kinds that a model can be asked for."""
    return [kind for kind, possible in KINDS.items() if possible(model)]
