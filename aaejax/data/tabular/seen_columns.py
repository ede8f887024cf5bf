"""What the columns of a table are, seen in one look at all its rows."""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aaejax.data.labels import check_count, sorted_names
from aaejax.data.tabular.columns import MOST_CATEGORIES
from aaejax.data.tabular.table_files import Cells, Table
from aaejax.types import UserError

_DRESSED = re.compile(  # numbers as people write them: 1,5 and 1,234,567 and $1.50 and 10 %
    r"\s*[-+]?(\d*,\d+|\d{1,3}([,' ]\d{3})+([.,]\d+)?|[$€£]\s*[\d.,]+|[\d.,]+\s*[%€])\s*"
)
# Of cells, whatever the case.
MISSING = frozenset(("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"))


@dataclass
class Seen:
    """What was seen of a column, from its first row on."""

    name: str
    rows: int = 0
    numbers: int = 0  # cells that are such
    texts: int = 0  # cells that are none and not missing
    first_text: tuple[int, str] = (0, "")
    missing: int | None = None  # the first row of these
    categorical: bool = False  # texts, whatever these look like
    values: set[str] = field(default_factory=set)  # of columns of text cells
    most: float = MOST_CATEGORIES

    def add(self, cells: Cells) -> None:
        """Sees the next rows."""
        values = as_numbers(cells)
        known = ~missing_cells(cells) if values is None else ~np.isnan(values)
        if self.missing is None and not known.all():
            self.missing = self.rows + int(np.argmin(known))
        texts: list[int] = []
        if self.categorical:
            texts = np.flatnonzero(known).tolist()
        elif values is None:
            texts = [n for n in np.flatnonzero(known).tolist() if not is_number(cells[n])]
        if texts and not self.texts:
            self.first_text = self.rows + texts[0], cells[texts[0]]
        self.texts += len(texts)
        self.numbers += int(known.sum()) - len(texts)
        # Of more there are too many at any rate.
        if cells.dtype == object and len(self.values) <= self.most:
            self.values.update(cell.strip() for cell in set(cells[known].tolist()))
        self.rows += len(cells)

    def categories(self, table: Table) -> tuple[str, ...]:
        """Finds the categories of the column; () where it has numbers.

        Raises:
          UserError: The column has no value, a text among numbers, or so many texts that
            they are names.
        """
        if not self.numbers and not self.texts:
            raise UserError(
                f"{table.what}: column {self.name!r} has no value in any row: leave it out"
            )
        if not self.texts:
            return ()
        if self.numbers > self.texts:
            row, text = self.first_text
            raise UserError(
                f"{cell_at(table, row, self.name)} is {text!r}, where others are numbers: "
                "mend it, or leave it empty if it is missing"
            )
        if not self.categorical and _DRESSED.fullmatch(self.first_text[1]):
            row, text = self.first_text
            raise UserError(
                f"{cell_at(table, row, self.name)} is {text!r}: write plain numbers, with "
                "a point and no signs between or around the digits, such as 1234.5"
            )
        most = min(self.most, max(100, (self.numbers + self.texts) // 2))
        if len(self.values) > most:
            raise UserError(
                f"{table.what}: column {self.name!r} has more than {most:,.0f} different "
                f"texts, as {self.first_text[1]!r}: names and dates are no categories, "
                "leave it out"
            )
        return sorted_names(self.values)


@dataclass
class SeenLabels(Seen):
    """What was seen of a column of labels: also the label of each row."""

    most: float = 10**6
    codes: list[np.ndarray] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def add(self, cells: Cells) -> None:
        """Sees the next rows; what is missing is -1."""
        gone = missing_cells(cells)
        self.rows += len(cells)
        if cells.dtype == np.float64:
            values, inverse = np.unique(np.where(gone, 0, cells), return_inverse=True)
            texts = [str(int(x)) if x == int(x) else str(x) for x in values.tolist()]
        else:
            texts, inverse = np.unique(np.where(gone, "", cells), return_inverse=True)
            texts = [text.strip() for text in texts]
        numbers = [self.known.setdefault(text, len(self.known)) for text in texts]
        self.codes.append(np.where(gone, -1, np.array(numbers, np.int32)[inverse]))

    def labels(self, what: str) -> dict[str, Any]:
        """Makes arguments of `from_arrays`; raises UserError for what can't be classes."""
        codes = np.concatenate(self.codes)
        by_code = {code: text for text, code in self.known.items()}
        names = sorted_names(
            by_code[code] for code in np.unique(codes[codes >= 0]).tolist()
        )
        number = np.full(len(self.known) + 1, -1, np.int64)  # the last: of what is missing
        for place, name in enumerate(names):
            number[self.known[name]] = place
        if not names:
            return {}
        by_value: dict[float, str] = {}
        for name in filter(is_number, names):
            other = by_value.setdefault(float(name), name)
            if other != name:
                raise UserError(
                    f"{what}: the labels {other!r} and {name!r} are one number: write "
                    "both alike"
                )
        check_count(names, int((codes >= 0).sum()), what)
        return {"train_labels": number[codes], "class_names": names}


@dataclass
class SeenNumbers(Seen):
    """What was seen of a column of numbers: also the number of each row, none missing."""

    what: str = ""  # of the table, in messages
    first: int = 0  # the number of row 0 in messages
    found: list[np.ndarray] = field(default_factory=list)

    def add(self, cells: Cells) -> None:
        """Sees the next rows; raises UserError where one is no number."""
        values = as_numbers(cells)
        known = ~missing_cells(cells)
        if values is None:
            known = np.array(
                [k and is_number(x) for x, k in zip(cells, known, strict=True)]
            )
        else:
            known &= np.isfinite(values)
        if values is None or not known.all():
            bad = int(np.argmin(known))
            raise UserError(
                f"{self.what}, row {self.rows + bad + self.first}, column {self.name!r} is "
                f"{str(cells[bad])!r}, where a number is needed: mend it, or leave that "
                "row out"
            )
        self.rows += len(cells)
        self.found.append(values.astype(np.float32))

    @property
    def numbers_of_all(self) -> np.ndarray:
        """The numbers of all rows, [N], float32."""
        return np.concatenate(self.found)


def look(table: Table, label: str | None, numbers: Collection[str] = ()) -> dict[str, Seen]:
    """Finds what each column has, by one look at all rows.

    Args:
      table: The table to look at.
      label: The name of the column of labels; None for none.
      numbers: The names of the columns that must have a number in each row.

    Returns:
      What was seen of each column, by its name.

    Raises:
      UserError: A cell of the columns `numbers` has no number.
    """
    seen: dict[str, Seen] = {name: Seen(name) for name in table.names}
    for name in table.categorical:
        seen[name].categorical = True
    if label is not None:
        seen[label] = SeenLabels(label)
    for name in numbers:
        seen[name] = SeenNumbers(name, what=table.what, first=table.first)
    for block in table.blocks():
        for name, cells in zip(table.names, block, strict=True):
            seen[name].add(cells)
    return seen


def missing_cells(cells: Cells) -> np.ndarray:
    """Finds which cells are missing: [n], bool."""
    if cells.dtype == np.float64:
        return np.isnan(cells)
    return np.array([x is None or x.strip().casefold() in MISSING for x in cells], bool)


def as_numbers(cells: Cells) -> np.ndarray | None:
    """Reads cells [n] as float64, NaN where missing; None where one is a text."""
    if cells.dtype == np.float64:
        return cells
    with suppress(ValueError, TypeError):  # most have no word for what is missing
        return _parsed(cells)
    known = ~missing_cells(cells)
    found = np.full(len(cells), np.nan)
    try:
        found[known] = _parsed(cells[known])
    except ValueError:
        return None
    return found


def _parsed(cells: Cells) -> np.ndarray:
    """Reads cells as float64; raises ValueError or TypeError where one is no number."""
    if "_" in "".join(cells):  # "1_0" is ten to Python, and to nobody else
        raise ValueError("_")
    return cells.astype(np.float64)


def is_number(cell: str) -> bool:
    """Whether a text is one that a number is written as."""
    try:
        return "_" not in cell and float(cell) is not None
    except ValueError:
        return False


def cell_at(table: Table, row: int | None, name: str) -> str:
    """Makes the name that messages give to a cell."""
    return f"{table.what}, row {(row or 0) + table.first}, column {name!r}"
