"""Arrays from .npz and .npy files, by the names that they commonly have."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from aaejax.data import memory
from aaejax.data.notes import Tell, listing
from aaejax.data.parts import PARTS
from aaejax.data.reading import Reading
from aaejax.types import UserError

# The names of arrays, without case and signs; of several the first that is there is read.
# None of conditions and weights: a file may hold other things that are called so.
_IMAGES = ("x", "images", "image", "imgs", "data", "features", "arr0")
_KINDS = {
    "images": _IMAGES,
    "labels": ("y", "labels", "label", "targets", "target"),
}


def read(path: Path, reading: Reading, tell: Tell) -> dict[str, Any]:
    """Reads an .npz or .npy file, told apart by what is in it, not by suffix.

    Args:
      path: The file's path; it must be a regular file.
      reading: How data are read: its `condition_key` and `weight_key` are the names of
        arrays in an .npz file.
      tell: Takes a line about the arrays that are not read.

    Returns:
      The arguments of `aaejax.data.from_arrays`: images, and labels and a held-out part
      where there are any, a condition and weights where they are asked for. An .npy file is
      memory-mapped.

    Raises:
      UserError: The file has no images, or not what is asked for, or it cannot be read;
        pickled objects are never read.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
        if packed:
            return _read_npz(path, reading, tell)
        reading.check_reads(str(path))
        return {"train_images": _map_npy(path)}
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


def _read_npz(path: Path, reading: Reading, tell: Tell) -> dict[str, Any]:
    with path.open("rb") as file, zipfile.ZipFile(file) as content:
        # As in np.load, whose keys have no suffix.
        names = {name.removesuffix(".npy"): name for name in content.namelist()}
        there = listing(names) or "(none)"
        arrays = {key: name for key, name in names.items() if name.endswith(".npy")}
        chosen, unread = choose(list(arrays), reading.asked)
        if "train_images" not in chosen:
            raise UserError(
                f"{path} holds the arrays {there}; images must be called x_train, "
                "train_images, images, x or data"
            )
        for part, key in chosen.items():
            if key not in arrays:
                raise UserError(
                    f"{path} has no array {key!r} for --{part.removeprefix('train_')}-key: "
                    f"it holds {there}"
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


def choose(keys: list[str], asked: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Finds which arrays of a file are images, labels and the like, by their names.

    Args:
      keys: The names of the arrays in the file.
      asked: The names of the arrays of "condition" and "weight", where they are to be read:
        the name "w" stands for w, or w_train, and w_test.

    Returns:
      Two things: the key of the array for each argument of `from_arrays` (of what is asked
      for also a key that is not there), and the keys that are left.
    """
    plain: dict[str, str] = {}
    for key in keys:
        plain.setdefault(_plain(key), key)
    kinds = _KINDS | {kind: (_plain(name),) for kind, name in asked.items()}

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
        for word, kind in kinds.items()
    }
    for kind, name in asked.items():
        if name in keys or found[f"train_{kind}"] is None:
            found[f"train_{kind}"] = name
    chosen = {part: key for part, key in found.items() if key is not None}
    return chosen, [key for key in keys if key not in chosen.values()]


def _plain(key: str) -> str:
    return re.sub("[^a-z0-9]", "", key.lower())


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
