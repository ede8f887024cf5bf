"""Changes of an image that leave its class, and of greys to bits: what is drawn anew."""

import jax
import jax.numpy as jnp

from aaejax.types import Array, Batch, Draw, Key


def distorted(key: Key, image: Array, translation: float, distortion: float) -> Array:
    """An image moved, turned, scaled and sheared a little about its centre, at random.

    Args:
      key: A PRNG key, which is consumed.
      image: The image, [H, W, C]; beyond its edges everything is 0.
      translation: The largest number of pixels that it moves by, up, down or sideways.
      distortion: The standard deviation of what is added to each of the four numbers of the
        identity, the linear map of its positions; 0.1 turns by some 4 degrees.

    Returns:
      The changed image, float32 [H, W, C], interpolated linearly.
    """
    shift_key, matrix_key = jax.random.split(key)
    shift = jax.random.uniform(shift_key, (2,), minval=-translation, maxval=translation)
    matrix = jnp.eye(2) + distortion * jax.random.normal(matrix_key, (2, 2))
    height, width, _ = image.shape
    centre = jnp.array([[height - 1], [width - 1]]) / 2
    to = jnp.stack(jnp.mgrid[:height, :width]).reshape(2, -1)
    taken_from = matrix @ (to - centre) + centre + shift[:, None]

    def channel(values: Array) -> Array:
        moved = jax.scipy.ndimage.map_coordinates(values, list(taken_from), order=1)
        return moved.reshape(height, width)

    return jax.vmap(channel, in_axes=2, out_axes=2)(image)


def flipped(batch: Batch, draw: Draw) -> dict[str, Array]:
    """A training batch with each picture turned left to right, or not, at even odds.

    Args:
      batch: The batch; each array whose name ends in "image" has pictures [B, H, W, C].
      draw: The randomness of the step, with a stream for each such array, so that a picture
        is flipped alike on any device.
    """

    def flip(name: str) -> Array:
        turn = draw(f"flip {name}", jax.random.bernoulli)
        return jnp.where(turn[:, None, None, None], batch[name][:, :, ::-1], batch[name])

    return {name: flip(name) if name.endswith("image") else batch[name] for name in batch}


def binarized(batch: Batch, draw: Draw) -> dict[str, Array]:
    """A training batch with each pixel 1 or 0, with its grey as the probability of 1.

    Args:
      batch: The batch; each array whose name ends in "image" has values in [0, 1],
        [B, ...].
      draw: The randomness of the step, with a stream for each such array.
    """

    def bits(name: str) -> Array:
        drawn = draw(f"bits {name}", jax.random.bernoulli, batch[name])
        return drawn.astype(jnp.float32)

    return {name: bits(name) if name.endswith("image") else batch[name] for name in batch}
