import numpy as np

from aaejax.metrics import clusters

# Five examples, three clusters; the third has no member.
PROBABILITIES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.6, 0.3, 0.1],
        [0.7, 0.1, 0.2],
        [0.2, 0.8, 0.0],
        [0.1, 0.5, 0.4],
    ]
)
LABELS = np.array([2, 1, 1, 0, 1])


def test_the_surest_example_names_its_cluster():
    names = clusters.names_by_confidence(PROBABILITIES, LABELS)
    assert names.tolist() == [2, 0, 1]


def test_the_surest_is_told_from_others_whose_probability_is_1_too():
    # In float32 1 - 1e-9 is 1: the first example would name the cluster.
    rest = np.array([1e-9, 1e-12, 1e-10], np.float32)
    probabilities = np.stack([1 - rest, rest], axis=1)
    assert (probabilities[:, 0] == 1).all()
    names = clusters.names_by_confidence(probabilities, np.array([5, 7, 6]))
    assert names[0] == 7


def test_the_majority_names_its_cluster_and_an_empty_one_stays_unnamed():
    names = clusters.names_by_majority(PROBABILITIES, LABELS)
    assert names.tolist() == [1, 0, -1]


def test_the_error_counts_examples_whose_cluster_has_another_name():
    # By the first rule only examples 0 and 3 are right, by the second 1, 2 and 3.
    assert clusters.error(PROBABILITIES, LABELS, np.array([2, 0, 1])) == 60
    assert clusters.error(PROBABILITIES, LABELS, np.array([1, 0, -1])) == 40
    assert clusters.error(PROBABILITIES, np.array([0, 0, 0, 1, 1]), np.arange(3)) == 0
