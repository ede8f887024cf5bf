"""The tables and figures of the AAE paper (Makhzani et al. 2015), trained here.

    python benchmarks/paper.py table2                     # every row, three seeds
    python benchmarks/paper.py table2 --rows 100 --epochs 7 --seeds 1
    python benchmarks/paper.py table2 --tune              # scores on validation images

Data: MNIST, for one row SVHN, through TFDS. Of the training images the last 10,000 of a
fixed random order are for validation; a model trains on the others (50,000 of MNIST), and
what is chosen (sigma, the names of clusters, one of several runs, by --tune also settings)
is chosen on validation images. The test images are read once, when training is done. The
seeds of a row train together (`aaejax.runs.seeds`) and go on where they stopped
(--workdir); each one's score becomes a JSON file under --results.

Settings: "paper" is the recipe as far as it is known, at the epochs given here and not the
paper's thousands; "best" is what worked best here.
"""

import dataclasses
import json
import shlex
import statistics
import sys
import time
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro

# So that it runs from a clone in which nothing was installed.
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from paper_recipes import TABLES, Row
from paper_scores import Scored, best_runs
from records import measured_on

from aaejax import data, models
from aaejax.ask import kinds, out
from aaejax.metrics.heldout import HeldOut
from aaejax.runs import own_networks
from aaejax.runs.examples import data_spec, held_out
from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.on_disk.config_json import changes
from aaejax.runs.on_disk.files import write_atomically
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.reports.snapshots import RunPictures
from aaejax.runs.seeds import train_seeds
from aaejax.runs.trained import Trained
from aaejax.types import UserError

VALIDATION = 10_000  # or a sixth of smaller data
APART = 10  # the numbers of a seed's restarts
# What a record has where it says nothing else of these fields of a row.
OF_ROWS = {"restarts": 1, "chosen_by": "loss"}


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
    now = {
        **json.loads(json.dumps(dataclasses.asdict(arguments.options_of(row)))),
        **{name: getattr(row, name) for name in ("batch", *OF_ROWS)},
    }
    for file, record in zip(there, records, strict=True):
        then = {**OF_ROWS, **record, **record["options"]}
        # An option may have another name now.
        for change in changes({name: then[name] for name in then.keys() & now}, now):
            print(f"{file.name}: the row's {change}", file=sys.stderr)
    return records


class LastLosses(Hook):
    """Keeps each run's loss of consistency, the mean of the last chunk, in a file."""

    def __init__(self, file: Path):
        self.file = file

    def on_log(self, event: Event) -> None:
        """Writes over what the chunk before had."""
        losses = event.metrics.get("consistency/loss")
        if losses is not None:
            text = json.dumps({"step": event.step, "losses": np.asarray(losses).tolist()})
            write_atomically(self.file, text.encode())

    def read(self, steps: int) -> list[float]:
        """Those of each run after so many steps.

        Raises:
          UserError: They were lost, as by a kill between the last checkpoint and them.
        """
        kept = json.loads(self.file.read_text()) if self.file.exists() else {}
        if kept.get("step") != steps:
            raise UserError(
                f"{self.file} has no losses of step {steps}: remove {self.file.parent} and "
                "train again"
            )
        return kept["losses"]


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
        options=dataclasses.asdict(options),
        tell=lambda line: print(f"{slug}: {line}", flush=True),
        hooks=[losses],
    )
    minutes = (time.perf_counter() - began) / 60 / len(seeds)
    validation = (dataset.test_images, dataset.test_labels)
    read = validation if arguments.tune else test
    scored = [
        Scored(Trained(model, variables, steps, folder, {}), validation, read)
        for variables in trained
    ]
    if row.restarts == 1:
        measures = [0.0] * len(runs)
    elif row.chosen_by == "loss":
        measures = losses.read(steps)
    else:
        measures = [run.disagreement() for run in scored]
    records, chosen = {}, best_runs(measures, len(seeds))
    for number, (seed, best) in enumerate(zip(seeds, chosen, strict=True)):
        records[seed] = {
            **row.score(scored[best]),
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
            **measured_on(jax.devices()[0].device_kind),
        }
        if row.restarts > 1:
            records[seed] |= {
                "restarts": row.restarts,
                "run": runs[best],
                "chosen_by": row.chosen_by,
                "measure_of_restarts": measures[number :: len(seeds)],
            }
    shown = held_out(dataset)
    folder.write_heldout(**shown.first(256))
    variables, codes = trained[chosen[0]], None
    of_prior = model.prior(variables, jax.random.key(1), 1)
    if model.in_plane(variables, of_prior) is not None:
        held = HeldOut(model, shown.images, shown.labels, jax.random.key(0))
        codes = held(variables)[1]
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
