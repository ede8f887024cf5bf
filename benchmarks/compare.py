"""AAE, VAE, GAN, moment matching and a plain autoencoder, side by side on the same digits.

    python benchmarks/compare.py                              # mnist5k, all models
    python benchmarks/compare.py --dataset mnist --epochs 20
    python benchmarks/compare.py --models aae vae --only-print
    python benchmarks/compare.py --runs runs/aae-mnist5k      # what its samples score

All see the same images as often, with the same sizes of networks and code. Of the training
images a fixed fifth is for validation. Each model gets the same number of tries there, one
seed each, and the settings with the smallest Fréchet distance train again with other seeds,
all in one program; those are scored on the test images, read once. A JSON file for each try
and seed goes to --results; what is there is not trained again.
"""

import dataclasses
import json
import os
import platform
import statistics
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

# So that it runs from a clone in which nothing was installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

from digit_features import random_features, train_classifier

from aaejax import data, models, sampling
from aaejax.components import losses, priors
from aaejax.components.pixels import to_unit
from aaejax.metrics import codes, fidelity, mixtures, parzen
from aaejax.metrics.heldout import importance_bound
from aaejax.models._optimizers import Optimizer
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.restore import restore
from aaejax.runs.seeds import train_seeds
from aaejax.types import DataSpec, Model, Variables

TUNING_SEED = 1000  # of the tries; the seeds of the table are 0, 1, ...


def adam(rate: float, momentum: float = 0.9) -> Optimizer:
    return Optimizer(learning_rate=rate, momentum=momentum, schedule="cosine")


def adversarial(*rates_and_r1: tuple[float, float], **more: Any) -> list[dict[str, Any]]:
    both = ("discriminator_optimizer", "generator_optimizer")
    return [
        {**dict.fromkeys(both, adam(x, 0.5)), "r1": r1, **more} for x, r1 in rates_and_r1
    ]


def rate(optimizer: str, *rates: float, **more: Any) -> list[dict[str, Any]]:
    return [{f"{optimizer}_optimizer": adam(value), **more} for value in rates]


def regularized(
    kind: str, *weights: tuple[float, float], **more: Any
) -> list[dict[str, Any]]:
    return [
        {"regularize": kind, "code_weight": code, "decoder_weight": decoder, **more}
        for code, decoder in weights
    ]


# So few steps want a fast autoencoder. The last try of each that has one is faster still.
FAST = {"reconstruction_optimizer": adam(3e-3)}
FASTER = {"reconstruction_optimizer": adam(1e-2)}

IN_CODES = {"method": "gmmn-codes", "kernel": "rbf"}

