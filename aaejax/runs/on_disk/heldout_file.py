"""heldout.npz of a run folder, which may be a stranger's: checked before it is taken."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data.checks import extremes
from aaejax.runs.on_disk.files import read_bytes


def checked_heldout(path: Path, data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Reads images [N, ...], and labels [N] and condition [N, C] where the file has any.

    Args:
      path: The path of the file.
      data: What config.json has of the data; {} where that is not known.

    Raises:
      Exception: The file has what such a file can't have; there are many kinds.
    """
    # The heads first: what they say is compared before anything is taken for it.
    raw = read_bytes(path)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        heads = {name: _head(archive, name) for name in archive.namelist()}
    shape, dtype = heads.pop("images.npy", ((), None))
    expected = tuple(data.get("shape", shape[1:]))
    if shape[1:] != expected or dtype not in (np.uint8, np.float32) or not shape[:1] > (0,):
        raise ValueError(f"its images are {dtype}{list(shape)}, not [N, {list(expected)}]")
    of_labels = heads.pop("labels.npy", None)
    if of_labels and (of_labels[0] != shape[:1] or of_labels[1].kind not in "iu"):
        raise ValueError(f"its labels are {of_labels[1]}{list(of_labels[0])}")
    of_condition, size = heads.pop("condition.npy", None), data.get("conditions", 0)
    if of_condition and of_condition != ((*shape[:1], size), np.float32):
        raise ValueError(f"its condition is {of_condition[1]}{list(of_condition[0])}")
    if size and not of_condition:
        raise ValueError("it has no condition")
    if heads:
        raise ValueError(f"it has {', '.join(map(repr, heads))}")
    if np.prod(shape) * dtype.itemsize > 1000 * len(raw) + 2**20:
        raise ValueError(f"its images {list(shape)} can't be in {len(raw)} bytes")
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        found = dict(arrays)
    images, labels = found["images"], found.get("labels")
    absent = np.isnan(images) if data.get("missing") is True else False
    if dtype == np.float32 and not (np.isfinite(images) | absent).all():
        raise ValueError("its images are not finite")
    low, high = extremes(images)
    if dtype == np.float32 and data.get("unit_range") and not (low >= 0 and high <= 1):
        raise ValueError("its images are not in [0, 1]")
    if not np.isfinite(found.get("condition", 0)).all():
        raise ValueError("its condition is not finite")
    classes = data.get("classes", 2**31)
    if labels is not None and not (labels.min() >= -1 and labels.max() < classes):
        raise ValueError(f"its labels go from {labels.min()} to {labels.max()}")
    return found


def _head(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype that an array of an .npz says it has."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name!r} has format {version}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype
