"""Convolutional networks for images.

Each scale has a linear map of 2x2 pixels and a residual block, so that code and image are
joined by a path of linear maps alone: it learns what is linear in the image, such as the
colour of the ground, from the first steps on. Behind units at every scale such small
differences stand against features that are nearly the same in every image, and are not
learnt: reconstructions of coloured images stay grey.
"""

import flax.linen as nn
import jax.numpy as jnp

from aaejax.networks.mlp import Norm, flatten
from aaejax.types import Array


class ConvEncoder(nn.Module):
    """Linear maps and residual blocks at ever coarser scales, then a linear layer.

    A scale halves height and width by moving 2x2 pixels into channels: no pixel is skipped,
    as strides would, and no gradient needs a dilated convolution. Images of any size are
    padded to the next multiple of 2^scales.
    """

    outputs: int
    width: int = 16  # channels at the finest scale; doubled at each coarser one, to 8 times
    scales: int = 0  # 0: as `scales_of` the image
    leak: float = 0.0  # slope of the units where they are off
    norm: Norm = "layer"

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return self.norm != "batch"

    @nn.compact
    def __call__(
        self, images: Array, noise: Array | None = None, train: bool = False
    ) -> Array:
        """Images [B, H, W, C], noise [B, N] or None -> [B, outputs]."""
        images = 2 * images - 1
        if noise is not None:
            # As constant channels: with a nonlinearity above it, it is more than a bias.
            planes = jnp.broadcast_to(
                noise[:, None, None], (*images.shape[:3], noise.shape[1])
            )
            images = jnp.concatenate([images, planes], axis=3)
        height, width = images.shape[1:3]
        scales = self.scales or scales_of(height, width)
        x = jnp.pad(
            images, ((0, 0), (0, -height % 2**scales), (0, -width % 2**scales), (0, 0))
        )
        for scale in range(scales):
            x = nn.Dense(_features(self.width, scale), name=f"down_{scale}")(
                _pixels_to_channels(x)
            )
            x = _Block(self.norm, self.leak, name=f"block_{scale}")(x, None, train)
        return nn.Dense(self.outputs, name="output")(flatten(x))


class ConvDecoder(nn.Module):
    """A linear layer, then blocks at ever finer scales: ConvEncoder mirrored.

    Each block reads the code too, which scales and shifts its features (as the styles of
    Karras et al. 2018, arXiv 1812.04948): a shape times a colour is one product.
    """

    shape: tuple[int, ...]  # [H, W, C] of one image
    width: int = 16
    scales: int = 0
    norm: Norm = "layer"

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return self.norm != "batch"

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Codes [B, Z] -> [B, H, W, C]."""
        height, width, channels = self.shape
        scales = self.scales or scales_of(height, width)
        rows, columns = (-(-side // 2**scales) for side in (height, width))
        features = _features(self.width, scales - 1)
        x = nn.Dense(rows * columns * features, name="input")(codes)
        x = x.reshape(-1, rows, columns, features)
        for scale in reversed(range(scales)):
            x = _Block(self.norm, name=f"block_{scale}")(x, codes, train)
            outputs = _features(self.width, scale - 1) if scale else channels
            x = _channels_to_pixels(nn.Dense(4 * outputs, name=f"up_{scale}")(x))
        return x[:, :height, :width]


def scales_of(height: int, width: int) -> int:
    """How often an image is halved until its longer side is at most 7; at least once."""
    scales = 1
    while max(height, width) > 7 * 2**scales:
        scales += 1
    return scales


class _Block(nn.Module):
    """x + a 3x3 convolution of the units of normalised x."""

    norm: Norm
    leak: float = 0.0

    @nn.compact
    def __call__(self, x: Array, codes: Array | None, train: bool) -> Array:
        """[B, H, W, C], codes [B, Z] that scale and shift, or None -> [B, H, W, C]."""
        features = x.shape[-1]
        # The default epsilon, 1e-6, lets a gradient grow a thousandfold where an image is
        # flat and its features are all alike.
        y = x
        if self.norm == "layer":
            y = nn.LayerNorm(epsilon=1e-3, name="norm")(x)
        elif self.norm == "batch":
            y = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, epsilon=1e-3, name="norm"
            )(x)
        if codes is not None:
            style = nn.Dense(2 * features, name="style")(codes)[:, None, None]
            scale, shift = jnp.split(style, 2, axis=3)
            y = y * (1 + scale) + shift
        return x + nn.Conv(features, (3, 3), name="conv")(nn.leaky_relu(y, self.leak))


def _features(width: int, scale: int) -> int:
    return width * 2 ** min(scale, 3)


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
