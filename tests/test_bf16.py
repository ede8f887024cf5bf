import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from aaejax import init_state, networks, train_step
from aaejax.ask.programs import PLATFORMS
from aaejax.types import DataSpec
from tests.conftest import tiny_options

DATA = DataSpec(shape=(6, 6, 1), classes=3, unit_range=True, labelled=9)
KINDS = {
    "conv": ("aae", {"network": "conv", "channels": 4}),
    "dcgan": ("gan", {"network": "dcgan", "channels": 4}),
    "pixelcnn": ("pixelcnn", {"channels": 4, "components": 2, "conditional": True}),
}


def rounded(x):
    return jnp.asarray(x.astype(jnp.bfloat16), jnp.float32)


def test_products_round_operands_and_nothing_else(getkey):
    a, b, up = (jax.random.normal(getkey(), s) for s in ((3, 50), (50, 20), (3, 20)))
    product, backward = jax.vjp(networks.bf16_dot_general, a, b)
    to_a, to_b = backward(up)
    assert {x.dtype for x in (product, to_a, to_b)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(product, rounded(a) @ rounded(b), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_a, rounded(up) @ rounded(b).T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_b, rounded(a).T @ rounded(up), rtol=1e-5, atol=1e-5)
    assert not np.allclose(product, a @ b, rtol=1e-5, atol=1e-5)
    stacked = networks.bf16_dot_general(jnp.stack([a, -a]), b)
    np.testing.assert_array_equal(stacked, jnp.stack([product, -product]))


@pytest.mark.parametrize(
    ("size", "kernel", "steps"),
    [
        ((7, 6), (3, 3), ((1, 1), "SAME")),
        ((7, 6), (5, 5), ((2, 2), "SAME")),
        ((4, 3), (5, 5), ((1, 1), ((3, 2), (3, 2)), (2, 2))),
        ((9, 8), (4, 7), ((1, 1), "VALID")),
        ((9, 8), (3, 2), ((2, 3), ((1, 2), (0, 1)), (1, 2), (2, 1))),
    ],
)
def test_convolutions_round_operands_and_nothing_else(size, kernel, steps, getkey):
    """Forward, and in both directions backward, as JAX's own of rounded operands."""
    x = rounded(jax.random.normal(getkey(), (2, *size, 3)))
    w = rounded(jax.random.normal(getkey(), (*kernel, 3, 4)))

    def plain(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, *steps, dimension_numbers=numbers)

    def in_bf16(x, w):
        return networks.bf16_conv_general_dilated(x, w, *steps)

    expected, expected_back = jax.vjp(plain, x, w)
    found, back = jax.vjp(in_bf16, x, w)
    up = rounded(jax.random.normal(getkey(), expected.shape))
    for one, other in zip((found, *back(up)), (expected, *expected_back(up)), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    finer = in_bf16(x + 1e-4, w)  # less than bfloat16 can tell
    assert np.mean(finer == found) > 0.2
    # A penalty on gradients differentiates twice.
    curved = jax.grad(lambda w: jnp.square(jax.vjp(in_bf16, x, w)[1](up)[0]).sum())(w)
    wanted = jax.grad(lambda w: jnp.square(jax.vjp(plain, x, w)[1](up)[0]).sum())(w)
    np.testing.assert_allclose(curved, wanted, rtol=0.05, atol=0.05 * np.abs(wanted).max())


def made(kind, precision):
    name, changes = KINDS[kind]
    model = tiny_options(name, precision=precision, **changes).build(DATA, 2)
    images = jnp.linspace(0, 1, 4 * 36).reshape(4, 6, 6, 1)
    batch = {f"{prefix}image": images for prefix in model.reads}
    batch |= {f"{prefix}label": jnp.arange(4) % 3 for prefix in model.reads}
    return model, batch


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_float32_up_to_rounding(kind):
    found = []
    for precision in ("float32", "bf16"):
        model, batch = made(kind, precision)
        state = init_state(model, jax.random.key(0))
        step = jax.jit(train_step(model.phases))
        state, metrics = step(state, batch, jax.random.key(1))
        floats = [x for x in jax.tree.leaves(state) if x.dtype != jnp.int32]
        assert {x.dtype for x in floats} == {jnp.dtype("float32")}
        found.append(metrics)
    one, other = map(jax.tree.leaves, found)
    np.testing.assert_allclose(other, one, rtol=0.03, atol=0.01)
    assert not np.array_equal(other, one)


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_lowered_in_bf16_for_accelerators(kind):
    model, batch = made(kind, "bf16")

    def step(seed, batch):
        key = jax.random.key(seed)
        return train_step(model.phases)(init_state(model, key), batch, key)

    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
    seed = jax.ShapeDtypeStruct((), np.uint32)
    text = export.export(jax.jit(step), platforms=PLATFORMS[1:])(seed, shapes).mlir_module()
    # Those of a PixelCNN are matrix products.
    operation = "dot_general" if kind == "pixelcnn" else "convolution"
    operands = re.findall(rf"stablehlo.{operation}.* : \((.*)\) -> (.*)", text)
    assert len(operands) > 4
    for inputs, outputs in operands:
        assert inputs.count("xbf16>") == 2
        assert "xf32>" in outputs
