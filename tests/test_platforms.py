"""All that a run computes can be lowered for every kind of device, without having one."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest
from jax import export

from aaejax import init_state, models, train_step
from aaejax.ask.programs import PLATFORMS
from aaejax.components import losses
from aaejax.phases import scan_steps
from aaejax.runs.devices import train_chunk
from aaejax.runs.reports.snapshots import picture_arrays
from aaejax.types import DataSpec
from tests.conftest import BITS, MODELS, tiny_options

DATA = DataSpec(shape=(6, 6, 1), classes=3, unit_range=True, labelled=9)


def shape_of(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def of_a_run(model, platforms=PLATFORMS, steps=2, size=4):
    """A scan of steps, then what is asked of the networks at an evaluation: one module.

    No custom call is in it but those that `jax.export` knows to be kept.
    """

    def everything(seed, images, labels):
        init_key, key, score_key, picture_key = jax.random.split(jax.random.key(seed), 4)
        state = init_state(model, init_key)
        batch = {f"{prefix}image": images for prefix in model.reads}
        batch |= {f"{prefix}label": labels for prefix in model.reads}
        state, metrics = scan_steps(train_step(model.phases))(state, batch, key)
        found = picture_arrays(model, state.variables, images[0], labels[0], picture_key)
        if model.encodes:
            keys = jax.random.split(score_key, 4)
            codes = model.encode(state.variables, images[0], keys[0], labels[0])
            found["error"] = model.error(state.variables, images[0], codes)
            prior = model.prior(state.variables, keys[1], size)
            found["match"] = losses.mmd(codes, prior)
            if model.classify:
                found["q"] = model.classify(state.variables, images[0], keys[2])
            if model.log_weights:
                found["elbo"] = model.log_weights(
                    state.variables, images[0], keys[3], labels[0]
                )
        return state, metrics, found

    images = shape_of(steps, size, *DATA.shape)
    labels = shape_of(steps, size, dtype=np.int32)
    shapes = shape_of(dtype=np.uint32), images, labels
    made = export.export(jax.jit(everything), platforms=platforms)(*shapes)
    assert made.platforms == platforms
    return made.mlir_module()


@pytest.mark.parametrize("name", models.NAMES)
def test_training_sampling_and_scores_are_lowered(name):
    changes = MODELS.get(name, ({}, set()))[0]
    data = dataclasses.replace(DATA, binary=name in BITS)
    assert "stablehlo.while" in of_a_run(tiny_options(name, **changes).build(data, 2))


def test_convolutions_and_batch_norm_are_lowered():
    changes = {"network": "conv", "norm": "batch", "dropout": 0.2, "channels": 2}
    of_a_run(tiny_options(**changes).build(DATA, 2))


def test_products_in_bf16_are_lowered_for_others_than_a_cpu():
    """What a CPU is told of the layout of operands stays there."""
    model = tiny_options(precision="bf16", posterior="universal").build(DATA, 2)
    others = PLATFORMS[1:]
    assert "LayoutConstraint" not in of_a_run(model, others)


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_chunk_on_many_devices_is_lowered(one_by_one):
    """With its sums over devices; nothing of XLA:CPU's own is in it."""
    model = tiny_options("autoencoder", width=4).build(DATA, 2)
    chunk = train_chunk(
        partial(train_step, model.phases),
        lambda data, rows: {"image": data["image"][rows]},
        jax.devices()[:2],
        one_by_one=one_by_one,
        parallel="shard_map",  # of which pmap is made
    )
    state = jax.eval_shape(lambda key: init_state(model, key), jax.random.key(0))
    rows = shape_of(2, *([] if one_by_one else [3]), 4, dtype=np.int32)
    count = [] if one_by_one else [shape_of(dtype=np.int32)]
    data = {"image": shape_of(8, *DATA.shape)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    traced = chunk._mapped.trace(state, data, rows, key, *count)
    for platform in PLATFORMS:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "all_reduce" in text
        assert "xla_cpu" not in text
