"""metrics.jsonl, whose lines are committed with the checkpoints.

A checkpoint holds the lines since the one before it, and the number and checksum of all
lines before those. So whatever was killed when, the file can be made again as it was at
that checkpoint, and a line that is missing or was changed is noticed.
"""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aaejax.runs.on_disk.files import append, read_bytes, write_atomically
from aaejax.types import UserError


class Mark(NamedTuple):
    """A place in the log: how many lines stand before it, and their CRC-32."""

    lines: int = 0
    crc32: int = 0

    def after(self, lines: Sequence[str]) -> "Mark":
        """The place behind these lines, where they follow upon this one."""
        crc32 = self.crc32
        for line in lines:
            crc32 = zlib.crc32(line.encode() + b"\n", crc32)
        return Mark(self.lines + len(lines), crc32)


class Segment(NamedTuple):
    """The part of the log in a checkpoint: the lines from a mark to its own step."""

    before: Mark
    lines: tuple[str, ...]

    @property
    def after(self) -> Mark:
        """The place behind this segment, where the next one begins."""
        return self.before.after(self.lines)


NO_LINES = Segment(Mark(), ())


class MetricsLog:
    """The file: lines go to it at once, and to the next checkpoint as a `Segment`."""

    def __init__(self, path: Path):
        self._path = path
        self._before, self._lines = Mark(), list[str]()

    def add(self, line: dict[str, Any]) -> str:
        """Adds a line to the next segment; gives it as it will stand in the file.

        What is NaN or infinite, which JSON has no words for, is left out.
        """
        finite = {name: line[name] for name in line if math.isfinite(line[name])}
        text = json.dumps(finite, allow_nan=False)
        self._lines.append(text)
        return text

    def append(self, text: str) -> None:
        """Writes a line to the file.

        Raises:
          OSError: The file can't be written.
        """
        append(self._path, text + "\n")

    def segment(self) -> Segment:
        """The lines since the last call: what a checkpoint takes in."""
        cut = Segment(self._before, tuple(self._lines))
        self._before, self._lines = cut.after, []
        return cut

    def resume(self, step: int, segments: Sequence[Segment], tell: Callable) -> None:
        """Makes the file what it was at a checkpoint.

        Args:
          step: The step of the checkpoint, 0 for none.
          segments: The segments of the checkpoints up to it, the oldest first; none where
            it was written before there were segments.
          tell: A function that gets a line where the file was not as the checkpoints say.
        """
        found, junk = self._read()
        if not segments:
            kept = [text for text in found if _step(text) <= step]
            if junk:
                tell(f"{self._path}: {junk} damaged line(s) are left out")
            self._before = Mark().after(kept)
        else:
            kept = self._repaired(step, found, segments, tell)
            self._before = segments[-1].after
        self._lines = []
        write_atomically(self._path, "".join(text + "\n" for text in kept).encode())

    def lines(self) -> list[str]:
        """The lines that are there and whole, the oldest first."""
        return self._read()[0]

    def _repaired(
        self, step: int, found: list[str], segments: Sequence[Segment], tell: Callable
    ) -> list[str]:
        chain = [segments[-1]]  # those that follow upon one another, up to the last
        for each in reversed(segments[:-1]):
            if each.after == chain[0].before:
                chain.insert(0, each)
        start, known = chain[0].before, [line for each in chain for line in each.lines]
        first = _step(known[0]) if known else step + 1
        old = [text for text in found if _step(text) < first]
        if Mark().after(old) != start:
            missing = start.lines - len(old)
            problem = f"{missing} missing" if missing > 0 else "some changed"
            tell(
                f"{self._path}: of the {start.lines} lines before step {first} there are "
                f"{problem}, and no checkpoint has them any more: training goes on; put "
                "them back from a copy"
            )
        there = set(found)
        lost = [_step(line) for line in known if line not in there]
        # The last one is written after its checkpoint: a killed run may not have it.
        if lost == [step] and all(_step(text) < step for text in found):
            lost = []
        if lost:
            tell(
                f"{self._path}: the lines of steps {', '.join(map(str, lost))} were "
                "missing or changed: put back from the checkpoints"
            )
        return old + known

    def _read(self) -> tuple[list[str], int]:
        """The lines that are ones, and how many are not; the last may be cut short."""
        if not self._path.exists():
            return [], 0
        try:
            raw = read_bytes(self._path)
        except OSError as error:
            raise UserError(
                f"{self._path} can't be read ({error.strerror or error}): mend that, "
                "or move it away: what checkpoints know of it is written anew"
            ) from error
        *whole, _ = raw.decode(errors="replace").split("\n")
        good = [text for text in whole if _step(text) > 0]
        return good, len(whole) - len(good)


def _step(text: str) -> int:
    """The step of a line; -1 of what is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return -1
    step = line.get("step") if isinstance(line, dict) else None
    return step if type(step) is int else -1
