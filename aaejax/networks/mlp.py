"""The paper's networks: layers of ReLU units (Makhzani et al. 2015, appendix A.1)."""

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from aaejax.types import Array

# (units, name=...) -> a linear layer: `nn.Dense`, or a partial of it
Dense = Callable[..., nn.Module]
# (channels, kernel size, name=...) -> a convolution: `nn.Conv`, or a partial of it
Conv = Callable[..., nn.Module]
Norm = Literal["none", "layer", "batch"]


class NormAndDropout:
    """What a module that may have batch norm and dropout says of itself."""

    norm: Norm
    dropout: float

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return self.norm != "batch" and self.dropout == 0.0


class HiddenLayers(NormAndDropout, nn.Module, kw_only=True):
    """The layers that the MLPs here have between inputs and last layer, given by keyword.

    Attributes:
      width: The number of units of a hidden layer.
      depth: The number of hidden layers.
      dense: What makes a linear layer.
      norm: The norm of a hidden layer's sums, before its units: none, layer norm (Ba et al.
        2016) or batch norm (Ioffe & Szegedy 2015).
      dropout: The share of the inputs and of each hidden layer's units that are set to 0 in
        training (Srivastava et al. 2014).
    """

    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense
    norm: Norm = "none"
    dropout: float = 0.0

    def mlp(self, x: Array, outputs: int, train: bool) -> Array:
        """Maps x [B, F] to [B, outputs], through an `MLP` with these layers."""
        return MLP(
            outputs,
            width=self.width,
            depth=self.depth,
            dense=self.dense,
            norm=self.norm,
            dropout=self.dropout,
            name="mlp",
        )(x, train)


class MLP(HiddenLayers):
    """Layers of ReLU units, then a linear one: [B, F] -> [B, outputs]."""

    outputs: int

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Maps x [B, F] to [B, outputs]."""
        x = dropped(x, self.dropout, train)
        for layer in range(self.depth):
            x = self.dense(self.width, name=f"hidden_{layer}")(x)
            x = nn.relu(normalised(x, self.norm, train, f"norm_{layer}"))
            x = dropped(x, self.dropout, train)
        return self.dense(self.outputs, name="output")(x)


class MLPEncoder(HiddenLayers):
    """The paper's encoder: two hidden layers of 1000 ReLU units."""

    outputs: int

    @nn.compact
    def __call__(
        self, images: Array, noise: Array | None = None, train: bool = False
    ) -> Array:
        """Encodes images [B, ...] and noise, [B, N] or None, to [B, outputs]."""
        return self.mlp(append(flatten(images), noise), self.outputs, train)


class MLPDecoder(HiddenLayers):
    """The paper's decoder, the encoder mirrored, to examples of this shape."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Decodes codes [B, Z] to [B, *shape]."""
        x = self.mlp(codes, math.prod(self.shape), train)
        return x.reshape(x.shape[0], *self.shape)


class MLPDiscriminator(HiddenLayers):
    """The paper's discriminator in code space."""

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Gives the logits [B] of codes [B, Z]."""
        return self.mlp(codes, 1, train)[:, 0]


def normalised(
    x: Array, norm: Norm, train: bool, name: str, epsilon: float = 1e-6
) -> Array:
    """Normalises a layer's sums [B, ...]; called in a module's `__call__`.

    Epsilon is added to layer norm's variances. Batch norm's running averages move by a
    tenth a step: short runs have few of them.
    """
    if norm == "layer":
        return nn.LayerNorm(epsilon=epsilon, name=name)(x)
    if norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)(x)
    return x


def dropped(x: Array, rate: float, train: bool) -> Array:
    """Drops out units [B, ...]; called in a module's `__call__`."""
    return nn.Dropout(rate, deterministic=not train)(x) if rate else x


def flatten(x: Array) -> Array:
    """Flattens [B, ...] to [B, F]."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def append(x: Array, noise: Array | None) -> Array:
    """Appends noise, [B, N] or None, to inputs [B, F], which makes [B, F + N]."""
    return x if noise is None else jnp.concatenate([x, noise], axis=1)


def append_planes(images: Array, noise: Array | None) -> Array:
    """Appends noise, [B, N] or None, to images [B, H, W, C], as N constant channels."""
    if noise is None:
        return images
    planes = jnp.broadcast_to(noise[:, None, None], (*images.shape[:3], noise.shape[1]))
    return jnp.concatenate([images, planes], axis=3)
