"""Likelihoods p(x|z): what a decoder's output means, and what a reconstruction costs."""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from aaejax.components import losses
from aaejax.components.checks import check_fields, check_positive
from aaejax.cpu import flat
from aaejax.types import Array, UserError


@dataclass(frozen=True)
class Likelihood:
    """How a decoder's last layer becomes an image and an error.

    Attributes:
      reconstruction: cross-entropy from logits, or half the squared error.
      output: what the last layer goes through.
      std: of the Gaussian that squared error stands for.
      missing: whether a value of an image may be NaN, which is one that is not known: the
        error is then that of the others.

    Raises:
      UserError: a word that is none, a Bernoulli decoder with linear output, or a std that
        is not positive.
    """

    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    output: Literal["sigmoid", "linear"] = "sigmoid"
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

    def images(self, outputs: Array) -> Array:
        """The decoder's outputs [B, ...] as images [B, ...]."""
        return jax.nn.sigmoid(outputs) if self.output == "sigmoid" else outputs

    def seen(self, images: Array) -> Array:
        """Images [B, ...] as networks read them: 0 in place of what is not known."""
        return jnp.where(jnp.isnan(images), 0.0, images) if self.missing else images

    def error(self, outputs: Array, images: Array) -> Array:
        """Reconstruction loss of each example, summed over its pixels.

        Args:
          outputs: [B, ...], the decoder's, before any sigmoid.
          images: [B, ...].

        Returns:
          float32 [B], nats (squared error: nats but for a constant).
        """
        if self.missing:
            # A decoder that is sure of 0 where the image is 0: no error, no gradient.
            sure = -200.0 if self.output == "sigmoid" else 0.0
            outputs = jnp.where(jnp.isnan(images), sure, outputs)
            images = self.seen(images)
        if self.reconstruction == "bernoulli":
            return losses.bernoulli_error(outputs, images)
        return losses.squared_error(self.images(outputs), images) / self.std**2

    def log_density(self, outputs: Array, images: Array) -> Array:
        """Log p(x|z), [B], nats, the Gaussian's constant included."""
        error = self.error(outputs, images)
        if self.reconstruction == "bernoulli":
            return -error
        constant = math.log(self.std * math.sqrt(2 * math.pi))
        size = math.prod(images.shape[1:])
        if self.missing:
            size = (~jnp.isnan(flat(images))).sum(axis=1)
        return -error - size * constant
