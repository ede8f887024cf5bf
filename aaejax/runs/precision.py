"""The precision of float32 products, as an option of a run."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax

from aaejax.types import Model, no_encoder

MatmulPrecision = Literal["default", "high", "highest"]


def at_precision(model: Model, precision: MatmulPrecision) -> Model:
    """The same model, of which all float32 products and convolutions have this precision.

    They have it wherever its functions are traced, and in their gradients too. What says
    its own precision, as a distance between samples does, keeps that, and so do products in
    bfloat16.

    Args:
      model: Any model.
      precision: The precision; "default" is what JAX has where nothing is said.
    """
    if precision == "default":
        return model

    def within(function: Callable) -> Callable:
        @functools.wraps(function)
        def called(*args, **kwargs):
            with jax.default_matmul_precision(precision):
                return function(*args, **kwargs)

        return called

    functions = {
        field.name: within(value)
        for field in dataclasses.fields(model)
        if callable(value := getattr(model, field.name)) and value is not no_encoder
    }
    phases = tuple(
        dataclasses.replace(phase, loss=within(phase.loss)) for phase in model.phases
    )
    return dataclasses.replace(model, phases=phases, **functions)
