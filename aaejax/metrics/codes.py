"""What codes are worth: how well they match the prior, and what they know about labels."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aaejax.types import Array, UserError


def mmd_p_value(codes: Array, prior: Array, seed: int, permutations: int = 200) -> float:
    """Computes how often chance alone separates two samples as far as codes and prior are.

    It is a permutation test (Gretton et al. 2012) with the statistic of `losses.mmd`. Where
    codes follow the prior, p is uniform in [0, 1]; a small one says that they don't.

    Args:
      codes: The codes, [N, Z].
      prior: Samples of the prior, [M, Z].
      seed: The seed of the permutations.
      permutations: The number of permutations: more than 1 / p of the smallest p of
        interest.

    Returns:
      (1 + permutations at least as far apart) / (1 + permutations).

    Raises:
      UserError: There are fewer than 2 codes or samples, some are not finite, or the
        samples have no variance and so set no scale.
    """
    observed, *permuted = permuted_mmds(codes, prior, seed, permutations)
    # A permutation that swaps equals is as far apart, whatever the rounding.
    return float((1 + (np.array(permuted) >= observed - 1e-9).sum()) / (1 + permutations))


def permuted_mmds(codes: Array, prior: Array, seed: int, permutations: int) -> np.ndarray:
    """Computes squared MMDs, first with the labels as they are, then with permuted ones.

    Arguments and errors are those of `mmd_p_value`.

    Returns:
      The squared distances, [1 + permutations], float64.
    """
    codes, prior = np.asarray(codes, np.float64), np.asarray(prior, np.float64)
    n, m = len(codes), len(prior)
    if min(n, m) < 2:
        raise UserError(f"{n} codes and {m} prior samples: each needs 2 or more")
    pooled = np.concatenate([codes, prior])
    # The scale stays that of the prior: one kernel serves all permutations.
    scale = 2 * prior.shape[1] * prior.var(axis=0).mean()
    if not (np.isfinite(pooled).all() and scale > 0):
        raise UserError("codes and prior must be finite, and the prior must vary")
    squares = cdist(pooled, pooled, "sqeuclidean")
    kernel = np.zeros_like(squares)
    for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
        kernel += c * scale / (c * scale + squares)
    np.fill_diagonal(kernel, 0)  # unbiased: no sample is paired with itself

    labels = np.tile(np.repeat([1.0, 0.0], [n, m]), (1 + permutations, 1))
    labels[1:] = np.random.default_rng(seed).permuted(labels[1:], axis=1)
    sums = labels @ kernel  # of each pooled sample with all codes
    among_codes = (sums * labels).sum(axis=1)
    across = (sums * (1 - labels)).sum(axis=1)
    among_prior = kernel.sum() - among_codes - 2 * across
    return among_codes / (n * (n - 1)) + among_prior / (m * (m - 1)) - 2 * across / (n * m)


def classifier_two_sample(codes: Array, prior: Array, seed: int) -> float:
    """Measures how well codes and prior samples are told apart (Lopez-Paz & Oquab 2017).

    Extremely randomized trees do so, in 5-fold cross-validation: they see both the blur of
    a swiss roll, which an RBF kernel misses, and a wrong scale in 20 dimensions, which
    nearest neighbours miss.

    Args:
      codes: The codes, [N, Z].
      prior: As many samples of the prior, [N, Z].
      seed: The seed of the folds and trees.

    Returns:
      The share of held-out samples told right: 0.5 where codes follow the prior (with
      N = 500 give or take 0.02), 1 where the two don't overlap.

    Raises:
      UserError: There are not as many codes as samples, so that 0.5 wouldn't be chance.
    """
    if len(codes) != len(prior):
        raise UserError(f"{len(codes)} codes and {len(prior)} prior samples: draw as many")
    # Leaves of five: smaller ones fit noise and see small shifts less.
    trees = ExtraTreesClassifier(100, min_samples_leaf=5, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    labels = np.repeat([1, 0], len(codes))
    return float(
        cross_val_score(trees, np.concatenate([codes, prior]), labels, cv=folds).mean()
    )


def linear_accuracy(
    train_codes: Array, train_labels: Array, test_codes: Array, test_labels: Array
) -> float:
    """Measures how well a linear classifier reads the class from codes.

    It is a multinomial logistic regression, its L2 penalty that of a unit Gaussian on
    weights, on codes standardised by the training codes.

    Args:
      train_codes: The training codes, [N, Z].
      train_labels: Their labels, [N], int, all known, of at least two classes.
      test_codes: The test codes, [M, Z].
      test_labels: Their labels, [M], int.

    Returns:
      The share of test codes named right.
    """
    # float64: in float32 the solver may stop before it has converged, with a warning.
    train_codes, test_codes = (np.asarray(c, np.float64) for c in (train_codes, test_codes))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    model.fit(train_codes, np.asarray(train_labels))
    return float(model.score(test_codes, np.asarray(test_labels)))


def knn_accuracy(
    train_codes: Array,
    train_labels: Array,
    test_codes: Array,
    test_labels: Array,
    k: int = 5,
) -> float:
    """Measures how well the k nearest training codes, by Euclidean distance, tell classes.

    Args:
      train_codes: The training codes, [N, Z], N >= k.
      train_labels: Their labels, [N], int, all known.
      test_codes: The test codes, [M, Z].
      test_labels: Their labels, [M], int.
      k: The number of neighbours that vote.

    Returns:
      The share of test codes named right.
    """
    model = KNeighborsClassifier(k).fit(np.asarray(train_codes), np.asarray(train_labels))
    return float(model.score(np.asarray(test_codes), np.asarray(test_labels)))
