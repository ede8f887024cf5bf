"""The scikit-learn face: its contract, its training, its scores, its pickle."""

import pickle
import pickletools

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

from aaejax.data import from_arrays
from aaejax.estimators import AAEDetector, AAETransformer
from aaejax.metrics.outliers import Outliers
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import run_python

SMALL = {"width": 8, "depth": 1, "steps": 20, "batch_size": 20, "random_state": 3}


@pytest.fixture(scope="module")
def rows():
    """Rows near a plane in six dimensions, far from mean 0 and standard deviation 1."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2, 6))
    near = rng.normal(size=(120, 2)) @ plane + 0.05 * rng.normal(size=(120, 6))
    return 50 + 10 * near


@pytest.fixture(scope="module")
def detector(rows):
    return AAEDetector(latent=2, density="prior", **SMALL).fit(rows)


@pytest.mark.parametrize("estimator", [AAEDetector, AAETransformer])
def test_scikit_learns_own_checks_pass(estimator):
    small = estimator(width=8, depth=1, steps=20)
    found = check_estimator(small, on_skip=None)
    assert len(found) > 40
    assert {each["status"] for each in found} <= {"passed", "skipped"}
    skipped = {each["check_name"] for each in found if each["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_estimators_pickle"}, skipped


def test_a_seed_is_the_run_of_train(rows, tmp_path):
    rows = rows.astype(np.float32)
    # 120 rows in batches of 20: four epochs are 24 steps.
    settings = {**SMALL, "latent": 2, "standardise": True, "steps": 24}
    fitted = AAETransformer(**settings).fit(rows).fitted_
    dataset = from_arrays(rows, hold_out=False, standardise=True)
    np.testing.assert_array_equal(fitted.scaled(rows), dataset.train_images)
    config = RunConfig(
        epochs=4, batch_size=20, seed=3, log_every=20, save_every=20, workdir=tmp_path
    )
    train(fitted.recipe.options, dataset, config, devices=jax.devices()[:1])
    for one, other in zip(
        jax.tree.leaves(restore(tmp_path).variables),
        jax.tree.leaves(fitted.variables),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_outliers(detector, rows):
    fitted = detector.fitted_
    outliers = Outliers(fitted.programs.model, fitted.variables, fitted.scaled(rows))
    expected = outliers(fitted.scaled(rows))["score"]
    np.testing.assert_allclose(
        detector.score_samples(rows), -expected, rtol=1e-4, atol=1e-4
    )
    assert detector.offset_ == pytest.approx(-outliers.threshold(0.05), rel=1e-4)
    assert (detector.predict(rows) == -1).sum() == 6  # 5 % of 120


def test_what_is_unlike_is_found(rows):
    """What lies off the plane is, once it was learned; what lies far out on it too."""
    learned = AAEDetector(latent=2, width=32, depth=1, steps=400, random_state=0).fit(rows)
    off = rows[:20].copy()
    off[:, 0] += 40 * np.where(np.arange(20) % 2, 1, -1)
    found = learned.predict(off)
    assert (found == -1).mean() > 0.8
    assert learned.score_samples(rows).mean() > learned.score_samples(off).mean()
    far = rows.mean(axis=0) + 6 * (rows - rows.mean(axis=0))
    assert (learned.predict(far) == -1).mean() > 0.9


def test_codes_and_rows_go_both_ways(rows):
    encoder = AAETransformer(latent=2, width=32, depth=1, steps=400, random_state=0)
    codes = encoder.fit_transform(rows)
    assert codes.shape == (120, 2) and codes.dtype == np.float32
    again = encoder.inverse_transform(codes)
    assert again.shape == rows.shape
    # In the units of the rows, closer than their mean by far.
    left = np.square(again - rows).sum() / np.square(rows - rows.mean(axis=0)).sum()
    assert left < 0.2
    with pytest.raises(UserError, match="codes have 3 features: this one's have 2"):
        encoder.inverse_transform(np.zeros((1, 3)))


def test_few_rows_fill_a_batch():
    few = np.random.default_rng(0).normal(size=(7, 3))
    assert AAETransformer(**SMALL).fit_transform(few).shape == (7, 1)  # half of 3


def test_values_in_the_unit_range_stay(rows):
    scaled = MinMaxScaler().fit_transform(rows)
    recipe = AAETransformer(latent=2, **SMALL).fit(scaled).fitted_.recipe
    assert recipe.unit_range and recipe.options.output == "sigmoid"
    made = AAETransformer(latent=2, standardise=True, **SMALL).fit(scaled).fitted_.recipe
    assert not made.unit_range and made.options.output == "linear"


def test_in_a_pipeline_and_a_search(rows):
    labels = np.ones(120, int)
    labels[::12] = -1
    moved = rows.copy()
    moved[::12] += 100
    pipe = make_pipeline(MinMaxScaler(), AAEDetector(**SMALL))
    grid = {"aaedetector__latent": [1, 2]}
    search = GridSearchCV(pipe, grid, scoring="roc_auc", cv=2, error_score="raise")
    search.fit(moved, labels)
    assert 0 <= search.best_score_ <= 1
    plain = GridSearchCV(AAETransformer(**SMALL), {"latent": [1, 2]}, cv=2)
    assert plain.fit(rows).best_params_["latent"] in (1, 2)


def test_the_density_is_that_of_the_training_codes(rows):
    by_codes = AAEDetector(latent=2, density="codes", **SMALL).fit(rows)
    fitted = by_codes.fitted_
    latent = fitted.measured(rows)["latent"]
    made = GaussianMixture(len(fitted.mixture.weights))
    made.weights_, made.means_, made.covariances_ = fitted.mixture
    made.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(made.covariances_))
    expected = -made.score_samples(fitted.encoded(rows))
    np.testing.assert_allclose(latent, expected, rtol=1e-3, atol=1e-3)
    again = pickle.loads(pickle.dumps(by_codes))
    np.testing.assert_array_equal(again.score_samples(rows), by_codes.score_samples(rows))
    # A hundred and twenty rows are too few for two dimensions, many more are not.
    assert AAEDetector(latent=2, **SMALL).fit(rows).fitted_.mixture is None
    many = np.tile(rows, (2, 1)) + np.random.default_rng(0).normal(size=(240, 6))
    assert AAEDetector(latent=2, **SMALL).fit(many).fitted_.mixture is not None


def test_a_pickle_is_plain(detector, rows):
    raw = pickle.dumps(detector)
    names = {
        argument
        for code, argument, _ in pickletools.genops(raw)
        if code.name == "SHORT_BINUNICODE"
    }
    assert {"aaejax.estimators", "AAEDetector"} <= names
    # Of this project it names the class alone: no function, no array of another kind.
    assert {name for name in names if name.startswith("aaejax")} == {"aaejax.estimators"}
    assert not {name for name in names if name.startswith(("jax", "flax", "optax"))}
    again = pickle.loads(raw)
    np.testing.assert_array_equal(
        again.decision_function(rows), detector.decision_function(rows)
    )
    assert again.get_params() == detector.get_params()
    state = detector.__getstate__()
    state["fitted_"] = state["fitted_"][:-8]
    with pytest.raises(UserError, match=r"what was pickled can't be used .* fit again"):
        clone(detector).__setstate__(state)


def test_pictures_as_rows_and_convolutions(rows):
    pictures = np.random.default_rng(0).random((40, 64))
    options = {"network": "conv", "channels": 4, "r1": 0.0}
    encoder = AAETransformer(latent=2, shape=(8, 8, 1), options=options, **SMALL)
    codes = encoder.fit_transform(pictures)
    assert codes.shape == (40, 2)
    again = encoder.inverse_transform(codes)
    assert again.shape == (40, 64) and again.min() >= 0 and again.max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"widht": 3}}, "options have 'widht', which aae has not"),
        (
            {"options": {"reconstruction_optimizer": {"rate": 1}}},
            "reconstruction_optimizer.rate: an optimizer has",
        ),
        ({"model": "gan"}, "this model has no encoder"),
        ({"model": "semi-supervised"}, "needs labels"),
        ({"shape": (2, 2, 1)}, r"shape is \[2, 2, 1\], X has 6 features"),
        ({"shape": (1, 6, 1)}, r"pictures have values in \[0, 1\]"),
    ],
)
def test_mistakes_are_one_line(changes, message, rows):
    with pytest.raises(UserError, match=message) as error:
        AAETransformer(**SMALL | changes).fit(rows)
    assert "\n" not in str(error.value)


def test_the_library_does_not_import_it():
    code = "import sys, aaejax; print('aaejax.estimators' in sys.modules)"
    assert run_python("-c", code).stdout.strip() == "False"


def test_codes_with_noise_have_the_density_of_codes_with_noise(rows):
    # Of four dimensions the rows need two: in the others q(z|x) is nearly N(0, 1), where a
    # mixture fitted to codes that all have one noise would be a spike.
    changes = {**SMALL, "steps": 400, "latent": 4, "density": "codes"}
    fitted = AAEDetector(model="vae", **changes).fit(rows).fitted_
    weights, means, covariances = fitted.mixture
    mean = weights @ means
    spread = np.einsum("c,cij->ij", weights, covariances)
    spread += np.einsum("c,ci,cj->ij", weights, means - mean, means - mean)
    one_noise, own_noise = fitted.encoded(rows), fitted.drawn(rows)
    narrowest = np.linalg.eigvalsh(np.cov(one_noise.T))[0]
    assert narrowest < 0.1 < 0.5 < np.linalg.eigvalsh(spread)[0]
    np.testing.assert_allclose(spread, np.cov(own_noise.T), atol=0.4)
