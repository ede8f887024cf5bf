"""How true made images are to real ones, and how much of the real ones they cover.

All scores but the last read features: pixels, or a layer of a classifier. They depend on
the features and on the number of samples: compare only scores with both the same.
"""

import math

import numpy as np
from sklearn.neighbors import NearestNeighbors

from aaejax.components.pixels import to_unit
from aaejax.types import Array, UserError

BLOCK = 1000  # rows of a matrix of all pairs that are held at once


def frechet_distance(real: Array, made: Array) -> float:
    """Computes the squared Fréchet distance of fitted Gaussians (Heusel et al. 2017).

    It is ||mu - mu'||^2 + Tr(S + S' - 2 (S S')^(1/2)) of a Gaussian fitted to each, the
    covariances S with N - 1 degrees of freedom. It is biased upwards, the more the fewer
    the samples.

    Args:
      real: The features of the real images, [N, D].
      made: The features of the made images, [M, D].

    Raises:
      UserError: The two are not such arrays of finite numbers, or have fewer than 2 rows.
    """
    real, made = _features(real, made)
    shift = real.mean(axis=0) - made.mean(axis=0)

    def factor(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(axis=0)
        # NumPy's stubs promise Q too, whatever the mode.
        return np.asarray(np.linalg.qr(centred / math.sqrt(len(x) - 1), mode="r"))

    # With S = R^T R and S' = R'^T R', Tr (S S')^(1/2) is the sum of the singular values of
    # R R'^T. No root of a matrix is taken, so singular covariances lose no digits.
    r, r_made = factor(real), factor(made)
    overlap = np.linalg.svd(r @ r_made.T, compute_uv=False).sum()
    traces = np.square(r).sum() + np.square(r_made).sum()
    return float(np.square(shift).sum() + traces - 2 * overlap)


def kernel_distance(real: Array, made: Array) -> float:
    """Computes the kernel inception distance (KID; Binkowski et al. 2018, section 4).

    It is the unbiased squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, of
    all samples: about 0, of either sign, where both are from one distribution.

    Args:
      real: The features of the real images, [N, D].
      made: The features of the made images, [M, D].

    Raises:
      UserError: The two are not such arrays of finite numbers, or have fewer than 2 rows.
    """
    real, made = _features(real, made)
    dimensions = real.shape[1]

    def all_pairs(a: np.ndarray, b: np.ndarray) -> float:
        total = 0.0
        for start in range(0, len(a), BLOCK):
            values = a[start : start + BLOCK] @ b.T / dimensions + 1
            total += (values * values * values).sum()
        return total

    def mean_off_diagonal(a: np.ndarray) -> float:
        diagonal = ((np.square(a).sum(axis=1) / dimensions + 1) ** 3).sum()
        return (all_pairs(a, a) - diagonal) / (len(a) * (len(a) - 1))

    cross = all_pairs(real, made) / (len(real) * len(made))
    return float(mean_off_diagonal(real) + mean_off_diagonal(made) - 2 * cross)


def precision_recall(real: Array, made: Array, k: int = 3) -> tuple[float, float]:
    """Computes improved precision and recall (Kynkäänniemi et al. 2019, section 2).

    Precision is the share of made samples within the real manifold, recall the share of
    real samples within the made one. A manifold is the union of closed balls around its
    samples that reach to their k-th nearest neighbour.

    Args:
      real: The features of the real images, [N, D].
      made: The features of the made images, [M, D].
      k: The number of neighbours, not counting the sample itself.

    Returns:
      The precision and the recall, in [0, 1].

    Raises:
      UserError: The two are not such arrays of finite numbers, or have fewer than 2 rows,
        or k is not in both 1 ... N - 1 and 1 ... M - 1.
    """
    real, made = _features(real, made)
    around_made, _ = _balls(made, real, k)
    around_real, _ = _balls(real, made, k)
    return float((around_made > 0).mean()), float((around_real > 0).mean())


def density_coverage(real: Array, made: Array, k: int = 5) -> tuple[float, float]:
    """Computes density and coverage (Naeem et al. 2020, section 3).

    Density is the number of real balls (see `precision_recall`) around a made sample over
    k, the mean over made samples; coverage is the share of real balls with a made sample in
    them. Unlike recall it isn't raised by made samples far from everything.

    Args:
      real: The features of the real images, [N, D].
      made: The features of the made images, [M, D].
      k: The number of neighbours, not counting the sample itself.

    Returns:
      The density, about 1 for samples of the real distribution and more where samples crowd
      into its densest parts; and the coverage, in [0, 1], for samples of the real
      distribution about 1 - 2^-k where N = M.

    Raises:
      UserError: The two are not such arrays of finite numbers, or have fewer than 2 rows,
        or k is not in 1 ... N - 1.
    """
    real, made = _features(real, made)
    around, within = _balls(made, real, k)
    return float(around.mean() / k), float((within > 0).mean())


def nearest(images: Array, training: Array, count: int) -> np.ndarray:
    """Finds the training examples closest to each image, to show that none is a copy.

    Args:
      images: The images, [n, ...], uint8 or float in [0, 1], not necessarily the dtype of
        `training`.
      training: The training examples, [N, ...], uint8 or float in [0, 1]; they are held
        once more as float32.
      count: The number of neighbours.

    Returns:
      The neighbours' places in `training`, [n, count], int, the closest first by Euclidean
      distance.
    """
    query, known = (
        np.asarray(to_unit(x), np.float32).reshape(len(x), -1) for x in (images, training)
    )
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(known)
    return search.kneighbors(query, return_distance=False)


def _features(real: Array, made: Array) -> tuple[np.ndarray, np.ndarray]:
    # Bytes are pixels, of which all else here is in [0, 1].
    real, made = (
        np.asarray(x / 255 if x.dtype == np.uint8 else x, np.float64)
        for x in map(np.asarray, (real, made))
    )
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1]:
        raise UserError(
            f"features of shapes {real.shape} and {made.shape}: they must be [N, D] and "
            "[M, D]; flatten images with x.reshape(len(x), -1)"
        )
    if min(len(real), len(made)) < 2:
        raise UserError(f"{len(real)} real and {len(made)} made: each needs 2 or more")
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise UserError("features must be finite: some are NaN or infinite")
    return real, made


def _balls(
    points: np.ndarray, centres: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The number of balls around each point, and of points within each centre's ball."""
    if not 1 <= k < len(centres):
        raise UserError(f"k is {k}: it must be in 1 ... {len(centres) - 1}, samples less 1")
    norms = np.square(centres).sum(axis=1)

    def squares(block: np.ndarray) -> np.ndarray:
        return np.square(block).sum(axis=1)[:, None] + norms - 2 * (block @ centres.T)

    radii = np.empty(len(centres))
    for start in range(0, len(centres), BLOCK):
        rows = slice(start, start + BLOCK)
        # The sample itself is one of the k + 1.
        radii[rows] = np.partition(squares(centres[rows]), k, axis=1)[:, k]
    # The neighbour on a ball's edge, and copies of it, are inside whatever the rounding.
    radii += 1e-12 * (norms + radii)

    around = np.empty(len(points), np.int64)
    within = np.zeros(len(centres), np.int64)
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        inside = squares(points[rows]) <= radii
        around[rows] = inside.sum(axis=1)
        within += inside.sum(axis=0)
    return around, within
