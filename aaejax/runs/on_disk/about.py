"""What a checkpoint says of itself, its item "about", and checksums of arrays."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.runs.best import Best
from aaejax.runs.finite import name_of
from aaejax.runs.on_disk.config_json import changes, completed, decides
from aaejax.runs.on_disk.files import read_bytes
from aaejax.runs.on_disk.metrics_log import Mark, Segment

FORMAT = 1


class OtherRun(ValueError):
    """Raised for a good checkpoint of a run with other values; the message says which."""


def about_json(
    step: int, run: Any, trees: dict[str, Any], log: Segment, best: Best
) -> dict[str, Any]:
    """The item "about" of a checkpoint, with its own checksum.

    Args:
      step: The step of the checkpoint.
      run: What decides the result of the run, as JSON.
      trees: The other items, each a pytree of arrays, by name.
      log: The lines of metrics.jsonl since the checkpoint before, up to this step.
      best: The best evaluation up to this step.
    """
    about = {
        "format": FORMAT,
        "step": step,
        "run": run,
        "checksums": {name: checksums(tree) for name, tree in trees.items()},
        "log": {"before": list(log.before), "lines": list(log.lines)},
        "best": [best.step, best.score, best.since],
    }
    return {"crc32": _crc32(about), "about": about}


def read_about(place: Path, step: int, run: Any) -> dict[str, Any] | None:
    """Reads the item "about" of the checkpoint in a folder; None where the checkpoint is
    older than such items.

    Raises:
      OSError, ValueError: It can't be read, or the checkpoint is not of this run.
    """
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
        segment(about)
        best_of(about)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("its item about is damaged") from error
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']}, not {FORMAT}")
    if about["step"] != step:
        raise ValueError(f"it is that of step {about['step']}")
    if run is not None:
        was = about["run"]
        if "format" in was:  # that of a config.json; seeds have a record of their own
            was = completed(was)
        changed = changes(decides(was), run)
        if changed:
            raise OtherRun("; ".join(changed))
    return about


def segment(about: dict[str, Any]) -> Segment:
    """The log's part of the item; raises KeyError or TypeError where that is damaged."""
    log = about["log"]
    return Segment(Mark(*log["before"]), tuple("" + line for line in log["lines"]))


def best_of(about: dict[str, Any]) -> Best:
    """The best evaluation, as the item has it; raises TypeError where that is damaged."""
    return Best(*about.get("best", ()))  # an older checkpoint has none


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


def fingerprint(tree: Any) -> str:
    """16 hexadecimal digits that stand for all arrays of a tree and their places in it."""
    text = json.dumps(checksums(tree), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _crc32(about: Any) -> str:
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"
