"""Arrays from .npz and .npy files, by the names that they commonly have."""

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from aaejax.data import memory
from aaejax.data.notes import Tell, listing
from aaejax.data.parts import PARTS
from aaejax.types import UserError

# The names of arrays, without case and signs; of several the first that is there is read.
_IMAGES = ("x", "images", "image", "imgs", "data", "features", "arr0")
_KINDS = {
    "images": _IMAGES,
    "labels": ("y", "labels", "label", "targets", "target"),
    "condition": ("condition", "conditions"),
    "weight": ("weight", "weights", "sampleweight", "sampleweights"),
}


def read(path: Path, tell: Tell) -> dict[str, Any]:
    """Reads an .npz or .npy file, told apart by what is in it, not by suffix.

    Args:
      path: a regular file.
      tell: takes what is to be said of arrays that are not read.

    Returns:
      Arguments of `aaejax.data.from_arrays`: images, and labels, a condition, weights and a
      held-out part where there are any. An .npy file is memory-mapped.

    Raises:
      UserError: no images in it, or it cannot be read; pickles are not.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
        return _read_npz(path, tell) if packed else {"train_images": _map_npy(path)}
    except UserError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        hint = "save it anew with np.savez or np.save"
        if "Object arrays" in str(error) or "Python objects" in str(error):
            hint = "it holds Python objects (pickles), which may run code and are not read"
        raise UserError(
            f"{path} cannot be read as .npz or .npy ({type(error).__name__}): {hint}"
        ) from error


def _map_npy(path: Path) -> np.ndarray:
    # No pickles: they run code.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    _check_length(path.stat().st_size - array.offset, array.nbytes, str(path))
    return array


def _read_npz(path: Path, tell: Tell) -> dict[str, Any]:
    with path.open("rb") as file, zipfile.ZipFile(file) as content:
        # As in np.load, whose keys have no suffix.
        names = {name.removesuffix(".npy"): name for name in content.namelist()}
        there = listing(names) or "(none)"
        arrays = {key: name for key, name in names.items() if name.endswith(".npy")}
        chosen, unread = choose(list(arrays))
        if "train_images" not in chosen:
            raise UserError(
                f"{path} holds the arrays {there}; images must be called x_train, "
                "train_images, images, x or data"
            )
        members = {part: arrays[key] for part, key in chosen.items()}
        sizes = [_claimed(content, name, path) for name in members.values()]
        memory.check(sum(sizes), f"{path}: {listing(chosen.values())}")
        found = {part: _read_member(content, name) for part, name in members.items()}
    unread += [key for key in names if key not in arrays]
    if unread:
        read = [f"{key} as {part.replace('_', ' ')}" for part, key in chosen.items()]
        tell(f"{path.name}: not read: {listing(unread)}; read: {listing(read)}")
    return found


def choose(keys: list[str]) -> tuple[dict[str, str], list[str]]:
    """Which arrays of a file are images, labels and the like, by their names.

    Returns:
      Arguments of `from_arrays` and the keys that they come from; keys that are left.
    """
    plain: dict[str, str] = {}
    for key in keys:
        plain.setdefault(re.sub("[^a-z0-9]", "", key.lower()), key)

    def find(part: str, kind: tuple[str, ...]) -> str | None:
        names = [
            name
            for each in PARTS[part]
            for word in kind
            for name in (word + each, each + word)
        ]
        if part == "train":
            names += kind
        return next((plain[name] for name in names if name in plain), None)

    held_out = "test" if find("test", _IMAGES) else "validation"
    parts = {"train": "train"}
    if find(held_out, _IMAGES):
        parts["test"] = held_out
    found = {
        f"{part}_{word}": find(named, kind)
        for part, named in parts.items()
        for word, kind in _KINDS.items()
    }
    chosen = {part: key for part, key in found.items() if key is not None}
    return chosen, [key for key in keys if key not in chosen.values()]


def _head(content: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and where the values start, before any of them is unpacked."""
    with content.open(name) as member:
        version = npy.read_magic(member)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
        return shape, dtype, member.tell()


def _claimed(content: zipfile.ZipFile, name: str, path: Path) -> int:
    """Bytes of an array, which must be as many as are packed."""
    shape, dtype, start = _head(content, name)
    if dtype.hasobject:
        raise ValueError("Object arrays are not read")
    size = math.prod(shape) * dtype.itemsize
    _check_length(content.getinfo(name).file_size - start, size, f"{path}: {name}")
    return size


def _check_length(there: int, claimed: int, what: str) -> None:
    if there != claimed:
        raise UserError(
            f"{what} holds {there:,} bytes of values and its head says {claimed:,}: it is "
            "cut or spoilt; save it anew with np.savez or np.save"
        )


def _read_member(content: zipfile.ZipFile, name: str) -> np.ndarray:
    with content.open(name) as member:
        return npy.read_array(member, allow_pickle=False)
