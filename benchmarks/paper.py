"""The tables and figures of the AAE paper (Makhzani et al. 2015), trained here.

    python benchmarks/paper.py table2                     # every row, three seeds
    python benchmarks/paper.py table2 --rows 100 --epochs 20 --seeds 1
    python benchmarks/paper.py table2 --tune              # scores on validation images

Data: MNIST, for one row SVHN, through TFDS. Of the training images the last 10,000 of a
fixed random order are for validation; a model trains on the others (50,000 of MNIST), and
what is chosen (sigma, the names of clusters, by --tune also settings) is chosen on
validation images. The test images are read once, when training is done. The seeds of a row
train together (`aaejax.runs.seeds`) and go on where they stopped (--workdir); each one's
score becomes a JSON file under --results.

Settings: "paper" is the recipe as far as it is known, at the epochs given here and not the
paper's thousands; "best" is what worked best here.
"""

import dataclasses
import itertools
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

# So that it runs from a clone in which nothing was installed.
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from aaejax import data, models, sampling
from aaejax.ask import kinds, out
from aaejax.components.pixels import to_unit
from aaejax.metrics import clusters, parzen
from aaejax.metrics.heldout import HeldOut
from aaejax.models._optimizers import Optimizer
from aaejax.runs import own_networks
from aaejax.runs.examples import data_spec, held_out
from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.on_disk.config_json import changes
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.reports.snapshots import RunPictures
from aaejax.runs.seeds import train_seeds
from aaejax.runs.trained import Trained
from aaejax.types import UserError

