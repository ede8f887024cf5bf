"""The words of `sample.py`: what each needs of a model, reads, and looks like."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import jax
import numpy as np

from aaejax import sampling
from aaejax.ask import answers
from aaejax.ask.answers import Arrays, Question
from aaejax.runs import pictures
from aaejax.runs.restore import Trained
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


KINDS = {
    "samples": Kind(answers.samples, reads=("label",), draw=pictures.write_grid),
    "nearest": Kind(answers.nearest, reads=("label",)),
    "reconstructions": Kind(
        answers.reconstructions,
        _encodes,
        reads=("data", "pick"),
        draw=lambda path, images: pictures.write_pairs(path, images[:, 0], images[:, 1]),
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
        answers.classify, _has_classifier, reads=("data",), draw=None, npy="probabilities"
    ),
    "codes": Kind(answers.codes, _encodes, reads=("data",), draw=None, npy="codes"),
    "bounds": Kind(
        answers.bounds,
        _has_densities,
        reads=("data",),
        draw=None,
        npy="importance_weighted",
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
    data_dir: Path | None = None,
    data: str | None = None,
    label: int | None = None,
    pick: tuple[int, ...] = (),
    path: sampling.Path = "linear",
    plus: str | None = None,
    minus: str | None = None,
) -> dict[str, np.ndarray]:
    """What `sample.py RUN KIND` writes.

    Args:
      trained: from `restore`.
      kind: one of `kinds(trained.model)`.
      count: how many images.
      seed: of all noise and of the choice of held-out examples.
      data_dir: where TFDS datasets are.
      data: a dataset, file or folder to take images from, in place of the run's held-out
        examples; for codes in place of the run's dataset.
      label: of samples.
      pick: which of these images, by number, in place of a random choice; interpolations go
        from the first half of them to the second.
      path: of interpolations.
      plus: arithmetic adds the mean code of these: a label, or a dataset, file or folder.
      minus: and takes away the mean code of these.

    Returns:
      Arrays by name; which, the kind's function in `ask/answers.py` says.

    Raises:
      UserError: a kind that the model doesn't have, or data of another shape.
    """
    possible = kinds(trained.model)
    if kind not in possible:
        raise UserError(f"this run has no kind {kind}: it has {', '.join(possible)}")
    if count < 1:
        raise UserError(f"a count of {count}: it must be at least 1")
    asked = Question(
        trained, count, jax.random.key(seed), data_dir, data, label, pick, path, plus, minus
    )
    optional = [f for f in fields(asked) if f.default is not MISSING]
    for f in optional:
        if getattr(asked, f.name) != f.default and f.name not in KINDS[kind].reads:
            raise UserError(f"--{f.name} has no meaning for {kind}: leave it out")
    return KINDS[kind].make(asked)


def write(out: Path, kind: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a picture or arrays, as the file's suffix says.

    Raises:
      UserError: a suffix that is none of .png, .npy, .npz, or that the kind can't have.
    """
    suffix, draw = out.suffix.lower(), KINDS[kind].draw
    if suffix not in (".png", ".npy", ".npz"):
        raise UserError(f"--out {out}: the name must end in .png, .npy or .npz")
    if suffix == ".png" and draw is None:
        raise UserError(f"{kind} make no picture: --out must end in .npy or .npz")
    if suffix == ".png" and arrays["images"].ndim < 4:
        raise UserError("vectors make no picture: --out must end in .npy or .npz")
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npz":
        np.savez(out, **arrays)  # type: ignore[arg-type]
    elif suffix == ".npy":
        np.save(out, arrays[KINDS[kind].npy])
    elif draw is not None:
        draw(out, arrays["images"])
