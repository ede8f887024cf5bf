"""Where an answer goes: a picture, arrays or a table, as the name of a file says."""

from pathlib import Path

import numpy as np

from aaejax.ask import tables
from aaejax.ask.kinds import KINDS
from aaejax.data.tabular.columns import Columns
from aaejax.runs.on_disk.files import naming
from aaejax.types import UserError


def default_out(kind: str, shape: tuple[int, ...]) -> Path:
    """Names the file of a kind by default: KIND.png, or KIND.npz without a picture.

    Args:
      kind: Any word; one that there is not is refused by `check_out`.
      shape: The shape of one example of the run.
    """
    drawn = kind in KINDS and KINDS[kind].draw is not None and len(shape) == 3
    return Path(f"{kind}.{'png' if drawn else 'npz'}")


def check_out(
    out: str | Path, kind: str, shape: tuple[int, ...], columns: Columns | None = None
) -> None:
    """Raises UserError where `write` would refuse, before the work is done.

    Args:
      out: The file that would be written.
      kind: The kind, one of `KINDS`.
      shape: The shape of one example of the run.
      columns: The columns of the run, where it was trained on a table.
    """
    if kind not in KINDS:
        # The last two are words of the command, of their own.
        words = ", ".join([*KINDS, "explore", "export"])
        raise UserError(f"there is no kind {kind}: there are {words}")
    path = Path(out)
    suffix, asked = path.suffix.lower(), KINDS[kind]
    allowed = [".npy", ".npz"]
    if asked.draw is not None:
        allowed.insert(0, ".png")
    if asked.columns or (asked.of_columns and columns is not None):
        allowed += tables.SUFFIXES
    if suffix not in allowed:
        no = f"{kind} make no picture: " if suffix == ".png" else ""
        listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise UserError(f"--out {out}: {no}the name must end in {listed}")
    if suffix == ".png" and len(shape) != 3:
        others = [each for each in allowed if each != ".png"]
        listed = f"{', '.join(others[:-1])} or {others[-1]}"
        raise UserError(f"vectors make no picture: --out must end in {listed}")
    tables.check_extra(path)
    if path.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")


def write(
    out: str | Path,
    kind: str,
    arrays: dict[str, np.ndarray],
    columns: Columns | None = None,
) -> None:
    """Writes a picture, arrays or a table, as the file's suffix says; its folder is made.

    Args:
      out: The file.
      kind: The kind, one of `KINDS`.
      arrays: The arrays, from `sample`.
      columns: The columns of the run, where it was trained on a table.

    Raises:
      UserError: The kind can't have this suffix, or the suffix needs an extra package.
      OSError: The file can't be written there.
    """
    path, images = Path(out), arrays.get("images")
    shape = () if images is None or images.ndim < 4 else images.shape[-3:]
    check_out(path, kind, shape, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = KINDS[kind].draw
    if draw is not None and path.suffix.lower() == ".png":
        with naming(path):
            draw(path, arrays["images"])
        return
    if path.suffix.lower() in tables.SUFFIXES:
        with naming(path):
            if KINDS[kind].of_columns and columns is not None:
                table = tables.of_examples(arrays["images"], arrays.get("rows"), columns)
                tables.write(path, table, numbered=False)
            else:
                tables.write(path, tables.columns(arrays, KINDS[kind].columns))
        return
    # Opened here: NumPy would add a suffix to a name in capitals.
    with naming(path), path.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            np.save(file, arrays[KINDS[kind].npy])
