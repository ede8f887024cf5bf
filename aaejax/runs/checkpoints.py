"""Checkpoints with Orbax: asynchronous, atomic, the last few kept.

A checkpoint has an item for each part of the state ("params" of all networks, "opt_state"
of all phases), so that sampling reads the first alone, and "about": which step of which run
it is, a CRC-32 of every array, and the lines of metrics.jsonl that belong to it. Arrays are
read into NumPy, which any number of devices can take.
"""

import asyncio
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from aaejax.runs.config import changes
from aaejax.runs.files import check_no_link, read_bytes
from aaejax.runs.finite import name_of
from aaejax.runs.metrics_log import NO_LINES, Mark, Segment
from aaejax.types import TrainState, UserError

FORMAT = 1  # of "about"
# Of a `TrainState`, each a pytree of arrays.
ITEMS = ("params", "network_state", "opt_state", "ema")
UNUSABLE = "unusable-checkpoints"


class _OtherRun(ValueError):
    """A good checkpoint of a run with other values; says which."""


class Checkpoints:
    """The checkpoints of one run; close it, or use it in a `with`, to end the writing."""

    def __init__(
        self,
        folder: Path,
        keep: int | None = None,
        tell: Callable = print,
        run: Mapping[str, Any] | None = None,
    ):
        """Opens the folder; with `keep` to write there, else only to read.

        Args:
          folder: need not exist yet when writing.
          keep: how many checkpoints stay.
          tell: gets a line about each checkpoint that can't be used.
          run: what decides the result of the run, as JSON. It goes into each checkpoint,
            and one of a run with other values is not used; None for no such check.

        Raises:
          UserError: the folder can't be one of checkpoints.
        """
        self._tell, self._run = tell, json.loads(json.dumps(run))
        self._folder = folder.absolute()
        check_folder(self._folder)
        handler = ocp.PyTreeCheckpointHandler(
            type_handler_registry=ocp.type_handlers.create_type_handler_registry(
                (np.ndarray, _WholeReads()), (jax.Array, ocp.type_handlers.ArrayHandler())
            )
        )
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                step_name_format=_Steps(),
                create=keep is not None,
                cleanup_tmp_directories=keep is not None,
            ),
            item_handlers={name: handler for name in ITEMS}
            | {"about": ocp.JsonCheckpointHandler()},
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # else the first error says more
                raise

    def close(self) -> None:
        """Waits until all is on disk.

        Raises:
          OSError: the writing in the background failed.
        """
        with self._writing():
            self._manager.wait_until_finished()
            self._manager.close()

    def newest(self) -> int | None:
        """The step of the newest checkpoint that is on disk, good or not."""
        with self._writing():
            self._manager.wait_until_finished()
        return max(self._steps(), default=None)

    def save(self, state: TrainState, log: Segment = NO_LINES) -> None:
        """Writes a checkpoint in the background.

        Args:
          state: finite, as `finite.finite_copy` gives it, and not changed any more.
          log: the lines of metrics.jsonl up to this step.

        Raises:
          OSError: too little room on the disk, or the checkpoint before was not written.
        """
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + 2**20
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise OSError(
                f"a checkpoint of {needed / 1e6:.0f} MB does not fit on the disk of "
                f"{self._folder} ({free / 1e6:.0f} MB free): make room and run the same "
                "command again; earlier checkpoints are kept"
            )
        trees = _items(state)
        about = {
            "format": FORMAT,
            "step": int(state.step),
            "run": self._run,
            "checksums": {name: checksums(tree) for name, tree in trees.items()},
            "log": {"before": list(log.before), "lines": list(log.lines)},
        }
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in trees.items()}
        with self._writing():
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    **items,
                    about=ocp.args.JsonSave({"crc32": _crc32(about), "about": about}),
                ),
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Orbax's and TensorStore's many kinds of error as the one kind that they are."""
        try:
            yield
        except Exception as error:
            raise OSError(
                f"a checkpoint could not be written ({_first_line(error)[:300]}): "
                "mend that and run the same "
                "command again; earlier checkpoints are kept"
            ) from error

    def restore_state(self, like: TrainState) -> TrainState | None:
        """The newest good state, as NumPy arrays; None where there is no checkpoint.

        Args:
          like: a state (or its shapes) of the model that was saved.

        Raises:
          UserError: there are checkpoints, but none can be used.
        """
        found = self._newest(_items(like), None)
        if found is None:
            return None
        step, items = found
        self._set_aside_after(step)
        return replace(like, step=np.int32(step), **items)  # type: ignore[arg-type]

    def restore_weights(self, like: TrainState, step: int | None = None) -> TrainState:
        """The newest good state, or that at `step`, without the optimizers' part.

        Args:
          like: as of `restore_state`; its moving average is read where it has one.
          step: of the checkpoint; None for the newest.

        Raises:
          UserError: there is none that can be used.
        """
        found = self._newest(_items(replace(like, opt_state={})), step)
        if found is None:
            raise UserError(
                f"{self._folder} has no checkpoint yet: let train.py run to its first one"
            )
        return replace(like, step=np.int32(found[0]), opt_state={}, **found[1])  # type: ignore[arg-type]

    def segments(self, step: int) -> list[Segment]:
        """What the good checkpoints up to this step hold of metrics.jsonl, oldest first."""
        found = []
        for each in sorted(self._steps()):
            try:
                about = self._about(each) if each <= step else None
            except Exception:  # whatever damage may raise
                continue
            if about is not None:
                found.append(_segment(about))
        return found

    def _steps(self) -> list[int]:
        return list(self._manager.all_steps())

    def _set_aside_after(self, step: int) -> None:
        """Moves what can't be used away: Orbax saves no step twice and none backwards."""
        unusable = [newer for newer in self._steps() if newer > step]
        aside = self._folder.parent / UNUSABLE
        for newer in unusable:
            check_no_link(aside)
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(newer), ignore_errors=True)
            # Not os.rename: checkpoints/ may be a link to another disk.
            shutil.move(self._folder / str(newer), aside / str(newer))
        if unusable:
            self._tell(f"moved {len(unusable)} unusable checkpoint(s) to {aside}")
            self._manager.reload()

    def _newest(
        self, wanted: dict[str, Any], only: int | None
    ) -> tuple[int, dict[str, Any]] | None:
        tried: set[int] = set()
        bad: list[Exception] = []  # what is wrong with those that are there
        lines: list[str] = []
        # A training that goes on meanwhile takes the old ones away: list again.
        while steps := sorted(set(self._steps()) - tried, reverse=True):
            if only is not None and only not in steps:
                have = ", ".join(map(str, sorted(steps))) or "none"
                raise UserError(f"there is no checkpoint of step {only}: there are {have}")
            for step in steps if only is None else [only]:
                try:
                    found = self._restore(step, wanted)
                # Orbax and TensorStore raise many kinds for what can be wrong with files.
                except Exception as error:
                    tried.add(step)
                    if (self._folder / str(step)).exists():
                        bad.append(error)
                        what = "it is of another run: " * isinstance(error, _OtherRun)
                        reason = what + _first_line(error)[:200]
                        lines.append(f"checkpoint {step} can't be used ({reason})")
                else:
                    for line in lines:
                        self._tell(line)
                    return step, found
            if only is not None:
                break
            self._manager.reload()
        if not tried:
            if only is not None:
                raise UserError(f"there is no checkpoint of step {only}: there are none")
            return None
        if bad and all(isinstance(error, _OtherRun) for error in bad):
            raise UserError(
                f"{self._folder.parent / 'config.json'} was changed, or the checkpoints "
                f"are of another run: in them {bad[0]}; restore config.json from a copy"
            )
        for line in lines:
            self._tell(line)
        raise UserError(
            f"no checkpoint in {self._folder} can be used: restore one from a copy, or "
            "train in another --workdir"
        )

    def _restore(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        about = self._about(step)
        targets = {
            name: jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
            for name, tree in wanted.items()
        }
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{
                    name: ocp.args.PyTreeRestore(tree, jax.tree.map(_Like.of, tree))
                    for name, tree in targets.items()
                }
            ),
        )
        found = {name: restored[name] for name in wanted}
        if about is None:
            self._tell(
                f"checkpoint {step} is of an older aaejax, without checksums: it is used "
                "as it is"
            )
            return found
        for name, tree in found.items():
            expected = about["checksums"][name]
            for path, crc32 in checksums(tree).items():
                if expected.get(path) != crc32:
                    raise ValueError(f"array {path} of {name} does not have its checksum")
        return found

    def _about(self, step: int) -> dict[str, Any] | None:
        """What the checkpoint says of itself; None where it is older than such words.

        Raises:
          OSError, ValueError: it can't be read, or the checkpoint is not of this run.
        """
        place = self._folder / str(step)
        try:
            if not (place / "about").exists():
                # Orbax lists the items, so that one which was lost is not taken for none.
                listed = json.loads(read_bytes(place / "_CHECKPOINT_METADATA"))
                if "about" not in listed["item_handlers"]:
                    return None
            saved = json.loads(read_bytes(place / "about" / "metadata"))
            about = saved["about"]
            if saved["crc32"] != _crc32(about):
                raise ValueError("its item about does not have its checksum")
            _segment(about)
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("its item about is damaged") from error
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']}, not {FORMAT}")
        if about["step"] != step:
            raise ValueError(f"it is that of step {about['step']}")
        if self._run is not None:
            changed = changes(about["run"], self._run)
            if changed:
                raise _OtherRun("; ".join(changed))
        return about


