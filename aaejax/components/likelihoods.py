"""Likelihoods p(x|z): what a decoder's output means, and what a reconstruction costs."""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from aaejax.components import counts, losses
from aaejax.components.checks import check_fields, check_positive
from aaejax.cpu import flat
from aaejax.types import Array, UserError

Reconstruction = Literal[
    "bernoulli", "squared-error", "gaussian", "poisson", "negative-binomial"
]
Output = Literal["sigmoid", "linear", "softmax"]
COUNTS = ("poisson", "negative-binomial")
# Of the logarithm of a trained std, either way: beyond it float32 overflows.
_LARGEST = 20.0
# Adam moves a parameter by the learning rate a step, and this one has far to go.
_HASTE = 10.0


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's last layer becomes an image and an error.

    Attributes:
      reconstruction: What the error is: the cross-entropy from logits; half the squared
        error; -log p(x|z) of a Gaussian whose one variance is trained (Dai & Wipf 2019);
        or, for counts [B, F], that of a Poisson or negative binomial (`components.counts`).
      output: The function that the last layer goes through; softmax is for counts, and
        gives shares.
      std: The standard deviation of the Gaussian that the squared error stands for.
      missing: Whether a value of an image may be NaN, which is one that is not known: the
        error is then that of the others.

    Raises:
      UserError: A word is none of those allowed, the output does not go with the
        reconstruction, counts may have missing values, or std is not positive.
    """

    reconstruction: Reconstruction = "bernoulli"
    output: Output = "sigmoid"
    std: float = 1.0
    missing: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "std")
        if self.reconstruction == "bernoulli" and self.output == "linear":
            raise UserError(
                "a bernoulli reconstruction needs sigmoid output: "
                "take squared-error for a linear one"
            )
        if self.of_counts != (self.output == "softmax"):
            raise UserError(
                f"a {self.reconstruction} reconstruction with {self.output} output: "
                f"softmax is for counts ({', '.join(COUNTS)}), and they need it"
            )
        if self.of_counts and self.missing:
            raise UserError(
                f"a {self.reconstruction} reconstruction needs all counts: fill those that "
                "are missing, or leave their rows out"
            )

    @property
    def of_counts(self) -> bool:
        """Whether examples are counts: whole numbers from 0 on, [B, F]."""
        return self.reconstruction in COUNTS

    def dispersions(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of what is trained beside a decoder to examples of a shape, or None."""
        return {"negative-binomial": shape, "gaussian": ()}.get(self.reconstruction)

    def images(self, outputs: Array) -> Array:
        """Makes images [B, ...] of the decoder's outputs; counts are made per 10,000."""
        if self.reconstruction in ("negative-binomial", "gaussian"):
            outputs = outputs[:, 0]
        if self.of_counts:
            return counts.LIBRARY * jax.nn.softmax(outputs)
        return jax.nn.sigmoid(outputs) if self.output == "sigmoid" else outputs

    def seen(self, images: Array) -> Array:
        """Makes of images [B, ...] what networks read: 0 for what is not known.

        Of counts x they read log(1 + x).
        """
        if self.of_counts:
            return jnp.log1p(images)
        return jnp.where(jnp.isnan(images), 0.0, images) if self.missing else images

    def error(self, outputs: Array, images: Array) -> Array:
        """The reconstruction loss of each example, summed over its pixels.

        Args:
          outputs: The decoder's outputs, [B, ...], before any sigmoid; for a negative
            binomial or a Gaussian [B, 2, ...], these and the dispersions.
          images: The images, [B, ...].

        Returns:
          The error of each example, float32 [B], in nats (for the squared error but for a
          constant; for a Gaussian those of a density, which may be below 0).
        """
        if self.reconstruction == "poisson":
            return counts.poisson_error(outputs, images)
        if self.reconstruction == "negative-binomial":
            return counts.negative_binomial_error(outputs[:, 0], outputs[:, 1], images)
        if self.reconstruction == "gaussian":
            return losses.gaussian_error(
                self.images(outputs), self.log_stds(outputs), images
            )
        if self.missing:
            # A decoder that is sure of 0 where the image is 0: no error, no gradient.
            sure = -200.0 if self.output == "sigmoid" else 0.0
            outputs = jnp.where(jnp.isnan(images), sure, outputs)
            images = self.seen(images)
        if self.reconstruction == "bernoulli":
            return losses.bernoulli_error(outputs, images)
        return losses.squared_error(self.images(outputs), images) / self.std**2

    def log_density(self, outputs: Array, images: Array) -> Array:
        """The log p(x|z), [B], in nats, the Gaussian's constant included."""
        error = self.error(outputs, images)
        if self.reconstruction != "squared-error":
            return -error
        constant = math.log(self.std * math.sqrt(2 * math.pi))
        size = math.prod(images.shape[1:])
        if self.missing:
            size = (~jnp.isnan(flat(images))).sum(axis=1)
        return -error - size * constant

    def draw(self, outputs: Array, noise: Array) -> Array:
        """Draws examples from a Gaussian p(x|z), by standard normal noise [B, ...]."""
        return self.images(outputs) + jnp.exp(self.log_stds(outputs)) * noise

    def log_stds(self, outputs: Array) -> Array:
        """The logs of the trained std, [B, ...], from a decoder's outputs [B, 2, ...]."""
        return _LARGEST * jnp.tanh(_HASTE / _LARGEST * outputs[:, 1])
