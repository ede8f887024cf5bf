"""Data from arrays; every error names its cure on one line."""

import numpy as np
import pytest

from aaejax.data import from_arrays, lazy, load, memory
from tests.made_data import fails, images, labels_of


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (images(), (4, 5, 1), np.uint8),
        (images()[..., 0], (4, 5, 1), np.uint8),
        (images(shape=(4, 5, 3)), (4, 5, 3), np.uint8),
        (images() / 255, (4, 5, 1), np.float32),
        ((images() / 255).astype(">f4"), (4, 5, 1), np.float32),
        (images()[..., 0] > 99, (4, 5, 1), np.float32),
        (np.random.RandomState(0).normal(size=(20, 7)) * 9, (7,), np.float32),
        (images(shape=(7,)), (7,), np.uint8),
    ],
)
def test_accepted_arrays_keep_their_values(x, shape, dtype):
    data = from_arrays(x, None, x)
    assert data.example_shape == shape
    for part in (data.train_images, data.test_images):
        assert part.dtype == dtype and part.dtype.isnative
        np.testing.assert_array_equal(part, x.reshape(-1, *shape).astype(dtype))
    assert data.train_labels is None and data.classes == 0 and data.class_names == ()


def spoilt(value, count=1):
    x = np.full((20, 4, 5), 0.5)
    x[3, 1, 2 : 2 + count] = value
    return x


@pytest.mark.parametrize(
    ("x", "fragment"),
    [
        (
            spoilt(np.nan, 2),
            "2 values that are NaN or infinite, the first at index [3, 1",
        ),
        (spoilt(np.inf), "1 values that are NaN"),
        (np.full((20, 3), 1e300), "60 values that are NaN or infinite"),  # in float32
        (
            spoilt(200.0),
            "in [0.5, 200]; float images must lie in [0, 1]: they look like 0",
        ),
        (spoilt(-0.5), "they look like -1..1: pass (x + 1) / 2"),
        (spoilt(1.5), "scale them"),
        (
            images().astype(np.uint16),
            "uint16 but reach only 255, where white is 65535; pass x.astype",
        ),
        (np.ones((20, 3), complex), "complex128; allowed"),
        (np.full((20, 3), None), "object; allowed"),
        (images()[:0], "(0, 4, 5, 1)"),
        (images()[0, :, 0, 0], "(4,)"),
        (images()[None], "(1, 20, 4, 5, 1)"),
        (images(shape=(3, 8, 8)), "x.transpose(0, 2, 3, 1)"),
        (images().astype(np.int32), "int32; allowed are uint8, uint16, bool, float; if"),
        (images() // 128, "reach only 1, where white is 255; pass x.astype(bool)"),
        (images()[:1], "2 or more"),
        ([[1.0, 2.0], [3.0]], "differ in shape"),
    ],
)
def test_refused_images(x, fragment):
    fails(fragment, from_arrays, x)


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [
        (np.zeros(19, int), "are 19 but images are 20"),
        (np.eye(20, dtype=int), "labels.argmax(1)"),
        (np.zeros(20), "float64; allowed are integers"),
        (np.zeros(20, bool), "bool; allowed are integers"),
        (np.full(20, -2), "-2..-2; allowed are 0, 1, ... below 2^63, or -1"),
        (np.full(20, 2**63, np.uint64), "allowed are 0, 1, ... below 2^63"),
        (np.array([b"\xff"] * 20), "bytes but no UTF-8"),
    ],
)
def test_refused_labels(labels, fragment):
    fails(fragment, from_arrays, images(), labels)


@pytest.mark.parametrize(
    ("test_x", "test_y", "names", "fragment"),
    [
        (
            images(5, (4, 6, 1)),
            None,
            None,
            "uint8 [4, 5, 1] and a test example uint8 [4, 6",
        ),
        (images(5) / 255, None, None, "test example float32"),
        (None, np.zeros(5, int), None, "without test images"),
        (images(5), np.array(["a"] * 5), None, "strings, the others integers"),
        (images(5), np.arange(5), ["a", "b"], "label 4 has no name"),
    ],
)
def test_parts_that_do_not_fit_each_other(test_x, test_y, names, fragment):
    y = np.arange(20) % 2
    fails(fragment, from_arrays, images(), y, test_x, test_y, class_names=names)


def test_string_labels_become_indices_over_both_parts():
    x = images(4)
    train, test = np.array(["cat", "ant", "cat", "ant"]), ["bee"] * 4
    data = from_arrays(x, train, x, test)
    assert data.class_names == ("ant", "bee", "cat")
    train_labels, test_labels = labels_of(data)
    assert train_labels.tolist() == [2, 0, 2, 0]
    assert test_labels.tolist() == [1, 1, 1, 1]
    assert test_labels.dtype == np.int32
    names = ["cat", "bee", "ant", "dog"]
    again = from_arrays(x, train.astype("S"), x, test, class_names=names)
    assert labels_of(again)[0].tolist() == [0, 2, 0, 2] and again.classes == 4
    names = ["cat", "ant"]
    fails("'bee' is not in", from_arrays, x, train, x, test, class_names=names)


