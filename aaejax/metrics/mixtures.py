"""A mixture of Gaussians fitted to codes (Ghosh et al. 2020, section 4)."""

from typing import NamedTuple

import numpy as np

from aaejax.metrics.heldout import mixed_order
from aaejax.types import UserError

COMPONENTS = (1, 2, 5, 10, 20, 50, 100)
# Of a variance, as a share of the largest: float32 factors no narrower covariance well.
FLOOR = 1e-5
MOST = 20_000  # codes that are fitted: more change little and take minutes


class Mixture(NamedTuple):
    """The weights [C], means [C, Z] and covariances [C, Z, Z] of Gaussians, float32.

    They are the arguments of `priors.gaussian_mixture`, which draws and has the density.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def fit(codes: np.ndarray, components: tuple[int, ...] = COMPONENTS) -> Mixture:
    """Fits the mixture under which a tenth of the codes, which is not fitted, is likeliest.

    Numbers of components are tried upwards, until one is worse than that before it.

    Args:
      codes: The codes, [N, Z], in any order.
      components: The numbers of components to choose from, the smallest first.

    Raises:
      UserError: There are fewer than 20 codes, or too few for their dimensions, or some are
        not finite.
    """
    from sklearn.mixture import GaussianMixture  # over a second

    if len(codes) < 20 or not np.isfinite(codes).all():
        raise UserError(
            f"a density needs 20 or more codes, all finite: there are {len(codes)}"
        )
    mixed = np.asarray(codes, np.float64)[mixed_order(len(codes))[:MOST]]
    held_out, fitted = np.split(mixed, [len(mixed) // 10])
    best, likelihood = None, -np.inf
    for number in components:
        if number * (codes.shape[1] + 1) > len(fitted):  # fewer codes than a part needs
            break
        made = GaussianMixture(number, random_state=0, reg_covar=1e-6).fit(fitted)
        reached = float(made.score(held_out))
        if reached <= likelihood:
            break
        best, likelihood = made, reached
    if best is None:
        raise UserError(
            f"{len(codes)} codes of {codes.shape[1]} dimensions are too few for a density"
        )
    parts = best.weights_, best.means_, best.covariances_
    return floored(Mixture(*(np.asarray(part) for part in parts)))


def floored(mixture: Mixture) -> Mixture:
    """Raises variances below the floor in any direction: covariances then have factors."""
    covariances = [_floored(each) for each in np.asarray(mixture.covariances, np.float64)]
    return Mixture(*(np.asarray(x, np.float32) for x in (*mixture[:2], covariances)))


def _floored(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    # What has the floor, but for its rounding to float32, stays as it is.
    if values[0] > 0.5 * FLOOR * values[-1]:
        return covariance
    return (vectors * np.maximum(values, FLOOR * values[-1])) @ vectors.T