def check_folder(folder: Path) -> None:
    """Raises UserError where a folder can't be one of checkpoints.

    It may be a link, to a larger disk, but only to a folder that has nothing else in it.
    """
    if not folder.is_symlink():
        return
    if not folder.is_dir():
        raise UserError(
            f"{folder} is a link to {os.readlink(folder)!r}, which is no folder that is "
            "there: mount or make it, or remove the link"
        )
    for entry in folder.iterdir():
        if not is_checkpoint(entry):
            raise UserError(
                f"{folder} is a link to {os.readlink(folder)!r}, which has "
                f"{entry.name!r} in it: link to a folder of checkpoints alone"
            )


def is_checkpoint(path: Path) -> bool:
    """Whether that is a checkpoint, or what a killed writing left of one, by its name."""
    step, _, more = path.name.partition(".orbax-checkpoint-tmp")
    named = step.isascii() and step.isdigit() and (not more or more[0] in "-.")
    return named and path.is_dir() and not path.is_symlink()


def checksums(tree: Any) -> dict[str, str]:
    """The CRC-32 of each array's dtype, shape and bytes, by its place in the tree."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        head = zlib.crc32(f"{array.dtype}{np.shape(leaf)}".encode())
        found[name_of(path)] = (
            f"{zlib.crc32(array.reshape(-1).view(np.uint8).data, head):08x}"
        )
    return found


@dataclass
class _Like(ocp.RestoreArgs):
    """What an array that is restored must be like."""

    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, array: np.ndarray) -> "_Like":
        return cls(restore_type=np.ndarray, dtype=array.dtype, shape=array.shape)


class _WholeReads(ocp.type_handlers.NumpyHandler):
    """Reads arrays whose heads say what is expected; all to their ends, if one fails too.

    A head may claim more than there is memory for: it is compared before the array is read.

    Orbax closes the event loop at the first failure, and each read still on its way would
    print "Event loop is closed" when it came.
    """

    async def deserialize(
        self, infos: Sequence[Any], args: Sequence[Any] | None = None
    ) -> Sequence[np.ndarray]:
        each = args or [ocp.RestoreArgs()] * len(infos)
        heads = await self.metadata(infos)
        for head, like in zip(heads, each, strict=True):
            expected = isinstance(like, _Like) and (like.shape, like.dtype)
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
        return datetime.fromtimestamp(self.path.stat().mtime, UTC)


class _Steps(ocp.path.step.NameFormat):
    """Names of checkpoints as Orbax's own, their steps, listed without opening a file.

    Orbax reads of each when it was written, so that one damaged file would end the
    listing, and with it the use of all the others.
    """

    def build_name(self, step: int) -> str:
        return str(step)

    def find_all(self, base_path: Any) -> Iterator[_Listed]:
        for path in epath.Path(base_path).iterdir():
            if re.fullmatch("0|[1-9][0-9]*", path.name):
                yield _Listed(step=int(path.name), path=path)

    def find_step(self, base_path: Any, step: int) -> _Listed:
        path = epath.Path(base_path) / self.build_name(step)
        if not path.exists():
            raise ValueError(f"there is no {path}")
        return _Listed(step=step, path=path)


def _crc32(about: Any) -> str:
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def _segment(about: dict[str, Any]) -> Segment:
    """The log's part of it; raises KeyError or TypeError where that is damaged."""
    log = about["log"]
    return Segment(Mark(*log["before"]), tuple("" + line for line in log["lines"]))


def _items(state: TrainState) -> dict[str, Any]:
    """The parts of a state that have arrays, by name."""
    parts = {name: getattr(state, name) for name in ITEMS}
    return {name: part for name, part in parts.items() if jax.tree.leaves(part)}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else repr(error)
