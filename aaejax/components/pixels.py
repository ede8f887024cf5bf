"""Pixels as the models read them."""

import jax.numpy as jnp

from aaejax.types import Array


def to_unit(images: Array) -> Array:
    """Makes float32 in [0, 1] of uint8 0 ... 255, on the device; float32 stays."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return jnp.asarray(images)
