"""Labels of data and of questions -> the run's classes.

Classes go by name. An integer is a name too ("10" of a run with the classes 1, 2 and 10);
it is the class's number, 0..K-1, only in a run none of whose classes is named by a number.
"""

from collections.abc import Sequence

import numpy as np

from aaejax.data.labels import is_number
from aaejax.types import UserError


def class_number(class_names: tuple[str, ...], asked: str | int) -> int:
    """Finds the number of a run's class that is asked for by name or number.

    Raises:
      UserError: The run has no such class, or several of that name; a message on a class
        that it has not lists those that it has.
    """
    name = str(asked)
    if class_names.count(name) > 1:
        raise UserError(f"the run has {class_names.count(name)} classes called {name}")
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and not any(map(is_number, class_names)):
        if int(name) < len(class_names):
            return int(name)
        raise UserError(
            f"the run has no class number {name}: it has 0 to {len(class_names) - 1} "
            f"({listed(class_names)})"
        )
    raise UserError(f"the run has no class {listed([name])}: it has {listed(class_names)}")


def to_run(
    labels: np.ndarray, names: tuple[str, ...], class_names: tuple[str, ...], data: str
) -> np.ndarray:
    """Turns labels of new data into the numbering of the run.

    Args:
      labels: The labels, [N], int, numbers into `names`, -1 where unknown.
      names: The names of the data's classes.
      class_names: The names of the run's classes.
      data: The name of the data in messages.

    Returns:
      The labels, [N], int32, -1 where unknown.

    Raises:
      UserError: A class is one that the run never saw.
    """
    here = np.unique(labels[labels >= 0])
    table = np.full(max(1, len(names)), -1, np.int32)
    for label in here.tolist():
        try:
            table[label] = class_number(class_names, names[label])
        except UserError as error:
            raise UserError(
                f"{data}: {error}; leave that class out, or give the images without labels"
            ) from None
    return np.where(labels >= 0, table[labels], -1).astype(np.int32)


def listed(names: Sequence[str], most: int = 12) -> str:
    """Joins names to one line, control characters escaped, the many cut short."""
    # repr escapes what a terminal would obey.
    shown = [name if name.isprintable() and name else repr(name) for name in names[:most]]
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(name[:80] for name in shown) + more
