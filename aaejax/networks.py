"""Encoders, decoders and discriminators as Flax modules; last layers are linear.

Any Flax module with the same call takes the place of these:

    encoder(images [B, ...], noise [B, N] or None) -> [B, outputs]
    decoder(codes [B, Z]) -> [B, ...]: logits, or values where the output is linear
    discriminator(codes [B, Z]) -> logits [B]

Modules have parameters only: no batch statistics, no dropout.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from aaejax.types import Array, Key, Params, UserError

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
        x = _append(_flatten(images), noise)
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


class ConvEncoder(nn.Module):
    """Convolutions at ever coarser scales, then a linear layer.

    A scale halves height and width by moving 2x2 pixels into channels: no pixel is skipped,
    as strides would, and no gradient needs a dilated convolution. Images of any size are
    padded with zeros to the next multiple of 2^depth.
    """

    outputs: int
    width: int = 32  # channels at the finest scale; doubled at each coarser one
    depth: int = 2  # scales
    leak: float = 0.0  # slope of the units where they are off

    @nn.compact
    def __call__(self, images: Array, noise: Array | None = None) -> Array:
        """Images [B, H, W, C], noise [B, N] or None -> [B, outputs]."""
        if noise is not None:
            # As constant channels: with a nonlinearity above it, it is more than a bias.
            planes = jnp.broadcast_to(
                noise[:, None, None], (*images.shape[:3], noise.shape[1])
            )
            images = jnp.concatenate([images, planes], axis=3)
        height, width = images.shape[1:3]
        x = jnp.pad(
            images,
            ((0, 0), (0, -height % 2**self.depth), (0, -width % 2**self.depth), (0, 0)),
        )
        for scale in range(self.depth):
            x = _pixels_to_channels(x)
            x = nn.Conv(self.width * 2**scale, (3, 3), name=f"conv_{scale}")(x)
            x = nn.leaky_relu(x, self.leak)
        return nn.Dense(self.outputs, name="output")(_flatten(x))


class ConvDecoder(nn.Module):
    """A linear layer, then convolutions at ever finer scales: ConvEncoder mirrored."""

    shape: tuple[int, ...]  # [H, W, C] of one image
    width: int = 32
    depth: int = 2
    norm: bool = False  # layer norm before the units, as a GAN's generator has batch norm

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        """Codes [B, Z] -> [B, H, W, C]."""
        height, width, channels = self.shape
        rows, columns = (-(-side // 2**self.depth) for side in (height, width))
        features = self.width * 2 ** (self.depth - 1)
        x = nn.Dense(rows * columns * features, name="input")(codes)
        x = self._units(x.reshape(-1, rows, columns, features), "input")
        for scale in reversed(range(self.depth)):
            outputs = self.width * 2 ** (scale - 1) if scale else channels
            x = nn.Conv(4 * outputs, (3, 3), name=f"conv_{scale}")(x)
            x = _channels_to_pixels(x)
            if scale:
                x = self._units(x, f"conv_{scale}")
        return x[:, :height, :width]

    def _units(self, x: Array, name: str) -> Array:
        return nn.relu(nn.LayerNorm(name=f"{name}_norm")(x) if self.norm else x)


def bf16_dot_general(
    inputs: Array, kernel: Array, dimension_numbers: object, precision: object = None
) -> Array:
    """Inputs [B, F] times a dense layer's kernel [F, G], for `dot_general` of the modules.

    Operands are rounded to bfloat16 and sums kept in float32, in the backward products too:
    the form that matrix units (AMX, tensor cores) take. Other dimension numbers than a
    dense layer's are not read, nor is the precision.
    """
    del dimension_numbers, precision
    return _bf16_product(inputs, kernel)


@jax.custom_vjp
def _bf16_product(a: Array, b: Array) -> Array:
    rounded = (_row_major(x.astype(jnp.bfloat16)) for x in (a, b))
    return _row_major(jnp.matmul(*rounded, preferred_element_type=jnp.float32))


def _bf16_product_backward(operands: tuple[Array, Array], gradient: Array):
    a, b = operands
    return _bf16_product(gradient, b.T), _bf16_product(a.T, gradient)


_bf16_product.defvjp(lambda a, b: (_bf16_product(a, b), (a, b)), _bf16_product_backward)


def _row_major(x: Array) -> Array:
    """On a CPU a transposed x is laid out anew.

    XLA:CPU gives transposed operands no units for bfloat16: it multiplies them as float32,
    in twice the time.
    """
    layout = Layout(major_to_minor=tuple(range(x.ndim)))
    return jax.lax.platform_dependent(
        x, cpu=lambda x: with_layout_constraint(x, layout), default=lambda x: x
    )


def applier(module: nn.Module) -> Callable[..., Array]:
    """`apply(params, *inputs)` of a Flax module: all that the models know of Flax."""

    def apply(params: Params, *inputs: Array) -> Array:
        return module.apply({"params": params}, *inputs)  # type: ignore[return-value]

    return apply


def init_params(module: nn.Module, key: Key, *inputs: Array) -> Params:
    """Parameters of a Flax module for inputs of these shapes; the key is consumed.

    Raises:
      UserError: the module keeps something besides parameters, such as batch statistics.
    """
    variables = dict(module.init(key, *inputs))
    params = variables.pop("params", {})
    if variables:
        raise UserError(
            f"{type(module).__name__} keeps {', '.join(variables)}: networks may have "
            "parameters only; use LayerNorm or GroupNorm in place of BatchNorm"
        )
    return params


def _flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _append(x: Array, noise: Array | None) -> Array:
    return x if noise is None else jnp.concatenate([x, noise], axis=1)


def _pixels_to_channels(x: Array) -> Array:
    """[B, 2H, 2W, C] -> [B, H, W, 4C]."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)


def _channels_to_pixels(x: Array) -> Array:
    """[B, H, W, 4C] -> [B, 2H, 2W, C]: `_pixels_to_channels` undone."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height, width, 2, 2, channels // 4)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * height, 2 * width, channels // 4)
