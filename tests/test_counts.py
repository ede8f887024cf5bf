"""Tables of counts: their likelihoods, and runs on them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aaejax import Likelihood, init_state, train_step
from aaejax.components import counts
from aaejax.data import from_arrays
from aaejax.data.lazy import Rows
from aaejax.runs.restore import restore
from aaejax.types import DataSpec
from tests.conftest import read_lines, tiny_options, train_tiny
from tests.made_data import fails

FEATURES = 6
OPTIONS = {"reconstruction": "negative-binomial", "output": "softmax"}


def made_counts(n=60, seed=0):
    """Two kinds of cells of unlike library sizes, overdispersed."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(FEATURES), 2)[rng.integers(0, 2, n)]
    rates = shares * rng.lognormal(4, 0.5, n)[:, None]
    return rng.poisson(rng.gamma(3.0, rates / 3.0)).astype(np.float32)


def test_losses_are_the_densities_of_scipy():
    rng = np.random.default_rng(0)
    x = made_counts(5)
    logits, spread = rng.normal(size=(2, *x.shape)).astype(np.float32)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    mean = x.sum(axis=1, keepdims=True) * share
    expected = -stats.poisson(mean).logpmf(x).sum(axis=1)
    np.testing.assert_allclose(counts.poisson_error(logits, x), expected, rtol=1e-5)
    r = np.exp(9 * np.tanh(spread / 9))
    expected = -stats.nbinom(r, r / (r + mean)).logpmf(x).sum(axis=1)
    found = counts.negative_binomial_error(logits, spread, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Of a large r it is a Poisson.
    found = counts.negative_binomial_error(logits, np.full_like(spread, 50), x)
    np.testing.assert_allclose(found, counts.poisson_error(logits, x), rtol=2e-3)


@pytest.mark.parametrize("kind", ["poisson", "negative-binomial"])
def test_extremes_stay_finite(kind):
    likelihood = Likelihood(kind, "softmax")
    x = jnp.array([[0.0, 0, 0], [1e6, 0, 3], [0, 1, 0]])
    logits = jnp.array([[0.0, 100, -100], [-100, 100, 0], [100, -100, 0]])
    outputs = logits
    if kind == "negative-binomial":
        outputs = jnp.stack([logits, jnp.array([[-1e3, 0, 1e3]] * 3)], axis=1)

    def total(outputs):
        return likelihood.error(outputs, x).sum()

    value, gradient = jax.value_and_grad(total)(outputs)
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all()
    np.testing.assert_allclose(likelihood.images(outputs).sum(axis=1), 1e4, rtol=1e-5)
    np.testing.assert_allclose(likelihood.seen(x), np.log1p(x))


def test_a_run_on_counts(tmp_path):
    data = from_arrays(made_counts(), name="cells")
    options = tiny_options("vae", **OPTIONS)
    train_tiny(tmp_path / "run", data, model=options, devices=1, epochs=40, batch_size=18)
    lines = read_lines(tmp_path / "run")
    first, last = lines[0]["elbo/loss"], lines[-1]["elbo/loss"]
    assert last < 0.9 * first
    trained = restore(tmp_path / "run")
    assert trained.data.spec.counts
    # The dispersions are trained too, and a bit of each is in the decoder.
    dispersions = trained.variables["decoder"]["params"]["dispersions"]
    assert dispersions.shape == (FEATURES,) and (dispersions != 0).all()
    # Samples are counts per 10,000; a reconstruction has the sum of its example.
    np.testing.assert_allclose(trained.sample(3).sum(axis=1), 1e4, rtol=1e-5)
    x = made_counts(7, seed=1)
    np.testing.assert_allclose(trained.reconstruct(x).sum(axis=1), x.sum(axis=1), rtol=1e-5)
    fails("are no counts", trained.encode, x + 0.5)
    # Its own log-density is the loss: the ELBO of held-out examples is below zero.
    assert lines[-1]["heldout/elbo"] < -lines[-1]["heldout/reconstruction"] + 1e-3


def test_what_is_no_count_is_refused(tmp_path):
    spec = DataSpec((FEATURES,), 0, False, counts=True)
    fails("--output softmax", tiny_options(reconstruction="poisson").build, spec, 1)
    fails("softmax is for counts", Likelihood, "squared-error", "softmax")
    fails("needs all counts", Likelihood, "poisson", "softmax", missing=True)
    fails("--output softmax", tiny_options().build, spec, 1)
    none = DataSpec((FEATURES,), 0, False)
    fails("these data are none", tiny_options(**OPTIONS).build, none, 1)
    fails("if they are counts", from_arrays, made_counts().astype(np.int64))
    halves = made_counts()
    halves[7, 2] = 0.5
    model = tiny_options(**OPTIONS).build(spec, 1)
    train = (train_tiny, tmp_path / "run", from_arrays(halves, hold_out=False))
    fails("row 7: 0.5, feature 2, is no count", *train, model=model)
    assert not (tmp_path / "run").exists()


class Cells:
    """A source in which a row that is read late has a value that is no count."""

    identity = "cells"

    def __init__(self):
        self.x = made_counts(500)
        self.x[333, 1] = -1

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        return {"image": self.x[rows]}


def test_rows_are_checked_as_they_come():
    data = from_arrays(Rows(Cells(), "cells"), hold_out=False).counted()
    assert data.train_images[:300].shape == (300, FEATURES)
    fails(
        "row 333: -1, feature 1, is no count",
        data.train_images.__getitem__,
        slice(300, 400),
    )


def test_noise_is_added_to_what_the_encoder_reads():
    # A count of 0 with noise of less than -1 has no logarithm.
    options = tiny_options("aae", input_noise=2.0, **OPTIONS)
    spec = DataSpec((FEATURES,), 0, False, counts=True)
    model = options.build(spec, 1)
    state = init_state(model, jax.random.key(0))
    batch = {"image": jnp.zeros((100, FEATURES)).at[:, 0].set(9.0)}
    _, metrics = jax.jit(train_step(model.phases))(state, batch, jax.random.key(1))
    assert all(np.isfinite(x) for x in metrics.values())


def test_consistency_of_counts_changes_what_the_encoder_reads(getkey):
    changes = {"consistency": 50.0, "mutual_information": 1.0, **OPTIONS}
    options = tiny_options("clustering", clusters=3, **changes)
    model = options.build(DataSpec((FEATURES,), 0, False, counts=True), 1)
    batch = {"image": jnp.asarray(made_counts())}
    step = jax.jit(train_step(model.phases))
    _, metrics = step(init_state(model, getkey()), batch, getkey())
    assert all(np.isfinite(x) for x in metrics.values())


def test_noise_reaches_no_missing_value(getkey):
    made = tiny_options(
        "aae", input_noise=2.0, output="linear", reconstruction="squared-error"
    ).autoencoder(DataSpec((2,), 0, False, missing=True))

    def draw(_, sampler):
        return jax.vmap(sampler)(jax.random.split(getkey(), 4))

    found = made.seen(jnp.array([[1.0, np.nan]] * 4), draw)
    assert (found[:, 1] == 0).all() and len(np.unique(found[:, 0])) == 4
