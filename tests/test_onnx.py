"""ONNX models, run by onnxruntime beside the functions that they were made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.ask.onnx.file import onnx_file
from aaejax.ask.programs import functions, of_a_batch
from aaejax.runs.on_disk.exported import flat
from aaejax.types import DataSpec, UserError
from tests.conftest import tiny_options

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

SMALL = DataSpec(shape=(8, 8, 1), classes=3, unit_range=True, labelled=9)


def built(name, rng, **changes):
    """A model, and variables in which no average is 0 and no scale 1."""
    model = tiny_options(name, **changes).build(SMALL, 1)
    variables = model.init(jax.random.key(0))

    def moved(x):
        return x + np.abs(rng.normal(size=x.shape)).astype(np.float32) / 10

    return model, jax.tree.map(moved, variables)


def session(raw):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    return runtime.InferenceSession(raw, options)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("autoencoder", {}),
        ("autoencoder", {"network": "conv"}),
        ("autoencoder", {"norm": "batch"}),
        ("aae", {"network": "conv", "norm": "batch"}),
        ("supervised", {"network": "dcgan"}),
        ("semi-supervised", {"norm": "layer"}),
    ],
)
def test_onnxruntime_computes_what_the_model_does(name, changes):
    rng = np.random.default_rng(0)
    model, variables = built(name, rng, **changes)
    of_one = functions(model, SMALL.shape)
    for word in ("decode", "encode"):
        function, arguments = of_one[word]
        weights = flat(variables)
        run = session(onnx_file(of_a_batch(function, variables), weights, arguments, "y"))
        for n in (1, 5):
            given = {
                "examples": rng.random((n, *SMALL.shape), np.float32),
                "labels": rng.integers(0, 3, n, dtype=np.int32),
                "codes": rng.normal(size=(n, model.latent)).astype(np.float32),
            }
            asked = {each.name: given[each.name] for each in run.get_inputs()}
            assert ("labels" in asked) == (word == "encode" and name == "supervised")
            (made,) = run.run(["y"], asked)
            if word == "decode":
                expected = model.decode(variables, given["codes"])
            else:
                key, images = jax.random.key(0), given["examples"]
                expected = model.encode(variables, images, key, given["labels"])
            assert made.shape == expected.shape
            close = 1e-4 * max(1, float(jnp.abs(expected).max()))
            np.testing.assert_allclose(made, expected, rtol=0, atol=close)


def as_onnx(function):
    arguments = {"x": jax.ShapeDtypeStruct(X.shape, X.dtype)}
    return onnx_file(lambda weights, x: function(x), {}, arguments, "y")


X = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jax.nn.softplus(x) + jax.nn.gelu(x) + jax.nn.elu(x) + jax.nn.swish(x),
        lambda x: jnp.einsum("ab,cb->ca", x, x) @ x,
        lambda x: jnp.einsum("abc,adc->abd", *[x.reshape(2, 4, 3)] * 2),
        lambda x: jnp.tile(x, (2, 1)) + jax.image.resize(x, (8, 6), "nearest"),
        lambda x: jnp.pad(x, ((1, 2), (0, 3)), constant_values=0.5)[1:-1, ::2],
        lambda x: jnp.stack(jnp.split(x, 2, axis=1)).max(axis=0).min(axis=1),
        lambda x: jnp.argmax(x, axis=1).astype(jnp.float32) + x.sum(axis=1) ** 3,
        lambda x: jnp.where((x > 0) & (x != 1), jnp.clip(x, -0.5, 0.5), jnp.log1p(x * x)),
        lambda x: jax.lax.clamp(0.0, jax.lax.pad(x, 0.5, ((1, 1, 0), (0, 2, 0))), 1.0),
        lambda x: (
            x + jnp.sum(x, axis=()) * jax.vmap(lambda row: jnp.max(row[0]))(x)[:, None]
        ),
        lambda x: jnp.expm1(x.T) * jax.nn.one_hot(jnp.arange(6) % 4, 4),
        lambda x: jax.lax.conv_general_dilated(
            x.reshape(2, 2, 6, 1),
            jnp.ones((2, 3, 1, 2)),
            (2, 1),
            ((1, 1), (0, 2)),
            lhs_dilation=(2, 3),
            rhs_dilation=(1, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
    ],
)
def test_operations_are_those_of_jax(function):
    (made,) = session(as_onnx(function)).run(None, {"x": X})
    np.testing.assert_allclose(made, function(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [jnp.log1p, jnp.expm1])
def test_what_is_near_zero_keeps_its_digits(function):
    x = np.array([[-0.5, -1e-7, 0.0, 3e-9, 1e-4, 40.0]] * 4, np.float32)
    (made,) = session(as_onnx(function)).run(None, {"x": x})
    np.testing.assert_allclose(made, function(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: jax.lax.scan(lambda c, y: (c + y, y), x[0], x)[0], "no scan"),
        (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), "random_"),
        (lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32), "bfloat16"),
        (jnp.sort, "no sort"),
        (lambda x: ((x > 0) * (x < 1)).max(axis=0)[None] * x, "of booleans"),
        (lambda x: jnp.take_along_axis(x, x.argsort(axis=1), 1), "no "),
        (lambda x: jax.lax.pad(x, 0.0, ((0, 0, 1), (0, 0, 0))), "no pad"),
    ],
)
def test_what_onnx_has_not_is_named(function, words):
    with pytest.raises(UserError, match=words) as raised:
        as_onnx(function)
    assert "\n" not in str(raised.value)
