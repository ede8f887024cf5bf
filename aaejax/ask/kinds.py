"""The words of `sample.py`: what each needs of a model, reads, and looks like."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path

import jax
import numpy as np

from aaejax import sampling
from aaejax.ask import answers, samplers, tables
from aaejax.ask.answers import Arrays
from aaejax.ask.question import Question
from aaejax.ask.sources import DATA_DIR
from aaejax.components.checks import check_seed, check_word
from aaejax.data.columns import Columns
from aaejax.runs import pictures
from aaejax.runs.files import naming
from aaejax.runs.trained import Trained
from aaejax.types import Model, UserError


def _any(model: Model) -> bool:
    return True


def _has_classes(model: Model) -> bool:
    return model.classes > 0


def _has_classifier(model: Model) -> bool:
    return model.classify is not None


def _plane(model: Model) -> bool:
    return model.latent == 2


def _has_parts(model: Model) -> bool:
    return model.prior_classes > 0 and not model.classes


def _encodes(model: Model) -> bool:
    return model.encodes


def _has_densities(model: Model) -> bool:
    return model.log_weights is not None


@dataclass(frozen=True)
class Kind:
    """One word of `sample.py`."""

    make: Callable[[Question], Arrays]
    possible: Callable[[Model], bool] = _any
    reads: tuple[str, ...] = ()  # of the optional arguments
    # from the array "images" to the PNG; None where there is nothing to look at
    draw: Callable[[Path, np.ndarray], None] | None = pictures.write_rows
    npy: str = "images"  # the array that an .npy gets
    # of a table with a row for each example; () where there is none
    columns: tuple[str, ...] = ()
    of_columns: bool = False  # whether "images" may be such a table, of a run on one


KINDS = {
    "samples": Kind(
        answers.samples,
        reads=("label", "sampler"),
        draw=pictures.write_grid,
        of_columns=True,
    ),
    "nearest": Kind(answers.nearest, reads=("label", "data", "sampler")),
    "reconstructions": Kind(
        answers.reconstructions,
        _encodes,
        reads=("data", "pick"),
        draw=lambda path, images: pictures.write_pairs(path, images[:, 0], images[:, 1]),
        of_columns=True,
    ),
    "interpolation": Kind(answers.interpolation, _encodes, reads=("data", "pick", "path")),
    "arithmetic": Kind(
        answers.arithmetic, _encodes, reads=("data", "pick", "plus", "minus")
    ),
    "manifold": Kind(answers.manifold, _plane),
    "styles": Kind(answers.styles, _has_classes),
    "walk": Kind(answers.walk, _has_parts),
    "clusters": Kind(answers.clusters, _has_classifier, reads=("data",)),
    "classify": Kind(
        answers.classify,
        _has_classifier,
        reads=("data",),
        draw=None,
        npy="probabilities",
        columns=("classes", "labels", "probabilities"),
    ),
    "codes": Kind(
        answers.codes,
        _encodes,
        reads=("data",),
        draw=None,
        npy="codes",
        columns=("split", "labels", "codes", "represented"),
    ),
    "scores": Kind(
        answers.scores,
        _encodes,
        reads=("data", "contamination"),
        npy="score",
        columns=("reconstruction", "latent", "score", "is_outlier"),
    ),
    "bounds": Kind(
        answers.bounds,
        _has_densities,
        reads=("data",),
        draw=None,
        npy="importance_weighted",
        columns=("elbo", "importance_weighted"),
    ),
}


def kinds(model: Model) -> list[str]:
    """The kinds that a model can be asked for."""
    return [name for name, kind in KINDS.items() if kind.possible(model)]


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
    sampler: samplers.Sampler = "prior",
    tell: Callable[[str], None] = print,
) -> dict[str, np.ndarray]:
    """What `sample.py RUN KIND` writes.

    Args:
      trained: from `restore`.
      kind: one of `kinds(trained.model)`.
      count: how many images.
      seed: of all noise and of the choice of held-out examples, 0 ... 2^32 - 1.
      data_dir: where TFDS datasets are.
      data: a dataset, file or folder to take images from, in place of the run's held-out
        examples; for codes in place of the run's dataset; for nearest the run's own data,
        where they moved. Its labels go by their names to the run's classes. A `Path` is
        always a file or folder.
      label: of samples: the class's name. In a run none of whose classes is named by a
        number it may also be the class's number; where a model found clusters, theirs.
      pick: which of these images, by number, in place of a random choice; interpolations go
        from the first half of them to the second.
      path: of interpolations.
      plus: arithmetic adds the mean code of these: a class as in `label`, or else a
        dataset, file or folder.
      minus: and takes away the mean code of these.
      contamination: of scores: the share of the run's held-out examples that would be
        called outliers, in (0, 0.5].
      sampler: of samples and nearest: what codes are drawn from. "gaussian" and "gmm" are
        fitted to the codes of the run's training data (`data`, where they moved) and kept
        in the run folder.
      tell: gets a line where `plus` or `minus` could mean two things.

    Returns:
      Arrays by name; which, the kind's function in `ask/answers.py` says.

    Raises:
      UserError: a kind that the model doesn't have, classes that the run never saw, or data
        of another shape or scale.
    """
    possible = kinds(trained.model)
    if kind not in possible:
        raise UserError(f"this run has no kind {kind}: it has {', '.join(possible)}")
    if count < 1:
        raise UserError(f"a count of {count}: it must be at least 1")
    check_word("path", path, sampling.Path)
    check_seed(seed)
    asked = Question(
        trained,
        count,
        jax.random.key(seed),
        Path(data_dir),
        tell,
        data,
        label,
        tuple(pick),
        path,
        plus,
        minus,
        contamination,
        sampler,
    )
    check_word("sampler", sampler, samplers.Sampler)
    reads = KINDS[kind].reads
    if sampler != "prior" and "sampler" in reads:
        reads += ("data",)  # the run's own, which the density is fitted to
    optional = [f for f in fields(asked) if f.default is not MISSING]
    for f in optional:
        if getattr(asked, f.name) != f.default and f.name not in reads:
            raise UserError(f"--{f.name} has no meaning for {kind}: leave it out")
    if sampler != "prior":
        asked = replace(asked, trained=samplers.with_sampler(asked))
    found = KINDS[kind].make(asked)
    columns = trained.columns
    if columns is not None and "images" in found:
        found["images"] = columns.unscaled(found["images"])
        found["columns"] = np.array(columns.features, str)
    return found


def check_out(
    out: str | Path, kind: str, shape: tuple[int, ...], columns: Columns | None = None
) -> None:
    """Raises UserError where `write` would refuse, before the work is done.

    Args:
      out: of `write`.
      kind: one of `KINDS`.
      shape: of one example of the run.
      columns: of the run, where it was trained on a table.
    """
    if kind not in KINDS:
        raise UserError(f"there is no kind {kind}: there are {', '.join(KINDS)}")
    path = Path(out)
    suffix, asked = path.suffix.lower(), KINDS[kind]
    allowed = [".npy", ".npz"]
    if asked.draw is not None:
        allowed.insert(0, ".png")
    if asked.columns or (asked.of_columns and columns is not None):
        allowed += tables.SUFFIXES
    if suffix not in allowed:
        no = f"{kind} make no picture: " if suffix == ".png" else ""
        listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise UserError(f"--out {out}: {no}the name must end in {listed}")
    if suffix == ".png" and len(shape) != 3:
        others = [each for each in allowed if each != ".png"]
        listed = f"{', '.join(others[:-1])} or {others[-1]}"
        raise UserError(f"vectors make no picture: --out must end in {listed}")
    tables.check_extra(path)
    if path.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")


def write(
    out: str | Path,
    kind: str,
    arrays: dict[str, np.ndarray],
    columns: Columns | None = None,
) -> None:
    """Writes a picture, arrays or a table, as the file's suffix says; its folder is made.

    Args:
      out: the file.
      kind: one of `KINDS`.
      arrays: from `sample`.
      columns: of the run, where it was trained on a table.

    Raises:
      UserError: a suffix that the kind can't have, or one that needs an extra.
      OSError: it can't be written there.
    """
    path, images = Path(out), arrays.get("images")
    shape = () if images is None or images.ndim < 4 else images.shape[-3:]
    check_out(path, kind, shape, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = KINDS[kind].draw
    if draw is not None and path.suffix.lower() == ".png":
        with naming(path):
            draw(path, arrays["images"])
        return
    if path.suffix.lower() in tables.SUFFIXES:
        with naming(path):
            if KINDS[kind].of_columns and columns is not None:
                table = tables.of_examples(arrays["images"], arrays.get("rows"), columns)
                tables.write(path, table, numbered=False)
            else:
                tables.write(path, tables.columns(arrays, KINDS[kind].columns))
        return
    # Opened here: NumPy would add a suffix to a name in capitals.
    with naming(path), path.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, **arrays)  # type: ignore[arg-type]
        else:
            np.save(file, arrays[KINDS[kind].npy])
