"""Every model: a run on two devices, saved, restored and asked all that it can be asked."""

import jax
import numpy as np
import pytest

from aaejax.ask.explore.view import View
from aaejax.ask.kinds import KINDS, kinds, sample
from aaejax.ask.out import write
from aaejax.ask.question import Question
from aaejax.data import load
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import BITS, MODELS, TINY, tiny_options


def check_view(trained):
    """Any model can be looked at: its codes have places, and places have codes."""
    view = View(Question(trained))
    assert len(view.codes) == (12 if trained.model.encodes else 0)
    for axes in (None, (0, view.size - 1)) if view.size > 1 else (None,):
        code = view.moved(view.start(), axes, 0.5, 0.25)
        expected = [0.5, 0.25 if view.size > 1 else 0]
        np.testing.assert_allclose(view.places(code[None], axes)[0], expected, atol=1e-4)
    training = view.nearest(view.decode(view.start()[None])[0], 3)
    assert training.shape == (3, *TINY.shape)
    asked = len(view.class_names)
    assert asked == trained.model.prior_classes
    assert view.decode(view.samples(2, 0, asked - 1 if asked else None)).shape[0] == 2


@pytest.mark.parametrize("name", MODELS)
def test_a_run_is_saved_restored_and_asked(name, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    # A class is a bright row: something that can be learned in a few steps.
    images = rng.uniform(0, 0.3, (120, *TINY.shape)).astype(np.float32)
    images[np.arange(120), labels] += 0.7
    np.savez(tmp_path / "rows.npz", images=images, labels=labels)
    dataset = load(str(tmp_path / "rows.npz"), "unused")
    options = tiny_options(name, **MODELS[name][0])
    config = RunConfig(
        dataset=str(tmp_path / "rows.npz"),
        binarize="static" if name in BITS else "no",
        labels=None if name == "label-regularized" else 12,
        epochs=12,
        batch_size=20,
        log_every=15,
        save_every=30,
        workdir=tmp_path / "run",
    )
    result = train(options, dataset, config, devices=jax.devices()[:2])
    assert result.step == 60
    has_error = "heldout/error_percent" in result.metrics
    assert has_error == ("classify" in MODELS[name][1])
    trained = restore(result.folder)
    found = kinds(trained.model)
    encodes = {"reconstructions", "interpolation", "arithmetic", "codes", "scores"}
    expected = {"samples", "nearest"} | MODELS[name][1]
    assert set(found) == expected | (encodes if trained.model.encodes else set())
    check_view(trained)
    for kind in found:
        more: dict = {"plus": "0", "minus": "2"} if kind == "arithmetic" else {}
        if "count" in KINDS[kind].reads:
            more["count"] = 20
        else:
            with pytest.raises(UserError, match=f"--count has no meaning for {kind}"):
                sample(trained, kind, count=20, **more)
        arrays = sample(trained, kind, **more)
        if kind == "codes":
            assert np.bincount(arrays["split"]).tolist() == [108, 12]
            assert np.isfinite(arrays["codes"]).all()
            known = config.labels or 108
            assert np.bincount(arrays["labels"] + 1).sum() == 120
            assert (arrays["labels"][:108] >= 0).sum() == known
            assert arrays["class_names"].tolist() == ["0", "1", "2"]
            continue
        if kind == "likelihoods":
            assert arrays["log_likelihood"].shape == (12,)
            mean = -arrays["log_likelihood"].mean()
            assert mean == pytest.approx(result.metrics["heldout/nll"], rel=1e-5)
            continue
        if kind == "scores":
            assert np.isfinite(arrays["score"]).all()
            continue
        if kind == "bounds":
            elbo, bound = arrays["elbo"], arrays["importance_weighted"]
            assert elbo.shape == bound.shape == (12,)
            # Of few images each is a mean of few draws.
            error = (bound - elbo).std() / np.sqrt(len(elbo))
            assert bound.mean() > elbo.mean() - 2 * error
            continue
        if kind == "classify":
            assert arrays["probabilities"].shape == (12, trained.model.classes)
            np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, rtol=1e-5)
            assert (arrays["classes"] == arrays["probabilities"].argmax(axis=1)).all()
        else:
            write(tmp_path / f"{kind}.png", kind, arrays)
            assert arrays["images"].shape[-3:] == TINY.shape
            assert (tmp_path / f"{kind}.png").stat().st_size > 100
    with pytest.raises(UserError, match="this run has no kind nonsense: it has samples"):
        sample(trained, "nonsense")
