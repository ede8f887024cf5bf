"""How well detectors tell one held-out digit, and malignant tumours, from what they saw.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.outliers --out benchmarks/results/outliers.json
    python -m benchmarks.outliers --part validation --methods aae --digits 1 8   # to tune

Of mnist5k's training part the nine other digits are what is usual; scored are all ten of
the held-out part (with `--part validation` a fifth of the training part, which then trains
nothing). Of scikit-learn's breast-cancer set half of the benign rows are usual, and the
others and all malignant ones are scored. The figure is the area under the ROC curve. Every
method that trains takes as many steps of 100 rows, with the defaults of its library but for
that. What the file has already is not made again.
"""

import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from aaejax import data
from aaejax.estimators import AAEDetector

BATCH = 100
METHODS = ("aae", "AutoEncoder", "VAE", "ALAD", "DeepSVDD", "IsolationForest")
Score = Callable[[np.ndarray], np.ndarray]  # rows -> higher is more unlike


@dataclass(frozen=True)
class Arguments:
    """How well detectors tell what they did not see."""

    part: Literal["validation", "test"] = "test"
    """What is scored: the held-out part, or a fifth of the training part."""
    methods: tuple[str, ...] = METHODS
    """Which detectors."""
    digits: tuple[int, ...] = tuple(range(10))
    """Which digits are held out, one at a time."""
    steps: int = 1000
    """Of the training, on MNIST; a fifth of them on breast cancer."""
    seed: int = 0
    """Of the training."""
    out: Path | None = None
    """A JSON file for the figures."""


def detector(method: str, x: np.ndarray, steps: int, seed: int) -> Score:
    """What a method makes of rows that are usual."""
    if method == "aae":
        fitted = AAEDetector(steps=steps, batch_size=BATCH, random_state=seed).fit(x)
        return lambda rows: -fitted.score_samples(rows)
    if method == "IsolationForest":
        forest = IsolationForest(random_state=seed).fit(x)
        return lambda rows: -forest.score_samples(rows)
    epochs = max(1, round(steps * BATCH / len(x)))
    made: Any = _of_pyod(method, x.shape[1], epochs, seed)
    made.fit(x)
    return made.decision_function


def _of_pyod(method: str, features: int, epochs: int, seed: int) -> Any:
    import torch
    from pyod.models.alad import ALAD
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.deep_svdd import DeepSVDD
    from pyod.models.vae import VAE

    torch.manual_seed(seed)  # ALAD has no seed of its own
    np.random.seed(seed)
    common = {"batch_size": BATCH, "verbose": 0}
    if method == "ALAD":
        return ALAD(epochs=epochs, **common)
    if method == "DeepSVDD":
        return DeepSVDD(features, epochs=epochs, random_state=seed, **common)
    classes = {"AutoEncoder": AutoEncoder, "VAE": VAE}
    return classes[method](epoch_num=epochs, random_state=seed, **common)


def digits_of(part: str, digit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Usual rows [N, 784]; rows to score [M, 784]; and which of them are unlike, [M]."""
    dataset = data.load("mnist5k", "unused")
    x = np.asarray(dataset.train_images).reshape(-1, 784) / np.float32(255)
    y = np.asarray(dataset.train_labels)
    if part == "test":
        others = np.asarray(dataset.test_images).reshape(-1, 784) / np.float32(255)
        labels = np.asarray(dataset.test_labels)
    else:
        order = np.random.default_rng(0).permutation(len(x))
        scored, kept = np.split(order, [len(x) // 5])
        others, labels, x, y = x[scored], y[scored], x[kept], y[kept]
    return x[y != digit], others, labels == digit


def cancer_of(part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `digits_of`, of the breast-cancer set, scaled by mean and std of usual rows."""
    x, benign = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, benign = x[order], benign[order] == 1
    usual = np.flatnonzero(benign)[: benign.sum() // 2]
    rest = np.setdiff1d(np.arange(len(x)), usual)
    if part == "validation":  # a fifth of the usual rows, and every other malignant one
        cut = len(usual) // 5
        rest = np.concatenate([usual[:cut], np.flatnonzero(~benign)[::2]])
        usual = usual[cut:]
    mean, std = x[usual].mean(axis=0), x[usual].std(axis=0)
    x = (x - mean[None]) / std[None]
    return x[usual], x[rest], ~benign[rest]


def measured(
    method: str, rows: tuple[np.ndarray, np.ndarray, np.ndarray], steps: int, seed: int
) -> dict[str, float]:
    """The area under the ROC curve; seconds, of all processors, to train and to score."""
    usual, others, unlike = rows
    started = time.process_time()
    scores = detector(method, usual, steps, seed)(others)
    seconds = time.process_time() - started
    return {
        "auroc": float(roc_auc_score(unlike, scores)),
        "processor_seconds": round(seconds, 1),
    }


def main() -> None:
    """Measures what the file has not."""
    warnings.filterwarnings("ignore")
    asked = tyro.cli(Arguments, description=__doc__)
    found: dict[str, Any] = {}
    if asked.out is not None and asked.out.exists():
        found = json.loads(asked.out.read_text())
    found |= {"part": asked.part, "steps": asked.steps, "python": platform.python_version()}
    for name in [*(f"digit-{digit}" for digit in asked.digits), "breast-cancer"]:
        for method in asked.methods:
            key = f"{name}/{method}"
            if key in found:
                continue
            if name == "breast-cancer":
                rows, steps = cancer_of(asked.part), asked.steps // 5
            else:
                rows, steps = digits_of(asked.part, int(name[-1])), asked.steps
            found[key] = measured(method, rows, steps, asked.seed)
            print(key, found[key], flush=True)
            if asked.out is not None:
                asked.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    for method in asked.methods:
        digits = [found[f"digit-{digit}/{method}"]["auroc"] for digit in asked.digits]
        print(f"{method}: mean of {len(digits)} digits {np.mean(digits):.3f}")


if __name__ == "__main__":
    sys.exit(main())
