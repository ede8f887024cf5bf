"""Generative models older than the networks here, on the digits and scores of `compare.py`.

    python benchmarks/classical.py                # mnist5k, all of them

Each is what a kept library has, scikit-learn or hmmlearn, fitted to the same training
images. The tries, as many for each, are scored on validation images; the one with the
smallest Fréchet distance is fitted again with other seeds and scored on test images. A deep
Boltzmann machine is not among them: no kept library has one (pydbm's last release is of
2019).
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from compare import TUNING_SEED, tiled
from compare_tables import OF_CLASSICAL, compared
from PIL import Image
from records import Records
from scipy.special import expit
from scoring import Judged, features, load, score_samples
from sklearn.decomposition import PCA, LatentDirichletAllocation
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neural_network import BernoulliRBM

from aaejax.metrics import fidelity

SAMPLES = 10_000
# (n, generator of numbers) -> images [n, 784], as the model has them, in [0, 1] or beyond
Draw = Callable[[int, np.random.Generator], np.ndarray]


def mixture(x: np.ndarray, _: np.ndarray, seed: int, axes: int, **settings: Any) -> Draw:
    """A mixture of Gaussians on the principal axes of the pixels."""
    pca = PCA(axes, random_state=seed)
    # float64: a float32 covariance is not quite positive.
    codes = pca.fit_transform(x.astype(np.float64))
    model = GaussianMixture(random_state=seed, reg_covar=1e-3, **settings).fit(codes)
    return lambda n, rng: rng.permutation(pca.inverse_transform(model.sample(n)[0]))


def naive_bayes(x: np.ndarray, y: np.ndarray, seed: int, bits: bool, **settings) -> Draw:
    """Pixels that are independent given the digit: Gaussian ones, or bits."""
    del seed  # nothing in it is random
    model: Any = BernoulliNB(binarize=0.5, **settings) if bits else GaussianNB(**settings)
    model.fit(x, y)
    share = np.bincount(y) / len(y)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        label = rng.choice(len(share), n, p=share)
        if bits:
            return rng.random((n, 784)) < np.exp(model.feature_log_prob_[label])
        return rng.normal(model.theta_[label], np.sqrt(model.var_[label]))

    return draw


def hidden_markov(x: np.ndarray, _: np.ndarray, seed: int, **settings: Any) -> Draw:
    """A hidden Markov model whose 28 steps are the rows of an image."""
    from hmmlearn.hmm import GaussianHMM

    model: Any = GaussianHMM(random_state=seed, min_covar=1e-3, **settings)
    model.fit(x.reshape(-1, 28), [28] * len(x))

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        # All at once: the library's own `sample` takes 0.1 seconds an image.
        chances, rows = np.tile(model.startprob_, (n, 1)), []
        for _ in range(28):
            state = (chances.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
            state = np.minimum(state, len(model.startprob_) - 1)  # sums next to 1
            std = np.sqrt(np.diagonal(model.covars_, axis1=1, axis2=2))[state]
            rows.append(rng.normal(model.means_[state], std))
            chances = model.transmat_[state]
        return np.concatenate(rows, axis=1)

    return draw


def topics(x: np.ndarray, _: np.ndarray, seed: int, levels: int, **settings: Any) -> Draw:
    """Latent Dirichlet allocation: pixels are words, said once for each level of grey."""
    counts = np.rint(levels * x)
    model = LatentDirichletAllocation(random_state=seed, **settings).fit(counts)
    words = model.components_ / model.components_.sum(axis=1, keepdims=True)
    length = counts.sum(axis=1)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        shares = rng.dirichlet(np.full(len(words), model.doc_topic_prior_), n)
        # A Poisson for each word is a multinomial of a length that is one.
        return rng.poisson(shares @ words * rng.choice(length, (n, 1))) / levels

    return draw


def deep_belief(
    x: np.ndarray, _: np.ndarray, seed: int, gibbs: int, **settings: Any
) -> Draw:
    """Two restricted Boltzmann machines, one upon the other (Hinton et al. 2006).

    The upper one's chains begin anywhere; after half of the steps each of a thousand gives
    ten samples, which go down to the probabilities of pixels.
    """
    lower, upper = (BernoulliRBM(random_state=seed, **settings) for _ in range(2))
    upper.fit(lower.fit_transform(x))

    def up(v: np.ndarray) -> np.ndarray:
        return expit(v @ upper.components_.T + upper.intercept_hidden_)

    def down(rbm: BernoulliRBM, h: np.ndarray) -> np.ndarray:
        return expit(h @ rbm.components_ + rbm.intercept_visible_)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        units = (rng.random((n // 10, lower.components_.shape[0])) < 0.5).astype("f")
        made = []
        for step in range(gibbs):
            hidden = rng.random((len(units), upper.components_.shape[0])) < up(units)
            units = rng.random(units.shape) < down(upper, hidden)
            if step >= gibbs // 2 and (gibbs - step - 1) % (gibbs // 20) == 0:
                made.append(down(lower, units))
        return rng.permutation(np.concatenate(made))

    return draw


MODELS: dict[str, tuple[Callable[..., Draw], list[dict[str, Any]]]] = {
    "gaussian-mixture": (
        mixture,
        [
            {"axes": 50, "n_components": 10},
            {"axes": 50, "n_components": 30},
            {"axes": 100, "n_components": 30},
        ],
    ),
    "naive-bayes": (
        naive_bayes,
        [
            {"bits": False, "var_smoothing": 1e-9},
            {"bits": False, "var_smoothing": 1e-3},
            {"bits": True},
        ],
    ),
    "hidden-markov": (
        hidden_markov,
        [{"n_components": n, "n_iter": 5} for n in (10, 30, 60)],
    ),
    "topics": (
        topics,
        [{"n_components": n, "levels": 16, "max_iter": 5} for n in (10, 30, 60)],
    ),
    "deep-belief": (
        deep_belief,
        [
            {"n_components": 200, "learning_rate": rate, "n_iter": 30, "gibbs": 1000}
            for rate in (0.01, 0.003, 0.001)
        ],
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Fits the models that are missing in the results, and prints the table."""

    dataset: str = "mnist5k"
    """mnist5k, or mnist through TFDS."""
    models: tuple[str, ...] = tuple(MODELS)
    """Rows of the table."""
    seeds: int = 3
    """Of each model with its best settings."""
    data_dir: Path = Path("data")
    """Where TFDS has or prepares MNIST."""
    results: Path = Path(__file__).parent / "results" / "compare"
    """A JSON file for each try and seed, and a picture of each model's samples."""

    @property
    def folder(self) -> Path:
        """Of the results with these data."""
        return self.results / f"{self.dataset}-classical"


