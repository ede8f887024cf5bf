"""The examples of a run: those that it trains on, and those that it is scored by."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aaejax.data import Dataset, batches
from aaejax.data.lazy import Images, Rows, in_counts, in_unit_range
from aaejax.data.notes import Tell
from aaejax.metrics.heldout import mixed_order
from aaejax.runs.hosts.agreement import Alone, Hosts
from aaejax.types import DataSpec, Device, Model


@dataclass(frozen=True)
class Examples:
    """The examples that a run takes of a dataset.

    Attributes:
      arrays: The arrays that steps read: "image" [N, ...] and perhaps "label" [N],
        "condition" [N, C] and "weight" [N].
      streamed: Whether each chunk of steps brings its own examples, as the arrays are too
        large for a device, or not the same on all hosts.
      shown: The held-out examples, as of `held_out`.
      class_names: The names of class 0, 1, ...
    """

    arrays: dict[str, Images]
    streamed: bool
    shown: "Shown"
    class_names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        device: Device,
        tell: Tell,
        hosts: Hosts | None = None,
        own: bool = False,
    ) -> "Examples":
        """Takes a dataset; images that are read as needed are read now where they fit.

        Of several hosts each reads them; the first alone takes what is held out. Where each
        has its own data they are streamed, since they are not the same on all devices.
        """
        hosts = hosts or Alone()
        arrays: dict[str, Images] = {"image": dataset.train_images}
        if dataset.train_labels is not None:
            arrays["label"] = dataset.train_labels
        arrays |= dataset.train_beside.arrays
        here = batches.fits_on_host(arrays) if own else batches.fits_on(device, arrays)
        fits = all(hosts.agree(here))
        images = dataset.train_images
        if isinstance(images, Rows) and fits:
            tell(f"reading {len(images):,} examples, {images.nbytes / 2**30:,.1f} GiB")
            arrays["image"] = np.asarray(images)
        shown = held_out(dataset) if hosts.first else Shown(dataset.test_images[:0])
        return cls(arrays, own or not fits, shown, dataset.class_names)


class Shown(NamedTuple):
    """The held-out examples by which a run is looked at.

    Attributes:
      images: The examples themselves, [M, ...].
      labels: The label of each, [M], or None.
      condition: The condition of each, [M, C], or None.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    condition: np.ndarray | None = None

    def told(self, model: Model) -> np.ndarray | None:
        """The condition or the label of each example, whichever the model reads."""
        return model.told(self.labels, self.condition)

    def first(self, count: int) -> dict[str, np.ndarray]:
        """The arrays of the first examples, by the names of those that are there."""
        return {name: x[:count] for name, x in self._asdict().items() if x is not None}


def held_out(dataset: Dataset) -> Shown:
    """Takes the held-out examples of a dataset: at most 10,000, of all classes.

    They are in an order that is always the same and has nothing to do with that of the
    data, so that a part of them is like the whole: a folder's images come class by class.
    Of data that are read as they are needed there are no more than fill 256 MiB, but 256 at
    least.
    """
    most = 10_000
    if isinstance(dataset.test_images, Rows) and len(dataset.test_images):
        each = dataset.test_images.nbytes // len(dataset.test_images)
        most = min(most, max(256, 2**28 // each))
    order = mixed_order(len(dataset.test_images))[:most]
    labels, condition = dataset.test_labels, dataset.test_beside.condition
    return Shown(
        dataset.test_images[order],
        None if labels is None else labels[order],
        None if condition is None else condition[order],
    )


def data_spec(dataset: Dataset) -> DataSpec:
    """Finds what a model has to know of a dataset."""
    unit = dataset.train_images.dtype == np.uint8 or len(dataset.example_shape) == 3
    if not unit:
        # The test part too: what is scaled by the training part may lie outside.
        parts = [x for x in (dataset.train_images, dataset.test_images) if len(x)]
        unit = all(map(in_unit_range, parts))
    labels = dataset.train_labels
    labelled = 0 if labels is None else int((labels >= 0).sum())
    missing = dataset.columns is not None and dataset.columns.missing
    images = dataset.train_images
    may_count = len(dataset.example_shape) == 1 and images.dtype == np.float32
    return DataSpec(
        dataset.example_shape,
        dataset.classes,
        bool(unit),
        labelled,
        missing,
        binary=dataset.binarized != "no",
        counts=may_count and not missing and in_counts(images),
        conditions=dataset.train_beside.size,
        weighted=dataset.train_beside.weight is not None,
    )
