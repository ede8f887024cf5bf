"""Distributions of one pixel's value, which a network's outputs stand for.

Each has `outputs`, how many numbers a network gives for a pixel, and `numbers`, how many
uniform ones it is drawn by.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from aaejax.types import Array

LEAST_LOG_SCALE = -7.0  # of logistics; a scale near 0 is sure of one level and costs inf


@dataclass(frozen=True)
class Bit:
    """A Bernoulli distribution, for grey pixels that are bits."""

    outputs: int = 1
    numbers: int = 1

    def log_density(self, outputs: Array, pixels: Array) -> Array:
        """The log p of pixels [..., 1] from outputs [..., 1]: [...], in nats."""
        signs = 2 * pixels - 1
        return jax.nn.log_sigmoid(signs * outputs)[..., 0]

    def draw(self, outputs: Array, numbers: Array) -> Array:
        """Draws pixels [..., 1] by uniform numbers [..., 1]."""
        return (numbers < jax.nn.sigmoid(outputs)).astype(jnp.float32)


@dataclass(frozen=True)
class LogisticMixture:
    """A mixture of logistics (PixelCNN++, Salimans et al. 2017, section 2).

    It is over the levels of a pixel. A level has the mass of its bin, and the first and
    last have all beyond. The components are those of a pixel, not of a colour; a colour's
    mean moves linearly with the colours before it.

    Attributes:
      colours: C, the number of colours.
      components: M, the number of logistics in the mixture.
      levels: The number of levels of a colour, evenly from 0 to 1.
    """

    colours: int
    components: int = 10
    levels: int = 256

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for a pixel."""
        pairs = math.comb(self.colours, 2)
        return self.components * (1 + 2 * self.colours + pairs)

    @property
    def numbers(self) -> int:
        """How many uniform numbers a pixel is drawn by."""
        return 1 + self.colours

    def log_density(self, outputs: Array, pixels: Array) -> Array:
        """The log p of pixels [..., C] in [0, 1], at their nearest levels: [...], nats."""
        logits, means, log_scales, slopes = self._split(outputs)
        level = jnp.round(pixels * (self.levels - 1))[..., None]
        pixels, half = self._signed(level), 1 / (self.levels - 1)
        total, pair = jax.nn.log_softmax(logits), 0
        for c in range(self.colours):
            mean = means[..., c, :]
            for before in range(c):
                mean = mean + slopes[..., pair, :] * pixels[..., before, :]
                pair += 1
            sharpness = jnp.exp(-log_scales[..., c, :])
            distance = pixels[..., c, :] - mean
            high, low = sharpness * (distance + half), sharpness * (distance - half)
            above = -jax.nn.softplus(-high)  # log of the distribution function
            below = -jax.nn.softplus(low)  # log of one less that of the lower edge
            # s(high) - s(low) = s(high) s(-low) (1 - exp(low - high)), s the sigmoid. The
            # last factor is high - low where that is so small that it may become 0.
            width = 2 * half * sharpness
            wide = jnp.log(-jnp.expm1(-jnp.maximum(width, 1e-3)))
            narrow = math.log(2 * half) - log_scales[..., c, :] - width / 2
            inside = above + below + jnp.where(width > 1e-3, wide, narrow)
            edge = jnp.where(level[..., c, :] == self.levels - 1, below, inside)
            total = total + jnp.where(level[..., c, :] == 0, above, edge)
        return jax.nn.logsumexp(total, axis=-1)

    def draw(self, outputs: Array, numbers: Array) -> Array:
        """Draws pixels [..., C] in [0, 1] by uniform numbers [..., 1 + C]."""
        logits, means, log_scales, slopes = self._split(outputs)
        below = jnp.cumsum(jax.nn.softmax(logits), axis=-1)
        chosen = (numbers[..., :1] >= below[..., :-1]).sum(axis=-1)
        one = jax.nn.one_hot(chosen, self.components)
        means, log_scales, slopes = (
            (x * one[..., None, :]).sum(axis=-1) for x in (means, log_scales, slopes)
        )
        pixels: list[Array] = []
        pair = 0
        for c in range(self.colours):
            mean = means[..., c]
            for before in range(c):
                mean = mean + slopes[..., pair] * pixels[before]
                pair += 1
            number = jnp.clip(numbers[..., 1 + c], 1e-7, 1 - 1e-7)
            value = mean + jnp.exp(log_scales[..., c]) * jax.scipy.special.logit(number)
            steps = self.levels - 1
            level = jnp.clip(jnp.round((value + 1) / 2 * steps), 0, steps)
            pixels.append(self._signed(level))
        return (jnp.stack(pixels, axis=-1) + 1) / 2

    def _signed(self, level: Array) -> Array:
        """A level 0 ... levels - 1 as a number in [-1, 1]."""
        return 2 * level / (self.levels - 1) - 1

    def _split(self, outputs: Array) -> tuple[Array, Array, Array, Array]:
        """Logits [..., M], means and log scales [..., C, M] and slopes [..., pairs, M]."""
        parts = outputs.reshape(*outputs.shape[:-1], -1, self.components)
        first, second = 1 + self.colours, 1 + 2 * self.colours
        log_scales = jnp.maximum(parts[..., first:second, :], LEAST_LOG_SCALE)
        return (
            parts[..., 0, :],
            parts[..., 1:first, :],
            log_scales,
            jnp.tanh(parts[..., second:, :]),
        )
