"""What a phase reads of a batch, and the check of it when a step is traced."""

import difflib

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from aaejax.types import LABELLED, Array, Batch, Draw, Input, Phase, UserError


def image_input(shape: tuple[int, ...], unit_range: bool, prefix: str = "") -> Input:
    """The image of a batch, as a phase reads it.

    Args:
      shape: The shape of one example.
      unit_range: Whether all values lie in [0, 1].
      prefix: What stands in front of "image" in the batch, such as "labelled_".
    """
    return Input(name=f"{prefix}image", shape=shape, unit_range=unit_range)


def label_input(classes: int, prefix: str = "") -> Input:
    """The label of a batch, one of so many classes; under `LABELLED` it is known."""
    return Input(name=f"{prefix}label", classes=classes, unknown=prefix != LABELLED)


def condition_input(size: int, prefix: str = "") -> Input:
    """The condition of a batch, as a phase reads it: so many real numbers an example."""
    return Input(name=f"{prefix}condition", shape=(size,))


def weight_input(prefix: str = "") -> Input:
    """The weights of a batch, as they are read by a phase that takes means by them."""
    return Input(name=f"{prefix}weight", weights=True)


def unweighted(each: Array, batch: Batch, draw: Draw, prefix: str = "") -> Array:
    """The plain mean, (), of numbers [B]; the arguments are those of `weighted_mean`."""
    return each.mean()


def weighted_mean(each: Array, batch: Batch, draw: Draw, prefix: str = "") -> Array:
    """The mean over the global batch by the weights of its examples.

    Args:
      each: One number for each example, [B].
      batch: The batch, which has "weight" under the prefix.
      draw: The draw of the phase, which gathers the weights of all devices.
      prefix: What stands in front of "weight" in the batch.

    Returns:
      What this device adds to the mean, float32 (): its mean over the devices is the mean
      over the global batch.
    """
    weight = batch[f"{prefix}weight"]
    total = draw.gather(weight).mean()
    # Weight 0 is a mask of any number: 0 * inf is none.
    weighed = weight * jnp.where(weight > 0, each, 0.0)
    # A batch that weighs nothing trains nothing, and is no 0 / 0.
    return weighed.mean() / jnp.where(total > 0, total, 1.0)


def batch_size(phase: Phase, batch: Batch) -> int:
    """The batch size B of what the phase reads, which is checked.

    Raises:
      UserError: The batch lacks an array, has it in another shape, dtype or range, or has
        arrays of different sizes.
    """
    for each in phase.inputs:
        _check_input(each, batch, phase.name)
    sizes = {each.name: batch[each.name].shape[0] for each in phase.inputs}
    if not sizes:
        return jax.tree.leaves(dict(batch))[0].shape[0]
    (first, size), *_ = sizes.items()
    for name in sizes:
        if sizes[name] != size:
            raise UserError(
                f"{name!r} of the batch has {sizes[name]} examples and {first!r} has "
                f"{size}: they must be the same"
            )
    return size


def _check_input(wanted: Input, batch: Batch, phase: str) -> None:
    """Raises UserError where the batch has not what the phase reads."""
    name = wanted.name
    if name not in batch:
        near = difflib.get_close_matches(name, batch, n=1, cutoff=0.5)
        hint = f"; is it the {near[0]!r} there?" if near else ""
        raise UserError(
            f"phase {phase} reads {name!r} of the batch, which has "
            f"{', '.join(map(repr, batch))}{hint}"
        )
    x = batch[name]
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise UserError(
            f"{name!r} of the batch is of type {type(x).__name__}: it must be an array"
        )
    kind = jnp.floating if wanted.classes is None else jnp.integer
    if not jnp.issubdtype(x.dtype, kind):
        what = "float32" if wanted.classes is None else "int32"
        hint = ": divide by 255" * (x.dtype == jnp.uint8 and wanted.classes is None)
        raise UserError(f"{name!r} of the batch is {x.dtype}: it must be {what}{hint}")
    if tuple(x.shape[1:]) != tuple(wanted.shape) or x.ndim == 0:
        expected = ", ".join(map(str, ("B", *wanted.shape)))
        raise UserError(
            f"{name!r} of the batch has shape {list(x.shape)}: it must be [{expected}]"
        )
    if not x.shape[0]:
        raise UserError(f"{name!r} of the batch has no examples: give at least one")
    if isinstance(x, Tracer):
        return  # under jit the values are not known
    values = np.asarray(x)
    if wanted.missing:
        values = values[~np.isnan(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if wanted.unit_range and not (low >= 0 and high <= 1):
        raise UserError(
            f"{name!r} of the batch lies in [{low:.9g}, {high:.9g}]: it must lie in [0, 1]"
        )
    if wanted.counts and not (low >= 0 and (values == np.floor(values)).all()):
        raise UserError(
            f"{name!r} of the batch are no counts: give whole numbers from 0 on"
        )
    if wanted.weights and not low >= 0:
        raise UserError(f"{name!r} of the batch goes down to {low:.9g}: give 0 or more")
    least = -1 if wanted.unknown else 0
    if wanted.classes is not None and not (low >= least and high < wanted.classes):
        raise UserError(
            f"{name!r} of the batch lies in {low:.0f} ... {high:.0f}: it must lie in "
            f"0 ... {wanted.classes - 1}{', or be -1 for unknown' * wanted.unknown}"
        )
