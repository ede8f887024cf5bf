"""The paper's networks: layers of ReLU units (Makhzani et al. 2015, appendix A.1)."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from aaejax.types import Array

# (units, name=...) -> a linear layer: `nn.Dense`, or a partial of it
Dense = Callable[..., nn.Module]


class MLP(nn.Module):
    """Layers of ReLU units, then a linear one: [B, F] -> [B, outputs]."""

    outputs: int
    width: int = 1000
    depth: int = 2  # hidden layers
    dense: Dense = nn.Dense

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """From x [B, F] to [B, outputs]."""
        for layer in range(self.depth):
            x = nn.relu(self.dense(self.width, name=f"hidden_{layer}")(x))
        return self.dense(self.outputs, name="output")(x)


class MLPEncoder(nn.Module):
    """The paper's encoder: two hidden layers of 1000 ReLU units (appendix A.1)."""

    outputs: int
    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense

    @nn.compact
    def __call__(self, images: Array, noise: Array | None = None) -> Array:
        """Images [B, ...], noise [B, N] or None -> [B, outputs]."""
        x = append(flatten(images), noise)
        return MLP(self.outputs, self.width, self.depth, self.dense, name="mlp")(x)


class MLPDecoder(nn.Module):
    """The paper's decoder, the encoder mirrored (appendix A.1)."""

    shape: tuple[int, ...]  # of one example
    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        """Codes [B, Z] -> [B, *shape]."""
        x = MLP(math.prod(self.shape), self.width, self.depth, self.dense, name="mlp")(
            codes
        )
        return x.reshape(x.shape[0], *self.shape)


class MLPDiscriminator(nn.Module):
    """The paper's discriminator in code space (appendix A.1)."""

    width: int = 1000
    depth: int = 2
    dense: Dense = nn.Dense

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        """Codes [B, Z] -> logits [B]."""
        return MLP(1, self.width, self.depth, self.dense, name="mlp")(codes)[:, 0]


def flatten(x: Array) -> Array:
    """From [B, ...] to [B, F]."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def append(x: Array, noise: Array | None) -> Array:
    """X [B, F] beside noise [B, N]: [B, F + N]; x alone where the noise is None."""
    return x if noise is None else jnp.concatenate([x, noise], axis=1)
