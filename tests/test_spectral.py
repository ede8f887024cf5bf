"""Spectral normalization: kernels whose largest singular value is 1, of any network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aaejax.networks import as_network, spectral_norm
from tests.conftest import tiny_options
from tests.made_data import fails


class Net(nn.Module):
    """A convolution and a dense layer, with batch norm between them."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(3, (2, 2), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dense(2, name="dense")(x.reshape(len(x), -1))


def matrix(kernel):
    return np.asarray(kernel).reshape(-1, kernel.shape[-1])


def test_kernels_are_divided_by_their_largest_singular_values(getkey):
    x = jax.random.normal(getkey(), (6, 4, 4, 1))
    plain, normed = as_network(Net()), spectral_norm(Net())
    variables = normed.init(getkey(), x)
    # Parameters that have moved on from those of the start.
    params = jax.tree.map(
        lambda x: x + 0.3 * jnp.cos(jnp.arange(x.size)).reshape(x.shape),
        variables["params"],
    )
    variables = {**variables, "params": params}
    apply = jax.jit(
        lambda variables: normed.apply(variables, x, train=True, key=None, axis_name=None)
    )
    for _ in range(60):
        _, state = apply(variables)
        variables = {**variables, **state}
    assert set(state) == {"spectral", "batch_stats"}
    divided = {
        name: dict(layer)
        | {"kernel": layer["kernel"] / np.linalg.norm(matrix(layer["kernel"]), 2)}
        if "kernel" in layer
        else layer
        for name, layer in params.items()
    }
    own = {"params": divided, "batch_stats": variables["batch_stats"]}
    np.testing.assert_allclose(
        normed.evaluate(variables, x), plain.evaluate(own, x), atol=1e-4
    )


def test_the_gradient_is_that_of_the_divided_kernel(getkey):
    def init(key, x):
        return {"params": {"kernel": jax.random.normal(key, (4, 3))}}

    def apply(variables, x):
        return x @ variables["params"]["kernel"], {}

    x, normed = jax.random.normal(getkey(), (5, 4)), spectral_norm((init, apply))
    variables = normed.init(getkey(), x)
    kernel = variables["params"]["kernel"]

    def ours(kernel):
        changed = {**variables, "params": {"kernel": kernel}}
        return jnp.square(normed.evaluate(changed, x)).sum()

    def exact(kernel):
        top = jnp.linalg.svd(kernel, compute_uv=False)[0]
        return jnp.square(x @ kernel / top).sum()

    np.testing.assert_allclose(jax.grad(ours)(kernel), jax.grad(exact)(kernel), rtol=2e-2)


def test_wasserstein_refuses_what_it_would_not_read():
    fails("slope is of --loss wasserstein", tiny_options, "gan", slope=3.0)
    fails("--r1 has no meaning", tiny_options, "gan", loss="wasserstein", r1=1.0)
    more = {"loss": "wasserstein", "generator_loss": "minimax"}
    fails("--generator-loss has no meaning", tiny_options, "gan", **more)
