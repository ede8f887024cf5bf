"""Convolutions for a few labels: a layer a scale, and nothing between.

    python train.py semi-supervised --labels 100 --network benchmarks/plain_convolutions.py

The networks of `--network conv` have linear paths and layer norm, with which they learn
colours; of digits whose labels are few they learn the classes later than these do.
`benchmarks/paper.py` trains with these where 100 or 1000 labels of table 2 are known, and
where figure 11 has codes of ten dimensions; with all labels with `narrow_convolutions.py`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from aaejax import DataSpec

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
        n, height, width = images.shape[:3]
        size = 2**SCALES
        x = jnp.pad(images, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        for scale in range(SCALES):
            rows, columns, channels = (x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
            x = x.reshape(n, rows, 2, columns, 2, channels).transpose(0, 1, 3, 2, 4, 5)
            x = x.reshape(n, rows, columns, 4 * channels)
            x = nn.relu(nn.Conv(self.channels * 2**scale, (3, 3))(x))
        return nn.Dense(self.outputs)(x.reshape(n, -1))


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
        n, (height, width, colours) = len(codes), self.shape
        rows, columns = (-(-side // 2**SCALES) for side in (height, width))
        features = self.channels * 2 ** (SCALES - 1)
        x = nn.relu(nn.Dense(rows * columns * features)(codes))
        x = x.reshape(n, rows, columns, features)
        for scale in reversed(range(SCALES)):
            outputs = self.channels * 2 ** (scale - 1) if scale else colours
            x = nn.Conv(4 * outputs, (3, 3))(x)
            x = x.reshape(n, rows, columns, 2, 2, outputs).transpose(0, 1, 3, 2, 4, 5)
            rows, columns = 2 * rows, 2 * columns
            x = x.reshape(n, rows, columns, outputs)
            if scale:
                x = nn.relu(x)
        return x[:, :height, :width]


def encoder(data: DataSpec, outputs: int) -> Encoder:
    """For class and style together."""
    return Encoder(outputs)


def decoder(data: DataSpec) -> Decoder:
    """For images of this shape."""
    return Decoder(data.shape)
