"""AAE, VAE, GAN, moment matching and plain autoencoders, side by side on the same images.

    python benchmarks/compare.py                              # mnist5k, all models
    python benchmarks/compare.py --dataset mnist --epochs 4
    python benchmarks/compare.py --dataset FOLDER --network conv --latent 64 --epochs 2
    python benchmarks/compare.py --models aae vae --only-print
    python benchmarks/compare.py --only-time                  # on a quiet machine
    python benchmarks/compare.py --runs runs/aae-mnist5k      # what its samples score

All see the same images as often, with the same sizes of networks and code. Of the training
images a fixed fifth is for validation. Each model gets the same number of tries there
(`compare_models.py`), one seed each, and the settings with the smallest Fréchet distance
train again with other seeds, all in one program; those are scored (`scoring.py`) on the
test images, read once. A JSON file for each try and seed goes to --results; what is there,
with the settings of now, is not trained again.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from PIL import Image

# So that it runs from a clone in which nothing was installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

from compare_models import BASE, MODELS, Settings, for_convolutions
from compare_tables import OF_CODES, OF_SAMPLES, compared
from records import Record, Records, as_json, measured_on
from scoring import Judged, Split, draw_samples, features, load, score, splits

from aaejax import models, sampling
from aaejax.metrics import fidelity
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.restore import restore
from aaejax.runs.seeds import train_seeds
from aaejax.types import DataSpec, Model, Variables

TUNING_SEED = 1000  # of the tries; the seeds of the table are 0, 1, ...


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains the models that are missing in the results, and prints the table."""

    dataset: str = "mnist5k"
    """mnist5k, mnist through TFDS, or a folder with pictures in train/ and test/."""
    models: tuple[str, ...] = tuple(MODELS)
    """Rows of the table."""
    epochs: int = 50
    """How often each training image is seen."""
    latent: int = 8
    """Size of the code; with 2 the picture shows the code space."""
    network: str = "mlp"
    """Of encoders, decoders and generators: mlp or conv."""
    width: int = 200
    """Units of a hidden layer, in every MLP."""
    depth: int = 3
    """Hidden layers of every MLP."""
    tries: int = 8
    """Of each model: the first ones."""
    seeds: int = 3
    """Of each model with its best settings."""
    data_dir: Path = Path("data")
    """Where TFDS has or prepares MNIST."""
    only_print: bool = False
    """Prints what the results folder has, makes its picture anew, and trains nothing."""
    only_time: bool = False
    """Times some steps of each model that the results folder has, alone, and keeps that."""
    runs: tuple[Path, ...] = ()
    """Run folders of train.py on these data: prints their Fréchet distances alone."""
    results: Path = Path(__file__).parent / "results" / "compare"
    """A JSON file for each try and seed, and the picture."""

    @property
    def folder(self) -> Path:
        """Of the results with these sizes."""
        size = "conv" if self.network == "conv" else f"{self.depth}x{self.width}"
        name = f"{Path(self.dataset).name}-{self.epochs}epochs-latent{self.latent}-{size}"
        return self.results / name


class Plan(NamedTuple):
    """A model, and how it trains: steps, examples in a batch, decay of an EMA (0: none)."""

    model: Model
    steps: int
    batch_size: int
    ema: float


def tries_of(arguments: Arguments, name: str) -> list[Settings]:
    """The settings of a model's tries, for networks as these."""
    tries = MODELS[name][1]
    if arguments.network != "conv":
        return tries
    return [for_convolutions({**base_of(name), **settings}) for settings in tries]


def base_of(name: str) -> Settings:
    """What of `BASE` a model has."""
    has = models.options(MODELS[name][0]).__dataclass_fields__
    return {key: BASE[key] for key in BASE.keys() & has}