# Name: the model's word, and its tries, as many for each. GMMN's distance between samples
# needs larger batches than the others (Li et al. 2015 take 1,000).
MODELS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "autoencoder": ("autoencoder", rate("reconstruction", 3e-4, 1e-3, 3e-3, 6e-3, 1e-2)),
    "vae": (
        "vae",
        [*({"beta": beta} for beta in (0.25, 0.5, 1.0, 2.0)), {"beta": 2.0, **FASTER}],
    ),
    "aae": (
        "aae",
        [
            *adversarial((3e-4, 0.1), (1e-3, 0.1), (1e-3, 1.0), (1e-3, 3.0)),
            *adversarial((1e-3, 1.0), **FASTER),
        ],
    ),
    "wae-mmd": (
        "moment-matching",
        [
            *({"weight": weight} for weight in (10.0, 100.0, 1000.0, 300.0)),
            {"weight": 100.0, **FASTER},
        ],
    ),
    "gmmn-codes": (
        "moment-matching",
        [
            *rate("generator", 3e-4, 1e-3, 3e-3, 1e-2, **IN_CODES),
            *rate("generator", 3e-3, **IN_CODES, **FASTER),
        ],
    ),
    "gmmn": (
        "moment-matching",
        rate(
            "generator",
            *(3e-4, 1e-3, 3e-3, 6e-3, 1e-2),
            method="gmmn",
            kernel="rbf",
            batch_size=500,
        ),
    ),
    "vae-gaussian": (
        "vae",
        [
            *({"reconstruction": "gaussian", "beta": beta} for beta in (1.0, 2.0, 4.0)),
            *(
                {"reconstruction": "gaussian", "beta": beta, **FASTER}
                for beta in (1.0, 2.0)
            ),
        ],
    ),
    "vae-two-stage": (
        "vae",
        [
            *({"two_stage": True, "beta": beta} for beta in (0.1, 0.25, 0.5)),
            {"two_stage": True, "reconstruction": "gaussian"},
            {"two_stage": True, "beta": 0.25, **FASTER},
        ],
    ),
    "rae-l2": (
        "autoencoder",
        [
            *regularized("l2", (0.1, 1e-3), (0.1, 1e-2), (1.0, 1e-3)),
            *regularized("l2", (0.1, 1e-3), (0.1, 1e-2), **FASTER),
        ],
    ),
    "rae-gp": (
        "autoencoder",
        [
            *regularized("gradient-penalty", (0.1, 1e-2), (0.1, 0.1), (1.0, 1e-2)),
            *regularized("gradient-penalty", (0.1, 1e-2), (0.1, 0.1), **FASTER),
        ],
    ),
    "gan": (
        "gan",
        adversarial((3e-4, 0.1), (3e-4, 1.0), (1e-3, 1.0), (1e-3, 3.0), (2e-3, 1.0)),
    ),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the models that are missing in the results, and prints the table."""

    dataset: str = "mnist5k"
    """mnist5k, or mnist through TFDS."""
    models: tuple[str, ...] = tuple(MODELS)
    """Rows of the table."""
    epochs: int = 25
    """How often each training image is seen."""
    latent: int = 8
    """Size of the code; with 2 the picture shows the code space."""
    width: int = 200
    """Units of a hidden layer, in every network."""
    seeds: int = 3
    """Of each model with its best settings."""
    data_dir: Path = Path("data")
    """Where TFDS has or prepares MNIST."""
    only_print: bool = False
    """Prints what the results folder has, and trains nothing."""
    runs: tuple[Path, ...] = ()
    """Run folders of train.py on these data: prints their Fréchet distances alone."""
    results: Path = Path(__file__).parent / "results" / "compare"
    """A JSON file for each try and seed, and the picture."""

    @property
    def folder(self) -> Path:
        """Of the results with these sizes."""
        sizes = f"{self.epochs}epochs-latent{self.latent}-width{self.width}"
        return self.results / f"{self.dataset}-{sizes}"


class Split(NamedTuple):
    """Images, uint8 [N, 28, 28, 1], and labels [N]."""

    images: np.ndarray
    labels: np.ndarray

    def unit(self, most: int) -> np.ndarray:
        """The first of them, in [0, 1]."""
        return np.asarray(to_unit(self.images[:most]))


@dataclasses.dataclass(frozen=True)
class Digits:
    """The data, and the features that samples are judged by."""

    train: Split
    validation: Split
    test: Split
    classify: Any
    accuracy: float  # of the classifier, on test images


def load(dataset: str, data_dir: Path) -> Digits:
    """A fixed fifth of the training images is for validation."""
    whole = data.load(dataset, data_dir)
    images, labels = np.asarray(whole.train_images), np.asarray(whole.train_labels)
    order = np.random.RandomState(1).permutation(len(images))
    train, validation = np.split(order, [len(images) * 4 // 5])
    classify = train_classifier(images[train], labels[train])
    test = Split(np.asarray(whole.test_images), np.asarray(whole.test_labels))
    return Digits(
        Split(images[train], labels[train]),
        Split(images[validation], labels[validation]),
        test,
        classify,
        float((classify(test.images)[1] == test.labels).mean()),
    )


def build(
    arguments: Arguments, word: str, settings: dict[str, Any], examples: int
) -> tuple[Model, int, int]:
    """A model, its steps and its batch size."""
    settings = {**FAST, **settings} if word != "gan" else dict(settings)
    batch_size = settings.pop("batch_size", 100)
    steps = arguments.epochs * examples // batch_size
    settings = {"depth": 2, **settings}
    options = models.options(word)(
        latent=arguments.latent, width=arguments.width, **settings
    )
    return (
        options.build(DataSpec((28, 28, 1), 10, True, examples), steps),
        steps,
        batch_size,
    )


class Seconds(Hook):
    """The time that steps took, without compiling."""

    def __init__(self, images_per_step: int):
        self.seconds, self._step, self._images = 0.0, 0, images_per_step

    def on_log(self, event: Event) -> None:
        """Adds the time of a chunk."""
        seen = (event.step - self._step) * self._images
        self.seconds += seen / event.metrics["images_per_second"]
        self._step = event.step


def train(
    model: Model, split: Split, seeds: list[int], steps: int, batch_size: int
) -> tuple[list[Variables], float]:
    """Networks of each seed, trained in one program, and the seconds for all."""
    clock = Seconds(batch_size * len(seeds))
    labels = split.labels.astype(np.int32)
    trained = train_seeds(
        model,
        split.images,
        labels,
        seeds=seeds,
        steps=steps,
        batch_size=batch_size,
        hooks=[clock],
    )
    return trained, clock.seconds


def draw_samples(model: Model, networks: Variables, seed: int) -> list[np.ndarray]:
    """Ten blocks of 1,000."""
    draw = jax.jit(lambda networks, key: sampling.samples(model, networks, key, 1000))
    keys = jax.random.split(jax.random.key(seed), 10)
    return [np.asarray(draw(networks, key)) for key in keys]


def features(
    blocks: list[np.ndarray], digits: Digits, held_out: Split
) -> tuple[np.ndarray, np.ndarray]:
    """Of the held-out images, at most 5,000, and of as many samples."""
    real, made = as_many(blocks, held_out)
    return digits.classify(real)[0], digits.classify(made)[0]


def as_many(blocks: list[np.ndarray], held_out: Split) -> tuple[np.ndarray, np.ndarray]:
    """Held-out images, at most 5,000, and as many samples."""
    n = min(5000, len(held_out.images))
    return held_out.images[:n], np.concatenate(blocks)[:n]


def score_samples(
    blocks: list[np.ndarray], digits: Digits, held_out: Split
) -> dict[str, Any]:
    """What is said of samples alone, in two feature spaces that know nothing of each other.

    Args:
      blocks: of 1,000 samples each, in [0, 1].
      digits: whose validation images choose the width of the Parzen windows.
      held_out: what they are held against.
    """
    real, made = features(blocks, digits, held_out)
    precision, recall = fidelity.precision_recall(real, made)
    density, coverage = fidelity.density_coverage(real, made)
    other = [random_features(images) for images in as_many(blocks, held_out)]
    flat = [block.reshape(1000, -1) for block in blocks]
    validation = digits.validation.unit(1000).reshape(-1, 784)
    sigma = parzen.choose_sigma(validation, flat)
    test = held_out.unit(len(held_out.images)).reshape(-1, 784)
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
    model: Model, networks: Variables, digits: Digits, held_out: Split, seed: int
) -> dict[str, Any]:
    """Every metric of the table."""
    prior_key, code_key, bound_key = jax.random.split(jax.random.key(seed), 3)
    found = {
        **score_samples(draw_samples(model, networks, seed), digits, held_out),
        "parameters": sum(x.size for x in jax.tree.leaves(networks)),
    }
    if model.encodes:
        found |= score_codes(model, networks, digits, held_out, code_key, prior_key, seed)
    if model.log_weights:
        images = held_out.unit(200)  # a thousand decodings each
        for name, samples in (("elbo_nats", 1), ("importance_weighted_nats", 1000)):
            bound = jax.jit(partial(importance_bound, model, samples=samples))
            key = jax.random.fold_in(bound_key, samples)
            found[name] = float(bound(networks, images, key=key).mean())
    return found


def score_codes(model, networks, digits, held_out, code_key, prior_key, seed):
    """What is said of the codes: reconstruction, match with the prior, use."""

    def ask(networks, images, key, labels):
        z = model.encode(networks, images, key)
        made = model.decode(networks, z)
        squares = jnp.square(made - images).mean(axis=(1, 2, 3))
        return {"codes": z, "error": model.error(networks, images, z), "squares": squares}

    encode = sampling.in_batches(ask)
    test = encode(networks, held_out.images, None, code_key)
    train = encode(networks, digits.train.images, None, jax.random.fold_in(code_key, 1))
    some = test["codes"][:1000]
    n = len(some)
    prior = np.asarray(jax.jit(lambda key: model.prior(networks, key, n))(prior_key))
    found = {
        "reconstruction_nats": float(test["error"].mean()),
        "reconstruction_mse": float(test["squares"].mean()),
        "prior_mmd": float(losses.mmd(some, prior)),
        "prior_mmd_p_value": codes.mmd_p_value(some, prior, seed),
        "prior_classifier_accuracy": codes.classifier_two_sample(some, prior, seed),
    }
    for name, components in (("gaussian", (1,)), ("gmm", mixtures.COMPONENTS)):
        # As `sample.py RUN --sampler` draws, Ghosh et al. 2020's ex-post densities.
        density = priors.gaussian_mixture(*mixtures.fit(train["codes"], components))
        fitted = dataclasses.replace(model, prior=priors.fixed(density))
        blocks = draw_samples(fitted, networks, seed)
        both = features(blocks, digits, held_out)
        found[f"{name}_frechet_distance"] = fidelity.frechet_distance(*both)
    order = np.random.RandomState(seed).permutation(len(digits.train.images))
    for count in (100, 1000, len(order)):
        chosen = order[:count]
        labelled = train["codes"][chosen], digits.train.labels[chosen]
        name = "all" if count == len(order) else str(count)
        for rule, accuracy in (
            ("linear", codes.linear_accuracy),
            ("knn", codes.knn_accuracy),
        ):
            found[f"{rule}_accuracy_{name}"] = accuracy(
                *labelled, test["codes"], held_out.labels
            )
    return found


def run_model(arguments: Arguments, name: str, digits: Digits | None) -> list[dict]:
    """The records of a model's seeds; trains what is missing."""
    word, tries = MODELS[name]
    folder = arguments.folder

    def kept(label: str) -> dict[str, Any] | None:
        file = folder / f"{name}-{label}.json"
        return json.loads(file.read_text()) if file.exists() else None

    def keep(label: str, record: dict[str, Any]) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}-{label}.json"
        file.write_text(json.dumps(record, indent=2, default=dataclasses.asdict) + "\n")
        return record

    seeds = range(arguments.seeds)
    done = [kept(f"seed{seed}") for seed in seeds]
    if digits is None:
        return [record for record in done if record]
    tuning = []
    for number, settings in enumerate(tries):
        record = kept(f"try{number}")
        if record is None:
            model, steps, batch_size = build(
                arguments, word, settings, len(digits.train.images)
            )
            try:
                (networks,), _ = train(
                    model, digits.train, [TUNING_SEED], steps, batch_size
                )
                samples = draw_samples(model, networks, TUNING_SEED)
                both = features(samples, digits, digits.validation)
                distance = fidelity.frechet_distance(*both)
            except ArithmeticError as error:
                print(f"{name} try {number}: {error}", flush=True)
                distance = 1e9  # JSON has no infinity
            found = {"scored_on": "validation", "frechet_distance": distance}
            record = keep(f"try{number}", {"settings": settings, **found})
        print(f"{name} try {number}: {record['frechet_distance']:.2f}", flush=True)
        tuning.append(record["frechet_distance"])
    settings = tries[int(np.argmin(tuning))]
    as_kept = json.loads(json.dumps(settings, default=dataclasses.asdict))
    if all(record and record["settings"] == as_kept for record in done):
        return [record for record in done if record]
    model, steps, batch_size = build(arguments, word, settings, len(digits.train.images))
    trained, seconds = train(model, digits.train, list(seeds), steps, batch_size)
    seen = arguments.seeds * steps * batch_size
    records = [
        keep(
            f"seed{seed}",
            {
                "settings": settings,
                "scored_on": "test",
                "seed": seed,
                "steps": steps,
                "batch_size": batch_size,
                **score(model, networks, digits, digits.test, seed),
                "images_per_second": round(seen / seconds),
                "seconds_all_seeds": round(seconds, 1),
                "classifier_accuracy": digits.accuracy,
                "machine": f"{platform.processor() or platform.machine()}, "
                f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
                "versions": {p: version(p) for p in ("jax", "flax", "optax")},
            },
        )
        for seed, networks in zip(seeds, trained, strict=True)
    ]
    picture_row(model, trained[0], digits, folder / f"{name}.png")
    return records


