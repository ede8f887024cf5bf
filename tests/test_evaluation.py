from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import Model
from aaejax.metrics.heldout import HeldOut, mixed_order
from tests.conftest import TINY, tiny_options


def test_heldout_scores_are_means_over_all_examples(getkey):
    model = tiny_options().build(TINY, 1)
    networks = model.init(getkey())
    images = np.random.default_rng(0).integers(0, 256, (1203, *TINY.shape), np.uint8)
    scores, codes = HeldOut(model, images, None, getkey())(networks)
    unit = images.astype(np.float32) / 255
    expected = model.encode(networks, unit, getkey())
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    errors = model.error(networks, unit, expected)
    assert scores["heldout/reconstruction"] == pytest.approx(float(errors.mean()), rel=1e-5)
    # Codes of an untrained encoder are nothing like the prior.
    assert scores["heldout/prior_mmd"] > 10 * abs(scores["heldout/prior_mmd_chance"])


def scored(model, images, labels=None):
    key = jax.random.key(3)
    return HeldOut(model, images, labels, jax.random.key(4))(model.init(key))


def random_images(n):
    return np.random.default_rng(1).random((n, *TINY.shape), np.float32)


@pytest.mark.parametrize(
    ("word", "n", "names"),
    [
        ("aae", 0, set()),
        ("aae", 1, {"reconstruction"}),
        ("aae", 2, {"reconstruction", "prior_mmd", "prior_mmd_chance"}),
        ("moment-matching", 0, set()),
        ("moment-matching", 1, set()),
        ("moment-matching", 3, {"sample_mmd"}),
        ("moment-matching", 4, {"sample_mmd", "sample_mmd_chance"}),
    ],
)
def test_scores_of_too_few_examples_are_left_out(word, n, names):
    changes = {"method": "gmmn"} if word == "moment-matching" else {}
    model = tiny_options(word, **changes).build(TINY, 1)
    scores, _ = scored(model, random_images(n))
    assert set(scores) == {f"heldout/{name}" for name in names}
    assert all(np.isfinite(list(scores.values())))


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_images_have_scores(value):
    model = tiny_options("moment-matching", method="gmmn").build(TINY, 1)
    images = np.full((20, *TINY.shape), value, np.float32)
    scores, _ = scored(model, images)
    assert scores["heldout/sample_mmd"] > 0.1
    assert scores["heldout/sample_mmd_chance"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "some"),
    [([-1] * 6, False), ([2, *[-1] * 5], False), ([2, 1, *[-1] * 4], True)],
)
def test_errors_need_examples_whose_label_is_known(labels, some):
    model = tiny_options("clustering", clusters=3).build(TINY, 1)
    scores, _ = scored(model, random_images(6), np.array(labels, np.int32))
    assert ("heldout/error_percent" in scores) == some
    assert all(np.isfinite(list(scores.values())))


def test_the_match_of_codes_with_a_class_is_not_that_of_the_classes():
    # Codes that are those of the prior for their class, of which one is rare.
    model = tiny_options("supervised").build(replace(TINY, labelled=8), 1)
    labels = np.where(np.arange(2000) % 20 == 0, 1, 0).astype(np.int32)
    labels[1::5] = -1

    def encode(variables, images, key, labels):
        return model.prior(variables, key, len(images), labels)

    made = replace(model, encode=encode)
    scores, _ = scored(made, random_images(2000), labels)
    assert abs(scores["heldout/prior_mmd"]) < 0.01
    assert abs(scores["heldout/prior_mmd_chance"]) < 0.01
    unknown, _ = scored(made, random_images(20), np.full(20, -1, np.int32))
    assert set(unknown) == {"heldout/reconstruction"}


def test_a_likelihood_given_the_label_needs_all_labels():
    model = tiny_options("pixelcnn", conditional=True, components=2)
    model = model.build(replace(TINY, labelled=8), 1)
    labels = np.zeros(6, np.int32)
    assert set(scored(model, random_images(6), labels)[0]) == {
        "heldout/nll",
        "heldout/bits_per_dimension",
    }
    labels[3] = -1
    assert scored(model, random_images(6), labels)[0] == {}