def build(arguments: Arguments, name: str, settings: Settings, images: np.ndarray) -> Plan:
    """The model of these settings, for uint8 images [N, H, W, C]."""
    word, _ = MODELS[name]
    settings = {**base_of(name), **settings}
    batch_size, ema = settings.pop("batch_size", 100), settings.pop("ema", 0.0)
    steps = arguments.epochs * len(images) // batch_size
    sizes = {
        key: getattr(arguments, key) for key in ("latent", "network", "width", "depth")
    }
    options = models.options(word)(**sizes, **settings)
    spec = DataSpec(images.shape[1:], 10, True, len(images))
    return Plan(options.build(spec, steps), steps, batch_size, ema)


class Seconds(Hook):
    """The time that steps took, without compiling."""

    def __init__(self, images_per_step: int):
        self.seconds, self._step, self._images = 0.0, 0, images_per_step

    def on_log(self, event: Event) -> None:
        """Adds the time of a chunk."""
        seen = (event.step - self._step) * self._images
        self.seconds += seen / event.metrics["images_per_second"]
        self._step = event.step


def train(plan: Plan, split: Split, seeds: list[int]) -> tuple[list[Variables], float]:
    """Networks of each seed, trained in one program, and the seconds for all."""
    clock = Seconds(plan.batch_size * len(seeds))
    trained = train_seeds(
        plan.model,
        split.images,
        split.labels.astype(np.int32),
        seeds=seeds,
        steps=plan.steps,
        batch_size=plan.batch_size,
        ema=plan.ema,
        hooks=[clock],
    )
    return trained, clock.seconds


def run_model(arguments: Arguments, name: str, judged: Judged) -> list[Record]:
    """The records of a model's seeds; trains what is missing."""
    results = Records(arguments.folder, name)
    tries = tries_of(arguments, name)[: arguments.tries]
    tuning = []
    for number, settings in enumerate(tries):
        record = results.kept(f"try{number}", settings)
        if record is None:
            distance = try_out(arguments, name, settings, judged)
            found = {"scored_on": "validation", "frechet_distance": distance}
            record = results.keep(f"try{number}", {"settings": settings, **found})
        print(f"{name} try {number}: {record['frechet_distance']:.2f}", flush=True)
        tuning.append(record["frechet_distance"])
    settings = tries[int(np.argmin(tuning))]
    seeds = list(range(arguments.seeds))
    done = [results.kept(f"seed{seed}", settings) for seed in seeds]
    if all(done):
        return [record for record in done if record]
    plan = build(arguments, name, settings, judged.train.images)
    model, steps, batch_size, _ = plan
    trained, seconds = train(plan, judged.train, seeds)
    seen = arguments.seeds * steps * batch_size
    picture_row(model, trained[0], judged, arguments.folder / f"{name}.png")
    return [
        results.keep(
            f"seed{seed}",
            {
                "settings": settings,
                "scored_on": "test",
                "seed": seed,
                "steps": steps,
                "batch_size": batch_size,
                **score(model, variables, judged, judged.test, seed),
                "images_per_second": round(seen / seconds),
                "classifier_accuracy": judged.accuracy,
                **measured_on(jax.devices()[0].device_kind),
            },
        )
        for seed, variables in zip(seeds, trained, strict=True)
    ]


def time_epochs(arguments: Arguments, name: str, split: Split, steps: int = 200) -> None:
    """Adds the seconds of an epoch, of one seed after compiling, to each seed's record."""
    results = Records(arguments.folder, name)
    kept = results.all_seeds()
    if not kept:
        return
    tries, then = tries_of(arguments, name), kept[0]["settings"]
    settings = next((each for each in tries if as_json(each) == then), None)
    if settings is None:
        print(f"{name}: its results have other settings: train it again", flush=True)
        return
    plan = build(arguments, name, settings, split.images)._replace(steps=steps)
    _, seconds = train(plan, split, [0])
    epoch = round(seconds * len(split.images) / (steps * plan.batch_size), 2)
    for record in kept:
        results.keep(f"seed{record['seed']}", {**record, "seconds_an_epoch": epoch})
    print(f"{name}: {epoch} s an epoch", flush=True)


