"""Posteriors q(z|x): the three choices of section 2.1 of Makhzani et al. 2015.

Each is an encoder's output plus standard normal noise, used at another place:

    deterministic   z = f(x)                           no noise
    gaussian        z = mean(x) + std(x) * noise       noise [Z], re-parametrised
    universal       z = f(x, noise)                    noise [N], a second input of the net
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from aaejax.components.checks import check_at_least, check_fields
from aaejax.types import Array, Key

PosteriorKind = Literal["deterministic", "gaussian", "universal"]


@dataclass(frozen=True)
class Posterior:
    """How an encoder's output and noise become a code.

    Attributes:
      kind: Which of the three it is: "deterministic", "gaussian" or "universal".
      latent: Z, the size of the code.
      noise_inputs: N, the size of the universal approximator's second input.

    Raises:
      UserError: The kind is none of the three, or a size is below 1.
    """

    kind: PosteriorKind
    latent: int
    noise_inputs: int = 16

    def __post_init__(self) -> None:
        check_fields(self)
        check_at_least(self, 1, "latent", "noise_inputs")

    @property
    def encoder_outputs(self) -> int:
        """How many units the encoder's last layer has, without those of a class."""
        return 2 * self.latent if self.kind == "gaussian" else self.latent

    def noise(self, key: Key) -> Array:
        """Draws the noise of one example, [N], [Z] or [0]; the key is consumed."""
        sizes = {
            "deterministic": 0,
            "gaussian": self.latent,
            "universal": self.noise_inputs,
        }
        return jax.random.normal(key, (sizes[self.kind],))

    def encoder_noise(self, noise: Array) -> tuple[Array, ...]:
        """The encoder's further inputs: (noise [B, N],), or () where it has none."""
        return (noise,) if self.kind == "universal" else ()

    def code(self, outputs: Array, noise: Array) -> Array:
        """Draws a code from q(z|x) for each image.

        Args:
          outputs: The encoder's outputs, [B, encoder_outputs].
          noise: The noise that the encoder saw, [B, *noise(key).shape].

        Returns:
          The codes, float32 [B, Z].
        """
        if self.kind != "gaussian":
            return outputs
        mean, log_std = jnp.split(outputs, 2, axis=1)
        return mean + jnp.exp(log_std) * noise

    def log_density(self, outputs: Array, noise: Array) -> Array:
        """The log q(z|x) at `code(outputs, noise)`, [B], in nats; only of a Gaussian."""
        _, log_std = jnp.split(outputs, 2, axis=1)
        squares = jnp.square(noise) + math.log(2 * math.pi)
        return -(0.5 * squares + log_std).sum(axis=1)

    def divergence(self, outputs: Array, std: float) -> Array:
        """The KL(q(z|x) || N(0, std^2 I)), [B], in nats; only of a Gaussian.

        It is in closed form (Kingma & Welling 2013, appendix B).
        """
        mean, log_std = jnp.split(outputs, 2, axis=1)
        log_ratio = log_std - math.log(std)
        squares = jnp.square(mean / std) + jnp.exp(2 * log_ratio)
        return (0.5 * (squares - 1) - log_ratio).sum(axis=1)
