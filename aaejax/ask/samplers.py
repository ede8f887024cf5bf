"""Densities fitted to the training codes of a run, kept in its folder."""

import dataclasses
import io
import zlib

import jax
import numpy as np

from aaejax.ask import sources
from aaejax.ask.question import Question
from aaejax.components import priors
from aaejax.metrics import mixtures
from aaejax.runs.on_disk.files import atomic, read_bytes
from aaejax.runs.trained import Trained
from aaejax.types import UserError

COMPONENTS = {"gaussian": (1,), "gmm": mixtures.COMPONENTS}


def with_sampler(question: Question) -> Trained:
    """Gives the question's model the density that it asks for in the place of the prior.

    In a code with a class in front the class stays the prior's, and the density is that of
    the styles.

    Raises:
      UserError: The model has no encoder, the training data are not at hand, or a label is
        asked for that is a part of the prior.
    """
    trained, model = question.trained, question.trained.model
    if not model.encodes:
        raise UserError("this model has no encoder: --sampler needs the codes of one")
    if model.prior_classes and not model.classes and question.label is not None:
        raise UserError("a label is a part of the prior here: leave out it or --sampler")
    style = priors.gaussian_mixture(*_mixture(question))
    density = priors.after(style, model.classes, model.conditions)
    changed = dataclasses.replace(model, prior=priors.fixed(density))
    return dataclasses.replace(trained, model=changed)


def _mixture(question: Question) -> mixtures.Mixture:
    """Reads the mixture kept in the run folder for this encoder, or fits and keeps it."""
    trained, name = question.trained, question.sampler
    file = trained.folder.path / f"sampler-{name}.npz"
    of = _checksum(trained)
    size = trained.model.latent - trained.model.front
    try:
        with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as kept:
            found = mixtures.Mixture(*(kept[each] for each in mixtures.Mixture._fields))
            if int(kept["of"]) == of and _fits(found, size):
                return mixtures.floored(found)
    except Exception:  # not there, or damaged in one of many ways: it is made again
        pass
    dataset = sources.own(trained, question.data, question.data_dir)
    told = trained.model.told(dataset.train_labels, dataset.train_beside.condition)
    codes = trained.encode(dataset.train_images, told)
    made = mixtures.fit(codes[:, trained.model.front :], COMPONENTS[name])
    try:
        with atomic(file) as out:
            np.savez(out, of=np.uint32(of), **made._asdict())  # type: ignore[arg-type]
    except OSError as error:
        question.tell(f"note: the density is not kept, {file} can't be written: {error}")
    return made


def _fits(found: mixtures.Mixture, size: int) -> bool:
    count = len(found.weights)
    shapes = [(count,), (count, size), (count, size, size)]
    return count > 0 and all(
        part.shape == shape and part.dtype == np.float32 and np.isfinite(part).all()
        for part, shape in zip(found, shapes, strict=True)
    )


def _checksum(trained: Trained) -> int:
    """Computes a checksum of the encoder's variables, as a density is of its codes."""
    checksum = 0
    for leaf in jax.tree.leaves(trained.variables["encoder"]):
        checksum = zlib.crc32(np.asarray(leaf).tobytes(), checksum)
    return checksum
