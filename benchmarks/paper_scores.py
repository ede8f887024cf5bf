"""How `benchmarks/paper.py` scores a trained model: the numbers of the AAE paper."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import cached_property

import jax
import numpy as np

from aaejax import sampling
from aaejax.components.pixels import to_unit
from aaejax.metrics import clusters, parzen
from aaejax.runs.trained import Trained

SIGMAS = tuple(np.arange(0.10, 0.30, 0.005))  # finer than the usual ten of [0.1, 1]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A trained model and the images that it is scored on."""

    trained: Trained
    validation: tuple[np.ndarray, np.ndarray]  # images [N, 28, 28, 1], labels [N]
    test: tuple[np.ndarray, np.ndarray]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """q(y|x), [N, K]."""
        trained, key = self.trained, jax.random.key(0)
        return sampling.probabilities(trained.model, trained.variables, images, key)

    def mean_probabilities(self, images: np.ndarray) -> np.ndarray:
        """The mean of q(y|x) of each image moved by up to two pixels each way, [N, K]."""
        height, width = images.shape[1:3]
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
        shifts = itertools.product(range(5), repeat=2)
        moved = [
            padded[:, down : down + height, right : right + width] for down, right in shifts
        ]
        # Asked for at once, so that one program is compiled.
        each = self.probabilities(np.concatenate(moved))
        return each.reshape(len(moved), len(images), -1).mean(axis=0)

    def disagreement(self) -> float:
        """The share of validation images whose cluster is another where they are moved.

        It is of the mean over shifts, and reads no label.
        """
        once, mean = self.of_validation
        return float((once.argmax(axis=1) != mean.argmax(axis=1)).mean())

    @cached_property
    def of_validation(self) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities of validation images, and their means over shifts, [N, K]."""
        images = self.validation[0]
        return self.probabilities(images), self.mean_probabilities(images)


def best_runs(measures: Sequence[float], seeds: int) -> list[int]:
    """The run of each seed that has the least measure, the first where several do.

    Args:
      measures: Of each run: of every seed's first run, then of every seed's second, ...
      seeds: How many seeds there are.
    """
    return [
        min(range(seed, len(measures), seeds), key=lambda run: measures[run])
        for seed in range(seeds)
    ]


def classification_error(scored: Scored) -> dict[str, float]:
    """Percent of test images given a wrong class."""
    images, labels = scored.test
    names = np.arange(10)
    return {"value": clusters.error(scored.probabilities(images), labels, names)}


def clustering_error(scored: Scored) -> dict[str, float]:
    """Percent in a cluster with another digit's name.

    By the paper's rule, by majority, and by the paper's rule with the mean of q(y|x) over
    small shifts in place of q(y|x).
    """
    images, labels = scored.test
    validation_once, validation_mean = scored.of_validation
    once = validation_once, scored.probabilities(images)
    mean = validation_mean, scored.mean_probabilities(images)
    by_confidence, by_majority = clusters.names_by_confidence, clusters.names_by_majority

    def error(
        asked: tuple[np.ndarray, np.ndarray],
        rule: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> float:
        validation, test = asked
        return clusters.error(test, labels, rule(validation, scored.validation[1]))

    return {
        "value": error(once, by_confidence),
        "majority": error(once, by_majority),
        "of_mean_over_shifts": error(mean, by_confidence),
        "clusters_used": len(np.unique(once[1].argmax(axis=1))),
    }


def log_likelihood(scored: Scored, samples: int = 10_000) -> dict[str, float]:
    """Parzen estimate, mean over the test images, nats; sigma from validation images."""
    model, variables = scored.trained.model, scored.trained.variables
    draw = jax.jit(lambda key: sampling.samples(model, variables, key, 1000))

    def blocks():
        for number in range(samples // 1000):
            yield draw(jax.random.fold_in(jax.random.key(0), number)).reshape(1000, -1)

    def flat(images):
        return np.asarray(to_unit(images)).reshape(len(images), -1)

    sigma = parzen.choose_sigma(flat(scored.validation[0][:1000]), blocks(), SIGMAS)
    found = parzen.log_likelihoods(flat(scored.test[0]), blocks(), (sigma,))[0]
    return {
        "value": float(found.mean()),
        "standard_error": float(found.std() / np.sqrt(len(found))),
        "sigma": sigma,
    }
