"""What each word of `sample.py` answers: a `Question` -> arrays by name."""

import math

import jax
import numpy as np

from aaejax import sampling
from aaejax.ask import sources
from aaejax.ask.question import Question
from aaejax.components.pixels import to_unit
from aaejax.metrics.heldout import importance_bound
from aaejax.types import UserError

LINE = 10  # images on one line of an interpolation, and of a cluster

Arrays = dict[str, np.ndarray]


def samples(question: Question) -> Arrays:
    """Makes "images" [count, ...]: samples of the prior."""
    return {"images": _drawn(question)}


def _drawn(question: Question) -> np.ndarray:
    count = question.count
    # Decoded in batches, as layers between may take much more than what they make.
    codes = question.run(
        lambda model, variables, key, told: model.prior(variables, key, count, told),
        question.key,
        question.told(),
    )
    return question.trained.decode(codes)


def nearest(question: Question) -> Arrays:
    """Makes "images" [count, LINE, ...]: a sample, then the closest training images."""
    from aaejax.metrics import (
        fidelity,  # SciPy and scikit-learn: only those who ask pay for them
    )

    dataset = sources.own(question.trained, question.data, question.data_dir)
    training = np.asarray(dataset.train_images)
    if question.trained.data.spec.missing:
        raise UserError("nearest compares whole examples: the run's have missing values")
    made = _drawn(question)
    closest = fidelity.nearest(made, training, min(LINE - 1, len(training)))
    found = np.asarray(to_unit(training[closest]))
    return {"images": np.concatenate([made[:, None], found], axis=1)}


def bounds(question: Question) -> Arrays:
    """Makes bounds of log p(x), in nats: "elbo" [N] and "importance_weighted" [N].

    The first is of one sample of z for each image, the second of 1,000. Those of a
    conditional model are of log p(x|y), with y = 0 where the label is not known.
    """
    trained = question.trained
    examples = question.examples()
    found = {}
    for name, samples in (("elbo", 1), ("importance_weighted", 1000)):

        def bound(variables, images, key, labels, samples=samples):
            return {
                "bound": importance_bound(
                    trained.model,
                    variables,
                    images,
                    key=key,
                    samples=samples,
                    labels=labels,
                )
            }

        ask = sampling.in_batches(bound)
        key = jax.random.fold_in(question.key, samples)
        asked = trained.variables, examples.images, examples.told(trained.model), key
        found[name] = ask(*asked)["bound"]
    return found


def likelihoods(question: Question) -> Arrays:
    """Makes exact likelihoods: "log_likelihood" [N], in nats, and "bits_per_dimension" [N].

    Those of a conditional model are of an image given its label.
    """
    trained, examples = question.trained, question.examples()
    labels = examples.labels
    if trained.model.classes and (labels is None or (labels < 0).any()):
        raise UserError(
            "a conditional model has the likelihood of an image given its label: give data "
            "whose labels are all known"
        )

    def ask(variables, images, _, labels):
        found = trained.model.log_likelihood(variables, images, labels)  # type: ignore[misc]
        return {"found": found}

    asked = trained.variables, examples.images, examples.labels, question.key
    found = sampling.in_batches(ask)(*asked)["found"]
    nats = math.prod(trained.data.spec.shape) * math.log(2)
    return {"log_likelihood": found, "bits_per_dimension": -found / np.float32(nats)}


