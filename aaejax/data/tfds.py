"""Image sets of TensorFlow Datasets, prepared and read without TensorFlow here.

TFDS needs TensorFlow to prepare a set, once. That happens in a process of its own: in
this one TensorFlow would take the GPU's memory and seconds of every start.
"""

import difflib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data.array_files.mapped_file import files_identity
from aaejax.data.cache import Expected, kept, of_rows, remove_left
from aaejax.data.lazy import MOST_WORKERS, READ_BELOW, Rows, workers
from aaejax.data.notes import Tell, listing
from aaejax.data.pictures.decoding import SMALL
from aaejax.types import UserError

# TFDS prints to stdout: that goes to stderr, so that stdout brings the error alone.
# REUSE_CACHE_IF_EXISTS replaces a half-written version folder, keeping the downloads.
_PREPARE = """
import os, sys
report = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
try:
    import tensorflow_datasets as tfds
    name, data_dir = sys.argv[1:]
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    if not builder.is_prepared():
        mode = tfds.GenerateMode.REUSE_CACHE_IF_EXISTS
        config = tfds.download.DownloadConfig(download_mode=mode)
        builder.download_and_prepare(download_config=config)
except Exception as error:
    print(f"{type(error).__name__}: {error}", file=report)
    sys.exit(1)
"""


def read(
    name: str, data_dir: Path, tell: Tell, cache: Path | None = None
) -> dict[str, Any]:
    """Reads a TFDS image set, after preparing it where that is still to be done.

    Images that take up to `lazy.READ_BELOW` are decoded once and kept beside the prepared
    data (see `_read_split`), to be memory-mapped from then on. Larger ones are decoded when
    their rows are asked for.

    Args:
      name: The name of the set.
      data_dir: The folder where TFDS keeps its data.
      tell: Takes a line on splits that are not read, and where something was kept.
      cache: A folder that keeps the larger ones once they are decoded, see `cache.kept`;
        None for none.

    Returns:
      The arguments of `aaejax.data.from_arrays`: images [N, H, W, C], uint8, and labels
      [N], int32, with class names where there is a `ClassLabel` called "label". The test
      part is "test", or else "validation"; without either there is none.

    Raises:
      UserError: The name is unknown, the preparation failed, or the set has no images of
        a fixed size.
    """
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        _prepare(name, data_dir)
        builder = _builder(name, data_dir)
    features, splits = builder.info.features, list(builder.info.splits)
    shape, dtype = None, None
    if "image" in features:
        shape, dtype = features["image"].shape, features["image"].np_dtype
    if shape is None or len(shape) != 3 or None in shape or dtype != np.uint8:
        raise UserError(
            f"TFDS set {name!r} has no feature 'image' with uint8 images of one fixed "
            f"size (features: {', '.join(features)}; image shape: {shape}); pick "
            "another set, or convert it to an .npz file"
        )
    if "train" not in splits:
        raise UserError(
            f"TFDS set {name!r} has no split 'train', only {', '.join(splits)}; pick "
            "another set, or convert it to an .npz file"
        )
    # A FeaturesDict has no get(), and only a ClassLabel has names.
    names = getattr(features["label"], "names", None) if "label" in features else None
    keys = ("image",) if names is None else ("image", "label")
    found: dict[str, Any] = {"class_names": names}
    for part, choices in (("train", ("train",)), ("test", ("test", "validation"))):
        split = next((choice for choice in choices if choice in splits), None)
        if split is not None:
            splits.remove(split)
            try:
                source = SplitImages(builder, split, keys)
                if source.nbytes > READ_BELOW:
                    arrays = _large_split(source, f"{name} {split}", cache, tell)
                else:
                    arrays = _read_split(builder, split, source)
            except (OSError, RuntimeError) as error:  # array_record raises RuntimeError
                raise UserError(
                    f"the prepared TFDS data in {builder.data_path} cannot be read "
                    f"({_one_line(error)}); delete that folder to prepare it anew"
                ) from error
            found[f"{part}_images"] = arrays["image"]
            found[f"{part}_labels"] = arrays.get("label")
    if splits:
        tell(f"{name}: not used: {listing(splits)}")
    return found


def _builder(name: str, data_dir: Path) -> Any:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise UserError(
            f"{name!r} is no file or folder here, and reading it as a TFDS set needs: "
            f"pip install tensorflow-datasets importlib_resources ({_one_line(error)})"
        ) from error
    known = tfds.list_builders(with_community_datasets=False)
    base = name.split("/")[0].split(":")[0].lower()
    if base not in known and not (base and (data_dir / base).is_dir()):
        near = difflib.get_close_matches(base, known, n=5)
        hint = f"near names: {', '.join(near)}; " if near else ""
        raise UserError(
            f"data {name!r} is no file or folder here and no TFDS set; {hint}allowed "
            "are mnist5k, TFDS names such as mnist, .npz and .npy files, image folders"
        )
    try:
        return tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    except Exception as error:  # ValueError, AssertionError and others: it varies
        if "File format is already set" in str(error):
            raise UserError(
                f"{data_dir / base} holds {name!r} in another file format than "
                "array_record; use another data folder, or delete that one"
            ) from error
        raise UserError(
            f"TFDS cannot open {name!r}: {_one_line(error)}; mend the name"
        ) from error


