"""The primitives of JAX that ONNX has an equal of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aaejax.ask.onnx.graph import Graph, element_type
from aaejax.types import UserError

# Those that are one node of the same inputs.
PLAIN = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "neg": "Neg"},
    **{"max": "Max", "min": "Min", "abs": "Abs", "sign": "Sign", "sqrt": "Sqrt"},
    **{"exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf"},
    **{"sin": "Sin", "cos": "Cos", "floor": "Floor", "ceil": "Ceil"},
    **{"eq": "Equal", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less"},
    **{"le": "LessOrEqual", "stop_gradient": "Identity", "copy": "Identity"},
}
LOGIC = {"and": "And", "or": "Or", "not": "Not"}  # of truth values alone
REDUCTIONS = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
OF_ANY_TYPE = {"eq", "stop_gradient", "copy"}  # of PLAIN those that take truth values too


def convert(
    graph: Graph,
    primitive: str,
    inputs: list[str],
    before: list[Any],
    after: list[Any],
    params: dict[str, Any],
) -> list[str]:
    """Adds the nodes of one equation of a jaxpr.

    Args:
      graph: The graph that gets the nodes.
      primitive: The name of the equation's primitive.
      inputs: The names of what the primitive is given.
      before: The shapes and dtypes of what it is given.
      after: The shapes and dtypes of what it makes.
      params: The parameters of the equation.

    Returns:
      The name of each thing that it makes.

    Raises:
      UserError: The primitive, or this form of it, has no equal here.
    """
    node, first = graph.node, after[0]
    for each in after:
        element_type(each.dtype, primitive)
    of_numbers = (PLAIN.keys() | REDUCTIONS.keys()) - OF_ANY_TYPE
    if primitive in of_numbers and before[0].dtype == bool:
        raise UserError(f"ONNX has no {primitive} of booleans")
    if params.get("axes") == () and primitive in {*REDUCTIONS, "reduce_sum"}:
        return [node("Identity", *inputs)]  # to ONNX no axes would be all
    if primitive in PLAIN:
        return [node(PLAIN[primitive], *inputs)]
    if primitive in LOGIC and first.dtype == bool:
        return [node(LOGIC[primitive], *inputs)]
    if primitive in REDUCTIONS:
        return [node(REDUCTIONS[primitive], *inputs, axes=params["axes"], keepdims=0)]
    make = _MAKERS.get(primitive)
    made = None if make is None else make(graph, inputs, before, after, params)
    if made is None:
        raise UserError(f"ONNX has no {primitive} as it is used here")
    return made if isinstance(made, list) else [made]


def _reshaped(graph: Graph, value: str, shape: Sequence[Any]) -> str:
    sizes = [each if isinstance(each, int) else -1 for each in shape]
    if sizes.count(-1) > 1:
        raise UserError(f"ONNX has no equal of a reshape to {tuple(map(str, shape))}")
    return graph.node("Reshape", value, graph.numbers(sizes))


def _reshape(graph, inputs, before, after, params):
    if params.get("new_sizes") and params["dimensions"] is not None:  # another order
        return None
    return _reshaped(graph, inputs[0], after[0].shape)


def _broadcast(graph, inputs, before, after, params):
    shape, kept = after[0].shape, params["broadcast_dimensions"]
    aligned = [1] * len(shape)
    for axis, size in zip(kept, before[0].shape, strict=True):
        aligned[axis] = size
    value = _reshaped(graph, inputs[0], aligned)
    if tuple(aligned) == tuple(shape):
        return value
    sizes = []  # 1 where the value has the size already
    for size, own in zip(shape, aligned, strict=True):
        is_batch = not isinstance(size, int) and isinstance(own, int)
        if is_batch and str(size).isidentifier():
            sizes.append(graph.batch())
        elif is_batch:
            return None
        else:
            sizes.append(graph.numbers([size if isinstance(size, int) else 1]))
    return graph.node("Expand", value, graph.node("Concat", *sizes, axis=0))


def _slice(graph, inputs, before, after, params):
    starts, ends = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or (1,) * len(starts)
    cut = [
        axis
        for axis, size in enumerate(before[0].shape)
        if (starts[axis], ends[axis], strides[axis]) != (0, size, 1)
    ]
    parts = [[each[axis] for axis in cut] for each in (starts, ends)]
    if not all(isinstance(number, int) for part in parts for number in part):
        return None
    steps = [strides[axis] for axis in cut]
    given = [*map(graph.numbers, parts), graph.numbers(cut), graph.numbers(steps)]
    return graph.node("Slice", inputs[0], *given)


def _pad(graph, inputs, before, after, params):
    low, high, within = zip(*params["padding_config"], strict=True)
    if any(within):
        return None
    return graph.node("Pad", inputs[0], graph.numbers([*low, *high]), inputs[1])


def _split(graph, inputs, before, after, params):
    sizes = graph.numbers(params["sizes"])
    made = graph.node(
        "Split", inputs[0], sizes, outputs=len(params["sizes"]), axis=params["axis"]
    )
    return [made] if isinstance(made, str) else made


def _dot(graph, inputs, before, after, params):
    (left, right), (left_batch, right_batch) = params["dimension_numbers"]
    a, b = (len(each.shape) for each in before)
    if not left_batch and (tuple(left), tuple(right), b) == ((a - 1,), (0,), 2):
        return graph.node("MatMul", *inputs)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names = {axis: next(letters) for axis in range(a)}
    paired = dict(zip((*right, *right_batch), (*left, *left_batch), strict=True))
    others = {i: names[paired[i]] if i in paired else next(letters) for i in range(b)}
    free = [names[i] for i in range(a) if i not in (*left, *left_batch)]
    free += [others[i] for i in range(b) if i not in paired]
    made = "".join([*(names[i] for i in left_batch), *free])
    given = ["".join(each[i] for i in range(n)) for each, n in ((names, a), (others, b))]
    return graph.node("Einsum", *inputs, equation=f"{','.join(given)}->{made}")


def _conv(graph, inputs, before, after, params):
    numbers = params["dimension_numbers"]
    flat = [side for pair in zip(*params["padding"], strict=True) for side in pair]
    if params["batch_group_count"] != 1 or min(flat, default=0) < 0:
        return None
    image = graph.node("Transpose", inputs[0], perm=numbers.lhs_spec)
    kernel = graph.node("Transpose", inputs[1], perm=numbers.rhs_spec)
    shape = [before[0].shape[axis] for axis in numbers.lhs_spec]
    image = _with_holes(graph, image, shape, params["lhs_dilation"])
    made = graph.node(
        "Conv",
        image,
        kernel,
        pads=flat,
        strides=params["window_strides"],
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )
    return graph.node("Transpose", made, perm=np.argsort(numbers.out_spec).tolist())


def _with_holes(
    graph: Graph, image: str, shape: Sequence[Any], spread: Sequence[int]
) -> str:
    """Zeros between the pixels of [N, C, ...], as a transposed convolution has them."""
    if set(spread) <= {1}:
        return image
    apart = [*shape[:2], *(n for size in shape[2:] for n in (size, 1))]
    after = [0, 0, *(n for each in spread for n in (0, each - 1))]
    image = _reshaped(graph, image, apart)
    image = graph.node("Pad", image, graph.numbers([0] * len(after) + after))
    wide = [size * each for size, each in zip(shape[2:], spread, strict=True)]
    image = _reshaped(graph, image, [*shape[:2], *wide])
    ends = [n - each + 1 for n, each in zip(wide, spread, strict=True)]
    axes = range(2, len(shape))
    given = ([0] * len(wide), ends, axes)
    return graph.node("Slice", image, *(graph.numbers([*each]) for each in given))


def _select(graph, inputs, before, after, params):
    if len(inputs) != 3 or before[0].dtype != bool:
        return None
    return graph.node("Where", inputs[0], inputs[2], inputs[1])


def _cast(graph, inputs, before, after, params):
    return graph.node("Cast", inputs[0], to=element_type(after[0].dtype, "a cast"))


def _argmax(graph, inputs, before, after, params):
    (axis,) = params["axes"]
    made = graph.node("ArgMax", inputs[0], axis=axis, keepdims=0)
    return graph.node("Cast", made, to=element_type(after[0].dtype, "a cast"))


def _iota(graph, inputs, before, after, params):
    shape, axis = after[0].shape, params["dimension"]
    if not all(isinstance(size, int) for size in shape):
        return None
    return graph.constant(np.indices(shape)[axis], after[0].dtype)


def _stack(graph, inputs, before, after, params):
    shape = list(before[0].shape)
    shape.insert(params["axis"], 1)
    rows = [_reshaped(graph, value, shape) for value in inputs]
    return graph.node("Concat", *rows, axis=params["axis"])


def _take(graph, inputs, before, after, params):
    """A gather of whole slices along one axis, as of a nearest neighbour's resizing."""
    numbers, mode = params["dimension_numbers"], params["mode"].name
    shape, count = before[0].shape, before[1].shape
    whole = [*range(len(shape))]
    for axis in whole:
        others = tuple(each for each in whole if each != axis)
        sizes = tuple(1 if each == axis else shape[each] for each in whole)
        if (
            (numbers.collapsed_slice_dims, numbers.start_index_map) == ((axis,), (axis,))
            and (numbers.offset_dims, tuple(params["slice_sizes"])) == (others, sizes)
            and (len(count), count[-1], mode) == (2, 1, "PROMISE_IN_BOUNDS")
        ):
            places = _reshaped(graph, inputs[1], count[:1])
            return graph.node("Gather", inputs[0], places, axis=axis)
    return None


