import json
import re

import jax
import numpy as np
import pytest

from aaejax import init_state, train_step
from aaejax.runs.config import RunConfig
from aaejax.runs.precision import at_precision
from aaejax.runs.restore import restore
from aaejax.types import DataSpec, UserError
from tests.conftest import tiny_options, train_tiny

DATA = DataSpec(shape=(6, 6, 1), classes=3, unit_range=True, labelled=9)


def products(function, *arguments):
    """The precision of each product and convolution that is lowered, for a TPU."""
    traced = jax.jit(function).trace(*arguments)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    lines = [
        line
        for line in text.splitlines()
        if "stablehlo.dot_general" in line or "stablehlo.convolution" in line
    ]
    found = [re.search(r"\[?(DEFAULT|HIGHEST|HIGH)\b", line) for line in lines]
    return {"DEFAULT" if each is None else each[1] for each in found}, len(lines)


@pytest.mark.parametrize("precision", ["default", "high", "highest"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_it_reaches_every_product_of_a_step(network, precision):
    model = tiny_options(network=network, channels=2, r1=0.1).build(DATA, 2)
    model = at_precision(model, precision)
    state = jax.eval_shape(lambda: init_state(model, jax.random.key(0)))
    batch = {"image": jax.ShapeDtypeStruct((4, *DATA.shape), np.float32)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    found, count = products(train_step(model.phases), state, batch, key)
    assert found == {precision.upper()}
    assert count > 20
    codes = jax.ShapeDtypeStruct((4, model.latent), np.float32)
    assert products(model.decode, state.variables, codes)[0] == {precision.upper()}


def test_products_in_bf16_and_distances_keep_their_own():
    method = {"method": "gmmn-codes", "precision": "bf16"}
    model = tiny_options("moment-matching", **method).build(DATA, 2)
    model = at_precision(model, "high")
    state = jax.eval_shape(lambda: init_state(model, jax.random.key(0)))
    batch = {"image": jax.ShapeDtypeStruct((4, *DATA.shape), np.float32)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    found, _ = products(train_step(model.phases), state, batch, key)
    assert found == {"DEFAULT", "HIGHEST"}


def test_a_run_keeps_it_and_what_is_restored_obeys(digits, tmp_path):
    train_tiny(tmp_path, digits, devices=1, epochs=1, matmul_precision="highest")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["run"]["matmul_precision"] == "highest"
    trained = restore(tmp_path)
    codes = np.zeros((1, 2), np.float32)
    assert products(trained.model.decode, trained.variables, codes)[0] == {"HIGHEST"}
    with pytest.raises(UserError, match="matmul_precision"):
        train_tiny(tmp_path, digits, devices=1, epochs=1, matmul_precision="high")


def test_a_word_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"matmul_precision is 'exact'.*highest"):
        RunConfig(matmul_precision="exact")