def distance_of(run: Path, digits: Digits) -> float:
    """The Fréchet distance between samples of a run and the test images."""
    trained = restore(run)
    blocks = draw_samples(trained.model, trained.variables, 0)
    return fidelity.frechet_distance(*features(blocks, digits, digits.test))


def picture_row(model: Model, networks: Variables, digits: Digits, path: Path) -> None:
    """Real images, reconstructions, samples, an interpolation and codes in the plane."""
    from matplotlib.figure import Figure

    key = jax.random.key(0)
    real = digits.test.unit(64)
    panels: dict[str, Any] = {"real": real[:36]}
    if model.encodes:
        panels["reconstructions"] = sampling.reconstructions(
            model, networks, real[:36], key
        )
    panels["samples"] = sampling.samples(model, networks, key, 36)
    if model.encodes:
        line = sampling.interpolation(
            model, networks, first=real[36:42], last=real[42:48], steps=6, key=key
        )
        panels["interpolation"] = line.reshape(-1, 28, 28, 1)
    columns = ["real", "reconstructions", "samples", "interpolation"]
    if model.latent == 2:
        columns.append("codes")
    figure = Figure(figsize=(2.5 * len(columns), 2.7), layout="constrained")
    axes = figure.subplots(1, len(columns))
    for ax, name in zip(axes, columns, strict=True):
        ax.set_axis_off()
        if name in panels:
            ax.imshow(tiled(panels[name], 6), cmap="gray", vmin=0, vmax=1)
            ax.set_title(name, fontsize=9)
    if model.encodes and model.latent == 2:
        images, labels = digits.test.unit(2000), digits.test.labels[:2000]
        z = np.asarray(model.encode(networks, images, key))
        axes[4].scatter(*z.T, c=labels, s=2, cmap="tab10")
        axes[4].set_title("codes", fontsize=9)
        axes[4].set_axis_on()
    figure.suptitle(path.stem, x=0.01, ha="left", fontsize=11)
    figure.savefig(path, dpi=80)


