"""Products and convolutions in bfloat16, for machines that have units for it.

Operands are rounded to bfloat16 and sums kept in float32, in the backward passes too: the
form that matrix units (AMX, tensor cores) take. JAX's own transposes would want the
gradients in the dtype of the operands, so both are written as products of the same kind.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from aaejax.cpu import row_major
from aaejax.types import Array

Pair = tuple[int, int]
Precision = Literal["float32", "bf16"]  # of the operands of a network
NHWC = ("NHWC", "HWIO", "NHWC")


def bf16_dot_general(
    inputs: Array,
    kernel: Array,
    dimension_numbers: object = None,
    precision: object = None,
) -> Array:
    """Multiplies inputs [..., F] by a kernel [F, G], as the `dot_general` of a dense layer.

    Other dimension numbers than a dense layer's are not read, nor is the precision.
    """
    del dimension_numbers, precision
    rows = inputs.reshape(-1, inputs.shape[-1])
    return _product(rows, kernel).reshape(*inputs.shape[:-1], kernel.shape[1])


@jax.custom_vjp
def _product(a: Array, b: Array) -> Array:
    rounded = (row_major(x.astype(jnp.bfloat16)) for x in (a, b))
    return row_major(
        jnp.matmul(
            *rounded,
            precision=jax.lax.Precision.DEFAULT,
            preferred_element_type=jnp.float32,
        )
    )


def _product_backward(operands: tuple[Array, Array], gradient: Array):
    a, b = operands
    return _product(gradient, b.T), _product(a.T, gradient)


_product.defvjp(lambda a, b: (_product(a, b), (a, b)), _product_backward)


def bf16_conv_general_dilated(
    inputs: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[Pair],
    lhs_dilation: Sequence[int] = (1, 1),
    rhs_dilation: Sequence[int] = (1, 1),
    **others: Any,
) -> Array:
    """Convolves [B, H, W, C] with [h, w, C, D], as `nn.Conv`'s `conv_general_dilated`.

    Arguments are those of `jax.lax.conv_general_dilated`; groups of features are refused,
    and the others are not read.
    """
    if others.get("feature_group_count", 1) != 1:
        raise NotImplementedError("a convolution in bfloat16 with groups of features")
    if isinstance(padding, str):
        sizes = _dilated(inputs.shape[1:3], lhs_dilation)
        sides = _dilated(kernel.shape[:2], rhs_dilation)
        padding = jax.lax.padtype_to_pads(sizes, sides, window_strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    steps = (tuple(window_strides), tuple(lhs_dilation), tuple(rhs_dilation))
    return _convolution(steps, pads, inputs, kernel)


def _dilated(sizes: Sequence[int], by: Sequence[int]) -> list[int]:
    """The sizes, with what a dilation puts between."""
    return [(n - 1) * d + 1 for n, d in zip(sizes, by, strict=True)]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _convolution(
    steps: tuple[Pair, Pair, Pair], pads: tuple[Pair, ...], x: Array, kernel: Array
) -> Array:
    """Steps are those of the window, and the dilations of inputs and kernel."""
    strides, dilation, kernel_dilation = steps
    return jax.lax.conv_general_dilated(
        jnp.asarray(x, jnp.bfloat16),
        jnp.asarray(kernel, jnp.bfloat16),
        strides,
        pads,
        dilation,
        kernel_dilation,
        NHWC,
        precision=jax.lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )


def _convolution_backward(
    steps: tuple[Pair, Pair, Pair],
    pads: tuple[Pair, ...],
    operands: tuple[Array, Array],
    gradient: Array,
):
    """Both are convolutions: of the gradient, and of the inputs by the gradient.

    What was a stride dilates the gradient, and what dilated the inputs is a stride.
    """
    x, kernel = operands
    strides, dilation, kernel_dilation = steps
    inputs = _dilated(x.shape[1:3], dilation)
    sides = _dilated(kernel.shape[:2], kernel_dilation)
    outputs = _dilated(gradient.shape[1:3], strides)
    each = list(zip(pads, inputs, sides, outputs, strict=True))
    to_inputs = tuple((k - 1 - low, n + low - o) for (low, _), n, k, o in each)
    to_kernel = tuple((low, o + k - 1 - n - low) for (low, _), n, k, o in each)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    of_inputs = _convolution(
        (dilation, strides, kernel_dilation), to_inputs, gradient, turned
    )
    # The examples are what is summed over: they stand in the place of channels.
    of_kernel: Any = _convolution(
        (kernel_dilation, dilation, strides),
        to_kernel,
        x.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
    )
    return of_inputs, of_kernel.transpose(1, 2, 0, 3)


def _convolution_forward(steps: Any, pads: Any, x: Array, kernel: Array):
    return _convolution(steps, pads, x, kernel), (x, kernel)


_convolution.defvjp(_convolution_forward, _convolution_backward)
