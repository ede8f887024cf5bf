"""Every model: isolation of its phases, and what is its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aaejax import init_state, models, phase_step, scan_steps, train_step
from aaejax.data import batches
from aaejax.models._optimizers import Optimizer
from aaejax.sampling import styles
from aaejax.types import DataSpec, UserError
from tests.conftest import BITS, MODELS, TINY, each_phase, tiny_options

SPEC = DataSpec(TINY.shape, TINY.classes, TINY.unit_range, labelled=8)


def build(name):
    spec = dataclasses.replace(SPEC, binary=name in BITS)
    return tiny_options(name, **MODELS[name][0]).build(spec, steps=100)


@pytest.fixture
def whole_batch(batch):
    prefixes = ("labelled_", "step1_", "step2_")
    other = {"image": batch["image"][::-1], "label": batch["label"]}
    return batch | {f"{p}{name}": other[name] for p in prefixes for name in other}


def step_of(model, name):
    (phase,) = [phase for phase in model.phases if phase.name == name]
    return jax.jit(phase_step(phase))


def moved(before, after):
    return [
        bool((x != y).any())
        for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]


def test_every_model_is_tested_here():
    assert set(MODELS) == set(models.NAMES) - {"aae"}


@pytest.mark.parametrize("name", MODELS)
def test_a_phase_touches_only_the_networks_that_it_names(name, whole_batch, getkey):
    model, key = build(name), getkey()
    state = init_state(model, getkey())
    trained = set()
    states = each_phase(model, state, whole_batch, key)
    for phase, after in zip(model.phases, states, strict=True):
        for network in state.params:
            changed = any(moved(state.params[network], after.params[network]))
            assert changed == (network in phase.trains), (phase.name, network)
        trained |= set(phase.trains)
    assert trained == set(state.params)


def test_the_label_of_an_unlabelled_image_changes_nothing(whole_batch, getkey):
    model, key = build("semi-supervised"), getkey()
    state = init_state(model, getkey())
    step = jax.jit(train_step(model.phases))
    first, _ = step(state, whole_batch, key)
    second, _ = step(state, {**whole_batch, "label": jnp.zeros(8, jnp.int32)}, key)
    assert not any(moved(first, second))


def test_the_label_of_a_labelled_image_changes_the_encoder(whole_batch, getkey):
    model, key = build("semi-supervised"), getkey()
    state = init_state(model, getkey())
    step = step_of(model, "classification")
    other = {**whole_batch, "labelled_label": (whole_batch["labelled_label"] + 1) % 3}
    first, metrics = step(state, whole_batch, key)
    second, _ = step(state, other, key)
    assert any(moved(first.params["encoder"], second.params["encoder"]))
    # Before training q(y|x) is about uniform.
    assert metrics["classification/loss"] == pytest.approx(np.log(3), abs=0.3)


def test_the_discriminator_of_a_label_regularized_aae_reads_labels(whole_batch, getkey):
    model, key = build("label-regularized"), getkey()
    state = init_state(model, getkey())
    step = jax.jit(train_step(model.phases))
    unknown = {**whole_batch, "label": jnp.full(8, -1, jnp.int32)}
    losses = [step(state, b, key)[1]["discriminator/loss"] for b in (whole_batch, unknown)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("joint", [False, True])
def test_a_joint_adversary_sees_a_style_that_knows_its_class(joint, whole_batch, getkey):
    model = tiny_options("semi-supervised", joint_style=joint).build(SPEC, 100)
    state, key = init_state(model, getkey()), getkey()
    step = step_of(model, "style_discriminator")
    mlp = state.params["encoder"]["mlp"]

    # An encoder that is sure of one class for all images.
    def loss_of(y):
        output = {
            "kernel": mlp["output"]["kernel"].at[:, :3].set(0.0),
            "bias": mlp["output"]["bias"].at[y].set(50.0),
        }
        sure = {**state.params, "encoder": {"mlp": {**mlp, "output": output}}}
        return step(dataclasses.replace(state, params=sure), whole_batch, key)[1]

    first, other = (loss_of(k)["style_discriminator/loss"] for k in (0, 2))
    assert (first != other) == joint


@pytest.mark.parametrize("stopped", [False, True])
def test_a_stopped_class_gradient_leaves_the_class_to_its_own_phases(
    stopped, whole_batch, getkey
):
    options = tiny_options(
        "semi-supervised",
        joint_style=True,
        consistency=1.0,
        stop_class_gradient=stopped,
    )
    model, key = options.build(SPEC, 100), getkey()
    state = init_state(model, getkey())
    heads = {}
    for phase, after in zip(
        model.phases, each_phase(model, state, whole_batch, key), strict=True
    ):
        if "encoder" in phase.trains:
            before, now = (
                each.params["encoder"]["mlp"]["output"]["kernel"] for each in (state, after)
            )
            changed = (before != now).any(axis=0)
            heads[phase.name] = bool(changed[:3].any()), bool(changed[3:].any())
    assert heads == {
        "reconstruction": (not stopped, True),
        "class_generator": (True, False),
        "style_generator": (not stopped, True),
        "consistency": (True, False),
        "classification": (True, False),
    }


def test_clusters_that_nothing_teaches_are_refused():
    options = tiny_options("clustering", stop_class_gradient=True)
    with pytest.raises(UserError, match="nothing that says what a cluster is"):
        options.build(SPEC, 100)


def test_a_supervised_style_has_one_prior_for_all_labels(whole_batch, getkey):
    model = tiny_options("supervised", joint_style=True).build(SPEC, 100)
    state, key = init_state(model, getkey()), getkey()
    step = step_of(model, "discriminator")
    mlp = state.params["discriminator"]["mlp"]
    first = mlp["hidden_0"]
    styles_only = first["kernel"].at[-SPEC.classes - 1 :].set(0.0)
    deaf = {"mlp": {**mlp, "hidden_0": {**first, "kernel": styles_only}}}

    def loss_of(label, discriminator):
        params = {**state.params, "discriminator": discriminator}
        batch = {**whole_batch, "label": jnp.full(8, label, jnp.int32)}
        after = step(dataclasses.replace(state, params=params), batch, key)
        return after[1]["discriminator/loss"]

    hearing = state.params["discriminator"]
    assert loss_of(0, hearing) != loss_of(2, hearing)
    assert loss_of(0, deaf) == loss_of(2, deaf)


def test_a_style_row_keeps_its_style_and_a_column_its_class(getkey):
    model = build("supervised")
    networks = model.init(getkey())
    key = getkey()
    codes = jax.jit(lambda key: styles(model, networks, key, 4), static_argnums=())(key)
    assert codes.shape == (4, 3, *TINY.shape)
    row = model.prior(networks, jax.random.clone(key), 1, jnp.array([0]))
    other = model.prior(networks, jax.random.clone(key), 1, jnp.array([2]))
    np.testing.assert_array_equal(row[:, 3:], other[:, 3:])
    np.testing.assert_array_equal(other[0, :3], [0, 0, 1])


VARIANTS = {
    "rae, weights": ("autoencoder", {"regularize": "l2", "code_weight": 1.0}),
    "rae, slopes": ("autoencoder", {"regularize": "gradient-penalty"}),
    "vae, variance": ("vae", {"reconstruction": "gaussian", "two_stage": True}),
    "vae, mixture": ("vae", {"prior": "mixture", "components": 3}),
    "vae, swiss roll": ("vae", {"prior": "swiss-roll"}),
    "wae, Gaussians": ("moment-matching", {"kernel": "rbf"}),
    "gmmn": ("moment-matching", {"method": "gmmn"}),
    "gmmn of codes": ("moment-matching", {"method": "gmmn-codes"}),
    "gan, minimax": ("gan", {"generator_loss": "minimax"}),
    "gan, wasserstein": ("gan", {"loss": "wasserstein", "spectral_norm": True}),
    "supervised, jointly": ("supervised", {"joint_style": True}),
    "semi-supervised, jointly": ("semi-supervised", {"joint_style": True}),
    "dcgan": ("gan", {"network": "dcgan", "channels": 4, "conditional": True, "r1": 0.1}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_phase_of_a_variant_makes_its_own_loss_smaller(name, whole_batch, getkey):
    word, changes = VARIANTS[name]
    model, key = tiny_options(word, **changes).build(SPEC, 100), getkey()
    state = init_state(model, getkey())
    for phase in model.phases:
        step = jax.jit(phase_step(phase))
        # The same step again and again: the same batch and noise.
        after, first = step(state, whole_batch, key)
        for _ in range(8):
            after, last = step(after, whole_batch, key)
        loss = f"{phase.name}/loss"
        assert last[loss] < first[loss], phase.name


def test_a_gan_updates_its_discriminator_on_three_fresh_batches(whole_batch, getkey):
    options = tiny_options("gan", discriminator_steps=3)
    model, key = options.build(SPEC, 100), getkey()
    names = [phase.name for phase in model.phases]
    assert names == ["discriminator"] * 3 + ["generator"]
    state = init_state(model, getkey())
    step = jax.jit(train_step(model.phases))
    after, _ = step(state, whole_batch, key)
    count = after.opt_state["discriminator"][0].count
    assert (count, after.opt_state["generator"][0].count) == (3, 1)
    for prefix in ("", "step1_", "step2_"):
        other = {**whole_batch, f"{prefix}image": 1 - whole_batch[f"{prefix}image"]}
        changed, _ = step(state, other, key)
        assert any(moved(after.params, changed.params)), prefix
    # And they are three different ones: rows of the data in three orders.
    assert model.reads == ("", "step1_", "step2_")
    orders = [batches.batch_indices(0, 0, 4, 40, 10, stream) for stream in range(3)]
    assert len({order.tobytes() for order in orders}) == 3
    assert all(sorted(order.ravel()) == list(range(40)) for order in orders)


def test_a_discriminators_rate_is_that_of_its_step_however_often_it_is_updated():
    optimizer = Optimizer("sgd", 0.5, 0.0, schedule="cosine", warmup_steps=2)
    options = tiny_options("gan", discriminator_steps=3, discriminator_optimizer=optimizer)
    made, rate = (
        options.optimizers(steps=10)["discriminator"],
        optimizer.learning_rate_in(10),
    )
    state, found = made.init(jnp.zeros(())), []
    for _ in range(30):
        update, state = made.update(jnp.ones(()), state)
        found.append(-float(update))
    expected = [float(rate(step)) for step in range(10) for _ in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert found[-1] > 0


def test_a_conditional_gan_tells_labels_apart(whole_batch, getkey):
    model, key = build("gan"), getkey()
    state = init_state(model, getkey())
    step = jax.jit(train_step(model.phases))
    first = step(state, whole_batch, key)[1]
    label = (whole_batch["step2_label"] + 1) % 3
    other = step(state, {**whole_batch, "step2_label": label}, key)[1]
    assert first["discriminator/loss"] != other["discriminator/loss"]


def test_an_autoencoder_is_sampled_from_the_moments_of_its_codes(getkey):
    options = tiny_options("autoencoder", reconstruction_optimizer=Optimizer("sgd", 1e-9))
    model, key = options.build(SPEC, 1), getkey()
    images = jax.random.uniform(getkey(), (64, *TINY.shape))
    step = jax.jit(scan_steps(train_step(model.phases)))
    same = {"image": jnp.broadcast_to(images[None], (1500, *images.shape))}
    state, _ = step(init_state(model, getkey()), same, key)
    codes = model.encode(state.variables, images, getkey())
    drawn = model.prior(state.variables, getkey(), 20_000)
    spread = codes.std(axis=0)
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.05 * spread.max())
    np.testing.assert_allclose(
        np.cov(drawn.T), np.cov(codes.T, bias=True), atol=0.1 * spread.max() ** 2
    )


def test_the_moments_of_an_autoencoder_are_of_codes_without_noise_from_the_start(getkey):
    frozen = {"reconstruction_optimizer": Optimizer("sgd", 1e-9)}
    options = tiny_options("autoencoder", input_noise=0.5, dropout=0.2, **frozen)
    model, key = options.build(SPEC, 3), getkey()
    step = jax.jit(train_step(model.phases))
    state, seen = init_state(model, getkey()), []
    for _ in range(3):
        images = jax.random.uniform(getkey(), (64, *TINY.shape))
        state, _ = step(state, {"image": images}, key)
        seen.append(model.encode(state.variables, images, getkey()))
    codes, moments = jnp.concatenate(seen), state.params["prior"]
    np.testing.assert_allclose(moments["mean"], codes.mean(0), rtol=1e-4, atol=1e-5)
    second = codes.T @ codes / len(codes)
    np.testing.assert_allclose(moments["second"], second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["l2", "gradient-penalty"])
def test_a_regularized_autoencoder_costs_lengths_and_a_penalty(kind, whole_batch, getkey):
    def build(**more):
        # Linear, and of one code, so that one sign tells the whole slope.
        linear = {"depth": 0, "output": "linear", "reconstruction": "squared-error"}
        return tiny_options("autoencoder", **{"latent": 1, **linear, **more}).build(SPEC, 9)

    plain, key = build(), getkey()
    state = init_state(plain, getkey())

    def loss(model):
        step = step_of(model, "reconstruction")
        return float(step(state, whole_batch, key)[1]["reconstruction/loss"])

    found = {
        (code, decoder): loss(
            build(regularize=kind, code_weight=code, decoder_weight=decoder)
        )
        for code, decoder in ((0.0, 0.0), (2.0, 0.0), (0.0, 3.0))
    }
    base = loss(plain)
    assert found[0.0, 0.0] == pytest.approx(base, rel=1e-6)
    codes = plain.encode(state.variables, whole_batch["image"], getkey())
    length = 0.5 * jnp.square(codes).sum(axis=1).mean()
    assert found[2.0, 0.0] - base == pytest.approx(2 * float(length), rel=1e-3)
    layer = state.params["decoder"]["mlp"]["output"]
    penalty = jnp.square(layer["kernel"]).sum()
    if kind == "l2":
        penalty += jnp.square(layer["bias"]).sum()
    assert found[0.0, 3.0] - base == pytest.approx(3 * float(penalty), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "changes", "labelled", "words"),
    [
        ("supervised", {}, 0, "needs labels"),
        ("semi-supervised", {}, 0, "needs labels"),
        ("label-regularized", {}, 0, "needs labels"),
        ("label-regularized", {"components": 4}, 8, "take --components 3"),
        ("reduction", {"clusters": 5}, 8, "leave --clusters out"),
        ("reduction", {"simplex": 10.0}, 8, "needs --latent 3"),
        ("semi-supervised", {"distortion": 0.1}, 8, "need a --consistency"),
        ("clustering", {"consistency": 1.0, "translation": -1.0}, 0, "must be 0 or more"),
        ("autoencoder", {"code_weight": 1.0}, 0, "code_weight is of --regularize"),
        ("autoencoder", {"regularize": "l2", "decoder_weight": -1.0}, 0, "0 or more"),
        ("vae", {"decoder_std": 0.5}, 0, "is a bernoulli one: leave it out"),
    ],
)
def test_options_that_cannot_be_are_refused(name, changes, labelled, words):
    spec = DataSpec(TINY.shape, 3, True, labelled)
    with pytest.raises(UserError, match=words):
        tiny_options(name, **changes).build(spec, 1)


def test_a_simplex_has_no_heads_to_learn(getkey):
    options = tiny_options("reduction", latent=3, simplex=10.0)
    model = options.build(SPEC, 1)
    networks = model.init(getkey())
    assert "heads" not in networks
    assert "heads" not in [phase.name for phase in model.phases]
    code = jnp.array([[0.0, 1.0, 0.0, 0.5, 0.5, -1.0]])
    np.testing.assert_allclose(model.represent(networks, code), [[0.5, 10.5, -1.0]])
    corners = model.in_plane(networks, jnp.hstack([jnp.eye(3), jnp.zeros((3, 3))]))
    np.testing.assert_allclose(
        corners, 10 * np.array([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]]), atol=1e-5
    )


def test_vectors_cannot_be_distorted():
    options = tiny_options("clustering", consistency=1.0, distortion=0.1)
    with pytest.raises(UserError, match="vectors of 5 values can't be distorted"):
        options.build(DataSpec((5,), 3, True), 1)
