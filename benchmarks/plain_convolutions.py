"""Convolutions for a few labels: a layer a scale, and nothing between.

    python train.py semi-supervised --labels 100 --network benchmarks/plain_convolutions.py

The networks of `--network conv` have linear paths and layer norm, with which they learn
colours; of digits whose labels are few they learn the classes later than these do.
`benchmarks/paper.py` trains with these where figure 11 has codes of ten dimensions, and
table 2 with two such encoders, those of `two_encoders.py`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from aaejax import DataSpec
from aaejax.networks.conv import channels_to_pixels, pixels_to_channels

CHANNELS, SCALES = 32, 3


class Encoder(nn.Module):
    """Halves height and width by moving 2x2 pixels into channels, then convolves.

    Attributes:
      outputs: The number of units of the last layer.
      channels: The channels of the finest scale; they double at each coarser one.
    """

    outputs: int
    channels: int = CHANNELS

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] -> [B, outputs]."""
        height, width = images.shape[1:3]
        size = 2**SCALES
        x = jnp.pad(images, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        for scale in range(SCALES):
            x = pixels_to_channels(x, 2)
            x = nn.relu(nn.Conv(self.channels * 2**scale, (3, 3))(x))
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class Decoder(nn.Module):
    """The encoder mirrored.

    Attributes:
      shape: The shape of one image, [H, W, C].
      channels: The channels of the finest scale.
    """

    shape: tuple[int, ...]
    channels: int = CHANNELS

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        """Codes [B, Z] -> images [B, H, W, C]."""
        height, width, colours = self.shape
        rows, columns = (-(-side // 2**SCALES) for side in (height, width))
        features = self.channels * 2 ** (SCALES - 1)
        x = nn.relu(nn.Dense(rows * columns * features)(codes))
        x = x.reshape(-1, rows, columns, features)
        for scale in reversed(range(SCALES)):
            outputs = self.channels * 2 ** (scale - 1) if scale else colours
            x = channels_to_pixels(nn.Conv(4 * outputs, (3, 3))(x), 2)
            if scale:
                x = nn.relu(x)
        return x[:, :height, :width]


def encoder(data: DataSpec, outputs: int) -> Encoder:
    """For class and style together."""
    return Encoder(outputs)


def decoder(data: DataSpec) -> Decoder:
    """For images of this shape."""
    return Decoder(data.shape)
