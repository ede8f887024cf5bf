"""Where Orbax's own ways do not do: how reads end, what is listed, what is kept."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import PreservationPolicy


class LastAndBest(PreservationPolicy):
    """Keeps the last few checkpoints, and the best one beside them."""

    def __init__(self, last: int):
        """Keeps the last so many; there is no best one yet: set `best` to its step."""
        self._last, self.best = last, 0

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether each checkpoint stays."""
        del context
        old = len(checkpoints) - self._last
        return [
            number >= old or each.step == self.best
            for number, each in enumerate(checkpoints)
        ]


@dataclass
class Like(ocp.RestoreArgs):
    """The dtype and shape that a restored array must have."""

    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: np.ndarray) -> "Like":
        """The dtype and shape of this array."""
        return cls(restore_type=np.ndarray, dtype=array.dtype, shape=array.shape)


class WholeReads(ocp.type_handlers.NumpyHandler):
    """Reads arrays whose heads say what is expected; all to their ends, if one fails too.

    A head may claim more than there is memory for: it is compared before the array is read.

    Orbax closes the event loop at the first failure, and each read still on its way would
    print "Event loop is closed" when it came.
    """

    async def deserialize(
        self, infos: Sequence[Any], args: Sequence[Any] | None = None
    ) -> Sequence[np.ndarray]:
        """Reads arrays as Orbax's does; raises ValueError for one of another head."""
        each = args or [ocp.RestoreArgs()] * len(infos)
        heads = await self.metadata(infos)
        for head, like in zip(heads, each, strict=True):
            expected = isinstance(like, Like) and (like.shape, like.dtype)
            if expected and (tuple(head.shape), head.dtype) != expected:
                raise ValueError(
                    f"it has an array {head.dtype}{list(head.shape)} "
                    f"where the model has {like.dtype}{list(like.shape)}"
                )
        one = super().deserialize
        reads = [one([info], [arg]) for info, arg in zip(infos, each, strict=True)]
        done = await asyncio.gather(*reads, return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result
        return [result[0] for result in done]  # type: ignore[index]


class _Listed(ocp.path.step.Metadata):
    """A checkpoint by its folder alone."""

    @property
    def commit_timestamp(self) -> datetime:
        """The time when it was written."""
        return datetime.fromtimestamp(self.path.stat().mtime, UTC)


class StepNames(ocp.path.step.NameFormat):
    """Names of checkpoints as Orbax's own, their steps, listed without opening a file.

    Orbax reads of each when it was written, so that one damaged file would end the
    listing, and with it the use of all the others.
    """

    def build_name(self, step: int) -> str:
        """The name of a checkpoint's folder."""
        return str(step)

    def find_all(self, base_path: Any) -> Iterator[_Listed]:
        """All checkpoints, good or not."""
        for path in epath.Path(base_path).iterdir():
            if re.fullmatch("0|[1-9][0-9]*", path.name):
                yield _Listed(step=int(path.name), path=path)

    def find_step(self, base_path: Any, step: int) -> _Listed:
        """The checkpoint of a step; raises ValueError where there is none."""
        path = epath.Path(base_path) / self.build_name(step)
        if not path.exists():
            raise ValueError(f"there is no {path}")
        return _Listed(step=step, path=path)
