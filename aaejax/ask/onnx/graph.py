"""A graph of ONNX's nodes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aaejax.types import UserError

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


class Graph:
    """Nodes of ONNX as they are added; a value is its name."""

    def __init__(self):
        self._nodes: list[Any] = []
        self._arrays: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or of each where there are more."""
        from onnx import helper

        names = [f"v{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def initializer(self, name: str, array: np.ndarray) -> None:
        """Adds an array under this name."""
        from onnx import numpy_helper

        element_type(array.dtype, name)
        self._arrays.append(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Adds an array; returns its name."""
        name, array = f"c{len(self._arrays)}", np.asarray(value, dtype)
        self.initializer(name, array.reshape(array.shape))
        return name

    def numbers(self, values: Sequence[int]) -> str:
        """Adds whole numbers, as of a shape; returns their name."""
        return self.constant(values, np.int64)

    def input(self, name: str, shape: Sequence[Any], dtype: Any) -> None:
        """Adds an input of the model."""
        self._inputs.append(_like(name, shape, dtype))

    def output(self, value: str, name: str, shape: Sequence[Any], dtype: Any) -> None:
        """Makes a value the model's output, under this name."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(_like(name, shape, dtype))

    def batch(self) -> str:
        """Adds the length of the batch, [1], int64; returns its name."""
        if not self._inputs:
            raise UserError("nothing of it depends on an input")
        shape = self.node("Shape", self._inputs[0].name)
        return self.node("Slice", shape, self.numbers([0]), self.numbers([1]))

    def serialized(self, opset: int, ir_version: int) -> bytes:
        """Makes the bytes of the model, checked by ONNX itself.

        Raises:
          UserError: ONNX refuses the model.
        """
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, "aaejax", self._inputs, self._outputs, self._arrays
        )
        opsets = [helper.make_opsetid("", opset)]
        made = helper.make_model(
            graph, opset_imports=opsets, ir_version=ir_version, producer_name="aaejax"
        )
        try:
            onnx.checker.check_model(made, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            said = " ".join(str(error).split())[:200]
            raise UserError(f"ONNX refuses what was made of it ({said})") from error
        return made.SerializeToString()


def element_type(dtype: Any, of: str) -> int:
    """Finds ONNX's number of a dtype; raises UserError for one that is not in `DTYPES`."""
    from onnx import helper

    if str(dtype) not in DTYPES:
        raise UserError(f"ONNX has no equal here of {of}, which is {dtype}")
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _like(name: str, shape: Sequence[Any], dtype: Any) -> Any:
    from onnx import helper

    sizes = [each if isinstance(each, int) else str(each) for each in shape]
    return helper.make_tensor_value_info(name, element_type(dtype, name), sizes)
