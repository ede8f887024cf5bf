"""What a trained model scores on held-out examples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import clone

from aaejax import clusters
from aaejax.sampling import in_batches
from aaejax.types import Array, Key, Model, Networks


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

    def __init__(
        self,
        model: Model,
        images: np.ndarray,
        labels: np.ndarray | None,
        key: Key,
        most: int = 10_000,
    ):
        """Compiles nothing yet.

        Args:
          model: to evaluate.
          images: [N, ...], uint8 or float32; the first `most` are used.
          labels: int [N], -1 where unknown, or None.
          key: of the posterior's noise and the prior's samples, the same each time.
          most: examples.
        """
        self._model = model
        self._images = images[:most]
        self._labels = None if labels is None else labels[:most]
        self._encode_key, prior_key, other_key = jax.random.split(key, 3)
        n = min(1000, len(self._images))

        def prior_and_chance(prior_key: Key, other_key: Key) -> tuple[Array, Array]:
            prior = model.prior(prior_key, n)
            return prior, mmd(model.prior(other_key, n), prior)

        self._prior, chance = jax.jit(prior_and_chance)(prior_key, other_key)
        self._chance = float(chance)

        def ask(networks: Networks, images: Array, key: Key, labels: Array | None):
            codes = model.encode(networks, images, key, labels)
            found = {
                "codes": codes,
                "represented": model.represent(networks, codes),
                "error": model.error(networks, images, codes),
            }
            if model.classify:
                # The codes' own noise, so that a class and a code belong together.
                found["probabilities"] = model.classify(networks, images, clone(key))
            return found

        self._ask = in_batches(ask)
        self._mmd = jax.jit(mmd)

    def __call__(self, networks: Networks) -> tuple[dict[str, float], np.ndarray]:
        """Scores and codes.

        Returns:
          "heldout/reconstruction": the training loss of the reconstruction, the mean over
          examples. "heldout/prior_mmd": squared MMD between codes and the prior.
          "heldout/prior_mmd_chance": the same between two samples of the prior. Where the
          encoder has classes, "heldout/error_percent"; where it has clusters, they are
          named by every other held-out example and scored on the rest, by the paper's rule
          ("heldout/error_percent") and by majority ("heldout/majority_error_percent").
          And the codes as they are looked at, float32 [N, model.dimensions].
        """
        whole = self._ask(networks, self._images, self._labels, self._encode_key)
        codes = whole["codes"][: len(self._prior)]
        scores: dict[str, Any] = {
            "heldout/reconstruction": float(whole["error"].mean()),
            "heldout/prior_mmd": float(self._mmd(codes, self._prior)),
            "heldout/prior_mmd_chance": self._chance,
        }
        if "probabilities" in whole and self._labels is not None:
            scores |= self._classification(whole["probabilities"], self._labels)
        return scores, whole["represented"]

    def _classification(
        self, probabilities: np.ndarray, labels: np.ndarray
    ) -> dict[str, float]:
        probabilities, labels = probabilities[labels >= 0], labels[labels >= 0]
        if self._model.reads_labelled:
            names = np.arange(probabilities.shape[1])
            error = clusters.error(probabilities, labels, names)
            return {"heldout/error_percent": error}
        naming, scored = slice(0, None, 2), slice(1, None, 2)
        rules = {
            "heldout/error_percent": clusters.names_by_confidence,
            "heldout/majority_error_percent": clusters.names_by_majority,
        }
        return {
            name: clusters.error(
                probabilities[scored],
                labels[scored],
                rule(probabilities[naming], labels[naming]),
            )
            for name, rule in rules.items()
        }
