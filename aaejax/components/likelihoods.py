"""Likelihoods p(x|z): what a decoder's output means, and what a reconstruction costs."""

import math
from dataclasses import dataclass
from typing import Literal

import jax

from aaejax.components import losses
from aaejax.components.checks import check_fields, check_positive
from aaejax.types import Array, UserError


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's last layer becomes an image and an error.

    Attributes:
      reconstruction: cross-entropy from logits, or half the squared error.
      output: what the last layer goes through.
      std: of the Gaussian that squared error stands for.

    Raises:
      UserError: a word that is none, a Bernoulli decoder with linear output, or a std that
        is not positive.
    """

    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    output: Literal["sigmoid", "linear"] = "sigmoid"
    std: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "std")
        if self.reconstruction == "bernoulli" and self.output == "linear":
            raise UserError(
                "a bernoulli reconstruction needs sigmoid output: "
                "take squared-error for a linear one"
            )

    def images(self, outputs: Array) -> Array:
        """The decoder's outputs [B, ...] as images [B, ...]."""
        return jax.nn.sigmoid(outputs) if self.output == "sigmoid" else outputs

    def error(self, outputs: Array, images: Array) -> Array:
        """Reconstruction loss of each example, summed over its pixels.

        Args:
          outputs: [B, ...], the decoder's, before any sigmoid.
          images: [B, ...].

        Returns:
          float32 [B], nats (squared error: nats but for a constant).
        """
        if self.reconstruction == "bernoulli":
            return losses.bernoulli_error(outputs, images)
        return losses.squared_error(self.images(outputs), images) / self.std**2

    def log_density(self, outputs: Array, images: Array) -> Array:
        """Log p(x|z), [B], nats, the Gaussian's constant included."""
        error = self.error(outputs, images)
        if self.reconstruction == "bernoulli":
            return -error
        size = math.prod(images.shape[1:])
        return -error - size * math.log(self.std * math.sqrt(2 * math.pi))
