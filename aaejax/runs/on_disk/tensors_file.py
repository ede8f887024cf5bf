"""The safetensors format: arrays by name in one file, which any language reads.

The length of a header (8 bytes, little-endian), the header in JSON (for each array its
dtype, shape and first and last byte), then the bytes. A header may say anything: it is
checked. The format: https://github.com/huggingface/safetensors#format.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from aaejax.runs.on_disk.files import atomic, read_bytes

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    **{f"I{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_HEADER = 100_000_000  # bytes, as in the format's own reader


def write_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Writes arrays, whole or not at all.

    Args:
      path: The path of the file.
      tensors: The arrays, by name.
      metadata: Further texts, by name.
    """
    with atomic(path) as file:
        file.writelines(_parts(tensors, metadata))


def tensor_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of such a file; the arguments are those of `write_tensors`."""
    return b"".join(_parts(tensors, metadata))


def _parts(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> Iterator[bytes]:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    # The widest first, so that each lies where its dtype wants it.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    for name in order:
        array = tensors[name]
        header[name] = {
            "dtype": NAMES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [end, end := end + array.nbytes],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        dtype = tensors[name].dtype.newbyteorder("<")
        yield np.ascontiguousarray(tensors[name], dtype).tobytes()


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads arrays by name, which are not to be written to, and the metadata.

    Raises:
      OSError: The file can't be read.
      ValueError: It is no such file, as of `tensors_of`.
    """
    return tensors_of(read_bytes(path))


def tensors_of(raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata in the bytes of such a file.

    Raises:
      ValueError: They are none: the header is none, or the bytes are not what it says.
    """
    size = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or size > min(len(raw) - 8, MOST_HEADER):
        raise ValueError(f"a header of {size} bytes in a file of {len(raw)}")
    try:
        header = json.loads(raw[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        tensors, end = {}, 0
        for name, entry in entries:
            dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
            first, last = entry["data_offsets"]
            sized = all(type(n) is int and n >= 0 for n in (*shape, first, last))
            if (
                not sized
                or first != end
                or last - first != math.prod(shape) * dtype.itemsize
            ):
                raise ValueError(f"{name!r:.80} is not where the header says")
            end = last
            tensors[name] = (dtype, shape, first)
        if 8 + size + end != len(raw):
            raise ValueError(f"{len(raw) - 8 - size} bytes of arrays, not {end}")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header is none ({error!r:.80})") from error
    data = memoryview(raw)[8 + size :]
    found = {
        name: np.frombuffer(data, dtype, math.prod(shape), first).reshape(shape)
        for name, (dtype, shape, first) in tensors.items()
    }
    return found, metadata
