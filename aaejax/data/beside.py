"""What examples have beside images and labels: a condition and a weight, checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aaejax.data.checks import as_array
from aaejax.types import UserError

_LARGE = 10.0  # numbers that a network reads as they are


@dataclass(frozen=True, eq=False)
class Beside:
    """What N examples have beside their images and labels.

    Attributes:
      condition: The real numbers that a conditional model reads, [N, C], float32; or None.
      weight: How much each example counts in means over a batch, [N], float32, 0 or more;
        or None.
    """

    condition: np.ndarray | None = None
    weight: np.ndarray | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name: "condition" and "weight"."""
        both = {"condition": self.condition, "weight": self.weight}
        return {name: x for name, x in both.items() if x is not None}

    @property
    def size(self) -> int:
        """C, how many numbers a condition has; 0 without a condition."""
        return 0 if self.condition is None else self.condition.shape[1]

    def __getitem__(self, rows: Any) -> "Beside":
        """The condition and weight of the examples with these numbers."""
        return Beside(**{name: x[rows] for name, x in self.arrays.items()})


NOTHING = Beside()


def check_beside(condition: Any, weight: Any, n: int, what: str) -> Beside:
    """Checks conditions and weights that the user gives; either may be None.

    Args:
      condition: The conditions, real numbers, [N, C] or [N].
      weight: The weights, [N], numbers from 0 on, not all of them 0.
      n: The number of examples, N.
      what: The name of the examples in messages, such as "my.npz: train".

    Returns:
      The conditions and weights as float32.

    Raises:
      UserError: One of them has another shape or length, or a value that can't be; the
        message names the row.
    """
    conditions = _numbers(condition, n, f"{what} condition")
    weights = _numbers(weight, n, f"{what} weights")
    if weights is None:
        return Beside(conditions)
    if weights.shape[1] != 1:
        raise UserError(
            f"{what} weights have shape {list(weights.shape)}: give one number an example"
        )
    weights = weights[:, 0]
    if weights.min() < 0:
        row = int(np.argmax(weights < 0))
        raise UserError(
            f"{what} weights, row {row}: {weights[row]:.9g} is below 0: give 0 or more"
        )
    if not weights.any():
        raise UserError(f"{what} weights are all 0: give some that are more")
    return Beside(conditions, weights)


def _numbers(value: Any, n: int, what: str) -> np.ndarray | None:
    """Checks numbers of N examples, and makes [N, C], float32, of them; None stays None."""
    if value is None:
        return None
    x = as_array(value, what)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or x.dtype.kind not in "fiub" or not x.shape[1]:
        raise UserError(
            f"{what} are {x.dtype}{list(x.shape)}: give numbers [N], of a condition also "
            "[N, C]"
        )
    if len(x) != n:
        raise UserError(f"{what} are {len(x)} but images are {n}; pass one an image")
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as inf
        x = x.astype(np.float32)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(
            f"{what}, row {row}: {x[row].tolist()} is missing or not finite: give numbers, "
            "or leave that row out"
        )
    return x


def check_parts(train: Beside, test: Beside, what: str) -> None:
    """Raises UserError where one part of the data has what the other has not."""
    kinds = [{k: x.shape[1:] for k, x in part.arrays.items()} for part in (train, test)]
    for name in ("condition", "weight"):
        if kinds[0].get(name) != kinds[1].get(name):
            raise UserError(
                f"{what}: the train and the test part differ in {name}: give both one, of "
                "the same size"
            )


def beside_notes(train: Beside, what: str) -> list[str]:
    """Makes lines on what a condition or weight is that may be other than expected."""
    notes = []
    if train.condition is not None:
        most = float(np.abs(train.condition).max())
        if most > _LARGE:
            notes.append(
                f"{what}: the condition reaches {most:.3g}, and networks read it as it is: "
                "scale it to about -1 ... 1"
            )
    if train.weight is not None:
        low, high = float(train.weight.min()), float(train.weight.max())
        notes.append(f"{what}: examples have weights, from {low:.3g} to {high:.3g}")
    return notes