def tiled(images: Any, rows: int) -> np.ndarray:
    """Images [N, 28, 28, 1] as one, [28 rows, 28 N / rows]."""
    tiles = np.asarray(images).reshape(rows, -1, 28, 28)
    return tiles.swapaxes(1, 2).reshape(28 * rows, -1)


def one_picture(rows: list[Path], path: Path) -> None:
    """The pictures of all models, one above the other."""
    found = [Image.open(row).convert("RGB") for row in rows if row.exists()]
    sheet = Image.new(
        "RGB", (max(p.width for p in found), sum(p.height for p in found)), "white"
    )
    for number, picture in enumerate(found):
        sheet.paste(picture, (0, sum(p.height for p in found[:number])))
    sheet.save(path)


COLUMNS = {
    "frechet_distance": "Fréchet ↓",
    "kernel_distance": "KID ↓",
    "gaussian_frechet_distance": "Fréchet, fitted Gaussian ↓",
    "gmm_frechet_distance": "Fréchet, fitted mixture ↓",
    "random_frechet_distance": "Fréchet, random features ↓",
    "random_kernel_distance": "KID, random features ↓",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "parzen_nats": "Parzen, nats",
    "reconstruction_nats": "reconstruction, nats",
    "prior_mmd": "MMD",
    "prior_mmd_p_value": "p",
    "prior_classifier_accuracy": "codes told from prior",
    "linear_accuracy_100": "linear, 100",
    "linear_accuracy_all": "linear, all",
    "knn_accuracy_100": "kNN, 100",
    "knn_accuracy_1000": "kNN, 1000",
    "knn_accuracy_all": "kNN, all",
    "importance_weighted_nats": "IWAE, nats",
    "parameters": "parameters",
    "images_per_second": "images/s",
    "seconds_an_epoch": "s an epoch",
    "fit_processor_seconds": "processor s",
}


