"""Convolutional networks for images."""

import flax.linen as nn
import jax.numpy as jnp

from aaejax.networks.mlp import flatten
from aaejax.types import Array


class ConvEncoder(nn.Module):
    """Convolutions at ever coarser scales, then a linear layer.

    A scale halves height and width by moving 2x2 pixels into channels: no pixel is skipped,
    as strides would, and no gradient needs a dilated convolution. Images of any size are
    padded with zeros to the next multiple of 2^depth.
    """

    outputs: int
    width: int = 32  # channels at the finest scale; doubled at each coarser one
    depth: int = 2  # scales
    leak: float = 0.0  # slope of the units where they are off

    @nn.compact
    def __call__(self, images: Array, noise: Array | None = None) -> Array:
        """Images [B, H, W, C], noise [B, N] or None -> [B, outputs]."""
        if noise is not None:
            # As constant channels: with a nonlinearity above it, it is more than a bias.
            planes = jnp.broadcast_to(
                noise[:, None, None], (*images.shape[:3], noise.shape[1])
            )
            images = jnp.concatenate([images, planes], axis=3)
        height, width = images.shape[1:3]
        x = jnp.pad(
            images,
            ((0, 0), (0, -height % 2**self.depth), (0, -width % 2**self.depth), (0, 0)),
        )
        for scale in range(self.depth):
            x = _pixels_to_channels(x)
            x = nn.Conv(self.width * 2**scale, (3, 3), name=f"conv_{scale}")(x)
            x = nn.leaky_relu(x, self.leak)
        return nn.Dense(self.outputs, name="output")(flatten(x))


class ConvDecoder(nn.Module):
    """A linear layer, then convolutions at ever finer scales: ConvEncoder mirrored."""

    shape: tuple[int, ...]  # [H, W, C] of one image
    width: int = 32
    depth: int = 2
    norm: bool = False  # layer norm before the units, as a GAN's generator has batch norm

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        """Codes [B, Z] -> [B, H, W, C]."""
        height, width, channels = self.shape
        rows, columns = (-(-side // 2**self.depth) for side in (height, width))
        features = self.width * 2 ** (self.depth - 1)
        x = nn.Dense(rows * columns * features, name="input")(codes)
        x = self._units(x.reshape(-1, rows, columns, features), "input")
        for scale in reversed(range(self.depth)):
            outputs = self.width * 2 ** (scale - 1) if scale else channels
            x = nn.Conv(4 * outputs, (3, 3), name=f"conv_{scale}")(x)
            x = _channels_to_pixels(x)
            if scale:
                x = self._units(x, f"conv_{scale}")
        return x[:, :height, :width]

    def _units(self, x: Array, name: str) -> Array:
        return nn.relu(nn.LayerNorm(name=f"{name}_norm")(x) if self.norm else x)


def _pixels_to_channels(x: Array) -> Array:
    """[B, 2H, 2W, C] -> [B, H, W, 4C]."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)


def _channels_to_pixels(x: Array) -> Array:
    """[B, H, W, 4C] -> [B, 2H, 2W, C]: `_pixels_to_channels` undone."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, channels // 4)
