import functools

import jax
import numpy as np
import pytest

from aaejax import init_state, train_step
from aaejax.runs.devices import (
    check_batch_size,
    feed,
    replicate,
    steps_alone,
    to_host,
    train_chunk,
)
from aaejax.types import UserError
from tests.conftest import TINY, tiny_options

STEPS = 20


def losses_on(count, changes, *, one_by_one=False, streamed=False, parallel="pmap"):
    """Metrics [STEPS] and the final state of the same run on `count` devices."""
    word = changes.get("word", "aae")
    changes = {name: changes[name] for name in changes if name != "word"}
    model = tiny_options(word, **changes).build(TINY, STEPS)
    devices = jax.devices()[:count]
    rng = np.random.default_rng(0)
    data = {"image": rng.random((40, *TINY.shape), np.float32)}
    rows = rng.integers(0, 40, (STEPS, 16)).astype(np.int32)
    data, rows = next(feed(data, [lambda: rows], devices, streamed=streamed))
    chunk = train_chunk(
        lambda axis: train_step(model.phases, axis),
        lambda data, rows: {name: values[rows] for name, values in data.items()},
        devices,
        one_by_one=one_by_one,
        streamed=streamed,
        parallel=parallel,
    )
    state = replicate(init_state(model, jax.random.key(3)), devices)
    key = replicate(jax.random.key(5), devices)
    state, metrics = chunk(state, data, rows, key)
    return to_host(metrics), jax.device_get(state)


NOISY = {"posterior": "universal", "prior": "mixture"}


@functools.cache
def noisy_on(count):
    return losses_on(count, NOISY)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_any_number_of_devices_gives_the_same_losses(count):
    (on_one_device, first), (metrics, state) = noisy_on(1), noisy_on(count)
    for name, expected in on_one_device.items():
        assert expected.shape == (STEPS,)
        np.testing.assert_allclose(metrics[name], expected, rtol=2e-3, atol=2e-4)
    for new, old in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(first.params), strict=True
    ):
        np.testing.assert_allclose(new, old, atol=5e-3)


CONSISTENT = {
    "consistency": 0.5,
    "information": 0.1,
    "mutual_information": 0.5,
    "translation": 1.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"word": "moment-matching", "method": "wae"},
        {"word": "moment-matching", "method": "gmmn-codes"},
        {"word": "clustering", "clusters": 3, **CONSISTENT},
    ],
    ids=lambda changes: changes.get("method", "consistency"),
)
def test_losses_of_a_whole_batch_are_those_of_one_device(changes):
    expected, state = losses_on(1, changes)
    metrics, other = losses_on(4, changes)
    for name in expected:
        np.testing.assert_allclose(metrics[name], expected[name], rtol=2e-3, atol=2e-4)
    for new, old in zip(
        jax.tree.leaves(other.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(new, old, atol=5e-3)


def test_bf16_gives_the_same_losses_on_two_devices():
    bf16 = {"precision": "bf16", "r1": 0.1}
    (one, _), (two, _) = (losses_on(count, bf16) for count in (1, 2))
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=2e-2, atol=2e-2)


SHARD_MAP = {"parallel": "shard_map"}


@pytest.mark.parametrize(
    "how",
    [
        {"one_by_one": True},
        {"streamed": True},
        SHARD_MAP,
        {**SHARD_MAP, "one_by_one": True, "streamed": True},
    ],
    ids=" ".join,
)
def test_ways_of_dispatch_give_the_same_losses(how):
    expected, state = noisy_on(2)
    metrics, other = losses_on(2, NOISY, **how)
    for name in expected:
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-4, atol=1e-5)
    assert state.step == other.step == STEPS


def test_the_noise_is_not_shared_between_examples():
    # On one batch of equal images, a posterior without noise gives equal codes and one
    # with noise does not: each position in the global batch has its own key.
    model = tiny_options(posterior="gaussian").build(TINY, 1)
    networks = model.init(jax.random.key(0))
    codes = model.encode(networks, np.ones((4, *TINY.shape), np.float32), jax.random.key(1))
    assert len(np.unique(np.asarray(codes), axis=0)) == 4


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(
        UserError, match="100 does not divide over 8 devices: take 96 or 104"
    ):
        check_batch_size(100, jax.devices())
    with pytest.raises(UserError, match="take 8"):
        check_batch_size(3, jax.devices())
    check_batch_size(104, jax.devices())


def test_convolutions_on_a_cpu_are_dispatched_alone(batch):
    for network, alone in (("mlp", False), ("conv", True)):
        model = tiny_options(network=network).build(TINY, 1)
        state = jax.eval_shape(lambda key, m=model: init_state(m, key), jax.random.key(0))
        key = jax.random.key(0)
        found = steps_alone(model.phases, jax.devices(), state, batch, key)
        assert found == alone