def test_the_match_is_measured_on_all_classes_whatever_the_order():
    # 3,000 dark images, then 3,000 bright ones: of the first 1,000 the distance between
    # the encoder's codes and the prior would be that of dark ones alone.
    model = tiny_options().build(TINY, 1)
    images = random_images(6000) * 0.1
    images[3000:] += 0.9
    mixed = images[mixed_order(6000)]
    first, again = (scored(model, x)[0]["heldout/prior_mmd"] for x in (images, mixed))
    assert first == pytest.approx(again, rel=0.05)
    dark = scored(model, images[:3000])[0]["heldout/prior_mmd"]
    assert abs(dark - first) > 0.2 * first


def test_clusters_are_named_by_all_classes_where_labels_alternate():
    # Named by every other example, as they come, the second class would have no name.
    model = tiny_options("semi-supervised").build(replace(TINY, labelled=8), 1)
    sure = np.eye(3, dtype=np.float32)[np.arange(200) % 2]

    def classify(_, x, key):
        return jnp.concatenate([x[:, 0, :2, 0], jnp.zeros((x.shape[0], 1))], axis=1)

    model = replace(model, phases=model.phases[:1], classify=classify)
    images = np.zeros((200, *TINY.shape), np.float32)
    images[:, 0, :2, 0] = sure[:, :2]
    scores, _ = scored(model, images, (np.arange(200) % 2).astype(np.int32))
    assert scores["heldout/error_percent"] == 0
    assert scores["heldout/majority_error_percent"] == 0


def plain(**changes):
    """A model that says of pixels what it is told, without networks."""
    return Model(
        init=lambda key: {},
        phases=(),
        prior=lambda variables, key, n, labels=None: jnp.ones((n, 1)),
        latent=1,
        decode=lambda variables, codes: codes,
        **changes,
    )


def test_the_match_of_samples_by_hand():
    # Samples are 1; images 0, 0, 1, 1 with variance 1/4, so the kernel's s is c / 2. It is
    # 7 between equals and between 0 and 1 the sum over c of (c / 2) / (c / 2 + 1), k.
    k = sum(c / 2 / (c / 2 + 1) for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    images = np.array([[0], [0], [1], [1]], np.float32)
    scores, _ = scored(plain(), images)
    assert scores == pytest.approx(
        {
            # Within samples 7, within images a third 7 and two thirds k, between half each.
            "heldout/sample_mmd": 7 + (7 + 2 * k) / 3 - (7 + k),
            # Each half of the images has a 0 and a 1: within k, between half each.
            "heldout/sample_mmd_chance": 2 * k - (7 + k),
        },
        rel=1e-5,
    )


def test_the_names_of_clusters_by_hand():
    # Examples that name and examples that are scored alternate in the mixed order.
    named = [(0.9, 0.1, 1), (0.8, 0.2, 0), (0.7, 0.3, 0), (0.1, 0.9, 2)]
    others = [(0.9, 0.1, 0), (0.6, 0.4, 0), (0.8, 0.2, 1), (0.2, 0.8, 2)]
    rows = np.empty((8, 3))
    rows[mixed_order(8)] = [row for pair in zip(named, others, strict=True) for row in pair]
    model = plain(
        encode=lambda variables, images, key, labels=None: images[:, :1],
        error=lambda variables, images, codes: images[:, 0],
        classify=lambda variables, images, key: images,
    )
    images, labels = rows[:, :2].astype(np.float32), rows[:, 2].astype(np.int32)
    scores, _ = scored(model, images, labels)
    # The surest calls cluster 0 class 1, which is wrong of two in four; the majority calls
    # it class 0, which is wrong of one.
    assert scores["heldout/error_percent"] == 50
    assert scores["heldout/majority_error_percent"] == 25


def test_the_mixed_order_is_fixed():
    assert mixed_order(6).tolist() == [5, 2, 1, 3, 0, 4]
    assert sorted(mixed_order(100)) == list(range(100))
