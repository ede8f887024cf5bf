import numpy as np
import pytest

from aaejax.components.pixels import to_unit
from aaejax.data import batches

pytestmark = pytest.mark.quick


def test_an_epoch_sees_every_example_once_in_a_new_order():
    epochs = batches.batch_indices(seed=1, start=0, stop=10, examples=52, batch_size=10)
    assert epochs.shape == (10, 10)
    for epoch in (epochs[:5], epochs[5:]):
        assert len(np.unique(epoch)) == 50
        assert epoch.max() < 52
    assert (epochs[:5] != epochs[5:]).any()
    other = batches.batch_indices(seed=2, start=0, stop=10, examples=52, batch_size=10)
    assert (epochs != other).any()


def test_the_step_alone_says_which_examples_come():
    whole = batches.batch_indices(3, 0, 23, 52, 10)
    parts = [batches.batch_indices(3, a, b, 52, 10) for a, b in ((0, 4), (4, 11), (11, 23))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_uint8_becomes_unit_floats_and_floats_stay():
    np.testing.assert_allclose(
        to_unit(np.array([0, 51, 255], np.uint8)), [0, 0.2, 1], rtol=1e-6
    )
    x = np.array([-3.0, 0.25], np.float32)
    np.testing.assert_array_equal(to_unit(x), x)


def test_a_streamed_batch_is_the_one_that_the_indices_name():
    images = np.arange(30, dtype=np.float32).reshape(30, 1)
    rows = [batches.batch_indices(0, a, a + 3, 30, 4) for a in (0, 3)]
    for devices in (1, 2):
        chunks = list(
            batches.stream({"image": images}, [lambda r=r: r for r in rows], devices)
        )
        for (chunk, local), row in zip(chunks, rows, strict=True):
            assert local.shape == row.shape
            local = local.reshape(3, devices, -1)
            got = [
                np.concatenate([chunk["image"][d, local[s, d], 0] for d in range(devices)])
                for s in range(3)
            ]
            np.testing.assert_array_equal(got, row)


def test_labelled_examples_come_round_however_few():
    labelled = np.array([3, 5, 8, 9])
    rows = batches.labelled_indices(0, 0, 6, labelled, 10)
    assert rows.shape == (6, 10)
    rounds = rows.reshape(15, 4)
    assert (np.sort(rounds) == labelled).all()  # each of them once a round
    assert len({tuple(r) for r in rounds}) > 5  # in an order of its own
    # The step alone says which come, wherever a chunk begins.
    np.testing.assert_array_equal(batches.labelled_indices(0, 4, 6, labelled, 10), rows[4:])
