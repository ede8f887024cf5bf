"""The folder of checkpoints: what may be in it, and what is one by its name."""

import os
from pathlib import Path

from aaejax.types import UserError

UNUSABLE = "unusable-checkpoints"  # where those go that can't be read


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
    """Whether a path is a checkpoint, or what a killed writing left of one, by its name."""
    step, _, more = path.name.partition(".orbax-checkpoint-tmp")
    named = step.isascii() and step.isdigit() and (not more or more[0] in "-.")
    return named and path.is_dir() and not path.is_symlink()
