"""NADE and MADE: densities that sum to one, bits that see those before them alone."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax.networks.made import MADE
from aaejax.networks.nade import NADE, orderings
from aaejax.types import DataSpec, UserError
from tests.conftest import tiny_options

SHAPE = (3, 3, 1)
SIZE = math.prod(SHAPE)
ALL = np.array(list(itertools.product([0.0, 1.0], repeat=SIZE)), np.float32)
IMAGES = ALL.reshape(-1, *SHAPE)


def built(getkey, **changes):
    """A model whose parameters are far from 0, so that every bit matters."""
    options = tiny_options("nade", width=16, **changes)
    model = options.build(DataSpec(SHAPE, 0, True, binary=True), 10)
    return model, moved(model.init(getkey()), getkey())


def moved(variables, key):
    leaves, structure = jax.tree.flatten(variables)
    keys = jax.random.split(key, len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return jax.tree.unflatten(
        structure, [x + 0.7 * jax.random.normal(key, x.shape) for x, key in pairs]
    )


CASES = [
    {},
    {"orderings": 3},
    {"masked": True, "depth": 2},
    {"masked": True, "depth": 3, "orderings": 2},
]


@pytest.mark.parametrize("changes", CASES)
def test_it_sums_to_one_and_is_what_samples_follow(changes, getkey):
    model, variables = built(getkey, **changes)
    log_p = jax.jit(model.log_likelihood)(variables, IMAGES)
    p = np.exp(np.asarray(log_p, np.float64))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    assert p.max() > 5 / len(p)  # it is not uniform
    n = 20_000
    ask = jax.jit(lambda key: model.decode(variables, model.prior(variables, key, n)))
    drawn = np.asarray(ask(getkey())).reshape(n, SIZE)
    number = (drawn @ 2.0 ** np.arange(SIZE)[::-1]).astype(int)
    counts = np.bincount(number, minlength=len(ALL))
    np.testing.assert_array_equal(ALL[number], drawn)
    # Pearson's statistic, which has a mean of 511 and a std of 32.
    seen = p > 1e-4
    assert (np.square(counts - n * p)[seen] / (n * p)[seen]).sum() < seen.sum() + 160


@pytest.mark.parametrize("changes", CASES)
def test_a_bit_sees_those_before_it_alone(changes, getkey):
    orders = orderings(changes.get("orderings", 1), SIZE)
    network = NADE(orders, 64)
    if changes.get("masked"):
        network = MADE(orders, 64, changes["depth"])
    variables = moved(network.init(getkey()), getkey())
    for number, order in enumerate(orders):
        of_one = jax.jacobian(
            lambda x, number=number: network.logits(variables, x[None], number)[0]
        )
        seen = np.abs(jax.vmap(of_one)(jnp.asarray(ALL[::37]))).max(axis=0)
        before = np.argsort(order)[None] < np.argsort(order)[:, None]
        assert ((seen > 0) == before).all()


def test_the_recursion_is_that_of_the_naive_sums(getkey):
    _, variables = built(getkey)
    params = jax.device_get(variables["bits"]["params"])
    naive = np.empty((len(ALL), SIZE))
    for d in range(SIZE):
        sums = ALL[:, :d] @ params["inward"][:d] + params["hidden"]
        hidden = 1 / (1 + np.exp(-sums.astype(np.float64)))
        naive[:, d] = hidden @ params["outward"][d] + params["visible"][d]
    network = NADE(orderings(1, SIZE), 16)
    found = network.logits(variables["bits"], jnp.asarray(ALL), jnp.zeros((), jnp.int32))
    np.testing.assert_allclose(found, naive, atol=1e-4)


def test_the_first_rows_are_kept_and_the_rest_follow_from_them(getkey):
    for changes in ({}, {"masked": True, "depth": 2}):
        model, variables = built(getkey, **changes)
        codes = model.prior(variables, getkey(), 4000)
        given = jnp.broadcast_to(IMAGES[37], (4000, *SHAPE))
        made = np.asarray(model.complete(variables, codes, given, 2))
        np.testing.assert_array_equal(made[:, :2], given[:, :2])
        # p(last row | rows before) by the density itself.
        same = (IMAGES[:, :2] == IMAGES[37, :2]).all(axis=(1, 2, 3))
        p = np.exp(np.asarray(model.log_likelihood(variables, IMAGES[same])))
        counts = [(made == image).all(axis=(1, 2, 3)).sum() for image in IMAGES[same]]
        np.testing.assert_allclose(np.array(counts) / 4000, p / p.sum(), atol=0.04)


def test_what_can_not_be_is_refused(getkey):
    with pytest.raises(UserError, match="add --binarize"):
        tiny_options("nade").build(DataSpec(SHAPE, 0, True), 1)
    with pytest.raises(UserError, match="take --masked"):
        tiny_options("nade", depth=2)
    assert built(getkey, orderings=2)[0].complete is None
