"""What is written as it is for XLA:CPU alone, each with what it bought.

On other processors these compute the same. Numbers are the time with a trick over the time
without it; docs/speed.md says on which machine.
"""

import math

import jax
from jax.experimental.layout import Layout, with_layout_constraint

from aaejax.types import Array

# For a program with convolutions: XLA:CPU hands them to YNNPACK, which runs them on little
# more than one core. A step: 0.55 of the time. Matrix products keep it; without it a step
# takes 1.2 times as long.
CONVOLUTION_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def beta1(momentum: float) -> float:
    """Adam's beta1 for this momentum: 0.5 becomes the next float32, which is as good.

    XLA:CPU turns 0.5 m + 0.5 g into 0.5 (m + g), which it computes twice, from a copy of m.
    A step takes 0.96 of the CPU time.
    """
    return 0.5 + 2**-24 if momentum == 0.5 else momentum


def unshared(tree: Array) -> Array:
    """The same arrays, of which XLA shares no intermediate result with other users.

    It is for the norm of gradients: their squares are Adam's too, and to share them XLA:CPU
    would write them all to memory. A step takes 0.94 of the CPU time.
    """
    return jax.lax.optimization_barrier(tree)


def row_major(x: Array) -> Array:
    """The same array, which is laid out anew on a CPU where it is a transposed one.

    It is for operands in bfloat16: XLA:CPU multiplies transposed ones as float32. A step in
    bfloat16 takes 0.72 of the time at batch 100, 0.60 at batch 1000.
    """
    layout = Layout(major_to_minor=tuple(range(x.ndim)))
    return jax.lax.platform_dependent(
        x, cpu=lambda x: with_layout_constraint(x, layout), default=lambda x: x
    )


def flat(x: Array) -> Array:
    """Reshapes [B, ...] to [B, P], for sums over all values of an example.

    XLA:CPU sums over the last axis of [B, 28, 28, 1] slowly. The cross-entropy at batch
    1000 goes from 43 to 7 ms of CPU.
    """
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))