def _integer_pow(graph, inputs, before, after, params):
    return graph.node("Pow", inputs[0], graph.constant(params["y"], before[0].dtype))


def _one(graph: Graph, before: list[Any]) -> str:
    return graph.constant(1, before[0].dtype)


def _log1p(graph, inputs, before, after, params):
    """log(1 + x), near 0 as x log(u) / (u - 1) of u = 1 + x, whose errors cancel."""
    (x,), one = inputs, _one(graph, before)
    u = graph.node("Add", x, one)
    plain, rest = graph.node("Log", u), graph.node("Sub", u, one)
    nothing = graph.node("Equal", rest, graph.constant(0, before[0].dtype))
    share = graph.node("Div", plain, graph.node("Where", nothing, one, rest))
    near = graph.node("Where", nothing, x, graph.node("Mul", x, share))
    return graph.node("Where", _near_zero(graph, x, one), near, plain)


def _expm1(graph, inputs, before, after, params):
    """exp(x) - 1, near 0 as 2 t / (1 - t) of t = tanh(x / 2)."""
    (x,), one = inputs, _one(graph, before)
    t = graph.node("Tanh", graph.node("Mul", x, graph.constant(0.5, before[0].dtype)))
    near = graph.node("Div", graph.node("Add", t, t), graph.node("Sub", one, t))
    plain = graph.node("Sub", graph.node("Exp", x), one)
    return graph.node("Where", _near_zero(graph, x, one), near, plain)


