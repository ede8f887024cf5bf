"""How unlike the training data an example is, by a trained model."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.components import priors
from aaejax.metrics.mixtures import Mixture
from aaejax.sampling import each_alone, in_batches
from aaejax.types import Array, Key, Model, UserError, Variables

DRAWN = 10_000  # samples that describe a prior without a density
PARTS = ("reconstruction", "latent")
Scales = dict[str, tuple[float, float]]  # median and spread, by part


class Outliers:
    """Scores examples, calibrated on held-out ones.

    An example is unlike the training data where the decoder can't rebuild it
    ("reconstruction") or where its code is not one that the prior would give ("latent").
    Each is measured in robust standard deviations from the median of the held-out examples,
    and the mean of both is the "score". A discriminator is not asked: at equilibrium its
    logit says nothing.
    """

    def __init__(
        self,
        model: Model,
        variables: Variables,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        seed: int = 0,
    ):
        """Calibrates the scores on held-out examples.

        Args:
          model: The model, which must have an encoder.
          variables: The variables of its networks.
          images: The held-out examples, [N, ...], uint8 or float32.
          labels: Their labels, [N], int, -1 where unknown, or None; for a model with
            conditions these, [N, C], float32.
          seed: The seed of the noise of q(z|x), where it has any.

        Raises:
          UserError: The model has no encoder, there are fewer than 2 held-out examples, or
            the model gives no finite numbers for them.
        """
        measures = Measures(model)
        if len(images) < 2:
            raise UserError(
                "scores are calibrated on held-out examples, of which this run has "
                f"{len(images)}: train it on data with a test part"
            )
        self._measured = measures.of(variables, seed)
        self.held_out = self._measured(images, labels)
        self._scales = scales(self.held_out)
        self.held_out["score"] = combined(self.held_out, self._scales)

    def __call__(
        self, images: Any, labels: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Scores examples.

        Args:
          images: The examples, [N, ...], uint8 or float32.
          labels: Their labels, [N], int, or None; for a model with conditions these.

        Returns:
          "reconstruction" and "latent", as from `Measures.of`, and "score", [N], float32:
          the mean of both in robust standard deviations from the median of held-out
          examples; higher is more unlike.
        """
        found = self._measured(images, labels)
        return {**found, "score": combined(found, self._scales)}

    def threshold(self, contamination: float) -> float:
        """Finds the score that a share `contamination` of the held-out examples lies above.

        Raises:
          UserError: The share is not in (0, 0.5].
        """
        if not 0 < contamination <= 0.5:
            raise UserError(
                f"a contamination of {contamination}: it is a share of the data, more than "
                "0 and at most 0.5"
            )
        return float(np.quantile(self.held_out["score"], 1 - contamination))


class Measures:
    """The parts of a score, of one model with any variables; compiled once."""

    def __init__(self, model: Model, batch: int = 500, filled: bool = False):
        """Makes the parts of a model's scores.

        Args:
          model: The model, which must have an encoder.
          batch: How many examples are measured at once, as in `sampling.in_batches`.
          filled: Whether batches are filled up, as in `sampling.in_batches`.

        Raises:
          UserError: The model has no encoder.
        """
        if not model.encodes:
            raise UserError("this model has no encoder: it scores no examples")
        density = priors.log_density(model.prior)
        encode = each_alone(model.encode) if filled else model.encode
        self._draw = None
        if density is None:
            self._draw = jax.jit(lambda variables, key: model.prior(variables, key, DRAWN))

        def ask(
            given: Any, images: Array, key: Key, labels: Array | None
        ) -> dict[str, Array]:
            variables, moments, mixture = given
            codes = encode(variables, images, key, labels)
            known = density
            if mixture is not None:
                known = priors.log_density(priors.gaussian_mixture(*mixture))
            latent = _distance(codes, *moments) if known is None else -known(codes)
            error = model.error(variables, images, codes)
            return {"reconstruction": error, "latent": latent}

        self._ask = in_batches(ask, batch, filled)

    def of(
        self, variables: Variables, seed: int = 0, mixture: Mixture | None = None
    ) -> Callable[[Any, np.ndarray | None], dict[str, np.ndarray]]:
        """Makes the function that measures examples by these variables.

        Args:
          variables: The variables of the model's networks.
          seed: The seed of the noise of q(z|x), where it has any.
          mixture: The density of codes, where that is not to be the prior's.

        Returns:
          A function of images [N, ...] and labels, [N] or None, to arrays by name.
          "reconstruction", [N], float32, is the reconstruction loss: nats of
          a cross-entropy or a density, else half the squared error. "latent", [N], float32,
          is -log p(z) of the code in nats, by the mixture or the prior, or, where the
          prior's density is not known, half the squared Mahalanobis distance of the code
          from samples of the prior.
        """
        prior_key, encode_key = jax.random.split(jax.random.key(seed))
        moments = None
        if self._draw is not None and mixture is None:
            moments = _moments(np.asarray(self._draw(variables, prior_key), np.float64))
        return lambda images, labels: self._ask(
            (variables, moments, mixture), images, labels, encode_key
        )


def scales(found: Mapping[str, np.ndarray]) -> Scales:
    """Finds the median and the spread of each part of the scores of held-out examples.

    Args:
      found: The parts of the scores of examples that are like the training data, [N] each.

    Raises:
      UserError: The model gives no finite numbers for them.
    """
    for name in PARTS:
        if not np.isfinite(found[name]).all():
            raise UserError(
                f"the {name} of held-out examples is not finite: the model scores nothing"
            )
    return {name: _scale(found[name]) for name in PARTS}


def combined(found: Mapping[str, np.ndarray], scales: Scales) -> np.ndarray:
    """Computes the mean of both parts, each on its scale: [N], float32.

    An example that overflows in the network is infinitely unlike the others.
    """
    parts = [(found[name] - middle) / spread for name, (middle, spread) in scales.items()]
    score = np.mean(parts, axis=0).astype(np.float32)
    return np.where(np.isnan(score), np.float32(np.inf), score)


def _moments(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [1, Z] and precision [Z, Z] of samples [n, Z]."""
    mean = drawn.mean(axis=0, keepdims=True).astype(np.float32)
    # "pinv": a one-hot part varies in fewer dimensions than it has.
    precision = np.linalg.pinv(np.atleast_2d(np.cov(drawn.T)), hermitian=True)
    return mean, precision.astype(np.float32)


def _distance(codes: Array, mean: Array, precision: Array) -> Array:
    away = codes - mean
    # Of large squares: float32 on every device.
    products = jnp.matmul(away, precision, precision=jax.lax.Precision.HIGHEST)
    return 0.5 * (products * away).sum(axis=1)


def _scale(values: np.ndarray) -> tuple[float, float]:
    """Median, and what would be the standard deviation of a Gaussian of these quartiles."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    # The quartiles say nothing where half are equal, std nothing where all are.
    return float(middle), float(spread or values.std() or 1.0)
