"""Names for clusters found without labels (Makhzani et al. 2015, section 5, table 3)."""

import numpy as np


def names_by_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Names clusters by the paper's rule: each as the example that is surest to be in it.

    The surest is the one of the smallest probability for all other clusters together: that
    tells apart examples whose q(k|x) is 1 to the last bit of a float32.

    Args:
      probabilities: q(y|x) of labelled validation examples, [N, K].
      labels: The labels of these examples, [N], int, from 0 on.

    Returns:
      The class of each cluster, [K], int.
    """
    others = 1.0 - np.eye(probabilities.shape[1])
    return labels[(probabilities.astype(np.float64) @ others).argmin(axis=0)]


def names_by_majority(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Names clusters by majority: cluster k is called what most of its members are called.

    Args:
      probabilities: q(y|x) of labelled validation examples, [N, K].
      labels: The labels of these examples, [N], int, from 0 on.

    Returns:
      The class of each cluster, [K], int; -1, which is never right, without members.
    """
    clusters, classes = probabilities.shape[1], int(labels.max()) + 1
    counts = np.zeros((clusters, classes), np.int64)
    np.add.at(counts, (probabilities.argmax(axis=1), labels), 1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def error(probabilities: np.ndarray, labels: np.ndarray, names: np.ndarray) -> float:
    """Computes the percentage of examples whose cluster has the name of another class.

    Args:
      probabilities: q(y|x) of the examples, [N, K].
      labels: The labels of the examples, [N], int.
      names: The class of each cluster, [K], int; `np.arange(K)` where y is a class already.
    """
    return float(100 * (names[probabilities.argmax(axis=1)] != labels).mean())