@pytest.mark.parametrize(
    ("train", "test", "names", "train_want", "test_want"),
    [
        ([0, 1000, 2000, 0], [1000] * 4, "0 1000 2000", [0, 1, 2, 0], [1] * 4),
        ([3, 1, 2, 1], [3] * 4, "1 2 3", [2, 0, 1, 0], [2] * 4),
        ([2**62, -1, 7, 7], [-1, 5, 7, 7], f"5 7 {2**62}", [2, -1, 1, 1], [-1, 0, 1, 1]),
        (["10", "2", "1", "2"], ["2"] * 4, "1 2 10", [2, 1, 0, 1], [1] * 4),
        (["b", "10", "-2", "9.5"], ["b"] * 4, "-2 9.5 10 b", [3, 2, 0, 1], [3] * 4),
        (np.array(["b", "a"] * 2, object), [b"a"] * 4, "a b", [1, 0, 1, 0], [0] * 4),
    ],
)
def test_every_value_names_a_class(train, test, names, train_want, test_want):
    data = from_arrays(images(4), train, images(4), test)
    assert data.class_names == tuple(names.split())
    assert [y.tolist() for y in labels_of(data)] == [train_want, test_want]
    assert [y.dtype for y in labels_of(data)] == [np.int32, np.int32]


def test_integers_are_indices_into_names_that_are_given():
    data = from_arrays(images(4), [0, 2, -1, 2], class_names=["a", "b", "c"])
    assert data.class_names == ("a", "b", "c")
    assert sorted(np.concatenate(labels_of(data))) == [-1, 0, 2, 2]


def test_a_class_without_training_examples_is_named():
    said = []
    x, names = images(4), ["cat", "dog", "cow"]
    data = from_arrays(
        x, [0, 0, -1, 0], x, [0, 1, 1, 1], class_names=names, tell=said.append
    )
    assert said == ["arrays: no training example has the class dog, cow"]
    assert data.unseen_classes() == ["dog", "cow"]
    from_arrays(x, ["a", "b"] * 2, x, ["b"] * 4, tell=said.append)
    from_arrays(x, test_images=x, tell=said.append)
    assert len(said) == 1


def test_the_only_example_of_a_class_is_not_held_out():
    labels = ["a"] * 9 + ["b"] + ["c"] * 10  # without care the tenth would be
    data = from_arrays(images(20), labels, tell=[].append)
    assert [y.tolist().count(1) for y in labels_of(data)] == [1, 0]
    assert len(data.test_images) == 1


def test_values_that_are_no_classes():
    x = images(202)
    fails("202 examples have 202 different values", from_arrays, x, np.arange(202) * 7)
    fails("102 different values", from_arrays, x, np.arange(202) % 102)
    fails("102 different", from_arrays, x, [f"{i % 101}.png" for i in range(201)] + [""])
    assert from_arrays(x, np.arange(202) % 101).classes == 101
    assert from_arrays(x[:100], np.arange(100)).classes == 100


@pytest.mark.parametrize("names", ["ab", ["a", "a"], [1, 1]])
def test_names_of_classes_are_one_each(names):
    fails("pass one name a class", from_arrays, images(4), [0, 1] * 2, class_names=names)


def test_labels_of_which_none_is_known():
    x = images(4)
    data = from_arrays(x, np.array([[0], [-1], [2], [0]], np.int8), x)
    assert data.train_labels is not None and data.test_labels is None
    assert data.train_labels.tolist() == [0, -1, 1, 0]
    assert data.train_labels.dtype == np.int32
    assert data.class_names == ("0", "2")
    unknown = from_arrays(x, np.full(4, -1), x)
    assert unknown.train_labels is None and unknown.classes == 0


@pytest.mark.parametrize(("n", "held"), [(100, 10), (2, 1), (9, 1), (25, 2)])
def test_a_tenth_is_held_out_once_and_for_all(n, held):
    x = np.arange(n, dtype=np.float32)[:, None] * np.ones(3, np.float32)
    data, again = from_arrays(x), from_arrays(x)
    assert len(data.test_images) == held
    both = np.concatenate([data.train_images, data.test_images])[:, 0]
    assert sorted(both) == list(range(n))
    np.testing.assert_array_equal(data.test_images, again.test_images)


