"""Checkpoints with Orbax: asynchronous, atomic, the last few kept.

A checkpoint has two items, "params" (of all networks) and "opt_state" (of all phases), so
that sampling reads the first alone. Both are read into NumPy arrays, which any number of
devices can take.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aaejax.runs.folder import RunFolder
from aaejax.types import TrainState, UserError, Variables

ITEMS = ("params", "network_state", "opt_state", "ema")  # of a TrainState


class Checkpoints:
    """The checkpoints of one run; close it, or use it in a `with`, to end the writing."""

    def __init__(self, folder: Path, keep: int | None = None, tell: Callable = print):
        """Opens the folder; with `keep` to write there, else only to read.

        Args:
          folder: need not exist yet when writing.
          keep: how many checkpoints stay.
          tell: gets a line about each checkpoint that can't be used.
        """
        self._tell = tell
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=keep is not None,
                cleanup_tmp_directories=keep is not None,
            ),
            item_names=ITEMS,
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

    def save(self, state: TrainState) -> None:
        """Copies the state off the devices, then writes it in the background.

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
        with self._writing():
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(
                    **{
                        name: ocp.args.StandardSave(item)
                        for name, item in _items(state).items()
                    }
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

    def restore_variables(
        self, like: TrainState, step: int | None = None
    ) -> tuple[int, Variables]:
        """Step and variables of the newest good checkpoint, or of the one at `step`.

        Raises:
          UserError: there is none that can be used.
        """
        wanted = _items(replace(like, opt_state={}, ema=None))
        found = self._newest(wanted, step)
        if found is None:
            raise UserError(
                f"{self._folder} has no checkpoint yet: let train.py run to its first one"
            )
        return found[0], replace(like, **found[1]).variables

    def _set_aside_after(self, step: int) -> None:
        """Moves what can't be used away: Orbax saves no step twice and none backwards."""
        unusable = [newer for newer in self._manager.all_steps() if newer > step]
        aside = RunFolder(self._folder.parent).unusable
        for newer in unusable:
            aside.mkdir(exist_ok=True)
            place = aside / str(newer)
            shutil.rmtree(place, ignore_errors=True)
            os.rename(self._folder / str(newer), place)
        if unusable:
            self._tell(f"moved {len(unusable)} unusable checkpoint(s) to {aside}")
            self._manager.reload()

    def _newest(
        self, wanted: dict[str, Any], only: int | None
    ) -> tuple[int, dict[str, Any]] | None:
        steps = sorted(self._manager.all_steps(), reverse=True)
        if only is not None and only not in steps:
            have = ", ".join(map(str, sorted(steps))) or "none"
            raise UserError(f"there is no checkpoint of step {only}: there are {have}")
        for step in steps if only is None else [only]:
            try:
                return step, self._restore(step, wanted)
            # Orbax and TensorStore raise many kinds for what can be wrong with files.
            except Exception as error:
                reason = _first_line(error)[:200]
                self._tell(f"checkpoint {step} can't be used ({reason})")
        if not steps:
            return None
        raise UserError(
            f"no checkpoint in {self._folder} can be used: "
            "train again with --overwrite, or restore the folder from a copy"
        )

    def _restore(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        targets = {
            name: jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
            for name, tree in wanted.items()
        }
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.StandardRestore(tree) for name, tree in targets.items()}
            ),
        )
        found = {name: restored[name] for name in wanted}
        for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(targets), strict=True):
            if new.shape != old.shape or new.dtype != old.dtype:
                raise ValueError(
                    f"it has an array {new.dtype}{list(new.shape)} "
                    f"where the model has {old.dtype}{list(old.shape)}"
                )
        return found


def _items(state: TrainState) -> dict[str, Any]:
    """The parts of a state that have arrays, by name."""
    parts = {name: getattr(state, name) for name in ITEMS}
    return {name: part for name, part in parts.items() if jax.tree.leaves(part)}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else repr(error)
