"""Posteriors q(z|x): the three choices of section 2.1 of Makhzani et al. 2015.

Each is an encoder's output plus standard normal noise, used at another place:

    deterministic   z = f(x)                           no noise
    gaussian        z = mean(x) + std(x) * noise       noise [Z], re-parametrised
    universal       z = f(x, noise)                    noise [N], a second input of the net
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from aaejax.types import Array, Key

PosteriorKind = Literal["deterministic", "gaussian", "universal"]


@dataclass(frozen=True)
class Posterior:
    """How an encoder's output and noise become a code.

    Attributes:
      kind: one of the three.
      latent: Z, the code size.
      noise_inputs: N, the size of the universal approximator's second input.
    """

    kind: PosteriorKind
    latent: int
    noise_inputs: int = 16

    @property
    def encoder_outputs(self) -> int:
        """Units of the encoder's last layer."""
        return 2 * self.latent if self.kind == "gaussian" else self.latent

    def noise(self, key: Key) -> Array:
        """The noise of one example, [N], [Z] or [0]; the key is consumed."""
        sizes = {
            "deterministic": 0,
            "gaussian": self.latent,
            "universal": self.noise_inputs,
        }
        return jax.random.normal(key, (sizes[self.kind],))

    def input_noise(self, noise: Array) -> Array | None:
        """The part of the noise [B, N] that is the encoder's second input, or None."""
        return noise if self.kind == "universal" else None

    def code(self, outputs: Array, noise: Array) -> Array:
        """A sample of q(z|x) for each image.

        Args:
          outputs: [B, encoder_outputs], of the encoder.
          noise: [B, *noise(key).shape], the same that the encoder saw.

        Returns:
          codes, float32 [B, Z].
        """
        if self.kind != "gaussian":
            return outputs
        mean, log_std = jnp.split(outputs, 2, axis=1)
        return mean + jnp.exp(log_std) * noise
