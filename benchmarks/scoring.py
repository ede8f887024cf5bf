"""What `compare.py` and `classical.py` say of a model's samples, codes and likelihood."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from image_features import random_features, train_classifier
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from aaejax import data, sampling
from aaejax.components import losses, priors
from aaejax.components.pixels import to_unit
from aaejax.metrics import codes, fidelity, mixtures, parzen
from aaejax.metrics.heldout import importance_bound
from aaejax.types import Key, Model, Variables


class Split(NamedTuple):
    """Images, uint8 [N, H, W, C], and labels [N]."""

    images: np.ndarray
    labels: np.ndarray

    def unit(self, most: int) -> np.ndarray:
        """The first of them, in [0, 1]."""
        return np.asarray(to_unit(self.images[:most]))

    def flat(self, most: int) -> np.ndarray:
        """The first of them, in [0, 1]: [most, H * W * C]."""
        found = self.unit(most)
        return found.reshape(len(found), -1)


@dataclasses.dataclass(frozen=True)
class Judged:
    """The images, and the features that samples are judged by."""

    train: Split
    validation: Split
    test: Split
    classify: Any
    accuracy: float  # of the classifier, on test images


def splits(dataset: str, data_dir: Path) -> tuple[Split, Split, Split]:
    """Training, validation and test part: a fixed fifth of the training part validates."""
    whole = data.load(dataset, data_dir)
    images, labels = np.asarray(whole.train_images), np.asarray(whole.train_labels)
    order = np.random.RandomState(1).permutation(len(images))
    parts = np.split(order, [len(images) * 4 // 5])
    train, validation = (Split(images[part], labels[part]) for part in parts)
    test = Split(np.asarray(whole.test_images), np.asarray(whole.test_labels))
    return train, validation, test


def load(dataset: str, data_dir: Path) -> Judged:
    """The parts of a dataset, and a classifier of it that is trained here."""
    train, validation, test = splits(dataset, data_dir)
    classify = train_classifier(train.images, train.labels)
    accuracy = float((classify(test.images)[1] == test.labels).mean())
    return Judged(train, validation, test, classify, accuracy)


def draw_samples(model: Model, variables: Variables, seed: int) -> list[np.ndarray]:
    """Ten blocks of 1,000."""
    draw = jax.jit(lambda variables, key: sampling.samples(model, variables, key, 1000))
    keys = jax.random.split(jax.random.key(seed), 10)
    return [np.asarray(draw(variables, key)) for key in keys]


def features(
    blocks: list[np.ndarray], judged: Judged, held_out: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Of the held-out images, at most 5,000, and of as many samples."""
    real, made = as_many(blocks, held_out)
    return judged.classify(real)[0], judged.classify(made)[0]


def as_many(blocks: list[np.ndarray], held_out: Split) -> tuple[np.ndarray, np.ndarray]:
    """Held-out images, at most 5,000, and as many samples."""
    n = min(5000, len(held_out.images))
    return held_out.images[:n], np.concatenate(blocks)[:n]


def score_samples(
    blocks: list[np.ndarray], judged: Judged, held_out: Split
) -> dict[str, Any]:
    """What is said of samples alone, in two feature spaces that know nothing of each other.

    Args:
      blocks: of 1,000 samples each, in [0, 1].
      judged: whose validation images choose the width of the Parzen windows.
      held_out: what they are held against.
    """
    real, made = features(blocks, judged, held_out)
    precision, recall = fidelity.precision_recall(real, made)
    density, coverage = fidelity.density_coverage(real, made)
    other = [random_features(images) for images in as_many(blocks, held_out)]
    flat = [block.reshape(1000, -1) for block in blocks]
    validation = judged.validation.flat(1000)
    sigma = parzen.choose_sigma(validation, flat)
    test = held_out.flat(len(held_out.images))
    return {
        "frechet_distance": fidelity.frechet_distance(real, made),
        "kernel_distance": fidelity.kernel_distance(real, made),
        "random_frechet_distance": fidelity.frechet_distance(*other),
        "random_kernel_distance": fidelity.kernel_distance(*other),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
        "parzen_nats": float(parzen.log_likelihoods(test, flat, (sigma,)).mean()),
        "parzen_sigma": sigma,
    }


