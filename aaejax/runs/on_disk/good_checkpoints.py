"""Which checkpoints of a folder can be used: each array is compared with its checksum."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aaejax.runs.finite import name_of
from aaejax.runs.on_disk.about import OtherRun, checksums, read_about
from aaejax.runs.on_disk.orbax_parts import Like
from aaejax.types import UserError


class GoodCheckpoints:
    """Finds the newest checkpoint that can be used, and says of the others why not."""

    def __init__(
        self,
        manager: ocp.CheckpointManager,
        folder: Path,
        run: dict[str, Any] | None,
        tell: Callable,
    ):
        """Takes a folder of checkpoints.

        Args:
          manager: Orbax's manager of that folder.
          folder: The folder of the checkpoints.
          run: What decides the result of the run, as of `Checkpoints`.
          tell: A function that gets a line about each checkpoint that can't be used.
        """
        self._manager, self._folder, self._run, self._tell = manager, folder, run, tell

    def steps(self) -> list[int]:
        """The steps of all checkpoints that are there, good or not."""
        return list(self._manager.all_steps())

    def newest(
        self, wanted: dict[str, Any], only: int | None = None
    ) -> tuple[int, dict[str, Any]] | None:
        """The step and items of the newest checkpoint that can be used; None without any.

        Args:
          wanted: The shapes of each item that is read, by name.
          only: The step of the one checkpoint that it must be; None for any.

        Raises:
          UserError: None of those that are there can be used, or not that one.
        """
        tried: set[int] = set()
        bad: list[Exception] = []  # what is wrong with those that are there
        lines: list[str] = []
        # A training that goes on meanwhile takes the old ones away: list again.
        while steps := sorted(set(self.steps()) - tried, reverse=True):
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
                        what = "it is of another run: " * isinstance(error, OtherRun)
                        reason = what + first_line(error)[:200]
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
        if bad and all(isinstance(error, OtherRun) for error in bad):
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

    def shapes(self, step: int) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shapes of each network's arrays in a checkpoint, by their places."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        kept = self._manager.item_metadata(step)
        for item in ("params", "network_state"):
            tree = kept[item].tree if item in kept.keys() else {}  # noqa: SIM118
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                network, _, place = name_of(path).partition("/")
                found.setdefault(network, {})[place] = tuple(leaf.shape)
        return found

    def abouts(self, last: int | None = None) -> list[dict[str, Any]]:
        """The items "about" of the good checkpoints up to this step, oldest first."""
        found = []
        for each in sorted(self.steps()):
            if last is not None and each > last:
                break
            with suppress(Exception):  # whatever damage may raise
                found.append(self._about(each))
        return [about for about in found if about is not None]

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
                    name: ocp.args.PyTreeRestore(
                        tree, jax.tree.map(Like.of, tree), partial_restore=True
                    )
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
        return read_about(self._folder / str(step), step, self._run)


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).splitlines()[0] if str(error) else repr(error)
