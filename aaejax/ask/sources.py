"""Which examples a question is about: held-out ones of the run, its data, or the user's.

A run folder may come from a stranger: the name of the dataset in its config.json opens
mnist5k, a file or folder of images, or a set that TFDS itself registers and that lies
prepared in the user's own data folder; nothing is downloaded for it, no code is taken from
beside the data, and no folder that config.json names is the data folder. What is found
under that name counts only if its fingerprint is the one that config.json records.
"""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.ask.labels import listed, to_run
from aaejax.data import Dataset, files, load
from aaejax.data.beside import NOTHING, Beside
from aaejax.data.lazy import Images
from aaejax.data.reading import PLACES
from aaejax.runs.config import READING
from aaejax.runs.on_disk.config_json import saved_run
from aaejax.runs.on_disk.run_data import RunData
from aaejax.runs.trained import Trained
from aaejax.types import Model, UserError

DATA_DIR = Path("data")  # as train.py's


@dataclass(frozen=True)
class Examples:
    """Images and what is known of them."""

    images: Images = field(repr=False)  # [N, ...], uint8 or float32
    labels: np.ndarray | None = field(repr=False)  # int32 [N], -1 where unknown
    class_names: tuple[str, ...]  # of label 0, 1, ...: the run's where it has classes
    beside: Beside = NOTHING  # condition and weights, where there are any

    def __getitem__(self, rows: np.ndarray) -> "Examples":
        """The examples with these numbers."""
        labels = None if self.labels is None else self.labels[rows]
        return Examples(self.images[rows], labels, self.class_names, self.beside[rows])

    def told(self, model: Model) -> np.ndarray | None:
        """Returns what the model is told of each example: a condition or a label."""
        return model.told(self.labels, self.beside.condition)

    def named(self) -> dict[str, np.ndarray]:
        """Returns the arrays that stand beside images in a file, where there are such.

        They are "labels" [N] and "class_names" [K], "condition" [N, C], "weight" [N].
        """
        if self.labels is None:
            return self.beside.arrays
        names = np.array(self.class_names, str)
        return {"labels": self.labels, "class_names": names, **self.beside.arrays}


def together(parts: list[Examples]) -> Examples:
    """Joins the examples of parts of one dataset, one part after the other.

    Where only some parts have labels, those of the others are -1.
    """
    images = [part.images for part in parts]
    # One part stays as it is, which may be on disk.
    whole = images[0] if len(images) == 1 else np.concatenate(list(map(np.asarray, images)))
    return replace(_told(parts), images=whole)


def named(parts: list[Examples]) -> dict[str, np.ndarray]:
    """Gives what `Examples.named` gives of parts together; no image is read."""
    return _told(parts).named()


def _told(parts: list[Examples]) -> Examples:
    """The examples of parts together, with the images of the first alone."""
    labels = None
    if any(part.labels is not None for part in parts):
        labels = np.concatenate(
            [
                np.full(len(p.images), -1, np.int32) if p.labels is None else p.labels
                for p in parts
            ]
        )
    beside = [part.beside.arrays for part in parts]
    both = Beside(**{n: np.concatenate([b[n] for b in beside]) for n in beside[0]})
    return Examples(parts[0].images, labels, parts[0].class_names, both)


def heldout(trained: Trained) -> Examples:
    """Reads the held-out examples in the run folder."""
    kept = trained.folder.read_heldout()
    labels = kept.get("labels")
    beside = Beside(kept.get("condition"))
    return Examples(kept["images"], labels, trained.class_names, beside)


def given(trained: Trained, name: str | Path, data_dir: Path) -> list[Examples]:
    """Reads the parts of a dataset, file or folder, checked against what the run had.

    Returns:
      The training and the test part of the data, each in its own order; an empty one is
      left out.

    Raises:
      UserError: There are no such data, they have another shape or scale than those that
        the run was trained on, or classes that the run never saw.
    """
    how = _as_trained(trained, name)
    how.pop("weight_key", None)  # nothing that is asked of other data reads weights
    dataset = load(name, data_dir, hold_out=False, **how)
    what = str(name)
    trained.data.check_shape(what, dataset.example_shape)
    if trained.data.spec.binary:
        dataset = dataset.binarize("static")
    found = []
    for images, labels, beside in dataset.parts:
        if not len(images):
            continue
        trained.data.check_scale(what, images)
        trained.data.check_condition(what, beside.condition)
        names = dataset.class_names
        if labels is not None and trained.class_names:
            labels = to_run(labels, names, trained.class_names, what)
            names = trained.class_names
        found.append(Examples(images, labels, names, beside))
    return found


