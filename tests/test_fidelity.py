import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel

from aaejax.metrics.fidelity import (
    density_coverage,
    frechet_distance,
    kernel_distance,
    nearest,
    precision_recall,
)
from aaejax.types import UserError


def ten_classes(rng, n: int, classes: int = 10, noise: float = 0.0) -> np.ndarray:
    """Samples of the first of ten clusters of std 1, some 12 apart, in 8 dimensions."""
    centres = np.random.default_rng(5).normal(0, 3, (10, 8))[rng.integers(0, classes, n)]
    return centres + rng.normal(0, 1, (n, 8)) + noise * rng.normal(0, 1, (n, 8))


def test_frechet_distance_by_hand():
    # Means 1 and 9, variances 2 and 32: 8^2 + (sqrt 2 - sqrt 32)^2 = 64 + 18.
    found = frechet_distance(np.array([[0.0], [2.0]]), np.array([[5.0], [13.0]]))
    assert found == pytest.approx(82)


def test_frechet_distance_is_that_of_the_gaussians():
    rng = np.random.default_rng(0)
    std, std_made = np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 0.5])
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    real = rng.normal(0, std, (50_000, 3)) @ rotation
    made = rng.normal(0, std_made, (40_000, 3)) @ rotation + 1.0
    closed = 3 + np.square(std - std_made).sum()
    assert frechet_distance(real, made) == pytest.approx(closed, rel=0.02)

    # Covariances that don't commute, against the matrix root.
    real, made = (rng.normal(size=(n, 6)) @ rng.normal(size=(6, 6)) for n in (40, 50))
    s, s_made = np.cov(real.T), np.cov(made.T)
    direct = np.square(real.mean(axis=0) - made.mean(axis=0)).sum()
    direct += np.trace(s + s_made - 2 * sqrtm(s @ s_made).real)
    assert frechet_distance(real, made) == pytest.approx(direct, rel=1e-9)


def test_frechet_distance_with_singular_covariances():
    rng = np.random.default_rng(0)
    constant, other = np.full((20, 30), 0.7), np.full((10, 30), 0.2)
    few = rng.normal(size=(8, 30))
    assert frechet_distance(constant, constant) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(constant, other) == pytest.approx(30 * 0.25)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-12)
    to_constant = np.square(few.mean(axis=0) - 0.7).sum() + few.var(axis=0, ddof=1).sum()
    assert frechet_distance(few, constant) == pytest.approx(to_constant)


def test_kernel_distance_equals_the_sum_over_all_pairs():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(5, 2)), rng.normal(1, 2, size=(4, 2))

    def k(a, b):
        return ((a[0] * b[0] + a[1] * b[1]) / 2 + 1) ** 3

    def pairs(x):
        return [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]

    direct = np.mean(pairs(real)) + np.mean(pairs(made))
    direct -= 2 * np.mean([k(a, b) for a in real for b in made])
    assert kernel_distance(real, made) == pytest.approx(direct)


def test_kernel_distance_is_that_of_scikit_learn_over_several_blocks():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(1100, 5)), rng.normal(size=(700, 5))
    within = [polynomial_kernel(x, degree=3, coef0=1) for x in (real, made)]
    direct = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in within)
    direct -= 2 * polynomial_kernel(real, made, degree=3, coef0=1).mean()
    assert kernel_distance(real, made) == pytest.approx(direct, rel=1e-6)


def test_distances_are_level_where_samples_match_and_grow_with_a_shift():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(500, 8))
    same = [kernel_distance(real, rng.normal(size=(500, 8))) for _ in range(10)]
    assert min(same) < 0 < max(same)
    assert max(np.abs(same)) < 0.02
    assert 0 < frechet_distance(real, rng.normal(size=(500, 8))) < 0.2
    for distance in (frechet_distance, kernel_distance):
        shifted = [distance(real, rng.normal(m, 1, size=(500, 8))) for m in (0.25, 0.5, 1)]
        assert 0.02 < shifted[0] < shifted[1] < shifted[2]