def score(
    model: Model, variables: Variables, judged: Judged, held_out: Split, seed: int
) -> dict[str, Any]:
    """Every metric of the table."""
    prior_key, code_key, bound_key = jax.random.split(jax.random.key(seed), 3)
    found = {
        **score_samples(draw_samples(model, variables, seed), judged, held_out),
        "parameters": sum(x.size for x in jax.tree.leaves(variables)),
    }
    if model.encodes:
        found |= score_codes(model, variables, judged, held_out, code_key, prior_key, seed)
    if model.log_weights:
        images = held_out.unit(200)  # a thousand decodings each
        for name, samples in (("elbo_nats", 1), ("importance_weighted_nats", 1000)):
            bound = jax.jit(partial(importance_bound, model, samples=samples))
            key = jax.random.fold_in(bound_key, samples)
            found[name] = float(bound(variables, images, key=key).mean())
    return found


def score_codes(
    model: Model,
    variables: Variables,
    judged: Judged,
    held_out: Split,
    code_key: Key,
    prior_key: Key,
    seed: int,
) -> dict[str, Any]:
    """What is said of the codes: reconstruction, match with the prior, use."""

    def ask(variables, images, key, labels):
        z = model.encode(variables, images, key)
        made = model.decode(variables, z)
        squares = jnp.square(made - images).mean(axis=(1, 2, 3))
        return {"codes": z, "error": model.error(variables, images, z), "squares": squares}

    encode = sampling.in_batches(ask)
    test = encode(variables, held_out.images, None, code_key)
    train = encode(variables, judged.train.images, None, jax.random.fold_in(code_key, 1))
    some = test["codes"][:1000]
    n = len(some)
    prior = np.asarray(jax.jit(lambda key: model.prior(variables, key, n))(prior_key))
    found = {
        "reconstruction_nats": float(test["error"].mean()),
        "reconstruction_mse": float(test["squares"].mean()),
        "prior_mmd": float(losses.mmd(some, prior)),
        "prior_mmd_p_value": codes.mmd_p_value(some, prior, seed),
        "prior_classifier_accuracy": codes.classifier_two_sample(some, prior, seed),
    }
    for name, components in (("gaussian", (1,)), ("gmm", mixtures.COMPONENTS)):
        # As `sample.py RUN --sampler` draws, Ghosh et al. 2020's ex-post densities.
        mixture = mixtures.fit(train["codes"], components)
        parts, density = len(mixture.weights), priors.gaussian_mixture(*mixture)
        fitted = dataclasses.replace(model, prior=priors.fixed(density))
        blocks = draw_samples(fitted, variables, seed)
        both = features(blocks, judged, held_out)
        found[f"{name}_frechet_distance"] = fidelity.frechet_distance(*both)
        found[f"{name}_components"] = parts
    clusters = KMeans(len(np.unique(held_out.labels)), random_state=seed)
    found["cluster_nmi"] = float(
        normalized_mutual_info_score(held_out.labels, clusters.fit_predict(test["codes"]))
    )
    order = np.random.RandomState(seed).permutation(len(judged.train.images))
    for count in (100, 1000, len(order)):
        chosen = order[:count]
        labelled = train["codes"][chosen], judged.train.labels[chosen]
        name = "all" if count == len(order) else str(count)
        for rule, accuracy in (
            ("linear", codes.linear_accuracy),
            ("knn", codes.knn_accuracy),
        ):
            found[f"{rule}_accuracy_{name}"] = accuracy(
                *labelled, test["codes"], held_out.labels
            )
    return found