class NotAtHand(UserError):
    """The data that a run was trained on are not there, or are others."""


def own(trained: Trained, name: str | Path | None, data_dir: Path) -> Dataset:
    """Reads the data that the run was trained on, split as they were.

    Args:
      trained: The trained model, of the run.
      name: The place where the user says that they are; by default where config.json says.
      data_dir: The user's folder of TFDS sets.

    Raises:
      NotAtHand: The data are not there, or they are others.
    """
    recorded = trained.config["data"].get("name", "data without a name")
    try:
        run = saved_run(trained.config)
        if run.own_data:
            raise UserError("each of several hosts had a part of them, by --own-data")
        place = name or _harmless(str(run.dataset), data_dir)
        # Without a held-out part the run kept all for training.
        dataset = load(
            place,
            data_dir,
            hold_out=trained.data.test > 0,
            most=None if name else _most(trained.data),
            **_as_trained(trained, place),
        )
        if run.labels is not None:
            dataset = dataset.keep_labels(run.labels, run.seed)
        dataset = dataset.binarize(run.binarize)
        if dataset.fingerprint != trained.data.fingerprint:
            raise UserError(f"{listed([str(place)])} holds other data")
    except (UserError, OSError) as error:
        data = trained.data
        raise NotAtHand(
            f"the data of this run are not at hand ({error}): it was trained on "
            f"{listed([str(recorded)])}, {data.train} training and {data.test} held-out "
            f"examples of shape {list(data.spec.shape)}, fingerprint "
            f"{listed([data.fingerprint])}: give them with --data"
        ) from error
    # What training drew anew at each step gets the one draw that it can be asked by.
    return dataset.binarize("static") if dataset.binarized == "dynamic" else dataset


def _most(data: RunData) -> int:
    """How many files and folders to look at for data of so many examples.

    A stranger's config.json may name the root of the disk. Each is looked at twice or
    more, beside a picture there may be notes, and folders have other files.
    """
    return 10_000 + 20 * (data.train + data.test)


def _as_trained(trained: Trained, name: str | Path) -> dict[str, Any]:
    """How the data of the run were read, as far as data of this name can be read so.

    What is younger than the run had its default.
    """
    run = trained.config.get("run", {})
    other = set(PLACES) - set(files.options(Path(name)))
    how = {name: run[name] for name in READING if name in run and name not in other}
    if trained.data.columns is not None:
        # What it knows of the columns stands for how they were read.
        return how | {
            "columns": trained.data.columns,
            "label_column": None,
            "standardise": False,
        }
    return how


def _harmless(name: str, data_dir: Path) -> str:
    """A name that a stranger may have opened, so that `load` takes it for what it is.

    Raises:
      UserError: The name is none such; see the module's docstring.
    """
    path = Path(os.path.expanduser(name))  # as it is, where there is no such user
    if name != "mnist5k" and path.exists():
        return str(path.resolve())  # as a path, it can be no TFDS set
    if name == "mnist5k" or _prepared(name, data_dir):
        return name
    raise UserError(f"there is no file, folder or prepared set {listed([name])}")


def _prepared(name: str, data_dir: Path) -> bool:
    """Whether it is a set of TFDS's own, of its newest version, that lies in the folder."""
    # "mnist:3.0.1" and unknown configurations are built from files beside the data, whose
    # features.json names classes to import.
    base, _, config = name.partition("/")
    if not re.fullmatch(r"[a-z0-9_]+(/[\w.-]+)?", name) or not (data_dir / base).is_dir():
        return False
    import tensorflow_datasets as tfds  # a second: only here it is needed

    if base not in tfds.list_builders(with_community_datasets=False):
        return False
    if config and config not in tfds.builder_cls(base).builder_configs:
        return False
    builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record")
    return builder.is_prepared()
