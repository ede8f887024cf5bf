import numpy as np
import pytest

from aaejax.metrics.heldout import HeldOut
from tests.conftest import TINY, tiny_options


def test_heldout_scores_are_means_over_all_examples(getkey):
    model = tiny_options().build(TINY, 1)
    networks = model.init(getkey())
    images = np.random.default_rng(0).integers(0, 256, (1203, *TINY.shape), np.uint8)
    scores, codes = HeldOut(model, images, None, getkey())(networks)
    unit = images.astype(np.float32) / 255
    expected = model.encode(networks, unit, getkey())
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    errors = model.error(networks, unit, expected)
    assert scores["heldout/reconstruction"] == pytest.approx(float(errors.mean()), rel=1e-5)
    # Codes of an untrained encoder are nothing like the prior.
    assert scores["heldout/prior_mmd"] > 10 * abs(scores["heldout/prior_mmd_chance"])