def run_model(options: Options, name: str, judged: Judged) -> list[dict]:
    """The records of a model's seeds; fits what is missing."""
    fit, tries = MODELS[name]
    x, y = judged.train.unit(len(judged.train.images)).reshape(-1, 784), judged.train.labels
    options.folder.mkdir(parents=True, exist_ok=True)

    def blocks(settings: dict, seed: int) -> tuple[list[np.ndarray], dict[str, float]]:
        start = time.process_time()
        draw = fit(x, y, seed, **settings)
        fitted = time.process_time()
        made = draw(SAMPLES, np.random.default_rng(seed)).astype(np.float32)
        seconds = {
            "fit_processor_seconds": round(fitted - start, 1),
            "sample_processor_seconds": round(time.process_time() - fitted, 1),
        }
        images = np.clip(made, 0, 1).reshape(-1, 1000, 28, 28, 1)
        return list(images), seconds

    records = Records(options.folder, name)

    def kept(label: str, settings: dict, make: Callable[[], dict]) -> dict:
        there = records.kept(label, settings)
        return there or records.keep(label, {"settings": settings, **make()})

    def tried(settings: dict) -> dict:
        made, seconds = blocks(settings, TUNING_SEED)
        both = features(made, judged, judged.validation)
        distance = fidelity.frechet_distance(*both)
        return {"scored_on": "validation", "frechet_distance": distance, **seconds}

    def scored(settings: dict, seed: int) -> dict:
        made, seconds = blocks(settings, seed)
        if not seed:
            pixels = np.rint(255 * tiled(made[0][:40], 4)).astype(np.uint8)
            Image.fromarray(pixels).save(options.folder / f"{name}.png")
        found = {"scored_on": "test", "seed": seed, "classifier_accuracy": judged.accuracy}
        return {**found, **score_samples(made, judged, judged.test), **seconds}

    found = [
        kept(f"try{number}", settings, partial(tried, settings))
        for number, settings in enumerate(tries)
    ]
    for record in found:
        print(f"{name} {record['settings']}: {record['frechet_distance']:.1f}", flush=True)
    best = min(found, key=lambda record: record["frechet_distance"])["settings"]
    return [
        kept(f"seed{seed}", best, partial(scored, best, seed))
        for seed in range(options.seeds)
    ]


def main() -> None:
    """Fits what is missing, then prints the table."""
    options = tyro.cli(Options, description=__doc__)
    unknown = set(options.models) - set(MODELS)
    if unknown:
        sys.exit(f"no model {sorted(unknown)}: there are {list(MODELS)}")
    judged = load(options.dataset, options.data_dir)
    print(f"classifier of the features: {judged.accuracy:.2%} of test images right")
    rows = {name: run_model(options, name, judged) for name in options.models}
    text = compared(rows, OF_CLASSICAL)
    print(text, end="")
    (options.folder / "table.md").write_text(text)


if __name__ == "__main__":
    main()