def test_the_held_out_tenth_is_stratified():
    labels = np.repeat([0, 1, 2], [100, 50, 20])
    x = np.arange(170, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    data = from_arrays(x, labels)
    _, test_labels = labels_of(data)
    assert np.bincount(test_labels).tolist() == [10, 5, 2]
    np.testing.assert_array_equal(labels[data.test_images[:, 0].astype(int)], test_labels)


def test_without_holding_out_all_examples_keep_their_order():
    x, y = images(), np.repeat(["b", "a"], 10)
    data = from_arrays(x, y, hold_out=False)
    train_labels, test_labels = labels_of(data)
    np.testing.assert_array_equal(data.train_images, x)
    assert train_labels.tolist() == [1] * 10 + [0] * 10
    assert data.test_images.shape == (0, 4, 5, 1) and data.test_images.dtype == np.uint8
    assert test_labels.shape == (0,) and test_labels.dtype == np.int32
    assert data.fingerprint != from_arrays(x[::-1], y, hold_out=False).fingerprint
    assert len(from_arrays(x[:1], hold_out=False).train_images) == 1
    # a test part that was given stays one
    data = from_arrays(x, None, x[:3], hold_out=False)
    np.testing.assert_array_equal(data.test_images, x[:3])


def test_fingerprint_sees_every_part():
    x, y = images(), np.arange(20) % 3
    base = from_arrays(x, y, x, y)
    assert base.fingerprint == from_arrays(x.copy(), y, x, y).fingerprint
    other = x.copy()
    other[-1, -1, -1, 0] ^= 1
    changed = [
        from_arrays(other, y, x, y),
        from_arrays(x, y[::-1], x, y),
        from_arrays(x, y, other, y),
        from_arrays(x, y, x, y[::-1]),
        from_arrays(x, None, x, y),
        from_arrays(x.reshape(20, 5, 4), y, x.reshape(20, 5, 4), y),
    ]
    assert len({base.fingerprint, *(data.fingerprint for data in changed)}) == 7


def test_labels_are_kept_equally_per_class_and_the_rest_forgotten():
    y = np.repeat(np.arange(3), [50, 30, 20])
    data = from_arrays(images(100), y, hold_out=False)
    kept = data.keep_labels(12, seed=1).train_labels
    assert np.bincount(kept[kept >= 0]).tolist() == [4, 4, 4]
    assert (kept[kept >= 0] == y[kept >= 0]).all()
    assert (kept == -1).sum() == 88
    np.testing.assert_array_equal(kept, data.keep_labels(12, seed=1).train_labels)
    assert (kept != data.keep_labels(12, seed=2).train_labels).any()
    assert (data.keep_labels(0, seed=1).train_labels == -1).all()
    assert data.classes == 3
    for count, words in ((10, "multiple of the 3 classes"), (63, "class 2 has only 20")):
        fails(words, data.keep_labels, count, seed=0)
    fails("has no labels", from_arrays(images(9)).keep_labels, 3, seed=0)


# What is larger than memory


def test_a_large_memory_map_is_read_by_rows_and_not_copied(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (1100, 1024, 1024))
    x[:, 0, 0] = np.arange(1100) % 256  # all else is a hole in the file
    y = np.arange(1100) % 256
    data = from_arrays(x, y, name="a")
    for part, labels in zip(
        (data.train_images, data.test_images), labels_of(data), strict=True
    ):
        assert isinstance(part, lazy.Rows)
        assert part[-8:].shape == (8, 1024, 1024, 1) and part.dtype == np.uint8
        assert part[-8:][:, 0, 0, 0].tolist() == labels[-8:].tolist()
        assert part[np.array([[3, 1]])][0, :, 0, 0, 0].tolist() == labels[[3, 1]].tolist()
    assert len(data.train_images) + len(data.test_images) == 1100
    again = from_arrays(x[1:], y[1:], name="a")
    assert again.train_images[:9][:, 0, 0, 0].tolist() == labels_of(again)[0][:9].tolist()
    assert again.fingerprint != data.fingerprint == from_arrays(x, y).fingerprint


def test_what_does_not_fit_into_memory_is_refused_before_it_is_taken():
    assert 0 < memory.free() < 2**50
    fails("x would take 1,048,576.0 GiB of memory and", memory.check, 2**50, "x")
    huge = np.broadcast_to(np.zeros(1), (2**24, 2**24))  # takes 8 bytes
    fails("train images as float32 would take 1,048,576.0 GiB", from_arrays, huge)
    huge = np.broadcast_to(np.full(1, 255, np.uint8), (2**25, 2**25))
    fails("in two parts would take 1,048,576.0 GiB", from_arrays, huge)


# mnist5k


def test_mnist5k_is_split_by_digit_and_disjoint(tmp_path):
    data = load("mnist5k", tmp_path)
    assert data.train_images.shape == (4000, 28, 28, 1)
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    train_labels, test_labels = labels_of(data)
    assert np.bincount(train_labels).tolist() == [400] * 10
    assert np.bincount(test_labels).tolist() == [100] * 10
    train = {x.tobytes() for x in data.train_images}
    assert len(train) > 3990 and not train & {x.tobytes() for x in data.test_images}
    assert np.abs(np.diff(train_labels)).mean() > 2  # shuffled: 3.3, sorted: 0.002
    # the split on which published numbers rest
    assert data.fingerprint == load("mnist5k", tmp_path).fingerprint == MNIST5K


MNIST5K = "98b82d40"