# Real balls are [-1, 1], [0, 2], [1, 5] for k = 1, and [-3, 3], [-1, 3], [0, 6] for k = 2;
# made ones [1.2, 1.6], [1.4, 1.8], [1.6, 7.4], [4.5, 13.5], and for k = 2 one has all.
@pytest.mark.parametrize(
    ("k", "precision", "recall", "density", "coverage"),
    [(1, 3 / 4, 1 / 3, 5 / 4, 2 / 3), (2, 3 / 4, 1, 7 / 8, 1)],
)
def test_manifolds_by_hand(k, precision, recall, density, coverage):
    real, made = np.array([[0.0], [1], [3]]), np.array([[1.4], [1.6], [4.5], [9]])
    assert precision_recall(real, made, k) == pytest.approx((precision, recall))
    assert density_coverage(real, made, k) == pytest.approx((density, coverage))


def test_manifolds_over_several_blocks():
    rng = np.random.default_rng(0)
    real, made = ten_classes(rng, 1300), ten_classes(rng, 1100, noise=0.5)

    def inside(points, centres, k):
        radii = np.sort(cdist(centres, centres), axis=1)[:, k]
        return cdist(points, centres) <= radii

    precision = inside(made, real, 3).any(axis=1).mean()
    recall = inside(real, made, 3).any(axis=1).mean()
    assert precision_recall(real, made) == pytest.approx((precision, recall))
    balls = inside(made, real, 5)
    density, coverage = balls.sum() / (5 * 1100), balls.any(axis=0).mean()
    assert density_coverage(real, made) == pytest.approx((density, coverage))


def test_manifolds_tell_lost_classes_from_noise():
    rng = np.random.default_rng(0)
    real, n = ten_classes(rng, 1000), 1000

    def scores(made):
        return (*precision_recall(real, made), *density_coverage(real, made))

    precision, recall, density, coverage = scores(ten_classes(rng, n))
    assert min(precision, recall, coverage) > 0.8
    assert density == pytest.approx(1, abs=0.1)
    precision, recall, _, coverage = scores(ten_classes(rng, n, classes=5))
    assert precision > 0.8
    assert max(recall, coverage) < 0.6
    precision, _, density, coverage = scores(ten_classes(rng, n, noise=3.0))
    assert max(precision, density, coverage) < 0.3


def test_samples_that_are_all_one_image():
    rng = np.random.default_rng(0)
    real = ten_classes(rng, 500)
    copies = np.tile(real[:1], (500, 1))
    precision, recall = precision_recall(real, copies)
    assert (precision, recall) == (1, 1 / 500)
    assert density_coverage(real, copies)[1] < 0.05
    assert precision_recall(real, copies + 100) == (0, 0)
    constant = np.full((50, 300), 0.1)
    assert precision_recall(constant, constant[:20]) == (1, 1)


def test_copies_of_the_real_samples_lie_in_every_ball_that_reaches_them():
    real = np.random.default_rng(0).normal(1, 1, (100, 50))
    assert precision_recall(real, real) == (1, 1)
    assert density_coverage(real, real, k=5)[1] == 1
    # In k balls, at the edge, and their own. Products of few rows are rounded otherwise.
    pairs = [density_coverage(real, pair, k=5)[0] for pair in np.split(real, 50)]
    assert np.mean(pairs) == pytest.approx(6 / 5)


def test_features_that_cannot_be_compared_are_refused():
    x = np.random.default_rng(0).normal(size=(6, 2))
    with pytest.raises(UserError, match=r"\(6, 2\) and \(6, 1\)"):
        frechet_distance(x, x[:, :1])
    with pytest.raises(UserError, match="6 real and 1 made"):
        kernel_distance(x, x[:1])
    with pytest.raises(UserError, match="finite"):
        precision_recall(x, np.full((6, 2), np.nan))
    for k in (0, 6):
        with pytest.raises(UserError, match=r"1 \.\.\. 5"):
            density_coverage(x, x, k)


def test_bytes_are_pixels_in_the_unit_range():
    rng = np.random.default_rng(0)
    real, made = rng.integers(0, 256, (40, 3), np.uint8), rng.random((40, 3))
    expected = frechet_distance(real / 255, made)
    assert frechet_distance(real, made) == pytest.approx(expected, rel=1e-5)
    assert expected < 0.1


def test_nearest_finds_the_copied_training_examples():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (60, 4, 3, 1), np.uint8)
    images = training[[41, 7, 7]] / np.float32(255) + rng.normal(0, 0.01, (3, 4, 3, 1))
    found = nearest(images, training, 5)
    assert found[:, 0].tolist() == [41, 7, 7]
    distances = cdist(images.reshape(3, 12), training.reshape(60, 12) / 255)
    np.testing.assert_array_equal(found, distances.argsort(axis=1)[:, :5])