def _near_zero(graph: Graph, x: str, one: str) -> str:
    return graph.node("Less", graph.node("Abs", x), one)


_MAKERS: dict[str, Callable[..., Any]] = {
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "pad": _pad,
    "split": _split,
    "dot_general": _dot,
    "conv_general_dilated": _conv,
    "select_n": _select,
    "convert_element_type": _cast,
    "argmax": _argmax,
    "iota": _iota,
    "integer_pow": _integer_pow,
    "stack": _stack,
    "gather": _take,
    "tile": lambda g, x, b, a, p: g.node("Tile", *x, g.numbers(p["reps"])),
    "rem": lambda g, x, b, a, p: g.node("Mod", *x, fmod=1),
    "concatenate": lambda g, x, b, a, p: g.node("Concat", *x, axis=p["dimension"]),
    "transpose": lambda g, x, b, a, p: g.node("Transpose", *x, perm=p["permutation"]),
    "reduce_sum": lambda g, x, b, a, p: g.node(
        "ReduceSum", *x, g.numbers(p["axes"]), keepdims=0
    ),
    "square": lambda g, x, b, a, p: g.node("Mul", *x, *x),
    "rsqrt": lambda g, x, b, a, p: g.node("Reciprocal", g.node("Sqrt", *x)),
    "log1p": _log1p,
    "expm1": _expm1,
    "ne": lambda g, x, b, a, p: g.node("Not", g.node("Equal", *x)),
    "clamp": lambda g, x, b, a, p: g.node("Min", g.node("Max", x[1], x[0]), x[2]),
}
