"""The paper's networks: layers of ReLU units (Makhzani et al. 2015, appendix A.1)."""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from aaejax.types import Array

# (units, name=...) -> a linear layer: `nn.Dense`, or a partial of it
Dense = Callable[..., nn.Module]
Norm = Literal["none", "layer", "batch"]


class MLP(nn.Module):
    """Layers of ReLU units, then a linear one: [B, F] -> [B, outputs].

    Attributes:
      outputs: units of the last layer.
      width: units of a hidden layer.
      depth: hidden layers.
      dense: makes a linear layer.
      norm: of a hidden layer's sums, before its units: none, layer norm (Ba et al. 2016) or
        batch norm (Ioffe & Szegedy 2015).
      dropout: share of the inputs and of each hidden layer's units that are set to 0 in
        training (Srivastava et al. 2014).
    """

    outputs: int
    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return _same_in_training(self)

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """From x [B, F] to [B, outputs]."""
        x = dropped(x, self.dropout, train)
        for layer in range(self.depth):
            x = self.dense(self.width, name=f"hidden_{layer}")(x)
            x = nn.relu(normalised(x, self.norm, train, f"norm_{layer}"))
            x = dropped(x, self.dropout, train)
        return self.dense(self.outputs, name="output")(x)


class MLPEncoder(nn.Module):
    """The paper's encoder: two hidden layers of 1000 ReLU units; attributes as of `MLP`."""

    outputs: int
    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return _same_in_training(self)

    @nn.compact
    def __call__(
        self, images: Array, noise: Array | None = None, train: bool = False
    ) -> Array:
        """Images [B, ...], noise [B, N] or None -> [B, outputs]."""
        return _mlp(self, self.outputs)(append(flatten(images), noise), train)


class MLPDecoder(nn.Module):
    """The paper's decoder, the encoder mirrored; attributes as of `MLP`, and one.

    Attributes:
      shape: of one example.
    """

    shape: tuple[int, ...]
    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return _same_in_training(self)

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Codes [B, Z] -> [B, *shape]."""
        x = _mlp(self, math.prod(self.shape))(codes, train)
        return x.reshape(x.shape[0], *self.shape)


class MLPDiscriminator(nn.Module):
    """The paper's discriminator in code space; attributes as of `MLP`."""

    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense
    norm: Norm = "none"
    dropout: float = 0.0

    @property
    def same_in_training(self) -> bool:
        """Whether training and evaluation are the same function of each example."""
        return _same_in_training(self)

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Codes [B, Z] -> logits [B]."""
        return _mlp(self, 1)(codes, train)[:, 0]


def normalised(x: Array, norm: Norm, train: bool, name: str) -> Array:
    """A layer's sums [B, ...], normalised; called in a module's `__call__`.

    Batch norm's running averages move by a tenth a step: short runs have few of them.
    """
    if norm == "layer":
        return nn.LayerNorm(name=name)(x)
    if norm == "batch":
        return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)(x)
    return x


def dropped(x: Array, rate: float, train: bool) -> Array:
    """Units [B, ...] after dropout; called in a module's `__call__`."""
    return nn.Dropout(rate, deterministic=not train)(x) if rate else x


def flatten(x: Array) -> Array:
    """From [B, ...] to [B, F]."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def append(x: Array, noise: Array | None) -> Array:
    """Inputs [B, F] beside noise [B, N]: [B, F + N]; they alone where the noise is None."""
    return x if noise is None else jnp.concatenate([x, noise], axis=1)


def _mlp(module: Any, outputs: int) -> MLP:
    return MLP(
        outputs,
        module.width,
        module.depth,
        module.dense,
        module.norm,
        module.dropout,
        name="mlp",
    )


def _same_in_training(module: Any) -> bool:
    return module.norm != "batch" and module.dropout == 0.0
