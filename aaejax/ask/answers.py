"""What each word of `sample.py` answers: a `Question` -> arrays by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax import sampling
from aaejax.components.pixels import to_unit
from aaejax.data import Dataset, load
from aaejax.metrics.heldout import importance_bound
from aaejax.runs.restore import Trained
from aaejax.types import Key, UserError

LINE = 10  # images on one line of an interpolation, and of a cluster

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Question:
    """What a kind is asked."""

    trained: Trained
    count: int
    key: Key
    data_dir: Path | None
    data: str | None = None
    label: int | None = None
    pick: tuple[int, ...] = ()
    path: sampling.Path = "linear"
    plus: str | None = None
    minus: str | None = None

    def load(self, name: str) -> Dataset:
        """A dataset, file or folder.

        Raises:
          UserError: none, or one of another shape than the model's.
        """
        where = self.data_dir or Path(self.trained.config["where"]["data_dir"])
        dataset = load(name, where, hold_out=False)
        expected = tuple(self.trained.config["data"]["shape"])
        if dataset.example_shape != expected:
            raise UserError(
                f"{name} has examples of shape {list(dataset.example_shape)}, the model "
                f"was trained on {list(expected)}: give data of that shape"
            )
        return dataset

    def examples(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The run's held-out examples, or all of the user's: images and labels."""
        if self.data is None:
            kept = self.trained.folder.read_heldout()
            return kept["images"], kept.get("labels")
        dataset = self.load(self.data)
        parts = [dataset.train_labels, dataset.test_labels]
        labels = [part for part in parts if part is not None]
        return (
            np.concatenate([dataset.train_images, dataset.test_images]),
            np.concatenate(labels) if labels else None,
        )

    def some_examples(self, most: int, key: Key) -> tuple[np.ndarray, np.ndarray | None]:
        """At most so many of them, picked or drawn by the key, images float32 in [0, 1]."""
        images, labels = self.examples()
        if any(not 0 <= number < len(images) for number in self.pick):
            raise UserError(
                f"--pick {self.pick}: there are examples 0 to {len(images) - 1}"
            )
        drawn = np.asarray(jax.random.permutation(key, len(images)))[:most]
        chosen = np.array(self.pick, int) if self.pick else drawn
        images = np.asarray(to_unit(images[chosen]))
        return images, None if labels is None else labels[chosen]

    def mean_code(self, name: str, key: Key) -> np.ndarray:
        """Of the examples of a class, by number, or of a dataset, file or folder: [Z]."""
        model = self.trained.model
        if name.isdigit():
            images, labels = self.examples()
            members = np.flatnonzero(labels == int(name)) if labels is not None else []
            if not len(members):
                raise UserError(f"no example has the label {name}: give another, or a file")
            images, labels = images[members], labels[members]  # type: ignore[index]
        else:
            images, labels = replace(self, data=name).examples()
        encode = sampling.in_batches(lambda n, x, k, y: {"z": model.encode(n, x, k, y)})
        return encode(self.trained.networks, images, labels, key)["z"].mean(axis=0)

    def run(self, function: Callable, *arguments: Any) -> np.ndarray:
        """`function(model, networks, *arguments)`, one program."""
        model = self.trained.model
        jitted = jax.jit(lambda *arguments: function(model, *arguments))
        return np.asarray(jitted(self.trained.networks, *arguments))


def samples(question: Question) -> Arrays:
    """Makes "images" [count, ...]."""
    return {"images": _drawn(question)}


def _drawn(question: Question) -> np.ndarray:
    count, label, classes = (
        question.count,
        question.label,
        question.trained.model.prior_classes,
    )
    if label is not None and not classes:
        raise UserError(
            "samples of this model can't be asked for by --label: "
            "take a conditional model, as supervised"
        )
    if label is not None and not 0 <= label < classes:
        raise UserError(f"--label {label}: there are 0 to {classes - 1}")
    labels = None if label is None else np.full(count, label, np.int32)
    return question.run(
        lambda m, n, k, y: sampling.samples(m, n, k, count, y), question.key, labels
    )


def nearest(question: Question) -> Arrays:
    """Makes "images" [count, LINE, ...]: a sample, then the closest training images."""
    from aaejax.metrics import (
        fidelity,  # SciPy and scikit-learn: only those who ask pay for them
    )

    made = _drawn(question)
    dataset = question.load(question.trained.config["run"]["dataset"])
    training = np.asarray(dataset.train_images)
    closest = fidelity.nearest(made, training, LINE - 1)
    found = np.asarray(to_unit(training[closest]))
    return {"images": np.concatenate([made[:, None], found], axis=1)}


def bounds(question: Question) -> Arrays:
    """Of log p(x), nats: "elbo" and "importance_weighted" [N], 1 and 1,000 samples of z."""
    trained = question.trained
    images, labels = question.examples()
    found = {}
    for name, samples in (("elbo", 1), ("importance_weighted", 1000)):

        def bound(networks, images, key, labels, samples=samples):
            return {
                "bound": importance_bound(
                    trained.model, networks, images, key, samples, labels
                )
            }

        ask = sampling.in_batches(bound)
        key = jax.random.fold_in(question.key, samples)
        found[name] = ask(trained.networks, images, labels, key)["bound"]
    return found


