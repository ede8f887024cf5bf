"""A classifier and an encoder of the style side by side, in place of one encoder of both.

    NETWORK=benchmarks/two_encoders.py
    python train.py semi-supervised --network $NETWORK --stop-class-gradient --joint-style

Without `--stop-class-gradient` reconstruction and the style's adversary move the classifier
too, by little gradient of which Adam makes steps of the usual size. A run's config.json has
the hash of this file alone; what it imports is watched by nobody.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from plain_convolutions import Decoder, Encoder

from aaejax import DataSpec

CHANNELS, STYLE_CHANNELS = 16, 8


class Encoders(nn.Module):
    """Two convolutional encoders of the same images.

    Attributes:
      classes: The number of classes, K.
      latent: The size of the style, Z.
    """

    classes: int
    latent: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] -> [B, K + Z]."""
        of_class = Encoder(self.classes, CHANNELS, name="class_encoder")
        of_style = Encoder(self.latent, STYLE_CHANNELS, name="style_encoder")
        return jnp.concatenate([of_class(images), of_style(images)], axis=1)


def encoder(data: DataSpec, outputs: int) -> Encoders:
    """Of the data's classes, and of a style of what is left of the outputs."""
    return Encoders(data.classes, outputs - data.classes)


def decoder(data: DataSpec) -> Decoder:
    """For images of this shape."""
    return Decoder(data.shape, CHANNELS)
