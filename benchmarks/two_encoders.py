"""Convolutions whose class and style come from two encoders.

    python train.py semi-supervised --labels 100 --network benchmarks/two_encoders.py

One encoder of both is torn: the style's adversary asks its features to follow a prior, the
class wants them to tell digits apart. `benchmarks/paper.py table2` trains with these.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from aaejax import DataSpec, networks

SCALES = 3


class ShiftedConv(nn.Module):
    """`nn.Conv` with a stride of 1, as one matrix product of shifted copies.

    Under `vmap` over seeds it stays a matrix product, where a convolution becomes one of
    many groups.

    Attributes:
      features: of the output.
      kernel_size: odd numbers.
    """

    features: int
    kernel_size: tuple[int, int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        height, width, channels = x.shape[1:]
        rows, columns = self.kernel_size
        shape = (rows, columns, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        above, left = rows // 2, columns // 2
        padded = jnp.pad(x, ((0, 0), (above, above), (left, left), (0, 0)))
        copies = [
            padded[:, row : row + height, column : column + width]
            for row, column in itertools.product(range(rows), range(columns))
        ]
        seen = jnp.concatenate(copies, axis=3)
        return seen @ kernel.reshape(-1, self.features) + bias


class Encoders(nn.Module):
    """One encoder of the class, one of the style.

    Attributes:
      classes: K.
      latent: Z, of the style.
      channels: of the finest scale of the class's encoder.
      style_channels: of the style's.
    """

    classes: int
    latent: int
    channels: int = 32
    style_channels: int = 16

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> [B, K + Z]."""
        parts = (
            ("class", self.classes, self.channels),
            ("style", self.latent, self.style_channels),
        )
        each = [
            networks.ConvEncoder(outputs, channels, SCALES, conv=ShiftedConv, name=name)(
                images, train=train
            )
            for name, outputs, channels in parts
        ]
        return jnp.concatenate(each, axis=1)


def encoder(data: DataSpec, outputs: int) -> Encoders:
    """Of the classes that the data have, and of a style of what is left of the outputs."""
    return Encoders(data.classes, outputs - data.classes)


def decoder(data: DataSpec) -> networks.ConvDecoder:
    """As `--network conv` has it."""
    return networks.ConvDecoder(data.shape, scales=SCALES, conv=ShiftedConv)


def discriminator(data: DataSpec) -> networks.MLPDiscriminator:
    """Of class and of style."""
    return networks.MLPDiscriminator(width=400)
