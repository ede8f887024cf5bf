"""A dense layer's product in bfloat16, for machines that have units for it."""

import jax
import jax.numpy as jnp

from aaejax.cpu import row_major
from aaejax.types import Array


def bf16_dot_general(
    inputs: Array, kernel: Array, dimension_numbers: object, precision: object = None
) -> Array:
    """Multiplies inputs [B, F] by a kernel [F, G], as the `dot_general` of a dense layer.

    Operands are rounded to bfloat16 and sums kept in float32, in the backward products too:
    the form that matrix units (AMX, tensor cores) take. Other dimension numbers than a
    dense layer's are not read, nor is the precision.
    """
    del dimension_numbers, precision
    return _bf16_product(inputs, kernel)


@jax.custom_vjp
def _bf16_product(a: Array, b: Array) -> Array:
    rounded = (row_major(x.astype(jnp.bfloat16)) for x in (a, b))
    return row_major(jnp.matmul(*rounded, preferred_element_type=jnp.float32))


def _bf16_product_backward(operands: tuple[Array, Array], gradient: Array):
    a, b = operands
    return _bf16_product(gradient, b.T), _bf16_product(a.T, gradient)


_bf16_product.defvjp(lambda a, b: (_bf16_product(a, b), (a, b)), _bf16_product_backward)
