"""What is said of data that are used in part or in another way than may be expected."""

import sys
from collections.abc import Callable, Iterable

Tell = Callable[[str], None]  # takes one line


def to_stderr(line: str) -> None:
    """Where such a line goes unless the caller takes it."""
    print(f"note: {line}", file=sys.stderr)


def ignore(line: str) -> None:
    """Takes a line that is not to be said."""


def listing(names: Iterable[str], most: int = 8) -> str:
    """Names in one line, no more of them than are read at a glance."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