def _prepare(name: str, data_dir: Path) -> None:
    """Downloads and prepares in another process; its progress is seen on stderr."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.run(
        [sys.executable, "-c", _PREPARE, name, str(data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **quiet},
    )
    if child.returncode != 0:
        reason = _one_line(child.stdout) or f"it ended with status {child.returncode}"
        if "No module named 'tensorflow'" in reason:
            reason += "; preparing needs TensorFlow once: pip install tensorflow-cpu"
        raise UserError(
            f"TFDS could not prepare {name!r}: {reason}; without network, put its "
            f"downloaded files into {data_dir / 'downloads'}"
        )


class SplitImages:
    """The images of a prepared split as a source, decoded when they are read.

    Attributes:
      identity: A text that stands for the names, sizes and times of the files.
      workers: The number of threads that are worth it.
    """

    def __init__(self, builder: Any, split: str, keys: tuple[str, ...]):
        self._builder, self._split, self.keys = builder, split, keys
        self._images = builder.as_data_source(split=split)
        self._shape = builder.info.features["image"].shape
        paths = [Path(os.fspath(path)) for path in builder.info.splits[split].filepaths]
        self.identity = files_identity(paths, Path(os.fspath(builder.data_path)))
        height, width, _ = self._shape
        self.workers = 1 if height * width <= SMALL else MOST_WORKERS

    def __len__(self) -> int:
        return len(self._images)

    @property
    def nbytes(self) -> int:
        """How many bytes all images have once they are decoded."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of all images, [N, H, W, C]."""
        return (len(self), *self._shape)

    @cached_property
    def _white(self) -> int:
        """What 1 stands for: binarized_mnist stores 0 and 1."""
        some = np.unique(np.linspace(0, len(self) - 1, 64).astype(np.int64))
        examples = self._images.__getitems__(some.tolist())
        return 255 if max(example["image"].max() for example in examples) == 1 else 1

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers: "image" [n, H, W, C], uint8; "label" [n], int32."""
        examples = self._images.__getitems__(rows.tolist())
        found = {"image": np.stack([example["image"] for example in examples])}
        if self._white != 1:
            if found["image"].max() > 1:
                raise UserError(
                    "some pictures of this TFDS set are of bits and others of grey levels: "
                    "convert it to an .npz file"
                )
            found["image"] *= np.uint8(self._white)
        if "label" in self.keys:
            found["label"] = np.array([x["label"] for x in examples], np.int32)
        return found

    def label_blocks(self) -> Generator[np.ndarray]:
        """Yields the labels of all images, some at a time; no image is decoded for them."""
        import tensorflow_datasets as tfds

        skip = {"image": tfds.decode.SkipDecoding()}
        source = self._builder.as_data_source(split=self._split, decoders=skip)
        for start in range(0, len(self), 1000):
            examples = source.__getitems__(range(start, min(start + 1000, len(self))))
            yield np.array([example["label"] for example in examples], np.int32)


def _large_split(
    source: SplitImages, what: str, cache: Path | None, tell: Tell
) -> dict[str, Any]:
    """Images that are decoded when they are read, or were once, and all labels."""
    if cache is None:
        images = Rows(source, what)
    else:
        expected = Expected(source.identity, source.shape, np.dtype(np.uint8))
        file = kept(cache, expected, lambda _: of_rows(Rows(source, what)), what, tell)
        images = Rows(file, what)
    if "label" not in source.keys:
        return {"image": images}
    return {"image": images, "label": np.concatenate(list(source.label_blocks()))}


def _read_split(builder: Any, split: str, source: SplitImages) -> dict[str, np.ndarray]:
    """The decoded arrays of a split, memory-mapped from `decoded-<split>`.

    That folder is used only where the checksums of the prepared shards and of its own
    files are those that it was written with; otherwise it is made anew.
    """
    keys, shards = source.keys, 0
    for path in builder.info.splits[split].filepaths:
        shards = _file_sum(path, shards)
    folder = Path(builder.data_path) / f"decoded-{split}"
    arrays = _load_decoded(folder, shards, keys)
    if arrays is not None:
        return arrays
    remove_left(folder.parent, "decoding-*")
    try:
        temporary = Path(tempfile.mkdtemp(prefix="decoding-", dir=folder.parent))
    except OSError:  # a data folder that only its owner may write
        return _decode(source, builder, split)
    try:
        arrays = _decode(source, builder, split)
        sums: dict[str, int] = {"shards": shards}
        for key, array in arrays.items():
            np.save(temporary / f"{key}.npy", array, allow_pickle=False)
            sums[key] = _file_sum(temporary / f"{key}.npy")
        (temporary / "checksums.json").write_text(json.dumps(sums))
        temporary.chmod(0o755)  # mkdtemp lets nobody else read
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError:
        # The disk is full, or another process was first: go on with what is in memory.
        if arrays is None:
            raise
        return arrays
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _load_decoded(folder, shards, keys) or arrays


def _load_decoded(
    folder: Path, shards: int, keys: tuple[str, ...]
) -> dict[str, np.ndarray] | None:
    try:
        sums = json.loads((folder / "checksums.json").read_text())
        want = {"shards": shards, **{k: _file_sum(folder / f"{k}.npy") for k in keys}}
        if sums != want:
            return None
        return {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in keys}
    except (OSError, ValueError):
        return None


def _file_sum(path: Any, start: int = 0) -> int:
    return zlib.crc32(np.memmap(os.fspath(path), np.uint8, "r").data, start)


def _decode(source: SplitImages, builder: Any, split: str) -> dict[str, np.ndarray]:
    n = len(source)
    print(f"decoding {builder.info.full_name} {split}: {n} images", file=sys.stderr)
    starts = range(0, n, 1000)
    with ThreadPoolExecutor(workers(source)) as pool:
        parts = list(pool.map(lambda at: source[np.arange(at, min(at + 1000, n))], starts))
    return {key: np.concatenate([part[key] for part in parts]) for key in source.keys}


def _one_line(error: object) -> str:
    return textwrap.shorten(str(error), 300, placeholder=" ...")
