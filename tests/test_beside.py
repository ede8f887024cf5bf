"""What examples have beside image and label: a condition and a weight."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from aaejax import init_state, train_step
from aaejax.ask.kinds import sample
from aaejax.ask.question import Question
from aaejax.components.adversaries import Adversary
from aaejax.components.inputs import weighted_mean
from aaejax.data import from_arrays, from_source, load
from aaejax.models._optimizers import Optimizer
from aaejax.phases import _ExampleDraw
from aaejax.runs.reports.snapshots import picture_arrays
from aaejax.runs.restore import restore
from tests.conftest import BITS, TINY, tiny_options, train_tiny
from tests.made_data import fails, images

SPEC = dataclasses.replace(TINY, labelled=8, weighted=True)
SGD = Optimizer("sgd", 1e-2)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("autoencoder", {}),
        ("vae", {}),
        ("nade", {}),
        ("pixelcnn", {}),
        ("label-regularized", {"components": 3, "r1": 1.0}),
        ("supervised", {"joint_style": True}),
    ],
)
def test_a_row_of_weight_0_is_not_there(name, changes, batch):
    options = tiny_options(name, **changes)
    optimizers = {f: SGD for f in options.__dataclass_fields__ if f.endswith("_optimizer")}
    spec = dataclasses.replace(SPEC, binary=name in BITS)
    model = dataclasses.replace(options, **optimizers).build(spec, 10)
    state = init_state(model, jax.random.key(0))
    step = jax.jit(train_step(model.phases))

    def after(rows, weights):
        some = {key: x[np.array(rows)] for key, x in batch.items()}
        some["weight"] = np.array(weights, np.float32)
        return step(state, some, jax.random.key(1))[0].params

    def alike(one, other):
        for x, y in zip(*map(jax.tree.leaves, (one, other)), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)

    # The last one, for noise goes by the place.
    alike(after([0, 1, 2, 3], [3, 3, 3, 0]), after([0, 1, 2], [1, 1, 1]))
    if name == "autoencoder":  # which draws none
        alike(after([0, 1, 2], [1, 1, 2]), after([0, 1, 2, 2], [1, 1, 1, 1]))
        nothing = after([0, 1], [0, 0])
        alike(nothing["decoder"], state.params["decoder"])


def test_weight_0_is_a_mask_of_what_float32_can_not_hold():
    draw = _ExampleDraw(jax.random.key(0), 2, None)

    def mean(x):
        return weighted_mean(x**2, {"weight": np.array([0, 2], "f")}, draw)

    value, slope = jax.value_and_grad(mean)(np.array([1e30, 3], "f"))
    assert value == 9 and slope.tolist() == [0, 6]


@pytest.fixture(scope="module")
def told_run(tmp_path_factory):
    """A run on pictures as grey as their condition says, from a file with weights."""
    home = tmp_path_factory.mktemp("told")
    condition = np.random.default_rng(0).uniform(0, 1, (200, 2)).astype(np.float32)
    grey = np.broadcast_to(condition[:, :1, None, None], (200, 4, 4, 1))
    weights, labels = np.arange(200) % 3, np.arange(200) % 2
    np.savez(
        home / "told.npz", x=grey, y=labels, condition=condition, sample_weight=weights
    )
    said: list[str] = []
    keys = {"condition_key": "condition", "weight_key": "sample_weight"}
    data = load(home / "told.npz", home, tell=said.append, **keys)
    assert said == ["told.npz: examples have weights, from 0 to 2"]
    model = tiny_options("supervised", input_noise=3.0, width=16)
    run = {"dataset": str(home / "told.npz"), "epochs": 40, "batch_size": 20, **keys}
    train_tiny(home / "run", data, model=model, devices=1, **run)
    return home / "run", data


def test_the_decoder_reads_the_condition(told_run):
    folder, data = told_run
    trained = restore(folder)
    assert trained.model.conditions == 2 and trained.data.spec.weighted
    dark, light = (
        sample(trained, "samples", count=20, condition=(grey, 0.5))["images"].mean()
        for grey in (0.1, 0.9)
    )
    assert dark < 0.35 and light > 0.65
    assert sample(trained, "samples", count=3)["images"].shape == (3, 4, 4, 1)
    made = trained.sample(2, labels=np.array([0.9, 0.5], np.float32))
    assert made.mean() > 0.5
    codes = sample(trained, "codes")
    np.testing.assert_array_equal(codes["codes"][:, :2], codes["condition"])
    whole = [x.condition for x in (data.train_beside, data.test_beside)]
    np.testing.assert_array_equal(codes["condition"], np.concatenate(whole))
    assert set(codes["weight"]) == {0, 1, 2} and len(codes["labels"]) == 200
    drawn = dataclasses.replace(trained.model, plane=lambda variables, code: code[:, :2])
    held_out = data.test_images[:40], data.test_beside.condition
    shown = picture_arrays(drawn, trained.variables, *held_out, jax.random.key(0))
    np.testing.assert_array_equal(shown["prior"][:20], held_out[1])
    assert len(trained.score(data.test_images, data.test_beside.condition)) == 20
    fails("a condition of 2 numbers", trained.encode, data.test_images)
    fails("of 1 numbers: the run's has 2", sample, trained, condition=(0.1,))
    for value in (np.nan, 1e39):
        fails("give finite numbers", sample, trained, "samples", condition=(value, 0))
    fails("it reads a condition, give --condition", sample, trained, label="1")


def test_the_page_of_explore_has_a_slider_for_each_number_of_the_condition(told_run):
    document = pytest.importorskip("bokeh.document", reason="no Bokeh is installed")
    from aaejax.ask.explore.page import Page
    from aaejax.ask.explore.view import View

    view = View(Question(restore(told_run[0])))
    page = Page(document.Document(), view)
    held_out = told_run[1].test_beside.condition
    np.testing.assert_allclose(page.code[:2], held_out.mean(axis=0), rtol=1e-5)
    grey, _ = page.on.given
    assert (grey.start, grey.end) == (held_out[:, 0].min(), held_out[:, 0].max())
    grey.value = 0.2
    dark, style = page.example.mean(), page.code[2:].copy()
    grey.value = 0.8
    assert page.example.mean() > dark + 0.3
    np.testing.assert_array_equal(page.code[2:], style)
    np.testing.assert_array_equal(page.example, view.decode(page.code[None])[0])
    page._samples()
    assert page.row_codes is not None
    assert (page.row_codes[:, :2] == page.code[:2]).all()


def test_other_data_must_have_the_condition(told_run, tmp_path):
    trained = restore(told_run[0])
    data = _saved(tmp_path)
    fails("has no array 'condition' for --", sample, trained, "codes", data=data)
    data = _saved(tmp_path, condition=np.zeros((20, 2)))
    assert sample(trained, "codes", data=data)["codes"].shape == (20, 4)


def _saved(folder, **more):
    np.savez(folder / "other.npz", x=images(shape=(4, 4, 1)), **more)
    return folder / "other.npz"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"weight": np.r_[np.ones(19), np.nan]}, "weights, row 19: [nan] is missing"),
        ({"weight": np.r_[1, -1, np.ones(18)]}, "weights, row 1: -1 is below 0"),
        ({"weight": np.ones(19)}, "weights are 19 but images are 20"),
        ({"weight": np.zeros(20)}, "weights are all 0"),
        ({"weight": np.ones((20, 2))}, "give one number an example"),
        ({"condition": np.full((20, 2), np.inf)}, "condition, row 0: [inf, inf]"),
        ({"condition": np.full(20, "a")}, "condition are <U1[20, 1]: give numbers"),
    ],
)
def test_what_can_be_none_is_refused_with_its_row(more, words):
    fails(words, from_arrays, images(), **{f"train_{k}": x for k, x in more.items()})


@pytest.mark.parametrize(
    ("model", "changes", "words"),
    [
        ("aae", {}, "has a condition, which the model does not read: take supervised"),
        ("gan", {"conditional": True}, "phase discriminator of the model takes all"),
        ("moment-matching", {}, "wae compares samples, whose examples have no weights"),
        ("clustering", {"mutual_information": 1.0}, "are of whole batches"),
        ("supervised", {"joint_style": True}, "--joint-style is of labels"),
    ],
)
def test_models_that_do_not_read_them_refuse_them(model, changes, words, tmp_path):
    beside = {"train_condition": np.arange(20.0) / 20, "train_weight": np.ones(20)}
    data = from_arrays(images(), np.arange(20) % 2, **beside)
    options = tiny_options(model, **changes)
    fails(words, train_tiny, tmp_path / "run", data, model=options, devices=1, batch_size=9)
    assert not (tmp_path / "run").exists()


def test_arrays_are_conditions_and_weights_where_they_are_asked_for(tmp_path):
    beside = {"weights": np.ones(10), "c_train": np.ones(20), "c_test": np.zeros(4)}
    path = _saved(tmp_path, x_test=images(4, (4, 4, 1)), **beside)
    said: list[str] = []
    assert not load(path, tmp_path, tell=said.append).train_beside.arrays
    assert said[0].startswith("other.npz: not read: weights, c_train, c_test; read: x as")
    data = load(path, tmp_path, condition_key="c", tell=said.append)
    found = [x.condition for x in (data.train_beside, data.test_beside)]
    assert [x.tolist() for x in found if x is not None] == [[[1]] * 20, [[0]] * 4]
    fails("weights are 10 but images", load, path, tmp_path, weight_key="weights")
    np.save(tmp_path / "other.npy", images())
    fails("is no .npz or HDF5 file", load, tmp_path / "other.npy", tmp_path, weight_key="w")


def test_wasserstein_refuses_a_mean_that_it_does_not_take():
    parts: dict[str, Any] = {"discriminator": None, "real": None, "fake": None}
    more = {"mean": lambda each, batch, draw: each.mean(), "loss": "wasserstein"}
    fails("leave mean and real_mean out", Adversary, **parts, **more)


class Told:
    def __len__(self):
        return 30

    def __getitem__(self, rows):
        return {
            "image": images(30)[rows],
            "condition": np.stack([rows, -rows], axis=1) / 30,
            "weight": 1 + rows,
        }


def test_every_source_brings_them(tmp_path):
    data = from_source(Told(), hold_out=False)
    condition, weight = data.train_beside.condition, data.train_beside.weight
    assert condition is not None and weight is not None
    assert weight.tolist() == list(range(1, 31))
    text = "".join(f"{n or ''},{n / 30},{1 + n},{-n / 30}\n" for n in range(30))
    path = tmp_path / "told.csv"
    path.write_text("x,a,w,b\n" + text)
    how = {"condition_columns": ("a", "b"), "weight_column": "w", "hold_out": False}
    table = load(path, tmp_path, **how)
    assert table.columns is not None and table.columns.names == ("x",)
    np.testing.assert_allclose(table.train_beside.condition, condition, rtol=1e-6)
    np.testing.assert_array_equal(table.train_beside.weight, weight)
    again = load(path, tmp_path, columns=table.columns, **how)
    assert again.train_beside.size == 2
    # With a value that is missing, too.
    words = {"output": "linear", "reconstruction": "squared-error", "conditional": True}
    run = {"epochs": 1, "batch_size": 15, "devices": 1}
    train_tiny(tmp_path / "run", table, model=tiny_options("vae", **words), **run)
    trained = restore(tmp_path / "run")
    fails("works, --condition gives one, and", sample, trained)
    assert len(sample(trained, count=3, condition=(0.1, 0.2))["images"]) == 3
    path.write_text("x,a,w,b\n1,,1,1\n2,2,2,2\n")
    fails("row 2, column 'a' is ''", load, path, tmp_path, **how)
    path.write_text("x,a,w\n1,,1\n2,2,2\n")
    fails("no column 'b' for the condition", load, path, tmp_path, **how)
    fails("is no table", load, _saved(tmp_path), tmp_path, weight_column="w")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "told.h5", "w") as file:
        file["pictures"], file["c"], file["w"] = images(30), condition, weight
    keys = {"key": "pictures", "condition_key": "c", "weight_key": "w"}
    found = load(tmp_path / "told.h5", tmp_path, hold_out=False, **keys)
    np.testing.assert_array_equal(found.train_beside.condition, condition)
    np.testing.assert_array_equal(found.train_beside.weight, weight)