VALIDATION = 10_000  # or a sixth of smaller data
SIGMAS = tuple(np.arange(0.10, 0.30, 0.005))  # finer than the usual ten of [0.1, 1]
STEPS_PER_EPOCH = 500  # of MNIST: 50,000 images in batches of 100
APART = 10  # the numbers of a seed's restarts


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
        total = sum(
            self.probabilities(padded[:, down : down + height, right : right + width])
            for down, right in shifts
        )
        return np.asarray(total / 25)


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
    parts = scored.validation[0], scored.test[0]
    once = [scored.probabilities(images) for images in parts]
    mean = [scored.mean_probabilities(images) for images in parts]
    by_confidence, by_majority = clusters.names_by_confidence, clusters.names_by_majority

    def error(
        asked: list[np.ndarray], rule: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> float:
        validation, test = asked
        return clusters.error(test, scored.test[1], rule(validation, scored.validation[1]))

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


@dataclasses.dataclass(frozen=True)
class Row:
    """One number of the paper."""

    paper: str
    model: str
    options: dict[str, Any]
    score: Callable[[Scored], dict[str, float]]
    labels: int | None = 0  # None: all
    unit: str = "%"
    epochs: int = 6
    dataset: str = "mnist"
    batch: int = 100
    restarts: int = 1
    """Runs of each seed, of which the one with the least loss of consistency counts."""


def sgd(rate: float, momentum: float, *drops: int) -> Optimizer:
    """As in the appendix, the rate falling to a tenth after these epochs."""
    steps = tuple(STEPS_PER_EPOCH * epoch for epoch in drops)
    return Optimizer("sgd", rate, momentum, drops=steps)


def adversaries(
    discriminator: Optimizer,
    generator: Optimizer,
    heads: tuple[str, ...] = ("class", "style"),
) -> dict[str, Any]:
    """The options of these heads' adversaries."""
    return {
        f"{head}_{role}_optimizer": optimizer
        for head in heads
        for role, optimizer in (("discriminator", discriminator), ("generator", generator))
    }


# Chosen on validation images (docs/results.md).
MIDDLE, FAST = (
    Optimizer(learning_rate=rate, momentum=0.5, schedule="cosine") for rate in (3e-4, 1e-3)
)

# Appendix A, as far as public reports agree on it. With other first weights these rates
# diverge within ten steps.
PAPER_NETWORKS = {"r1": 0.0, "initial_std": 0.01}
PAPER = {
    **PAPER_NETWORKS,
    "reconstruction": "squared-error",
    "reconstruction_optimizer": sgd(0.01, 0.9, 50, 1000),
    **adversaries(sgd(0.1, 0.1, 50, 1000), sgd(0.1, 0.1, 50, 1000)),
}
# Of the likelihood's optimizer nothing is known: Adam, as elsewhere here.
PAPER_LIKELIHOOD = {
    **PAPER_NETWORKS,
    "width": 1000,
    "depth": 2,
    "reconstruction_optimizer": Optimizer(learning_rate=1e-3, schedule="cosine"),
    "discriminator_optimizer": MIDDLE,
    "generator_optimizer": MIDDLE,
    "reconstruction": "squared-error",
    "prior_std": 5.0,
}
# With batch norm and dropout, which the paper calls crucial for clusters.
PAPER_CLUSTERS = {
    **{name: PAPER[name] for name in PAPER if name != "initial_std"},
    "network": "benchmarks/paper_clustering.py",
}
# Whether section 6 had them is not known.
PAPER_CLUSTERS_IN_PLANE = {**PAPER, "width": 3000}
PAPER_LABELS = {
    **PAPER,
    "input_noise": 0.3,
    "classification_optimizer": sgd(0.1, 0.9, 50, 1000),
}
# Chosen on validation images (docs/results.md).
FASTER = Optimizer(learning_rate=2e-3, schedule="cosine")
# Noise and a wide prior keep codes from escaping to where the discriminator is flat. Longer
# runs lose them again.
BEST: dict[str, Any] = {
    "width": 400,
    "depth": 3,
    "latent": 5,
    "prior_std": 4.0,
    "input_noise": 0.3,
    "reconstruction": "squared-error",
    "reconstruction_optimizer": Optimizer(learning_rate=3e-3, schedule="cosine"),
    "discriminator_optimizer": FAST,
    "generator_optimizer": MIDDLE,
}
# A quarter of the time of a step of width 1000.
LABELS: dict[str, Any] = {
    "width": 400,
    "consistency": 2.0,
    "information": 0.1,
    "translation": 2.0,
    "distortion": 0.12,
}
BEST_LABELS: dict[str, Any] = {
    **LABELS,
    **adversaries(FAST, FAST),
}
CONVOLUTIONS: dict[str, Any] = {
    "network": "conv",
    "channels": 16,
    "scales": 3,
    "r1": 0.1,
    "consistency_optimizer": FASTER,
    "classification_optimizer": FASTER,
}
CONV_LABELS: dict[str, Any] = {**BEST_LABELS, **CONVOLUTIONS}
# Less of what stands in for labels; and no style that knows its class.
ALL_LABELS: dict[str, Any] = {
    **CONV_LABELS,
    "latent": 5,
    "joint_style": True,
    "consistency": 1.0,
}
# Makes clusters equally large: twenty or thirty of them can be two or three for each digit.
# Sixteen can't be a whole number for each, and may be uneven.
EQUAL_CLUSTERS: dict[str, Any] = {
    "width": 400,
    "consistency": 1.0,
    "mutual_information": 3.0,
    "translation": 2.0,
    "distortion": 0.15,
}
LASTING_CLUSTERS: dict[str, Any] = {**EQUAL_CLUSTERS, "information": 0.4}
# Noise steadies a fast adversary, which holds styles on their prior.
CLUSTERS_IN_PLANE: dict[str, Any] = {
    **LASTING_CLUSTERS,
    **adversaries(FAST, FAST, ("style",)),
    "input_noise": 0.3,
}
# In the plane: ten heads with room for a Gaussian each.
HEADS: dict[str, Any] = {
    "distance": 6.0,
    "heads_optimizer": Optimizer(learning_rate=2e-2, schedule="cosine"),
}

# Setting, options, epochs, batch size.
Settings = tuple[tuple[str, dict[str, Any], int, int], ...]


def labelled(best: dict[str, Any], epochs: int) -> Settings:
    """Of a row that knows labels."""
    return ("best", best, epochs, 100), ("paper", PAPER_LABELS, 10, 100)


def unlabelled(
    best: dict[str, Any], epochs: int, batch: int, paper: dict[str, Any]
) -> Settings:
    """Of a row that knows none."""
    return ("best", best, epochs, batch), ("paper", paper, 1, 100)


LABELLED = labelled(BEST_LABELS, 6)


# Never tried on SVHN itself, which is not to be had here.
BEST_SVHN: dict[str, Any] = {
    **CONV_LABELS,
    "channels": 32,
    "latent": 20,
}

TABLES: dict[str, dict[str, dict[str, Row]]] = {
    "table1": {
        name: {
            setting: Row(paper, "aae", options, score, unit="nats", epochs=epochs)
            for setting, options, epochs in (
                ("best", BEST, 30),
                ("paper", PAPER_LIKELIHOOD, 10),
            )
        }
        for name, paper, score in (
            ("10K", "340 ± 2", log_likelihood),
            ("10M", "427", partial(log_likelihood, samples=10_000_000)),
        )
    },
    "table2": {
        name: {
            setting: Row(
                paper,
                "semi-supervised",
                options,
                classification_error,
                labels,
                epochs=epochs,
                batch=batch,
            )
            for setting, options, epochs, batch in settings
        }
        for name, labels, paper, settings in (
            ("100", 100, "1.90 ± 0.10", labelled(CONV_LABELS, 7)),
            ("1000", 1000, "1.60 ± 0.08", labelled(CONV_LABELS, 4)),
            ("all", None, "0.85 ± 0.02", labelled(ALL_LABELS, 8)),
        )
    }
    | {
        "SVHN, 1000": {
            "best": Row(
                "17.70 ± 0.30",
                "semi-supervised",
                BEST_SVHN,
                classification_error,
                1000,
                dataset="svhn_cropped",
            )
        }
    },
    "table3": {
        str(count): {
            setting: Row(
                paper,
                "clustering",
                {**options, "clusters": count},
                clustering_error,
                epochs=epochs,
                batch=batch,
                restarts=restarts if setting == "best" else 1,
            )
            for setting, options, epochs, batch in settings
        }
        for count, paper, settings, restarts in (
            (
                16,
                "9.55 ± 2.05",
                unlabelled({**EQUAL_CLUSTERS, "unevenness": 0.1}, 20, 250, PAPER_CLUSTERS),
                3,
            ),
            (
                30,
                "4.10 ± 1.13",
                unlabelled(LASTING_CLUSTERS, 24, 250, PAPER_CLUSTERS),
                1,  # the loss does not say which of them is good
            ),
        )
    },
    "figure11": {
        name: {
            setting: Row(
                paper,
                "reduction",
                {**options, **more},
                score,
                labels,
                epochs=epochs,
                batch=batch,
                restarts=3 if setting == "best" and labels == 0 else 1,
            )
            for setting, options, epochs, batch in settings
        }
        for name, paper, settings, more, score, labels in (
            ("2-D, 1000 labels", "4.20", LABELLED, HEADS, classification_error, 1000),
            ("2-D, 100 labels", "6.08", LABELLED, HEADS, classification_error, 100),
            (
                "2-D, 20 clusters",
                "about 13.5",
                unlabelled(CLUSTERS_IN_PLANE, 10, 250, PAPER_CLUSTERS_IN_PLANE),
                {**HEADS, "clusters": 20},
                clustering_error,
                0,
            ),
            (
                "10-D, 100 labels",
                "3.90",
                labelled(BEST_LABELS, 12),
                {"latent": 10, "simplex": 10.0},
                classification_error,
                100,
            ),
        )
    },
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains a table of the paper, or what is left of it, and prints it."""

    table: Annotated[
        Literal["table1", "table2", "table3", "figure11"], tyro.conf.Positional
    ]
    """Of the paper."""
    rows: tuple[str, ...] = ()
    """Some of its rows; by default all."""
    setting: Literal["best", "paper"] = "best"
    """The published recipe, or what worked best here."""
    seeds: int = 3
    """Seeds 0, 1, ...; each also draws other labels."""
    epochs: int | None = None
    """By default what the row says."""
    precision: Literal["float32", "bf16"] = "float32"
    """As of train.py."""
    tune: bool = False
    """Scores on the validation images; the test images stay unread."""
    only_print: bool = False
    """Prints what the results folder has, and trains nothing."""
    data_dir: Path = Path("data")
    """Where TFDS has or prepares MNIST."""
    workdir: Path = Path("runs/paper")
    """The run folders."""
    results: Path = Path(__file__).parent / "results" / "paper"
    """A JSON file for each seed."""
    dataset: str | None = None
    """In place of a row's own; as of train.py. To try a recipe whose data can't be had."""

    def options_of(self, row: Row) -> Any:
        """Of the row's model, of `aaejax.models`."""
        chosen = {**row.options, "precision": self.precision}
        return models.options(row.model)(**chosen)


@cache
def split(name: str, data_dir: Path) -> tuple[data.Dataset, tuple[np.ndarray, np.ndarray]]:
    """Data with their validation images as the held-out ones, and the test images."""
    whole = data.load(name, data_dir)
    if whole.train_labels is None or whole.test_labels is None:
        raise UserError(f"{name} has no labels")
    images, labels = np.asarray(whole.train_images), whole.train_labels
    order = np.random.RandomState(1).permutation(len(images))
    training, validation = np.split(order, [-min(VALIDATION, len(images) // 6)])
    dataset = data.from_arrays(
        images[training],
        labels[training],
        images[validation],
        labels[validation],
        name=f"{name} without its test images",
        class_names=whole.class_names,
    )
    return dataset, (np.asarray(whole.test_images), whole.test_labels)


def run_row(arguments: Arguments, name: str, row: Row) -> list[dict[str, Any]]:
    """Trains the seeds that are missing, together, and scores each."""
    if row.restarts > 1 and arguments.seeds > APART:
        raise UserError(
            f"{arguments.seeds} seeds of {row.restarts} runs each: take at most {APART}"
        )
    epochs, precision = arguments.epochs or row.epochs, arguments.precision
    slug = f"{arguments.table}-{name}-{arguments.setting}-{epochs}epochs"
    if arguments.dataset:
        slug += f"-{Path(arguments.dataset).stem}"
    if precision != "float32":
        slug += f"-{precision}"
    slug = slug.replace(" ", "").replace(",", "-")
    files = {
        seed: arguments.results / f"{slug}-seed{seed}{'-tune' * arguments.tune}.json"
        for seed in range(arguments.seeds)
    }
    missing = [seed for seed, file in files.items() if not file.exists()]
    if missing and not arguments.only_print:
        for seed, record in train_row(arguments, row, missing, slug).items():
            command = (
                f"python benchmarks/paper.py {arguments.table} --rows {shlex.quote(name)} "
                f"--setting {arguments.setting} --epochs {epochs} --seeds {arguments.seeds}"
                f"{' --tune' * arguments.tune}"
                f"{f' --dataset {arguments.dataset}' if arguments.dataset else ''}"
                f"{f' --precision {precision}' * (precision != 'float32')}"
            )
            arguments.results.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**record, "command": command}, indent=2)
            files[seed].write_text(text + "\n")
    there = [file for file in files.values() if file.exists()]
    records = [json.loads(file.read_text()) for file in there]
    options = json.loads(json.dumps(dataclasses.asdict(arguments.options_of(row))))
    for file, record in zip(there, records, strict=True):
        then = record["options"]  # an option may have another name now
        for change in changes(
            {name: then[name] for name in then.keys() & options}, options
        ):
            print(f"{file.name}: the row's {change}", file=sys.stderr)
        if record.get("restarts", 1) != row.restarts:
            print(f"{file.name}: not the best of {row.restarts} runs", file=sys.stderr)
    return records


class LastLosses(Hook):
    """Keeps each run's loss of consistency, the mean of the last chunk, in a file."""

    def __init__(self, file: Path):
        self.file = file

    def on_log(self, event: Event) -> None:
        """Writes over what the chunk before had."""
        loss = event.metrics.get("consistency/loss")
        if loss is not None:
            self.file.write_text(json.dumps(np.asarray(loss).tolist()))

    def best(self, seeds: int, restarts: int) -> tuple[np.ndarray, np.ndarray]:
        """The losses, [restarts, seeds], and the restart of the least, [seeds]."""
        if restarts == 1:
            return np.zeros((1, seeds)), np.zeros(seeds, int)
        losses = np.reshape(json.loads(self.file.read_text()), (restarts, seeds))
        return losses, losses.argmin(axis=0)


def train_row(
    arguments: Arguments, row: Row, seeds: list[int], slug: str
) -> dict[int, dict[str, Any]]:
    """The record of each seed, of the best of its runs; the first one's pictures too."""
    dataset, test = split(arguments.dataset or row.dataset, arguments.data_dir)
    epochs = arguments.epochs or row.epochs
    steps_per_epoch = len(dataset.train_images) // row.batch
    steps = epochs * steps_per_epoch
    options = arguments.options_of(row)
    runs = [seed + APART * restart for restart in range(row.restarts) for seed in seeds]
    known = [
        dataset if row.labels is None else dataset.keep_labels(row.labels, run)
        for run in runs
    ]
    built = options
    if options.network.endswith(".py"):
        built = options.with_networks(own_networks.load(ROOT / options.network))
    model = built.build(data_spec(known[0]), steps)
    folder = RunFolder(arguments.workdir / f"{slug}-seeds{'-'.join(map(str, seeds))}")
    folder.pictures.mkdir(parents=True, exist_ok=True)
    resumed = folder.checkpoints.exists()
    folder.checkpoints.mkdir(exist_ok=True)
    losses = LastLosses(folder.path / "losses.json")
    began = time.perf_counter()
    trained = train_seeds(
        model,
        np.asarray(dataset.train_images),
        np.stack([one.train_labels for one in known]),
        seeds=runs,
        steps=steps,
        batch_size=row.batch,
        folder=folder.checkpoints,
        chunk=steps_per_epoch,
        tell=lambda line: print(f"{slug}: {line}", flush=True),
        hooks=[losses],
    )
    minutes = (time.perf_counter() - began) / 60 / len(seeds)
    validation = (dataset.test_images, dataset.test_labels)
    records = {}
    of_runs, best = losses.best(len(seeds), row.restarts)
    trained = [trained[n * len(seeds) + i] for i, n in enumerate(best)]
    for number, (seed, variables) in enumerate(zip(seeds, trained, strict=True)):
        one = Trained(model, variables, steps, folder, {})
        scored = Scored(one, validation, validation if arguments.tune else test)
        records[seed] = {
            **row.score(scored),
            "unit": row.unit,
            "paper": row.paper,
            "seed": seed,
            "epochs": epochs,
            "batch": row.batch,
            "scored_on": "validation" if arguments.tune else "test",
            "options": dataclasses.asdict(options),
            "dataset": arguments.dataset or row.dataset,
            "labels": row.labels,
            "minutes": None if resumed else round(minutes, 1),
            "machine": f"{platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
            "versions": {name: version(name) for name in ("jax", "flax", "optax")},
        }
        if row.restarts > 1:
            records[seed] |= {
                "restarts": row.restarts,
                "run": seed + APART * int(best[number]),
                "losses_of_restarts": of_runs[:, number].tolist(),
            }
    shown = held_out(dataset)
    folder.write_heldout(**shown.first(256))
    variables, codes = trained[0], None
    of_prior = model.prior(variables, jax.random.key(1), 1)
    if model.in_plane(variables, of_prior) is not None:
        scored = HeldOut(model, shown.images, shown.labels, jax.random.key(0))
        codes = scored(variables)[1]
    pictures = RunPictures(
        model,
        shown.images,
        shown.labels,
        dataset.class_names,
        folder,
        jax.random.key(2),
    )
    pictures.write(variables, codes)
    if "clusters" in kinds.kinds(model):
        found = kinds.sample(Trained(model, variables, steps, folder, {}), "clusters")
        out.write(folder.pictures / "clusters.png", "clusters", found)
    return records


COLUMNS = ("row", "paper", "here", "seeds", "minutes a seed", "machine")


def cells(arguments: Arguments, name: str) -> tuple[str, ...]:
    """Of the row of this name, trained where it was not; the first few of the columns."""
    settings = TABLES[arguments.table][name]
    paper = next(iter(settings.values())).paper
    if arguments.setting not in settings:
        return name, paper, "no such setting"
    row = settings[arguments.setting]
    try:
        records = run_row(arguments, name, row)
    except (UserError, NonFiniteLoss) as error:  # data that can't be had; diverged
        return name, paper, f"not measured: {error}"
    if not records:
        return name, paper, "not measured"
    values = [record["value"] for record in records]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    minutes = [r["minutes"] for r in records if r["minutes"] is not None]
    mean_minutes = f"{statistics.mean(minutes):.0f}" if minutes else "?"
    found = f"{statistics.mean(values):.2f}{spread} {row.unit}"
    machines = "; ".join(sorted({record["machine"] for record in records}))
    return name, paper, found, str(len(values)), mean_minutes, machines


def line(row: tuple[str, ...]) -> str:
    """Of the table, as Markdown; missing cells are empty."""
    missing = ("",) * (len(COLUMNS) - len(row))
    return f"| {' | '.join(row + missing)} |"


def main() -> None:
    """Trains, then prints the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    table = TABLES[arguments.table]
    chosen = arguments.rows or tuple(table)
    unknown = set(chosen) - set(table)
    if unknown:
        sys.exit(f"no row {sorted(unknown)} in {arguments.table}: there are {list(table)}")
    rows = [cells(arguments, name) for name in chosen]
    print("\n".join(line(row) for row in (COLUMNS, ("---",) * len(COLUMNS), *rows)))


if __name__ == "__main__":
    main()
