"""Likelihoods p(x|z): what a decoder's output means, and what a reconstruction costs."""

from dataclasses import dataclass
from typing import Literal

import jax

from aaejax import losses
from aaejax.types import Array, UserError


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's last layer becomes an image and an error.

    Attributes:
      reconstruction: cross-entropy from logits, or half the squared error.
      output: what the last layer goes through.

    Raises:
      UserError: a Bernoulli decoder with linear output.
    """

    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    output: Literal["sigmoid", "linear"] = "sigmoid"

    def __post_init__(self) -> None:
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
          float32 [B], nats (squared error: nats but for a constant, std 1).
        """
        if self.reconstruction == "bernoulli":
            return losses.bernoulli_error(outputs, images)
        return losses.squared_error(self.images(outputs), images)