def arithmetic(question: Question) -> Arrays:
    """Makes "images" [lines, LINE, ...]: image, reconstruction, then all of the way."""
    if question.plus is None or question.minus is None:
        raise UserError(
            "arithmetic needs --plus A --minus B: two labels, or files or folders of images"
        )
    key, choice_key, plus_key, minus_key = jax.random.split(question.key, 4)
    direction = question.mean_code(question.plus, plus_key)
    direction -= question.mean_code(question.minus, minus_key)
    lines = max(1, question.count // LINE)
    images, labels = question.some_examples(lines, choice_key)

    def move(model, networks, images, direction, key, labels):
        return sampling.arithmetic(
            model, networks, images, direction, LINE - 1, key, labels
        )

    moved = question.run(move, images, direction, key, labels)
    return {"images": np.concatenate([images[:, None], moved], axis=1)}


def manifold(question: Question) -> Arrays:
    """Makes "images" [side, side, ...]."""
    side = sampling.square(question.count)
    made = question.run(lambda m, n, k: sampling.manifold(m, n, k, side), question.key)
    return {"images": made}


def walk(question: Question) -> Arrays:
    """Makes "images" [K, LINE, ...]: along each class's part of the prior."""
    made = question.run(lambda m, n, k: sampling.walk(m, n, k, LINE), question.key)
    return {"images": made}


def styles(question: Question) -> Arrays:
    """Makes "images" [rows, K, ...]: a row keeps the style."""
    rows = max(1, question.count // question.trained.model.classes)
    made = question.run(lambda m, n, k: sampling.styles(m, n, k, rows), question.key)
    return {"images": made}


def reconstructions(question: Question) -> Arrays:
    """Makes "images" [count, 2, ...]: original, reconstruction."""
    key, choice_key = jax.random.split(question.key)
    images, labels = question.some_examples(question.count, choice_key)
    made = question.run(sampling.reconstructions, images, key, labels)
    return {"images": np.stack([images, made], axis=1)}


def interpolation(question: Question) -> Arrays:
    """Makes "images" [lines, LINE, ...]."""
    key, choice_key = jax.random.split(question.key)
    lines = max(1, question.count // LINE)
    images, labels = question.some_examples(2 * lines, choice_key)
    lines = len(images) // 2
    if not lines:
        raise UserError("an interpolation needs two images: give more data")
    ends = slice(0, lines), slice(lines, 2 * lines)

    def line(model, networks, first, last, key, labels):
        return sampling.interpolation(
            model, networks, first, last, LINE, key, labels, question.path
        )

    labels = None if labels is None else labels[: 2 * lines]
    return {"images": question.run(line, images[ends[0]], images[ends[1]], key, labels)}


def codes(question: Question) -> Arrays:
    """Makes "codes" [N, Z], "split" [N] and perhaps "represented" [N, n], "labels" [N].

    Of the training part (split 0), then the test part (1), each in its own order; a file or
    folder without parts is one. "represented" where codes are looked at as something else.
    """
    trained, model = question.trained, question.trained.model

    def encode(networks, images, key, labels):
        codes = model.encode(networks, images, key, labels)
        if model.represent is None:
            return {"codes": codes}
        return {"codes": codes, "represented": model.represent(networks, codes)}

    encode_all = sampling.in_batches(encode)
    dataset = question.load(question.data or trained.config["run"]["dataset"])
    parts = (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    )
    blocks: list[Arrays] = []
    for split, (images, labels) in enumerate(parts):
        if not len(images):
            continue
        key = jax.random.fold_in(question.key, split)
        block = encode_all(trained.networks, images, labels, key)
        block["split"] = np.full(len(images), split, np.int32)
        if labels is not None:
            block["labels"] = labels
        blocks.append(block)
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


def classify(question: Question) -> Arrays:
    """Makes "classes" [N], "probabilities" [N, K] and, where known, "labels" [N]."""
    trained = question.trained
    images, labels = question.examples()
    probabilities = sampling.probabilities(
        trained.model, trained.networks, images, question.key
    )
    found = {"classes": probabilities.argmax(axis=1), "probabilities": probabilities}
    return found if labels is None else {**found, "labels": labels}


def clusters(question: Question) -> Arrays:
    """Makes "images" [K, LINE, ...]: a head, then members."""
    trained = question.trained
    images, _ = question.examples()
    probabilities = sampling.probabilities(
        trained.model, trained.networks, images, question.key
    )
    clusters = probabilities.argmax(axis=1)
    heads = question.run(sampling.heads)
    rows = np.ones((len(heads), LINE, *heads.shape[1:]), np.float32)  # white where none
    rows[:, 0] = heads
    for cluster in range(trained.model.classes):
        members = np.flatnonzero(clusters == cluster)[: LINE - 1]
        rows[cluster, 1 : 1 + len(members)] = to_unit(images[members])
    return {"images": rows}
