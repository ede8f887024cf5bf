"""What is said of data that are used in part or in another way than may be expected."""

import sys
from collections.abc import Callable, Iterable

Tell = Callable[[str], None]  # takes one line


def to_stderr(line: str) -> None:
    """Prints such a line to stderr, where it goes unless the caller takes it."""
    print(f"note: {line}", file=sys.stderr)


def ignore(line: str) -> None:
    """Takes a line that is not to be said, and does nothing with it."""


def listing(names: Iterable[str], most: int = 8) -> str:
    """Joins names to one line, no more of them than are read at a glance."""
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
