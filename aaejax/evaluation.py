"""What a trained model scores on held-out examples."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.batches import to_unit
from aaejax.types import Array, Key, Model, Networks

BATCH = 500  # examples a dispatch


def mmd(x: Array, y: Array) -> Array:
    """Squared maximum mean discrepancy between two samples, unbiased.

    The kernel is the sum of inverse multiquadratics C / (C + d^2) over seven scales around
    C = 2 Z var(y) (Tolstikhin et al. 2017, section 4; Gretton et al. 2012, eq. 3). It is
    about 0, of either sign, where both are from one distribution.

    Args:
      x: [N, Z].
      y: [M, Z], samples of the reference, whose variance sets the scale.

    Returns:
      float32 ().
    """
    scale = 2 * x.shape[1] * y.var(axis=0).mean()

    def kernel(a: Array, b: Array) -> Array:
        distance = jnp.square(a[:, None] - b[None]).sum(axis=2)
        return sum(
            (
                c * scale / (c * scale + distance)
                for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
            ),
            start=jnp.zeros(()),
        )

    def mean_off_diagonal(values: Array) -> Array:
        n = values.shape[0]
        return (values.sum() - jnp.trace(values)) / (n * (n - 1))

    return (
        mean_off_diagonal(kernel(x, x))
        + mean_off_diagonal(kernel(y, y))
        - 2 * kernel(x, y).mean()
    )


class HeldOut:
    """Evaluates a model on the same held-out examples again and again."""

    def __init__(self, model: Model, images: np.ndarray, key: Key, most: int = 10_000):
        """Compiles nothing yet.

        Args:
          model: to evaluate.
          images: [N, ...], uint8 or float32; the first `most` are used.
          key: of the posterior's noise and the prior's samples, the same each time.
          most: examples.
        """
        self._images = images[:most]
        self._encode_key, prior_key, other_key = jax.random.split(key, 3)
        n = min(1000, len(self._images))

        def prior_and_chance(prior_key: Key, other_key: Key) -> tuple[Array, Array]:
            prior = model.prior(prior_key, n)
            return prior, mmd(model.prior(other_key, n), prior)

        self._prior, chance = jax.jit(prior_and_chance)(prior_key, other_key)
        self._chance = float(chance)

        def encode_and_score(networks: Networks, images: Array, key: Key):
            images = to_unit(images)
            codes = model.encode(networks, images, key)
            return codes, model.error(networks, images, codes)

        self._encode_and_score = jax.jit(encode_and_score)
        self._mmd = jax.jit(mmd)

    def __call__(self, networks: Networks) -> tuple[dict[str, float], np.ndarray]:
        """Scores and codes.

        Returns:
          "heldout/reconstruction": the training loss of the reconstruction, the mean over
          examples. "heldout/prior_mmd": squared MMD between codes and the prior.
          "heldout/prior_mmd_chance": the same between two samples of the prior.
          And the codes, float32 [N, Z].
        """
        codes, errors = [], []
        for number in range(math.ceil(len(self._images) / BATCH)):
            images = self._images[number * BATCH : (number + 1) * BATCH]
            key = jax.random.fold_in(self._encode_key, number)
            more = jax.device_get(self._encode_and_score(networks, images, key))
            codes.append(more[0])
            errors.append(more[1])
        all_codes = np.concatenate(codes)
        scores: dict[str, Any] = {
            "heldout/reconstruction": float(np.concatenate(errors).mean()),
            "heldout/prior_mmd": float(
                self._mmd(all_codes[: len(self._prior)], self._prior)
            ),
            "heldout/prior_mmd_chance": self._chance,
        }
        return scores, all_codes
