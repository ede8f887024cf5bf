"""A function of JAX as an ONNX model: its jaxpr, primitive by primitive.

It knows what networks are made of: products, convolutions, norms, reductions and functions
of each element. What it does not know it names, as random numbers, which ONNX has not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from aaejax.ask.onnx.graph import Graph, element_type
from aaejax.ask.onnx.ops import convert
from aaejax.ask.programs import likes
from aaejax.types import Array, UserError, missing

OPSET = 17  # of ONNX 1.12, which is older than any runtime in use
IR_VERSION = 8  # of the same
MOST_BYTES = 2**31 - 2**20  # of a protobuf
# Primitives that call a jaxpr, and are what it is.
CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2")


def check_extra() -> None:
    """Raises UserError where the package onnx is not there."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise missing("ONNX", "onnx", "onnx") from error


@dataclass(frozen=True, eq=False)
class _Value:
    """What a variable of a jaxpr stands for, in one call of it."""

    aval: Any
    constant: Any = None


@dataclass(frozen=True)
class _Equation:
    primitive: str
    inputs: list[_Value]
    outputs: list[_Value]
    params: dict[str, Any]


def onnx_file(
    function: Callable[..., Array],
    weights: dict[str, np.ndarray],
    arguments: dict[str, jax.ShapeDtypeStruct],
    result: str,
) -> bytes:
    """Makes an ONNX model that computes what a function does.

    Args:
      function: The function, `(weights, *arguments)` to an array.
      weights: The arrays by name, which the model has in it under these names.
      arguments: What the model's inputs are like, by name; the first dimension of the first
        may be a symbol of `jax.export`, as may that of others. One that nothing depends on
        is no input of the model.
      result: The name of the output.

    Returns:
      The bytes of the ONNX file.

    Raises:
      UserError: A primitive, a dtype or a shape has no equal here, the weights are larger
        than an ONNX file holds, or the package onnx is not there.
    """
    check_extra()
    if sum(array.nbytes for array in weights.values()) > MOST_BYTES:
        raise UserError("the weights have more than the 2 GiB that an ONNX file holds")
    # JAX's own check of keys takes parts of keys [B], B a symbol, for the whole.
    with jax.debug_key_reuse(False):
        traced = jax.jit(function, keep_unused=True).trace(
            likes(weights), *arguments.values()
        )
    closed = traced.jaxpr
    names = [*sorted(weights), *arguments]
    values = [_Value(each.aval) for each in closed.jaxpr.invars]
    found: list[_Equation] = []
    (output,) = _inlined(closed.jaxpr, closed.consts, values, found)
    kept = _needed(found, output)
    graph = Graph()
    used = {id(value) for each in kept for value in each.inputs} | {id(output)}
    named: dict[int, str] = {}
    for name, value in zip(names, values, strict=True):
        if id(value) not in used:
            continue
        named[id(value)] = name
        if name in weights:
            graph.initializer(name, weights[name])
        else:
            graph.input(name, value.aval.shape, value.aval.dtype)

    def name_of(value: _Value) -> str:
        if id(value) not in named:  # all but constants are there
            element_type(value.aval.dtype, "a constant")
            # Of a number of Python the dtype is that which JAX takes it for.
            constant = np.asarray(value.constant, value.aval.dtype)
            named[id(value)] = graph.constant(constant)
        return named[id(value)]

    for each in kept:
        made = convert(
            graph,
            each.primitive,
            [name_of(value) for value in each.inputs],
            [value.aval for value in each.inputs],
            [value.aval for value in each.outputs],
            each.params,
        )
        for value, name in zip(each.outputs, made, strict=True):
            named[id(value)] = name
    graph.output(name_of(output), result, output.aval.shape, output.aval.dtype)
    return graph.serialized(OPSET, IR_VERSION)


def _inlined(
    jaxpr: Any, consts: Sequence[Any], inputs: list[_Value], found: list[_Equation]
) -> list[_Value]:
    """Appends a jaxpr's equations, those of what it calls in their place.

    Returns:
      The values of its outputs.
    """
    values = dict(zip(jaxpr.invars, inputs, strict=True))
    values |= {
        variable: _Value(variable.aval, constant)
        for variable, constant in zip(jaxpr.constvars, consts, strict=True)
    }

    def value_of(atom: Any) -> _Value:
        is_literal = isinstance(atom, Literal)
        return _Value(atom.aval, atom.val) if is_literal else values[atom]

    for equation in jaxpr.eqns:
        given = [value_of(atom) for atom in equation.invars]
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            called = params["call_jaxpr" if "call_jaxpr" in params else "jaxpr"]
            inner = getattr(called, "jaxpr", called)
            made = _inlined(inner, getattr(called, "consts", ()), given, found)
        else:
            made = [_Value(variable.aval) for variable in equation.outvars]
            found.append(_Equation(name, given, made, params))
        values.update(zip(equation.outvars, made, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def _needed(equations: list[_Equation], output: _Value) -> list[_Equation]:
    """Keeps the equations that the output depends on: those of unused keys are not."""
    needed, kept = {id(output)}, []
    for equation in reversed(equations):
        if any(id(value) in needed for value in equation.outputs):
            needed |= {id(value) for value in equation.inputs}
            kept.append(equation)
    return kept[::-1]