def table(rows: dict[str, list[dict]]) -> str:
    """Mean ± standard deviation over seeds."""

    def cell(records: list[dict], column: str) -> str:
        values = [record[column] for record in records if column in record]
        if not values:
            return ""
        mean = statistics.mean(values)
        digits = 3 if abs(mean) < 10 else 1 if abs(mean) < 1000 else 0
        spread = statistics.stdev(values) if len(values) > 1 else 0
        return f"{mean:,.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "")

    found = {key for records in rows.values() for record in records for key in record}
    columns = [column for column in COLUMNS if column in found]
    lines = [
        "| | " + " | ".join(COLUMNS[column] for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, records in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(records, c) for c in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing, then prints the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        sys.exit(f"no model {sorted(unknown)}: there are {list(MODELS)}")
    digits = None
    if not arguments.only_print:
        digits = load(arguments.dataset, arguments.data_dir)
    if digits:
        print(f"classifier of the features: {digits.accuracy:.2%} of test images right")
    if digits and arguments.runs:
        for run in arguments.runs:
            print(f"{run}: Fréchet distance {distance_of(run, digits):.1f}", flush=True)
        return
    rows = {name: run_model(arguments, name, digits) for name in arguments.models}
    rows = {name: records for name, records in rows.items() if records}
    for record in (record for records in rows.values() for record in records):
        seen = record["steps"] * record["batch_size"] / arguments.epochs
        record["seconds_an_epoch"] = seen / record["images_per_second"]
    text = table(rows)
    print(text)
    if digits:
        folder = arguments.folder
        (folder / "table.md").write_text(text + "\n")
        one_picture([folder / f"{name}.png" for name in rows], folder / "all.png")


if __name__ == "__main__":
    main()
