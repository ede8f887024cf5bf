"""Checkpoints with Orbax: asynchronous, atomic, the last few kept.

A checkpoint has an item for each part of the state ("params" of all networks, "opt_state"
of all phases), so that sampling reads the first alone, and "about": which step of which run
it is, a CRC-32 of every array, and the lines of metrics.jsonl that belong to it. Arrays are
read into NumPy, which any number of devices can take.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import orbax.checkpoint as ocp

from aaejax.runs.best import Best
from aaejax.runs.on_disk.about import about_json, best_of, segment
from aaejax.runs.on_disk.checkpoint_folder import UNUSABLE, check_folder, is_checkpoint
from aaejax.runs.on_disk.files import check_no_link
from aaejax.runs.on_disk.good_checkpoints import GoodCheckpoints, first_line
from aaejax.runs.on_disk.metrics_log import NO_LINES, Segment
from aaejax.runs.on_disk.orbax_parts import LastAndBest, StepNames, WholeReads
from aaejax.types import TrainState, UserError, Variables

# Of a `TrainState`, each a pytree of arrays.
ITEMS = ("params", "network_state", "opt_state", "ema")


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
          folder: The folder of the checkpoints, which need not exist yet when writing.
          keep: How many checkpoints stay, the best one beside them; None to read only.
          tell: A function that gets a line about each checkpoint that can't be used.
          run: What decides the result of the run, as JSON. It goes into each checkpoint,
            and one of a run with other values is not used; None for no such check.

        Raises:
          UserError: The folder can't be one of checkpoints.
        """
        self._tell, self._run = tell, json.loads(json.dumps(run))
        self._folder = folder.absolute()
        check_folder(self._folder)
        if keep is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        handler = ocp.PyTreeCheckpointHandler(
            type_handler_registry=ocp.type_handlers.create_type_handler_registry(
                (np.ndarray, WholeReads()), (jax.Array, ocp.type_handlers.ArrayHandler())
            )
        )
        self._policy = LastAndBest(keep) if keep is not None else None
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._policy,
                step_name_format=StepNames(),
                create=False,  # it can't where one host of several is here alone
                cleanup_tmp_directories=keep is not None,
                # Of several hosts this one alone is here.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=jax.process_index(),
                    active_processes={jax.process_index()},
                ),
            ),
            item_handlers={name: handler for name in ITEMS}
            | {"about": ocp.JsonCheckpointHandler()},
        )
        self._good = GoodCheckpoints(self._manager, self._folder, self._run, tell)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # else the first error says more
                raise

    def close(self) -> None:
        """Waits until all checkpoints are on disk, and ends the writing.

        Raises:
          OSError: The writing in the background failed.
        """
        with self._writing():
            self._manager.wait_until_finished()
            self._manager.close()

    def newest(self) -> int | None:
        """The step of the newest checkpoint that is on disk, good or not."""
        with self._writing():
            self._manager.wait_until_finished()
        return max(self._good.steps(), default=None)

    def save(
        self, state: TrainState, log: Segment = NO_LINES, best: Best | None = None
    ) -> None:
        """Writes a checkpoint in the background.

        Args:
          state: A finite state, as `finite.finite_copy` gives it, which is not changed any
            more.
          log: The lines of metrics.jsonl since the checkpoint before, up to this step.
          best: The best evaluation up to this step, whose checkpoint stays; None where
            there is none.

        Raises:
          OSError: There is too little room on the disk, or the checkpoint before was not
            written.
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
        best = best or Best()
        about = about_json(int(state.step), self._run, trees, log, best)
        assert self._policy is not None, "opened for reading alone"
        self._policy.best = best.step
        items = {name: ocp.args.PyTreeSave(tree) for name, tree in trees.items()}
        with self._writing():
            self._manager.save(
                int(state.step),
                args=ocp.args.Composite(**items, about=ocp.args.JsonSave(about)),
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns the many kinds of error of Orbax and TensorStore into an OSError."""
        try:
            yield
        except Exception as error:
            raise OSError(
                f"a checkpoint could not be written ({first_line(error)[:300]}): "
                "mend that and run the same "
                "command again; earlier checkpoints are kept"
            ) from error

    def restore_state(self, like: TrainState) -> TrainState | None:
        """The newest good state, as NumPy arrays; None where there is no checkpoint.

        Args:
          like: A state (or its shapes) of the model that was saved.

        Raises:
          UserError: There are checkpoints, but none can be used.
        """
        found = self._good.newest(_items(like), None)
        if found is None:
            return None
        step, items = found
        self._set_aside_after(step)
        self._remove_old()
        return replace(like, step=np.int32(step), **items)  # type: ignore[arg-type]

    def restore_weights(
        self, like: TrainState, step: int | Literal["best"] | None = None
    ) -> TrainState:
        """The newest good state, or that at `step`, without the optimizers' part.

        Args:
          like: A state, as of `restore_state`; its moving average is read where it has one.
          step: The step of the checkpoint; None for the newest, "best" for that of the best
            evaluation.

        Raises:
          UserError: There is no such checkpoint, or none that can be used.
        """
        if step == "best":
            step = self.best().step
            if not step:
                raise UserError(
                    f"{self._folder} knows no best checkpoint, as the run has no scores of "
                    "held-out examples or is of an older aaejax: give a step"
                )
        found = self._good.newest(_items(replace(like, opt_state={})), step)
        if found is None:
            raise UserError(
                f"{self._folder} has no checkpoint yet: let train.py run to its first one"
            )
        return replace(like, step=np.int32(found[0]), opt_state={}, **found[1])  # type: ignore[arg-type]

    def shapes(self, step: int) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes of a checkpoint's arrays, as of `GoodCheckpoints.shapes`."""
        return self._good.shapes(step)

    def read_networks(self, like: TrainState) -> tuple[int, Variables]:
        """The step of the newest good checkpoint, and its networks that `like` has.

        The checkpoint may have others beside them.

        Raises:
          UserError: There is no checkpoint that can be used.
        """
        part = {"params": like.params, "network_state": like.network_state}
        wanted = {name: part[name] for name in part if jax.tree.leaves(part[name])}
        found = self._good.newest(wanted, None)
        if found is None:
            raise UserError(f"{self._folder} has no checkpoint yet: let train.py run to it")
        step, items = found
        return step, replace(like, **items).variables  # type: ignore[arg-type]

    def segments(self, step: int) -> list[Segment]:
        """The parts of metrics.jsonl in good checkpoints up to this step, oldest first."""
        return [segment(about) for about in self._good.abouts(step)]

    def best(self, step: int | None = None) -> Best:
        """The best evaluation, as the newest good checkpoint (up to this step) has it."""
        abouts = self._good.abouts(step)
        return best_of(abouts[-1]) if abouts else Best()

    def _set_aside_after(self, step: int) -> None:
        """Moves what can't be used away: Orbax saves no step twice and none backwards."""
        unusable = [newer for newer in self._good.steps() if newer > step]
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

    def _remove_old(self) -> None:
        """Removes what a process that was killed while it removed it has left."""
        if self._policy is None:
            return
        self._policy.best = self.best().step
        listed = sorted(StepNames().find_all(self._folder), key=lambda each: each.step)
        stays = self._policy.should_preserve(listed, context=None)
        for each, kept in zip(listed, stays, strict=True):
            if not kept and is_checkpoint(Path(each.path)):
                shutil.rmtree(each.path)
        self._manager.reload()


def _items(state: TrainState) -> dict[str, Any]:
    """The parts of a state that have arrays, by name."""
    parts = {name: getattr(state, name) for name in ITEMS}
    return {name: part for name, part in parts.items() if jax.tree.leaves(part)}
