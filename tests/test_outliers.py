"""Scores of what is unlike the training data."""

import jax
import numpy as np
import pytest

from aaejax.components import densities, priors
from aaejax.metrics.outliers import Outliers
from aaejax.types import Model, UserError


def plain(prior, **more):
    """A model whose code is the example itself, and whose error is its first value."""
    return Model(
        init=lambda key: {},
        phases=(),
        prior=prior,
        latent=2,
        decode=lambda _, codes: codes,
        encode=lambda _, x, key, y: x,
        error=lambda _, x, codes: x[:, 0],
        **more,
    )


KNOWN = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]], np.float32)


def test_scores_by_hand():
    outliers = Outliers(plain(priors.fixed(priors.gaussian(2))), {}, KNOWN)
    found = outliers(np.array([[2, 0], [4, 3]], np.float32))
    np.testing.assert_allclose(found["reconstruction"], [2, 4])
    constant = np.log(2 * np.pi)
    np.testing.assert_allclose(found["latent"], [2 + constant, 12.5 + constant], rtol=1e-5)
    # Quartiles of the error are 1, 2, 3; those of -log p are 0.5, 2, 4.5 and the constant.
    expected = (2 / (2 / 1.349) + 10.5 / (4 / 1.349)) / 2
    np.testing.assert_allclose(found["score"], [0, expected], atol=1e-5)
    # Half of the held-out examples lie above their median, one of five above the fourth.
    assert outliers.threshold(0.5) == pytest.approx(0, abs=1e-6)
    quarter = np.sort(outliers.held_out["score"])[3]
    assert outliers.threshold(0.25) == pytest.approx(quarter)


def test_a_prior_without_a_density_has_a_distance():
    std = np.array([1.0, 4.0], np.float32)

    def prior(_, key, n, labels=None):
        return 3 + std[None] * jax.random.normal(key, (n, 2))

    found = Outliers(plain(prior), {}, KNOWN)(np.array([[4, 3], [3, 7]], np.float32))
    np.testing.assert_allclose(found["latent"], [0.5, 0.5], atol=0.05)


@pytest.mark.parametrize("share", [0, -0.1, 0.6, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    outliers = Outliers(plain(priors.fixed(priors.gaussian(2))), {}, KNOWN)
    with pytest.raises(UserError, match=r"more than 0 and at most 0\.5"):
        outliers.threshold(share)


def test_what_can_not_score_says_so():
    model = plain(priors.fixed(priors.gaussian(2)))
    with pytest.raises(UserError, match="calibrated on held-out examples"):
        Outliers(model, {}, KNOWN[:1])


def test_equal_values_set_no_scale():
    same = np.zeros((4, 2), np.float32)
    found = Outliers(plain(priors.fixed(priors.gaussian(2))), {}, same)(same)
    assert np.isfinite(found["score"]).all()


def test_densities_of_priors_are_their_own(getkey):
    codes = priors.mixture(2, 3)(getkey(), 5)
    whole = priors.log_density(priors.fixed(priors.mixture(2, 3)))
    assert whole is not None
    np.testing.assert_allclose(whole(codes), densities.mixture(2, 3)(codes))
    with_class = priors.with_class(priors.gaussian(2), 3)
    joint = priors.log_density(priors.fixed(with_class))
    assert joint is not None
    drawn = with_class(getkey(), 5)
    expected = densities.gaussian(2)(drawn[:, 3:]) - np.log(3)
    np.testing.assert_allclose(joint(drawn), expected, rtol=1e-6)
    assert priors.log_density(priors.uniform(2)) is None
