"""Convolutional networks for images.

Image and code are joined by a path of linear maps, with a convolution of units added at
each scale. The linear path learns from the first steps on what is linear in the image, such
as the colour of the ground. Behind units at every scale such small differences stand
against features that are nearly the same in every image, and reconstructions stay grey.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from aaejax.networks.mlp import (
    Conv,
    Dense,
    Norm,
    NormAndDropout,
    append_planes,
    dropped,
    flatten,
    normalised,
)
from aaejax.types import Array

# Positions along the longer side, at most: where the first units stand, as convolutions of
# finer grids cost most and bring little, and where the linear layer reads.
FINEST, COARSEST = 16, 7
WIDEST = 4  # times the channels of the finest scale
# What the learning of colours needs of Adam. The first gradients, those of the mean image,
# are the largest; they are to be forgotten soon.
CONV_BETA2 = 0.95
# The default of layer norm, 1e-6, lets a gradient grow a thousandfold where an image is
# flat and its features are all alike. The last layer's inputs have a variance of about 1.
EPSILON, LAST_EPSILON = 1e-3, 0.1


class ConvEncoder(NormAndDropout, nn.Module):
    """Linear maps and residual convolutions at ever coarser scales, then a linear layer.

    The first scale reads square patches, each other one 2x2 positions of the one before: no
    pixel is skipped, as strides would, and no gradient needs a dilated convolution. Images
    of any size are padded with zeros to whole patches.

    Attributes:
      outputs: The number of units of the last layer.
      channels: The channels of the finest scale; they double at each coarser one, up to
        four times as many.
      scales: The number of scales; 0 for as many as `patches` says for the image.
      norm: The norm of a convolution's inputs, before their units, and of the inputs of the
        last layer.
      dropout: The share of the inputs and of each convolution's units that are set to 0 in
        training.
      leak: The slope of the units where they are off.
      dense: What makes a linear layer.
      conv: What makes a convolution.
    """

    outputs: int
    channels: int = 16
    scales: int = 0
    norm: Norm = "layer"
    dropout: float = 0.0
    leak: float = 0.0
    dense: Dense = nn.Dense
    conv: Conv = nn.Conv

    @nn.compact
    def __call__(
        self, images: Array, noise: Array | None = None, train: bool = False
    ) -> Array:
        """Encodes images [B, H, W, C] and noise, [B, N] or None, to [B, outputs]."""
        # With a nonlinearity above them, constant channels are more than a bias.
        x = append_planes(dropped(images, self.dropout, train), noise)
        height, width = x.shape[1:3]
        sides = patches(height, width, self.scales)
        size = math.prod(sides)
        x = jnp.pad(x, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        for scale, side in enumerate(sides):
            outputs = features(self.channels, scale)
            x = self.dense(outputs, name=f"down_{scale}")(pixels_to_channels(x, side))
            x = _block(self, scale, self.leak)(x, None, train)
        # Linear codes of images of little contrast are short and of others long, where
        # those of a Gaussian of many dimensions are nearly of one length: a discriminator
        # sees it.
        x = normalised(flatten(x), self.norm, train, "norm", LAST_EPSILON)
        return self.dense(self.outputs, name="output")(x)


class ConvDecoder(NormAndDropout, nn.Module):
    """A linear layer, then blocks at ever finer scales: `ConvEncoder` mirrored.

    Each block reads the code too, which scales and shifts its features (as the styles of
    Karras et al. 2019, arXiv 1812.04948): a shape times a colour is one product.

    It has the attributes of `ConvEncoder` but for `outputs` and `leak`, and one more.

    Attributes:
      shape: The shape of one image, [H, W, C].
    """

    shape: tuple[int, ...]
    channels: int = 16
    scales: int = 0
    norm: Norm = "layer"
    dropout: float = 0.0
    dense: Dense = nn.Dense
    conv: Conv = nn.Conv

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Decodes codes [B, Z] to [B, H, W, C]."""
        height, width, colours = self.shape
        codes = dropped(codes, self.dropout, train)
        sides = patches(height, width, self.scales)
        size = math.prod(sides)
        rows, columns = -(-height // size), -(-width // size)
        deepest = features(self.channels, len(sides) - 1)
        x = self.dense(rows * columns * deepest, name="input")(codes)
        x = x.reshape(-1, rows, columns, deepest)
        for scale, side in reversed(list(enumerate(sides))):
            x = _block(self, scale)(x, codes, train)
            outputs = features(self.channels, scale - 1) if scale else colours
            # Patches that see their neighbours, so that they need not end at an edge.
            x = self.conv(side**2 * outputs, (3, 3), name=f"up_{scale}")(x)
            x = channels_to_pixels(x, side)
        return x[:, :height, :width]


class Block(nn.Module):
    """Adds a 3x3 convolution of the units of what comes in, normalised.

    Its attributes are those of `ConvEncoder`.
    """

    norm: Norm = "layer"
    dropout: float = 0.0
    leak: float = 0.0
    dense: Dense = nn.Dense
    conv: Conv = nn.Conv

    @nn.compact
    def __call__(self, x: Array, codes: Array | None = None, train: bool = False) -> Array:
        """Maps features [B, H, W, C] to as many; codes [B, Z] or None scale and shift."""
        y = normalised(x, self.norm, train, "norm", EPSILON)
        if codes is not None:
            style = self.dense(2 * x.shape[3], name="style")(codes)
            scale, shift = jnp.split(style[:, None, None], 2, axis=3)
            y = y * (1 + scale) + shift
        y = dropped(nn.leaky_relu(y, self.leak), self.dropout, train)
        return x + self.conv(x.shape[3], (3, 3), name="conv")(y)


def _block(of: ConvEncoder | ConvDecoder, scale: int, leak: float = 0.0) -> Block:
    """A block of the layers that a network has; called in its `__call__`."""
    return Block(of.norm, of.dropout, leak, of.dense, of.conv, name=f"block_{scale}")


def patches(height: int, width: int, scales: int = 0) -> list[int]:
    """The sides of the square that one position of each scale is made of, finest first.

    The first is so large that at most `FINEST` positions are left on a side; each further
    scale halves them, down to `COARSEST` or until there are as many scales as asked for.
    """
    sides = [2]
    while max(height, width) > FINEST * sides[0]:
        sides[0] *= 2
    while len(sides) < scales or (
        not scales and max(height, width) > COARSEST * math.prod(sides)
    ):
        sides.append(2)
    return sides


def features(channels: int, scale: int) -> int:
    """How many channels a scale has, 0 being the finest."""
    return channels * min(2**scale, WIDEST)


def pixels_to_channels(x: Array, side: int) -> Array:
    """Moves pixels to channels: [B, side H, side W, C] -> [B, H, W, side^2 C]."""
    n, height, width, channels = x.shape
    rows, columns = height // side, width // side
    x = x.reshape(n, rows, side, columns, side, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, side**2 * channels)


def channels_to_pixels(x: Array, side: int) -> Array:
    """Undoes `pixels_to_channels`: [B, H, W, side^2 C] -> [B, side H, side W, C]."""
    n, rows, columns, channels = x.shape
    x = x.reshape(n, rows, columns, side, side, channels // side**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, side * rows, side * columns, -1)
