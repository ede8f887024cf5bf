import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aaejax.components import priors
from aaejax.types import UserError

pytestmark = pytest.mark.quick
N = 20_000
PRIORS = {
    "gaussian": priors.gaussian(2, std=5.0, classes=4),
    "uniform": priors.uniform(2, low=-1.0, high=3.0, classes=4),
    "mixture": priors.mixture(2, components=4),
    "swiss roll": priors.swiss_roll(classes=4),
}


@pytest.mark.parametrize("name", PRIORS)
def test_uniform_labels_make_up_the_prior_without_labels(name, getkey):
    prior = PRIORS[name]
    plain = prior(getkey(), N)
    labels = jnp.arange(N, dtype=jnp.int32) % 4
    labelled = prior(getkey(), N, labels)
    unknown = prior(getkey(), N, jnp.full(N, -1, jnp.int32))
    assert plain.shape == (N, 2)
    assert plain.dtype == jnp.float32
    assert np.isfinite(plain).all()
    for dimension in range(2):
        for other in (labelled, unknown):
            test = stats.ks_2samp(plain[:, dimension], other[:, dimension])
            assert test.pvalue > 1e-3


@pytest.mark.parametrize("name", PRIORS)
def test_classes_own_separate_parts(name, getkey):
    # A classifier that knows the parts finds the class of each code.
    prior = PRIORS[name]
    labels = jnp.arange(400, dtype=jnp.int32) % 4
    z = np.asarray(prior(getkey(), 400, labels))
    if name == "gaussian":
        found = np.floor(4 * stats.norm.cdf(z[:, 0] / 5))
    elif name == "uniform":
        found = np.floor(z[:, 0] + 1)
    elif name == "mixture":
        found = np.round(np.arctan2(z[:, 1], z[:, 0]) / (np.pi / 2)) % 4
    else:
        found = np.floor(4 * (np.hypot(*z.T) / 3) ** 2)
    assert (found == labels).mean() > 0.9


def test_gaussian_has_the_std_it_names(getkey):
    for latent in (1, 2, 8):
        z = np.asarray(priors.gaussian(latent, std=5.0)(getkey(), N))
        assert z.shape == (N, latent)
        for dimension in range(latent):
            assert stats.kstest(z[:, dimension] / 5, "norm").pvalue > 1e-3
        np.testing.assert_allclose(np.cov(z.T), 25 * np.eye(latent), atol=1.0)


def test_uniform_fills_its_cube(getkey):
    z = np.asarray(priors.uniform(3, low=-1.0, high=3.0)(getkey(), N))
    for dimension in range(3):
        assert stats.kstest((z[:, dimension] + 1) / 4, "uniform").pvalue > 1e-3


def test_mixture_petals_have_the_std_they_name(getkey):
    prior = priors.mixture(2, components=10, radius=1.4, std_along=0.5, std_across=0.1)
    z = np.asarray(prior(getkey(), N, jnp.full(N, 3, jnp.int32)))
    angle = 2 * np.pi * 3 / 10
    along = z @ [np.cos(angle), np.sin(angle)]
    across = z @ [-np.sin(angle), np.cos(angle)]
    assert along.mean() == pytest.approx(1.4, abs=0.02)
    assert along.std() == pytest.approx(0.5, rel=0.03)
    assert across.mean() == pytest.approx(0, abs=0.01)
    assert across.std() == pytest.approx(0.1, rel=0.03)


def test_swiss_roll_lies_on_its_roll(getkey):
    z = np.asarray(priors.swiss_roll(std=0.0)(getkey(), 1000))
    radius = np.hypot(*z.T)
    angle = np.arctan2(z[:, 1], z[:, 0]) % (2 * np.pi)
    np.testing.assert_allclose(np.cos(4 * np.pi * radius / 3), np.cos(angle), atol=1e-3)
    assert radius.max() <= 3


def test_every_prior_runs_under_jit_and_one_at_a_time(getkey):
    # As phases call it: one code for each example's own key, vmapped.
    for prior in PRIORS.values():
        keys = jax.random.split(getkey(), 5)
        one = jax.jit(jax.vmap(lambda k, prior=prior: prior(k, 1)[0]))(keys)
        assert one.shape == (5, 2)
        assert len(np.unique(np.asarray(one), axis=0)) == 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: priors.swiss_roll(8), "can't have 8 dimensions"),
        (lambda: priors.mixture(3), "must be even"),
        (lambda: priors.gaussian(2, std=0.0), "must be positive"),
        (lambda: priors.uniform(2, 1.0, 1.0), "high must be above low"),
        (lambda: priors.mixture(2, std_across=-1.0), "must be positive"),
        (lambda: priors.swiss_roll(std=-1.0), "must be 0 or more"),
    ],
)
def test_impossible_priors_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_a_class_stands_before_its_style_and_does_not_change_it(getkey):
    prior = priors.with_class(priors.gaussian(2, std=3.0), 4)
    key = getkey()
    codes = prior(jax.random.clone(key), 4000)
    assert codes.shape == (4000, 6)
    np.testing.assert_allclose(codes[:, :4].mean(axis=0), 0.25, atol=0.03)
    np.testing.assert_array_equal(codes[:, :4].max(axis=1), 1)
    np.testing.assert_allclose(codes[:, 4:].std(axis=0), 3, rtol=0.05)
    given = prior(key, 4000, jnp.where(jnp.arange(4000) < 2000, 2, -1))
    np.testing.assert_array_equal(given[:, 4:], codes[:, 4:])
    assert (given[:2000, 2] == 1).all()
    np.testing.assert_array_equal(given[2000:], codes[2000:])