def try_out(arguments: Arguments, name: str, settings: Settings, judged: Judged) -> float:
    """The Fréchet distance on validation images; 1e9 where it diverged."""
    plan = build(arguments, name, settings, judged.train.images)
    try:
        (variables,), _ = train(plan, judged.train, [TUNING_SEED])
        samples = draw_samples(plan.model, variables, TUNING_SEED)
        return fidelity.frechet_distance(*features(samples, judged, judged.validation))
    except ArithmeticError as error:
        print(f"{name} {settings}: {error}", flush=True)
        return 1e9  # JSON has no infinity


def distance_of(run: Path, judged: Judged) -> float:
    """The Fréchet distance between samples of a run and the test images."""
    trained = restore(run)
    blocks = draw_samples(trained.model, trained.variables, 0)
    return fidelity.frechet_distance(*features(blocks, judged, judged.test))


def picture_row(model: Model, variables: Variables, judged: Judged, path: Path) -> None:
    """Real images, reconstructions, samples, an interpolation and codes in the plane."""
    from matplotlib.figure import Figure

    key = jax.random.key(0)
    real = judged.test.unit(64)
    panels: dict[str, Any] = {"real": real[:36]}
    if model.encodes:
        panels["reconstructions"] = sampling.reconstructions(
            model, variables, real[:36], key
        )
    panels["samples"] = sampling.samples(model, variables, key, 36)
    if model.encodes:
        line = sampling.interpolation(
            model, variables, first=real[36:42], last=real[42:48], steps=6, key=key
        )
        panels["interpolation"] = line.reshape(-1, *real.shape[1:])
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
        images, labels = judged.test.unit(2000), judged.test.labels[:2000]
        z = np.asarray(model.encode(variables, images, key))
        axes[4].scatter(*z.T, c=labels, s=2, cmap="tab10")
        axes[4].set_title("codes", fontsize=9)
        axes[4].set_axis_on()
    figure.suptitle(path.stem, x=0.01, ha="left", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def tiled(images: Any, rows: int) -> np.ndarray:
    """Images [N, H, W, C] as one of so many rows: [H, W], or [H, W, 3] in colour."""
    n, height, width, channels = np.shape(images)
    tiles = np.clip(np.asarray(images), 0, 1).reshape(rows, -1, height, width, channels)
    sheet = tiles.swapaxes(1, 2).reshape(height * rows, width * n // rows, channels)
    return sheet[..., 0] if channels == 1 else sheet


def one_picture(rows: list[Path], path: Path) -> None:
    """The pictures of all models, one above the other."""
    found = [Image.open(row).convert("RGB") for row in rows if row.exists()]
    sheet = Image.new(
        "RGB", (max(p.width for p in found), sum(p.height for p in found)), "white"
    )
    for number, picture in enumerate(found):
        sheet.paste(picture, (0, sum(p.height for p in found[:number])))
    sheet.save(path)


def show(rows: dict[str, list[Record]], folder: Path) -> None:
    """Prints the table, and writes it and the picture of all models to the folder."""
    text = compared(rows, {**OF_SAMPLES, **OF_CODES})
    print(text, end="")
    (folder / "table.md").write_text(text)
    one_picture([folder / f"{name}.png" for name in rows], folder / "all.png")


def main() -> None:
    """Trains what is missing, then prints the table."""
    arguments = tyro.cli(Arguments, description=__doc__)
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        sys.exit(f"no model {sorted(unknown)}: there are {list(MODELS)}")
    folder = arguments.folder
    if arguments.only_print:
        found = {name: Records(folder, name).all_seeds() for name in arguments.models}
        show({name: records for name, records in found.items() if records}, folder)
        return
    if arguments.only_time:
        split, _, _ = splits(arguments.dataset, arguments.data_dir)
        for name in arguments.models:
            time_epochs(arguments, name, split)
        return
    judged = load(arguments.dataset, arguments.data_dir)
    print(f"classifier of the features: {judged.accuracy:.2%} of test images right")
    if arguments.runs:
        for run in arguments.runs:
            print(f"{run}: Fréchet distance {distance_of(run, judged):.1f}", flush=True)
        return
    show({name: run_model(arguments, name, judged) for name in arguments.models}, folder)


if __name__ == "__main__":
    main()
