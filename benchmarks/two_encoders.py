"""A classifier and an encoder of the style side by side, in place of one encoder of both.

    NETWORK=benchmarks/two_encoders.py
    python train.py semi-supervised --network $NETWORK --stop-class-gradient --joint-style

Without `--stop-class-gradient` the classifier also gets the gradients of reconstruction
and, with `--joint-style`, of the style's adversary: Adam makes full steps of them however
small they are. These networks are for models whose encoder says a class or cluster:
semi-supervised, clustering and reduction.

The config.json of a run has the hash of this file only, not of plain_convolutions.py.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from plain_convolutions import Decoder, Encoder

from aaejax import DataSpec, UserError

CHANNELS, STYLE_CHANNELS = 16, 8


class Encoders(nn.Module):
    """Two convolutional encoders of the same images.

    Attributes:
      classes: The number of classes, K.
      style_outputs: The number of outputs of the style's encoder.
    """

    classes: int
    style_outputs: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] -> [B, K + style_outputs]."""
        of_class = Encoder(self.classes, CHANNELS, name="class_encoder")
        of_style = Encoder(self.style_outputs, STYLE_CHANNELS, name="style_encoder")
        return jnp.concatenate([of_class(images), of_style(images)], axis=1)


def encoder(data: DataSpec, outputs: int, class_logits: int) -> Encoders:
    """Of so many classes or clusters, and of a style of what is left of the outputs."""
    if not class_logits:
        raise UserError("two encoders are for models whose encoder says a class")
    return Encoders(class_logits, outputs - class_logits)


def decoder(data: DataSpec) -> Decoder:
    """For images of this shape."""
    return Decoder(data.shape, CHANNELS)
