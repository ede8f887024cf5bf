"""What config.json records of the data of a run, and whether other data fit them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from aaejax.data.checks import extremes
from aaejax.data.lazy import Images, Rows, in_counts
from aaejax.data.tabular.columns import Columns, columns_of
from aaejax.types import DataSpec, UserError

MOST_VALUES, MOST_CLASSES = 2**28, 10**6  # of one example, of a run


@dataclass(frozen=True)
class RunData:
    """The record in config.json of the data that the run was trained on."""

    spec: DataSpec
    class_names: tuple[str, ...]  # [K], of class 0, 1, ...
    train: int  # examples
    test: int
    fingerprint: str  # `Dataset.fingerprint`
    columns: Columns | None = None  # `Dataset.columns`

    def check_shape(self, name: str, found: tuple[int, ...]) -> None:
        """Raises UserError where examples of this name are of another shape."""
        expected = self.spec.shape
        if found == expected:
            return
        what = {1: "grey", 3: "in colour"}
        hint = "give data of that shape"
        if len(found) == len(expected) == 3 and found[2] != expected[2]:
            colours = [
                what.get(shape[2], f"of {shape[2]} channels") for shape in (found, expected)
            ]
            hint = f"these are {colours[0]}, those were {colours[1]}: {hint}"
        raise UserError(
            f"{name} has examples of shape {list(found)}, the model was trained on "
            f"{list(expected)}: {hint}"
        )

    def check_condition(self, name: str, condition: np.ndarray | None) -> None:
        """Raises UserError where examples of this name lack the run's condition."""
        found = 0 if condition is None else condition.shape[1]
        if self.spec.conditions and found != self.spec.conditions:
            there = f"one of {found}" if found else "none"
            raise UserError(
                f"{name} must have a condition of {self.spec.conditions} numbers, as the "
                f"run's data, and has {there}: give them beside the examples"
            )

    def check_scale(self, name: str, images: Images) -> None:
        """Raises UserError where values mean something else than they did in training."""
        if self.spec.counts and not in_counts(images):
            raise UserError(
                f"{name} are no counts, as those are that the run was trained on: give "
                "whole numbers from 0 on"
            )
        if images.dtype == np.uint8:
            if not self.spec.unit_range:
                raise UserError(
                    f"{name} is uint8, read as 0..255 over 255, but the run was trained on "
                    "values outside [0, 1]: give float values on the scale of those"
                )
            return
        if isinstance(images, Rows):  # rows are checked when they are read
            if self.spec.unit_range and not images.unit_range:
                raise UserError(
                    f"{name} has values outside [0, 1], the run was trained on values in "
                    "it: scale them as those were"
                )
            return
        low, high = extremes(images)
        if self.spec.unit_range and (low < 0 or high > 1):
            raise UserError(
                f"{name} has values in [{low:.6g}, {high:.6g}], the run was trained on "
                "values in [0, 1]: scale them as those were"
            )


def run_data(saved: dict[str, Any]) -> RunData:
    """Reads the record in config.json; raises KeyError, ValueError or TypeError for what
    can't be.
    """
    spec = DataSpec(
        tuple(_integer(length, 1, MOST_VALUES) for length in saved["shape"]),
        _integer(saved["classes"], 0, MOST_CLASSES),
        saved["unit_range"],
        _integer(saved["labelled"]),
        saved.get("missing", False),  # younger than some runs, as is the next
        saved.get("binary", False),
        saved.get("counts", False),
        _integer(saved.get("conditions", 0), 0, MOST_VALUES),
        saved.get("weighted", False),
    )
    if len(spec.shape) not in (1, 3) or math.prod(spec.shape) > MOST_VALUES:
        raise ValueError(f"shape {saved['shape']}")
    for name in ("unit_range", "missing", "binary", "counts", "weighted"):
        if not isinstance(getattr(spec, name), bool):
            raise TypeError(f"{name} {getattr(spec, name)!r}"[:100])
    names, fingerprint = saved["class_names"], saved["fingerprint"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("class_names")
    if len(names) != spec.classes:
        raise ValueError(f"{len(names)} class_names of {spec.classes} classes")
    if not isinstance(fingerprint, str):
        raise TypeError("fingerprint")
    counts = _integer(saved["train"]), _integer(saved["test"])
    columns = None
    if "columns" in saved:
        columns = columns_of(saved["columns"], math.prod(spec.shape))
    return RunData(spec, tuple(names), *counts, fingerprint, columns)


def _integer(value: Any, least: int = 0, most: int = 2**63) -> int:
    # A bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{value!r:.50} where a whole number is needed")
    return value
