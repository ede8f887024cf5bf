"""The --help of a command in groups: tyro's text, its one box of options made several."""

import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

BOX = re.compile(r"^╭─ options ─*╮\n(.*?)^╰─*╯\n", re.M | re.S)
WIDEST = 110  # columns of a terminal that are used


def grouped(text: str, order: Sequence[str], group_of: Callable[[str], str]) -> str:
    """Puts the options of a help text into boxes of their own.

    Args:
      text: The text that tyro prints, in one column.
      order: The titles of the boxes; one that no option is in is left out.
      group_of: A function from an option, such as "batch-size", to the title of its box,
        one of the order.
    """
    box = BOX.search(text)
    if box is None:  # tyro draws them otherwise: all is there, in one
        return text
    boxes: dict[str, list[str]] = {title: [] for title in order}
    title = order[-1]
    for line in box[1].splitlines():
        option = re.match(r"│ (?:-\w, )?--([\w-]+)", line)
        if option:
            title = group_of(option[1])
        boxes[title].append(line)
    width = len(box[0].partition("\n")[0])
    made = [
        f"╭─ {title} {'─' * (width - len(title) - 5)}╮\n"
        + "".join(f"{line}\n" for line in lines)
        + f"╰{'─' * (width - 2)}╯\n"
        for title, lines in boxes.items()
        if lines
    ]
    return text[: box.start()] + "".join(made) + text[box.end() :]


class _Said(io.StringIO):
    """What is printed, which is drawn as for the terminal that gets it."""

    def __init__(self, encoding: str):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        """The encoding of the terminal."""
        return self._encoding


@contextmanager
def grouping(order: Sequence[str], group_of: Callable[[str], str]) -> Any:
    """Prints what is printed in its body as `grouped` has it; the arguments are the same.

    In the body a terminal is narrow enough for tyro to put all in one column.
    """
    said = _Said((sys.stdout.encoding or "ascii").lower())
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(min(shutil.get_terminal_size().columns, WIDEST))
    try:
        with redirect_stdout(said):
            yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
        print(grouped(said.getvalue(), order, group_of), end="")
