"""The Parzen-window estimate of the log-likelihood (Makhzani et al. 2015, table 1).

The protocol is that of Goodfellow et al. 2014 (parzen_ll.py): a Gaussian of width sigma
around each of the model's samples, sigma chosen on validation images. It rewards blur, and
real images score lower than good models (Theis et al. 2016): read it beside samples.
"""

import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.components.pixels import to_unit
from aaejax.types import Array

SIGMAS = tuple(np.logspace(-1, 0, 10))  # of Goodfellow et al.


def log_likelihoods(
    images: np.ndarray, samples: Iterable[Array], sigmas: tuple[float, ...]
) -> np.ndarray:
    """Computes log p(x) of each image under each width; samples are seen once, never kept.

    Args:
      images: The images, [N, D], float in [0, 1] or uint8.
      samples: The samples, in blocks [M, D] of any sizes, likewise: ten of 1,000 are the
        usual 10,000 samples.
      sigmas: The widths of the Gaussians, as standard deviations.

    Returns:
      The values of log p(x), [sigmas, N], float64, in nats.
    """
    points = jnp.asarray(to_unit(images), jnp.float32)
    widths = jnp.asarray(sigmas, jnp.float32)
    total = jnp.full((len(sigmas), images.shape[0]), -jnp.inf)
    count = 0
    for block in samples:
        total = _add_block(points, jnp.asarray(to_unit(block), jnp.float32), widths, total)
        count += block.shape[0]
    normaliser = images.shape[1] * np.log(np.asarray(sigmas) * math.sqrt(2 * math.pi))
    return np.asarray(total, np.float64) - normaliser[:, None] - math.log(count)


def choose_sigma(
    validation: np.ndarray,
    samples: Iterable[Array],
    sigmas: tuple[float, ...] = SIGMAS,
) -> float:
    """Chooses the width with the best mean log-likelihood of validation images [N, D]."""
    means = log_likelihoods(validation, samples, sigmas).mean(axis=1)
    return float(sigmas[int(means.argmax())])


@jax.jit
def _add_block(images: Array, block: Array, sigmas: Array, total: Array) -> Array:
    # Differences of large squares: float32 on every device, never a tensor core's bfloat16.
    cross = jnp.matmul(images, block.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.square(images).sum(axis=1)[:, None] + jnp.square(block).sum(axis=1)[None]
    distances = jnp.maximum(squares - 2 * cross, 0.0)

    def add(sigma: Array, so_far: Array) -> Array:
        exponents = -distances / (2 * sigma**2)
        return jnp.logaddexp(so_far, jax.nn.logsumexp(exponents, axis=1))

    # One width after another: all at once would hold [sigmas, N, M].
    return jax.lax.map(lambda pair: add(*pair), (sigmas, total))
