"""The words of `sample.py`: what each needs of a model, reads, and looks like."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from aaejax import sampling
from aaejax.ask import answers, samplers
from aaejax.ask.answers import Arrays
from aaejax.ask.question import Question, Sampler
from aaejax.ask.sources import DATA_DIR, NotAtHand
from aaejax.runs.reports import pictures
from aaejax.runs.trained import Trained
from aaejax.types import Model, UserError


@dataclass(frozen=True)
class Need:
    """What a model must have."""

    what: str
    met: Callable[[Model], bool]


NOTHING = Need("any model", lambda model: True)
ENCODER = Need("an encoder", lambda model: model.encodes)
PLANE = Need(
    "codes of two dimensions", lambda model: model.latent == 2 and not model.conditions
)
CLASS = Need("a class in the code", lambda model: model.classes > 0)
PARTS = Need(
    "a prior with a part for each class",
    lambda model: model.prior_classes > 0 and not model.classes,
)
CLASSIFIER = Need("an encoder that classifies", lambda model: model.classify is not None)
LIKELIHOOD = Need(
    "an exact likelihood, as nade", lambda model: model.log_likelihood is not None
)
ROWS = Need("an order of pixels by rows, as nade", lambda model: model.complete is not None)
DENSITIES = Need("densities, as a vae", lambda model: model.log_weights is not None)


DATA = ("data", "data_dir")


@dataclass(frozen=True)
class Kind:
    """One word of `sample.py`."""

    make: Callable[[Question], Arrays]
    what: str  # it makes, in a line
    needs: Need = NOTHING
    reads: tuple[str, ...] = ()  # fields of the question; any other is refused
    # from the array "images" to the PNG; None where there is nothing to look at
    draw: Callable[[Path, np.ndarray], None] | None = pictures.write_rows
    npy: str = "images"  # the array that an .npy gets
    # of a table with a row for each example; () where there is none
    columns: tuple[str, ...] = ()
    of_columns: bool = False  # whether "images" may be such a table, of a run on one
    # examples made for each of `count`; 0 where the data or the model bound their number
    makes: int = 0
    judges: bool = False  # its data are to be judged: they never stand for the run's own


KINDS = {
    "samples": Kind(
        answers.samples,
        "of the prior",
        reads=("count", "seed", "label", "condition", "sampler"),
        draw=pictures.write_grid,
        of_columns=True,
        makes=1,
    ),
    "nearest": Kind(
        answers.nearest,
        "training images beside samples",
        reads=("count", "seed", "label", "condition", "sampler", *DATA),
        makes=answers.LINE,
    ),
    "reconstructions": Kind(
        answers.reconstructions,
        "beside the originals",
        ENCODER,
        reads=("count", "seed", "pick", *DATA),
        draw=lambda path, images: pictures.write_pairs(path, images[:, 0], images[:, 1]),
        of_columns=True,
    ),
    "interpolation": Kind(
        answers.interpolation,
        "ways between codes",
        ENCODER,
        reads=("count", "seed", "pick", "path", *DATA),
    ),
    "arithmetic": Kind(
        answers.arithmetic,
        "codes plus --plus less --minus",
        ENCODER,
        reads=("count", "seed", "pick", "plus", "minus", *DATA),
    ),
    "codes": Kind(
        answers.codes,
        "of the run's data, or of --data",
        ENCODER,
        reads=("seed", *DATA),
        draw=None,
        npy="codes",
        columns=("split", "labels", "condition", "weight", "codes", "represented"),
    ),
    "scores": Kind(
        answers.scores,
        "how unlike the training data each row of --data is",
        ENCODER,
        reads=("contamination", "sampler", *DATA),
        npy="score",
        columns=("reconstruction", "latent", "score", "is_outlier"),
        judges=True,
    ),
    "manifold": Kind(
        answers.manifold,
        "a grid over the prior, decoded",
        PLANE,
        reads=("count", "seed"),
        makes=1,
    ),
    "styles": Kind(
        answers.styles,
        "a row keeps the style, a column the class",
        CLASS,
        reads=("count", "seed"),
        makes=1,
    ),
    "walk": Kind(
        answers.walk, "along each class's part of the prior", PARTS, reads=("seed",)
    ),
    "clusters": Kind(
        answers.clusters,
        "each class's head and images",
        CLASSIFIER,
        reads=("seed", *DATA),
    ),
    "classify": Kind(
        answers.classify,
        "the class of each image, and how sure that is",
        CLASSIFIER,
        reads=("seed", *DATA),
        draw=None,
        npy="probabilities",
        columns=("classes", "labels", "probabilities"),
    ),
    "bounds": Kind(
        answers.bounds,
        "of log p(x) of each image",
        DENSITIES,
        reads=("seed", *DATA),
        draw=None,
        npy="importance_weighted",
        columns=("elbo", "importance_weighted"),
    ),
    "likelihoods": Kind(
        answers.likelihoods,
        "log p(x) of each image",
        LIKELIHOOD,
        reads=DATA,
        draw=None,
        npy="log_likelihood",
        columns=("log_likelihood", "bits_per_dimension"),
    ),
    "complete": Kind(
        answers.complete,
        "images whose first --rows are kept",
        ROWS,
        reads=("count", "seed", "pick", "rows", *DATA),
        makes=1,
    ),
}


def kinds(model: Model) -> list[str]:
    """Lists the kinds that a model can be asked for."""
    return [name for name, kind in KINDS.items() if kind.needs.met(model)]


def sample(
    trained: Trained,
    kind: str = "samples",
    *,
    count: int = 100,
    seed: int = 0,
    data_dir: str | Path = DATA_DIR,
    data: str | Path | None = None,
    label: str | int | None = None,
    pick: tuple[int, ...] = (),
    path: sampling.Path = "linear",
    plus: str | int | Path | None = None,
    minus: str | int | Path | None = None,
    contamination: float = 0.05,
    sampler: Sampler = "prior",
    rows: int | None = None,
    condition: tuple[float, ...] = (),
    tell: Callable[[str], None] = print,
) -> dict[str, np.ndarray]:
    """Makes the arrays that `sample.py RUN KIND` writes.

    Args:
      trained: The trained model, from `restore`.
      kind: The kind, one of `kinds(trained.model)`.
      count: How many images are made.
      seed: The seed of all noise and of the choice of held-out examples, 0 ... 2^32 - 1.
      data_dir: The folder where TFDS datasets are.
      data: A dataset, file or folder to take images from, in place of the run's held-out
        examples; for codes in place of the run's dataset; for nearest the run's own data,
        where they moved. Its labels go by their names to the run's classes. A `Path` is
        always a file or folder.
      label: The class of samples and nearest, by name. In a run none of whose classes is
        named by a number it may also be the class's number; where a model found clusters,
        their number.
      pick: The numbers of the images that are taken, in place of a random choice;
        interpolations go from the first half of them to the second.
      path: The way that interpolations go between codes: "linear" or "spherical".
      plus: The examples whose mean code arithmetic adds: a class as in `label`, or else
        a dataset, file or folder.
      minus: The examples whose mean code arithmetic takes away, as in `plus`.
      contamination: The share of the run's held-out examples that scores would call
        outliers, in (0, 0.5].
      sampler: What the codes of samples and nearest are drawn from, and those of scores
        compared with. "gaussian" and "gmm" are fitted to the codes of the run's training
        data (for samples and nearest `data`, where they moved) and kept in the run folder.
      rows: How many rows of an image complete keeps; by default half of them.
      condition: The condition of samples and nearest, for a model with conditions, the same
        for all; by default those of the run's held-out examples, in turn.
      tell: Takes a line where `plus` or `minus` could mean two things.

    Returns:
      Arrays by name; which, the kind's function in `ask/answers.py` says.

    Raises:
      UserError: The model does not have the kind, an argument is one that the kind does not
        read, a class is one that the run never saw, the data have another shape or scale,
        or free memory has no room for `count` images.
    """
    possible = kinds(trained.model)
    if kind not in possible:
        needs = f", which needs {KINDS[kind].needs.what}" if kind in KINDS else ""
        raise UserError(f"this run has no kind {kind}{needs}: it has {', '.join(possible)}")
    asked = Question(
        trained,
        tell,
        count=count,
        seed=seed,
        data_dir=Path(data_dir),
        data=data,
        label=label,
        pick=tuple(pick),
        path=path,
        plus=plus,
        minus=minus,
        contamination=contamination,
        sampler=sampler,
        rows=rows,
        condition=tuple(condition),
    )
    check_reads(asked, kind)
    trained.check_room(count * KINDS[kind].makes)
    if sampler != "prior":
        asked = replace(asked, trained=_with_sampler(asked, kind))
    found = KINDS[kind].make(asked)
    columns = trained.columns
    if columns is not None and "images" in found:
        found["images"] = columns.unscaled(found["images"])
        found["columns"] = np.array(columns.features, str)
    return found


def _with_sampler(asked: Question, kind: str) -> Trained:
    """The model with the density that `--sampler` names."""
    if not KINDS[kind].judges:
        return samplers.with_sampler(asked)
    # A density is fitted to the run's own data.
    try:
        return samplers.with_sampler(replace(asked, data=None))
    except NotAtHand as error:
        raise UserError(
            f"{error} of samples --sampler {asked.sampler} once, which keeps the density "
            f"in the run folder; {kind} have it then"
        ) from error


def check_reads(question: Question, kind: str) -> None:
    """Raises UserError for what the question says and the kind does not read."""
    reads = {"trained", "tell", *KINDS[kind].reads}
    if question.sampler != "prior" and "sampler" in reads:
        reads |= {*DATA}  # the run's own, which the density is fitted to
    given = {each.name for each in fields(question)}
    given -= {f.name for f in fields(question) if getattr(question, f.name) == f.default}
    for name in sorted(given - reads):
        raise UserError(f"{flag(name)} has no meaning for {kind}: leave it out")
    if {"pick", "count"} <= given:
        raise UserError("--pick says which images, and --count how many: give one of them")


def flag(name: str) -> str:
    """Makes a field's name the option that it is on the command line."""
    return f"--{name.replace('_', '-')}"
