"""A step on four devices is the step of one; in 64-bit mode its state is the same."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from aaejax import init_state, models, train_step
from aaejax.models._optimizers import Optimizer
from aaejax.types import DataSpec
from tests.conftest import BITS, tiny_options

DATA = DataSpec(shape=(4, 4, 1), classes=3, unit_range=True, labelled=8)
MOVED = {"translation": 1.0, "distortion": 0.1}
STATEFUL = {"norm": "batch", "dropout": 0.3}


@pytest.mark.parametrize(
    ("name", "changes", "ema"),
    [
        ("moment-matching", {"method": "gmmn"}, 0.0),
        ("gan", {"discriminator_steps": 2, "r1": 0.1}, 0.0),
        (
            "semi-supervised",
            {"consistency": 1.0, "information": 0.3, "joint_style": True, **MOVED},
            0.0,
        ),
        ("clustering", {"mutual_information": 0.5, "unevenness": 0.1, **MOVED}, 0.0),
        ("reduction", STATEFUL, 0.9),
        ("supervised", {"posterior": "gaussian"}, 0.0),  # with weights and a condition
        ("nade", {"orderings": 3}, 0.0),
        (
            "gan",
            {"discriminator_steps": 2, "loss": "wasserstein", "spectral_norm": True},
            0.0,
        ),
    ],
)
def test_a_step_on_four_devices_is_that_of_one(name, changes, ema):
    # SGD and clipping: Adam would hide a gradient that is a multiple of the right one.
    fields = models.options(name).__dataclass_fields__
    sgd = Optimizer("sgd", 1e-2, clip=1.0)
    optimizers = {field: sgd for field in fields if field.endswith("_optimizer")}
    options = tiny_options(name, **{"width": 4, **optimizers, **changes})
    data = dataclasses.replace(DATA, binary=name in BITS)
    if name == "supervised":
        data = dataclasses.replace(data, weighted=True, conditions=2)
    model = options.build(data, 10)
    images, labels = (
        jax.random.uniform(jax.random.key(0), (16, *DATA.shape)),
        jnp.arange(16),
    )
    batch = {f"{prefix}label": labels % 3 for prefix in model.reads}
    batch |= {
        f"{prefix}image": jnp.roll(images, number, axis=0)
        for number, prefix in enumerate(model.reads)
    }
    batch["weight"], batch["condition"] = jnp.arange(16.0), images[:, :2, 0, 0]
    key = jax.random.key(2)
    state = jax.jit(lambda key: init_state(model, key, ema))(jax.random.key(1))
    expected, metrics = jax.jit(train_step(model.phases, ema=ema))(state, batch, key)
    shared, split = PartitionSpec(), PartitionSpec("d")
    sharded = jax.shard_map(
        train_step(model.phases, "d", ema),
        mesh=Mesh(np.array(jax.devices()[:4]), ("d",)),
        in_specs=(shared, split, shared),
        out_specs=shared,
    )
    after, found = jax.jit(sharded)(state, batch, key)

    def change(new):
        trees = [(each.params, each.network_state, each.ema) for each in (new, state)]
        leaves = zip(*map(jax.tree.leaves, trees), strict=True)
        return np.concatenate([np.ravel(x - y) for x, y in leaves])

    moved = np.linalg.norm(change(expected))
    assert moved > 1e-3
    assert np.linalg.norm(change(after) - change(expected)) < 1e-3 * moved
    for each in metrics:
        np.testing.assert_allclose(
            found[each], metrics[each], rtol=1e-3, atol=1e-5, err_msg=each
        )


@pytest.mark.quick
@pytest.mark.parametrize("name", models.NAMES)
def test_a_state_keeps_its_dtypes_in_64_bit_mode(name):
    more = {"components": 3} if name == "label-regularized" else {}
    data = dataclasses.replace(DATA, binary=name in BITS)
    model = tiny_options(name, **more).build(data, 10)
    with jax.enable_x64(True):
        key = jax.random.key(0)
        state = jax.eval_shape(lambda key: init_state(model, key, 0.9), key)
        image = jax.ShapeDtypeStruct((8, *DATA.shape), np.float32)
        batch = {f"{prefix}image": image for prefix in model.reads}
        label = jax.ShapeDtypeStruct((8,), np.int32)
        batch |= {f"{prefix}label": label for prefix in model.reads}
        after, _ = jax.eval_shape(train_step(model.phases, ema=0.9), state, batch, key)
    assert after == state
    assert {x.dtype for x in jax.tree.leaves(after.params)} == {np.dtype("float32")}
