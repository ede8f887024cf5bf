"""Convolutions whose class and style come from two encoders.

    python train.py semi-supervised --labels 100 --network benchmarks/two_encoders.py

An encoder that makes both is torn: the style's adversary asks its features to follow a prior,
the class wants them to tell digits apart. `benchmarks/paper.py table2` trains with these.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from aaejax import DataSpec, networks

SCALES = 3


class Encoders(nn.Module):
    """One encoder of the class, one of the style."""

    classes: int
    latent: int
    channels: int = 32
    style_channels: int = 16
    norm: str = "layer"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [B, H, W, C] -> [B, K + Z]."""
        of_class = networks.ConvEncoder(
            self.classes,
            self.channels,
            SCALES,
            norm=self.norm,
            dropout=self.dropout,
            name="class",
        )
        of_style = networks.ConvEncoder(
            self.latent, self.style_channels, SCALES, name="style"
        )
        return jnp.concatenate(
            [of_class(images, train=train), of_style(images, train=train)], axis=1
        )


def encoder(data: DataSpec, outputs: int) -> Encoders:
    """Of the classes that the data have, and of a style of what is left of the outputs."""
    return Encoders(data.classes, outputs - data.classes)


def decoder(data: DataSpec) -> networks.ConvDecoder:
    """As `--network conv` has it."""
    return networks.ConvDecoder(data.shape, scales=SCALES)


def discriminator(data: DataSpec) -> networks.MLPDiscriminator:
    """Of class and of style."""
    return networks.MLPDiscriminator(width=400)