def complete(question: Question) -> Arrays:
    """Makes "images" [lines, LINE, ...]: an image, what is kept of it, and completions."""
    key, choice_key = jax.random.split(question.key)
    images, labels, _ = question.some_examples(max(1, question.count // LINE), choice_key)
    height = images.shape[1]
    rows = height // 2 if question.rows is None else question.rows
    if not 0 <= rows <= height:
        raise UserError(f"--rows {rows}: an image has {height}")
    model = question.trained.model
    tries = LINE - 2
    if labels is None:
        labels = np.full(len(images), -1, np.int32)

    def ask(variables, images, key, labels):
        codes = model.prior(variables, key, len(images), labels if model.classes else None)
        made = model.complete(variables, codes, images, rows)  # type: ignore[misc]
        return {"images": made}

    asked = np.repeat(images, tries, axis=0), np.repeat(labels, tries)
    made = sampling.in_batches(ask)(question.trained.variables, *asked, key)["images"]
    kept = images.copy()
    kept[:, rows:] = 0.5
    made = made.reshape(len(images), tries, *images.shape[1:])
    return {"images": np.concatenate([images[:, None], kept[:, None], made], axis=1)}


def arithmetic(question: Question) -> Arrays:
    """Makes "images" [lines, LINE, ...]: an image, its reconstruction, then the way."""
    if question.plus is None or question.minus is None:
        raise UserError(
            "arithmetic needs --plus A --minus B: two labels, or files or folders of images"
        )
    key, choice_key, plus_key, minus_key = jax.random.split(question.key, 4)
    direction = question.mean_code(question.plus, plus_key)
    direction -= question.mean_code(question.minus, minus_key)
    lines = max(1, question.count // LINE)
    images, labels, _ = question.some_examples(lines, choice_key)

    def move(model, variables, images, direction, key, labels):
        return sampling.arithmetic(
            model,
            variables,
            images,
            direction=direction,
            steps=LINE - 1,
            key=key,
            labels=labels,
        )

    moved = question.run(move, images, direction, key, labels)
    return {"images": np.concatenate([images[:, None], moved], axis=1)}


def manifold(question: Question) -> Arrays:
    """Makes "images" [side, side, ...]: a grid over the prior, decoded."""
    side = sampling.square(question.count)
    made = question.run(
        lambda model, variables, key: sampling.manifold(model, variables, key, side),
        question.key,
    )
    return {"images": made}


def walk(question: Question) -> Arrays:
    """Makes "images" [K, LINE, ...]: a walk along each class's part of the prior."""
    made = question.run(
        lambda model, variables, key: sampling.walk(model, variables, key, LINE),
        question.key,
    )
    return {"images": made}


def styles(question: Question) -> Arrays:
    """Makes "images" [rows, K, ...]: a row keeps the style, a column the class."""
    rows = max(1, question.count // question.trained.model.classes)
    made = question.run(
        lambda model, variables, key: sampling.styles(model, variables, key, rows),
        question.key,
    )
    return {"images": made}


def reconstructions(question: Question) -> Arrays:
    """Makes "images" [count, 2, ...] and "rows" [count].

    The images are originals with their reconstructions, the rows their numbers in the data.
    """
    key, choice_key = jax.random.split(question.key)
    images, labels, rows = question.some_examples(question.count, choice_key, in_order=True)
    trained = question.trained

    def ask(variables, images, key, labels):
        found = sampling.reconstructions(trained.model, variables, images, key, labels)
        return {"images": found}

    made = sampling.in_batches(ask)(trained.variables, images, labels, key)["images"]
    return {"images": np.stack([images, made], axis=1), "rows": rows}


def interpolation(question: Question) -> Arrays:
    """Makes "images" [lines, LINE, ...]: on each line the way from one code to another."""
    key, choice_key = jax.random.split(question.key)
    lines = max(1, question.count // LINE)
    images, labels, _ = question.some_examples(2 * lines, choice_key)
    lines = len(images) // 2
    if not lines:
        raise UserError("an interpolation needs two images: give more data")
    if len(question.pick) % 2:
        raise UserError(
            f"--pick of {len(question.pick)} images: an interpolation goes from the first "
            "half of them to the second, give an even number"
        )
    ends = slice(0, lines), slice(lines, 2 * lines)

    def line(model, variables, first, last, key, labels):
        return sampling.interpolation(
            model,
            variables,
            first=first,
            last=last,
            steps=LINE,
            key=key,
            labels=labels,
            path=question.path,
        )

    labels = None if labels is None else labels[: 2 * lines]
    return {"images": question.run(line, images[ends[0]], images[ends[1]], key, labels)}


def codes(question: Question) -> Arrays:
    """Makes "codes" [N, Z], "split" [N] and perhaps "represented" [N, n].

    "represented" is there where codes are looked at as something else. "labels" [N] and
    their "class_names" [K], "condition" [N, C] and "weight" [N] are there where the data
    have such. They are of the run's own data, as it was split: the training part (split 0),
    then the held-out part (1); or of the parts that the user's data bring, each in its own
    order, where a file or folder without parts is one.
    """
    trained, model = question.trained, question.trained.model

    def encode(variables, images, key, labels):
        codes = model.encode(variables, images, key, labels)
        if model.represent is None:
            return {"codes": codes}
        return {"codes": codes, "represented": model.represent(variables, codes)}

    encode_all = sampling.in_batches(encode)
    blocks: list[Arrays] = []
    parts = question.parts()
    for split, part in enumerate(parts):
        key = jax.random.fold_in(question.key, split)
        block = encode_all(trained.variables, part.images, part.told(model), key)
        block["split"] = np.full(len(part.images), split, np.int32)
        blocks.append(block)
    whole = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
    return whole | sources.named(parts)


def classify(question: Question) -> Arrays:
    """Makes "classes" [N], "probabilities" [N, K] and, where known, "labels" [N].

    Classes of a model that read labels, and labels, are named by "class_names" [K].
    """
    trained, examples = question.trained, question.examples()
    probabilities = sampling.probabilities(
        trained.model, trained.variables, examples.images, question.key
    )
    found = {"classes": probabilities.argmax(axis=1), "probabilities": probabilities}
    if not question.finds_clusters:
        found["class_names"] = np.array(trained.class_names, str)
    return found | examples.named()


def _blank(shape: tuple[int, ...]) -> np.ndarray:
    """Places for examples that may not be filled: white for pictures, NaN for vectors."""
    return np.full(shape, 1.0 if len(shape) > 3 else np.nan, np.float32)


def clusters(question: Question) -> Arrays:
    """Makes "images" [K, LINE, ...]: for each class its head, then some of its members.

    Where it has fewer, the rest is white, of vectors NaN; likewise in `scores`.
    """
    trained = question.trained
    images = question.examples().images
    probabilities = sampling.probabilities(
        trained.model, trained.variables, images, question.key
    )
    clusters = probabilities.argmax(axis=1)
    heads = question.run(sampling.heads)
    rows = _blank((len(heads), LINE, *heads.shape[1:]))
    rows[:, 0] = heads
    for cluster in range(trained.model.classes):
        members = np.flatnonzero(clusters == cluster)[: LINE - 1]
        rows[cluster, 1 : 1 + len(members)] = to_unit(images[members])
    return {"images": rows}


def scores(question: Question) -> Arrays:
    """Makes scores of how unlike the training data each row of the data is, in their order.

    They are "reconstruction", "latent" and "score" [N], as in `metrics.outliers`;
    "threshold" (), which a share `contamination` of the run's held-out examples lies above;
    "is_outlier" [N]; and "images" [4, LINE, ...]: the examples with the highest scores,
    their reconstructions, those with the lowest and theirs.
    """
    trained, examples = question.trained, question.examples()
    outliers = trained.outliers
    threshold = outliers.threshold(question.contamination)
    found = outliers(examples.images, examples.told(trained.model))
    order = np.argsort(-found["score"], kind="stable")
    shown = []
    for rows in (order[:LINE], order[::-1][:LINE]):
        chosen = examples[rows]
        made = trained.reconstruct(chosen.images, chosen.told(trained.model))
        for images in (to_unit(np.asarray(chosen.images)), made):
            line = _blank((LINE, *made.shape[1:]))
            line[: len(rows)] = images
            shown.append(line)
    return {
        **found,
        "is_outlier": found["score"] > threshold,
        "threshold": np.array(threshold, np.float32),
        "images": np.stack(shown),
    }
