"""Images or vectors as arrays, checked, and which of them are held out."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from aaejax.data import memory
from aaejax.data.array_files.mapped_file import MappedFile
from aaejax.data.beside import NOTHING, Beside, beside_notes, check_beside, check_parts
from aaejax.data.binarize import Binarize, bits, check_grey
from aaejax.data.checks import blocks, check_counts, check_images
from aaejax.data.given_sources import as_source, told_of
from aaejax.data.labels import check_labels, name_classes
from aaejax.data.lazy import READ_BELOW, Images, Rows
from aaejax.data.notes import Tell, listing, to_stderr
from aaejax.data.reading import Reading
from aaejax.data.tabular.columns import Columns
from aaejax.data.tabular.standardise import fitted, scaled
from aaejax.types import Source, UserError, printable


@dataclass(frozen=True, eq=False)
class Dataset:
    """Checked examples; arrays may be memory-mapped, so treat them as read-only.

    Images that are too many to be in memory are `Rows`, which are read and checked where
    they are indexed.
    """

    name: str  # for messages
    # Images [N, H, W, C], uint8 0..255 or float32 in [0, 1]; or vectors [N, features],
    # uint8 0..255 or float32 of any finite values.
    train_images: Images
    train_labels: np.ndarray | None  # int32 [N], 0..classes-1, or -1 for "unknown"
    test_images: Images  # as train_images
    test_labels: np.ndarray | None
    class_names: tuple[str, ...]  # () without labels
    # Of tables, and of vectors that were standardised: what the features are. A value that
    # is missing is NaN.
    columns: Columns | None = None
    # Whether pixels are bits, of held-out examples always by one draw; "dynamic": those of
    # training examples are drawn anew at each step, from the greys that they have here.
    binarized: Binarize = "no"
    # What examples have beside: conditions and weights.
    train_beside: Beside = NOTHING
    test_beside: Beside = NOTHING

    def __repr__(self) -> str:
        """One line, without its arrays."""
        return (
            f"<dataset {self.name}: {len(self.train_images)} training and "
            f"{len(self.test_images)} held-out examples of shape "
            f"{list(self.example_shape)}, {self.classes} classes>"
        )

    @property
    def parts(self) -> tuple[tuple[Images, np.ndarray | None, Beside], ...]:
        """Images, labels and what is beside them, of each part, the training part first."""
        return (
            (self.train_images, self.train_labels, self.train_beside),
            (self.test_images, self.test_labels, self.test_beside),
        )

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one example: (H, W, C) or (features,)."""
        return self.train_images.shape[1:]

    @property
    def classes(self) -> int:
        """The number of classes; 0 without labels."""
        return len(self.class_names)

    def unseen_classes(self) -> list[str]:
        """Finds the names of the classes that no training example has."""
        known = self.train_labels
        seen = set() if known is None else set(np.unique(known).tolist())
        return [name for k, name in enumerate(self.class_names) if k not in seen]

    def keep_labels(self, count: int, seed: int) -> "Dataset":
        """Forgets all training labels but some, drawn equally from each class.

        Args:
          count: The number of labels to keep, a multiple of the number of classes; 0 for
            none.
          seed: The seed of the draw.

        Returns:
          The data with the other training labels unknown.

        Raises:
          UserError: The data have no labels, or the count can't be had.
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

    def counted(self) -> "Dataset":
        """Refuses vectors that are no counts; those in `Rows` when they are read.

        Raises:
          UserError: A value is no whole number from 0 on.
        """

        def checked(images: Images, part: str) -> Images:
            if isinstance(images, Rows):
                return images.counted()
            return check_counts(images, f"{self.name}, {part} examples")

        return replace(
            self,
            train_images=checked(self.train_images, "training"),
            test_images=checked(self.test_images, "held-out"),
        )

    def binarize(self, how: Binarize) -> "Dataset":
        """Makes bits of grey pixels: 1 with the grey, in [0, 1], as the probability.

        Args:
          how: Which bits are drawn here: "static", those of all examples, the same in every
            run; "dynamic", those of the held-out ones alone, as training is to draw its own
            at each step; "no", none.

        Raises:
          UserError: The examples are vectors or in colour, or are static bits already.
        """
        if how in ("no", self.binarized):
            return self
        check_grey(self.example_shape, self.name)
        if self.binarized == "static":
            raise UserError(f"{self.name} has been binarized: its greys are gone")
        parts = {"train": self.train_images, "test": self.test_images}
        if how == "dynamic":
            del parts["train"]
        if self.binarized == "dynamic":
            del parts["test"]  # which is done
        made: dict[str, Any] = {
            f"{part}_images": bits(images, int(part == "test"), f"{self.name}: {part}")
            for part, images in parts.items()
        }
        return replace(self, **made, binarized=how)

    @cached_property
    def fingerprint(self) -> str:
        """8 hex digits from shapes, dtypes and all bytes; no proof against intent.

        In the place of the bytes of `Rows` it takes what stands for them, such as the
        names, sizes and times of files.
        """
        total = 0
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        for x in parts:
            head = "none" if x is None else f"{x.shape} {x.dtype}"
            total = zlib.crc32(head.encode(), total)
            if isinstance(x, Rows):
                total = zlib.crc32(x.identity.encode(), total)
                continue
            for _, block in blocks(x) if x is not None else ():
                total = zlib.crc32(np.ascontiguousarray(block).data, total)
        for part in (self.train_beside, self.test_beside):
            for name, x in part.arrays.items():
                total = zlib.crc32(f"{name} {x.shape}".encode(), total)
                total = zlib.crc32(np.ascontiguousarray(x).data, total)
        return f"{total:08x}"


def from_arrays(
    train_images: Any,
    train_labels: Any = None,
    test_images: Any = None,
    test_labels: Any = None,
    *,
    train_condition: Any = None,
    train_weight: Any = None,
    test_condition: Any = None,
    test_weight: Any = None,
    name: str = "arrays",
    class_names: Sequence[str] | None = None,
    hold_out: bool = True,
    resize: str | None = None,
    grey: bool = False,
    standardise: bool = False,
    columns: Columns | None = None,
    tell: Tell = to_stderr,
) -> Dataset:
    """Checks arrays and makes a `Dataset` of them.

    Args:
      train_images: The training examples, uint8, uint16, bool or float: images [N, H, W, C]
        or [N, H, W], or vectors [N, features]. Float images lie in [0, 1], float
        vectors are any finite values. Floats become float32, bools 0.0 and 1.0, uint16
        is divided by 65535; uint8 and float32 arrays are kept as they are. A memory map
        above 1 GiB, and `Rows`, are read when their rows are asked for.
      train_labels: The labels, [N] (or [N, 1]), integers with -1 for "unknown", or strings.
      test_images, test_labels: The held-out ones, as the train ones, or None.
      train_condition: The real numbers [N, C] (or [N]) that conditional models read.
      train_weight: How much each example counts in a loss, [N], 0 or more.
      test_condition, test_weight: The held-out ones, as the train ones; None without test
        images.
      name: The name of the data in messages.
      class_names: The names of class 0, 1, ..., which integer labels then are. Without them
        every value that there is names a class: 0, 1000 and 2000 are three, called so.
      hold_out: Whether, without test images, every tenth example is held out (always the
        same ones): from a random order, within each label. With False all examples are
        training ones, in the order given, and the test part is empty ([0, ...]).
      resize: The size that images get: "64" makes their shorter side 64 pixels and cuts out
        the middle, "64x48" makes them 64 wide and 48 high.
      grey: Whether RGB images become grey.
      standardise: Whether each feature of vectors has its mean subtracted and is divided by
        its standard deviation, both of the training part; `Dataset.columns` has them.
      columns: What the features of vectors are, which are as the table has them. Where they
        are those of a run that was standardised, so are the vectors. Where values may be
        missing, NaN stands for one.
      tell: Takes a line on what may be other than expected; by default it goes to stderr.

    Returns:
      The checked data.

    Raises:
      UserError: The arrays are anything else; the message says what to do.
    """
    name = printable(name)
    reading = Reading(resize=resize, grey=grey)
    missing = columns is not None and columns.missing

    def checked(images: Any, what: str) -> Images:
        if _is_large_file(images):
            return _rows(MappedFile(images), reading, what, missing)
        if isinstance(images, Rows):
            if not reading.changes:
                return images
            return images.as_pictures(partial(reading.arrays, what=what), repr(reading))
        return reading.arrays(check_images(images, what, missing), what)

    images = [checked(train_images, f"{name}: train images")]
    labels = [check_labels(train_labels, len(images[0]), f"{name}: train labels")]
    beside = [check_beside(train_condition, train_weight, len(images[0]), f"{name}: train")]
    for note in beside_notes(beside[0], name):
        tell(note)
    if test_images is not None:
        images.append(checked(test_images, f"{name}: test images"))
        labels.append(check_labels(test_labels, len(images[1]), f"{name}: test labels"))
        also = check_beside(test_condition, test_weight, len(images[1]), f"{name}: test")
        check_parts(beside[0], also, name)
        beside.append(also)
        kinds = [f"{x.dtype} {list(x.shape[1:])}" for x in images]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{name}: a train example is {kinds[0]} and a test example {kinds[1]}; "
                "both must be alike: convert one of them"
            )
    elif any(x is not None for x in (test_labels, test_condition, test_weight)):
        raise UserError(
            f"{name}: test labels, condition or weights without test images; pass both or "
            "neither"
        )
    labels, names = name_classes(labels, name, class_names)
    if test_images is None:
        x, y = images[0], labels[0]
        if hold_out and len(x) < 2:
            raise UserError(
                f"{name}: 1 example cannot be split into train and test; pass 2 or more"
            )
        if not hold_out:
            train, test = slice(None), slice(0, 0)
        else:
            if not isinstance(x, Rows):
                memory.check(x.nbytes, f"{name} in two parts")
            train, test = hold_out_indices(len(x), y, every=10)
        images = [
            x.take(part) if isinstance(x, Rows) else x[part] for part in (train, test)
        ]
        labels = [None, None] if y is None else [y[train], y[test]]
        beside = [beside[0][part] for part in (train, test)]
    if standardise or columns is not None:
        columns = fitted(images[0], columns, standardise, name, tell)
        images = [scaled(x, columns) for x in images]
    dataset = Dataset(
        name,
        images[0],
        labels[0],
        images[1],
        labels[1],
        names,
        columns,
        train_beside=beside[0],
        test_beside=beside[1],
    )
    unseen = dataset.unseen_classes()
    if unseen:
        tell(f"{name}: no training example has the class {listing(unseen)}")
    return dataset


def from_source(
    train: Any,
    test: Any = None,
    *,
    name: str = "source",
    class_names: Sequence[str] | None = None,
    hold_out: bool = True,
    resize: str | None = None,
    grey: bool = False,
    standardise: bool = False,
    tell: Tell = to_stderr,
) -> Dataset:
    """Makes a `Dataset` of an object that reads examples when they are asked for.

    Args:
      train: The training examples: an `aaejax.data.Source`, or a random-access source of
        Grain or TFDS, which answers one row number with a dict that has "image" and perhaps
        "label", "condition" and "weight".
      test: The held-out examples, as train, or None.
      name: The name of the data in messages.
      class_names: The names of the classes, as in `from_arrays`.
      hold_out: Whether, without a test part, examples are held out, as in `from_arrays`.
      resize: The size that images get, as in `from_arrays`.
      grey: Whether RGB images become grey.
      standardise: Whether the features of vectors are standardised, as in `from_arrays`.
      tell: Takes a line on what may be other than expected, as in `from_arrays`.

    Raises:
      UserError: Some of the rows that are read now can't be examples.
    """
    reading = Reading(resize=resize, grey=grey)
    arguments: dict[str, Any] = {}
    for part, given in (("train", train), ("test", test)):
        if given is not None:
            source = as_source(given)
            images = _rows(source, reading, f"{printable(name)}: {part} images")
            arguments[f"{part}_images"] = images
            for name_of, values in told_of(source).items():
                arguments[f"{part}_{name_of}"] = values
    return from_arrays(
        **arguments,
        name=name,
        class_names=class_names,
        hold_out=hold_out,
        standardise=standardise,
        tell=tell,
    )


def _rows(source: Source, reading: Reading, what: str, missing: bool = False) -> Rows:
    prepared = repr(reading) if reading.changes else ""
    prepare = partial(reading.arrays, what=what)
    return Rows(source, what, prepare, prepared, missing)


def _is_large_file(images: Any) -> bool:
    """Whether it is a memory map that is better read by its rows."""
    if not isinstance(images, np.memmap) or images.nbytes <= READ_BELOW:
        return False
    if images.mode == "c":  # what is changed in it is in memory alone
        return False
    return images.flags.c_contiguous and images.filename is not None


def hold_out_indices(
    n: int, labels: np.ndarray | None, every: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits 0 ... n - 1 into train and test indices, ascending; always the same.

    The only example of a class stays in training, if anything else is held out.
    """
    order = np.random.RandomState(0).permutation(n)  # its stream never changes
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    every = min(every, n)
    test = np.sort(order[every - 1 :: every])
    if labels is not None:
        values, counts = np.unique(labels, return_counts=True)
        shared = np.isin(labels[test], values[counts > 1])
        test = test[shared] if shared.any() else test
    kept = np.ones(n, bool)
    kept[test] = False
    return np.flatnonzero(kept), test
