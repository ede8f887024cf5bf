"""Vectors whose features have mean 0 and standard deviation 1 in the training part."""

import numpy as np

from aaejax.data.checks import blocks
from aaejax.data.lazy import Images, Rows
from aaejax.data.notes import Tell, listing
from aaejax.data.tabular.columns import Columns, moments, numbered
from aaejax.types import UserError


def fitted(
    images: Images, columns: Columns | None, standardise: bool, name: str, tell: Tell
) -> Columns:
    """Returns the columns, with the mean and std of these training features if asked for.

    Args:
      images: The training examples, which must be vectors.
      columns: What their features are; None for features without names.
      standardise: Whether the columns get the mean and std; those of columns that have them
        already are kept.
      name: The name of the data in messages.
      tell: Takes a line on values that float32 hardly tells apart.

    Raises:
      UserError: The examples are images, or vectors of other features than the columns are,
        or a feature has no value at all.
    """
    if images.ndim != 2:
        raise UserError(
            f"{name} are images: --standardise, and columns, are for tables and vectors"
        )
    features = images.shape[1]
    if columns is None:
        columns = numbered(features)
    if len(columns.features) != features:
        raise UserError(
            f"{name} has {features} features, the columns are {len(columns.features)}: "
            f"give {listing(map(repr, columns.features))}"
        )
    if not standardise or columns.standardised:
        return columns
    mean, std = moments((x for _, x in blocks(images)), features)
    if np.isnan(mean).any():
        empty = columns.features[int(np.argmax(np.isnan(mean)))]
        raise UserError(
            f"{name}: no training example has a value of {empty!r}: leave that column out"
        )
    few = std < 1e-5 * np.abs(mean)
    if few.any():
        coarse = [
            repr(n) for n, is_few in zip(columns.features, few, strict=True) if is_few
        ]
        tell(
            f"{name}: values of {listing(coarse)} differ by hardly more than float32 tells "
            "apart: take a constant from them"
        )
    return columns.fitted(mean, std)


def scaled(images: Images, columns: Columns) -> Images:
    """Brings vectors to the scale of the columns, where that is a standardised one."""
    if not columns.standardised:
        return images
    if isinstance(images, Rows):
        return images.then(columns.scaled, repr(columns))
    whole = np.empty(images.shape, np.float32)
    for start, block in blocks(images):
        whole[start : start + len(block)] = columns.scaled(np.asarray(block))
    return whole
