import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from aaejax import Model, Phase, UserError, init_state, phase_step, scan_steps, train_step
from aaejax.models._optimizers import Optimizer
from aaejax.phases import averaged_params
from tests.conftest import TINY, each_phase, tiny_options

pytestmark = pytest.mark.quick
LABELLED_TINY = dataclasses.replace(TINY, labelled=8)
KINDS = [
    {"posterior": "deterministic"},
    {"posterior": "gaussian", "prior": "mixture"},
    {"posterior": "universal", "prior": "swiss-roll", "generator_loss": "minimax"},
    {"network": "conv", "prior": "uniform", "reconstruction": "squared-error"},
]


def make(getkey, name="aae", **changes):
    model = tiny_options(name, **changes).build(LABELLED_TINY, steps=100)
    return model, init_state(model, getkey())


def one_number(w, *phases):
    return Model(
        init=lambda key: {"net": {"params": {"w": jnp.array(w)}}},
        phases=phases,
        prior=lambda *_: jnp.zeros((1, 1)),
        latent=1,
        decode=lambda variables, codes: codes,
    )


def equal(a, b):
    return all(
        (x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("changes", KINDS)
def test_a_phase_touches_only_the_networks_that_it_names(changes, batch, getkey):
    model, state = make(getkey, **changes)
    key = getkey()
    for phase, after in zip(
        model.phases, each_phase(model, state, batch, key), strict=True
    ):
        for name in state.params:
            moved = not equal(state.params[name], after.params[name])
            assert moved == (name in phase.trains), (phase.name, name)
        for name in state.opt_state:
            moved = not equal(state.opt_state[name], after.opt_state[name])
            assert moved == (name == phase.name), (phase.name, name)
        assert after.step == state.step


def test_every_array_of_a_trained_network_moves(batch, getkey):
    model, state = make(getkey)
    after, _ = jax.jit(train_step(model.phases))(state, batch, getkey())
    for path, before in jax.tree.leaves_with_path(state.params):
        now = after.params
        for part in path:
            now = now[part.key]
        assert not (now == before).all(), path
    assert after.step == 1


def test_phases_run_in_order_and_each_sees_what_the_one_before_left(batch, getkey):
    model, state = make(getkey)
    key = getkey()
    whole, _ = jax.jit(train_step(model.phases))(state, batch, key)
    by_hand = state
    for phase in model.phases:
        by_hand, _ = jax.jit(phase_step(phase))(by_hand, batch, key)
    assert equal(whole.params, by_hand.params)
    assert equal(whole.opt_state, by_hand.opt_state)
    backwards, _ = jax.jit(train_step(model.phases[::-1]))(state, batch, key)
    assert not equal(whole.params, backwards.params)


def test_metrics_are_losses_norms_and_accuracies(batch, getkey):
    model, state = make(getkey)
    _, metrics = jax.jit(train_step(model.phases))(state, batch, getkey())
    assert set(metrics) == {
        "reconstruction/loss",
        "reconstruction/gradient_norm",
        "discriminator/loss",
        "discriminator/accuracy_prior",
        "discriminator/accuracy_codes",
        "discriminator/gradient_norm",
        "generator/loss",
        "generator/gradient_norm",
    }
    assert all(value.shape == () for value in metrics.values())


@pytest.mark.parametrize(
    ("optimizer", "w"),
    [
        (optax.sgd(0.1), 4.8),
        (optax.lion(0.1, weight_decay=0.0), 4.9),  # the gradient's sign
        (optax.MultiSteps(optax.sgd(0.1), 2), 5.0),  # moves at every second step
        (optax.polyak_sgd(max_learning_rate=9.0), 0.0),  # the loss over 2^2, times 2
    ],
)
def test_a_step_does_what_the_optimizer_says(optimizer, w, getkey):
    # loss = mean(w * x) with w = 5 and x = 1, 2, 3: 10, the gradient 2.
    def loss(variables, batch, draw):
        return (variables["net"]["params"]["w"] * batch["image"]).mean(), {}, {}

    phase = Phase("only", ("net",), loss, optimizer=optimizer)

    state = init_state(one_number(5.0, phase), getkey())
    state, metrics = phase_step(phase)(
        state, {"image": jnp.array([1.0, 2.0, 3.0])}, getkey()
    )
    assert state.params["net"]["w"] == pytest.approx(w, abs=1e-5)
    assert metrics["only/loss"] == pytest.approx(10)
    assert metrics["only/gradient_norm"] == pytest.approx(2)


def test_noise_depends_on_step_phase_name_and_position_alone(getkey):
    drawn = []

    def loss(variables, batch, draw):
        values = [draw(name, lambda key: jax.random.normal(key)) for name in ("a", "b")]
        return variables["net"]["params"]["w"], {"a": values[0], "b": values[1]}, {}

    state = init_state(one_number(0.0), getkey())
    key = getkey()
    for size, step, name in ((4, 0, "x"), (2, 0, "x"), (4, 1, "x"), (4, 0, "y")):
        phase = Phase(name, ("net",), loss, optimizer=optax.sgd(0.1))
        at = state.replace(
            step=jnp.int32(step), opt_state={name: optax.sgd(0.1).init({"net": {"w": 0.0}})}
        )
        _, metrics = phase_step(phase)(at, {"image": jnp.zeros((size, 1))}, key)
        drawn.append((metrics[f"{name}/a"], metrics[f"{name}/b"]))
    base = np.asarray(drawn[0])
    np.testing.assert_array_equal(base[:, :2], np.asarray(drawn[1]))
    values = np.concatenate([base.ravel(), *(np.ravel(d) for d in drawn[2:])])
    assert len(np.unique(values)) == len(values)


def test_phases_of_one_name_draw_noise_of_their_own(getkey):
    drawn = []

    def loss(variables, batch, draw):
        drawn.append(draw("noise", jax.random.normal))
        return variables["net"]["params"]["w"], {}, {}

    one = Phase("a", ("net",), loss, optimizer=optax.sgd(0.0))
    phases = [dataclasses.replace(one, stream=number) for number in range(3)]
    model, key = one_number(1.0, *phases), getkey()
    state, batch = init_state(model, getkey()), {"image": jnp.zeros((4, 1))}
    with jax.disable_jit():
        train_step(phases)(state, batch, key)
        for phase in phases:  # by hand
            phase_step(phase)(state, batch, key)
    together, by_hand = np.split(np.asarray(drawn), 2)
    np.testing.assert_array_equal(together, by_hand)
    assert len({x.tobytes() for x in together}) == 3
    with pytest.raises(UserError, match="two phases are called a and have one stream"):
        train_step([one, one])


def test_no_second_compile(batch, getkey):
    model, state = make(getkey)
    traces = 0

    def counted(state, batch, key):
        nonlocal traces
        traces += 1
        return train_step(model.phases)(state, batch, key)

    step, key = jax.jit(counted), getkey()
    for _ in range(3):
        state, _ = step(state, batch, key)
    assert traces == 1


def test_the_step_runs_under_scan_and_vmap(batch, getkey):
    model, state = make(getkey)
    key = getkey()
    step = jax.jit(train_step(model.phases))
    expected, losses = state, []
    for _ in range(3):
        expected, metrics = step(expected, batch, key)
        losses.append(metrics["reconstruction/loss"])

    batches = jax.tree.map(lambda x: jnp.stack([x] * 3), batch)
    scanned, metrics = jax.jit(scan_steps(train_step(model.phases)))(state, batches, key)
    np.testing.assert_allclose(metrics["reconstruction/loss"], losses, rtol=1e-5)
    assert scanned.step == 3

    # Two seeds as one program.
    two = jax.random.split(getkey(), 2)
    states = jax.jit(jax.vmap(lambda k: init_state(model, k)))(two)
    keys = jax.random.split(getkey(), 2)
    many, metrics = jax.jit(jax.vmap(train_step(model.phases), (0, None, 0)))(
        states, batch, keys
    )
    one, alone = step(jax.tree.map(lambda x: x[1], states), batch, keys[1])
    np.testing.assert_allclose(
        metrics["generator/loss"][1], alone["generator/loss"], rtol=1e-5
    )
    assert many.step.tolist() == [1, 1]
    assert one.step == 1


@pytest.mark.parametrize("model_changes", [{"r1": 0.1}, {"posterior": "universal"}])
@pytest.mark.parametrize("check_vma", [True, False])
def test_a_step_under_shard_map_is_that_of_one_device(
    model_changes, check_vma, batch, getkey
):
    # SGD and clipping: Adam would hide a gradient that is a multiple of the right one.
    sgd = Optimizer("sgd", 1e-3, clip=1e3)
    kinds = ("reconstruction", "discriminator", "generator")
    optimizers = {f"{kind}_optimizer": sgd for kind in kinds}
    model, state = make(getkey, **model_changes, **optimizers)
    key = getkey()
    expected, metrics = jax.jit(train_step(model.phases))(state, batch, key)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharded = jax.shard_map(
        train_step(model.phases, "data"),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data"), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=check_vma,
    )
    after, found = jax.jit(sharded)(state, batch, key)

    def change(new):
        return jax.tree.map(lambda x, y: x - y, new.params, state.params)

    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=1e-7),
        change(after),
        change(expected),
    )
    for name in metrics:
        np.testing.assert_allclose(found[name], metrics[name], rtol=1e-4, err_msg=name)


def test_gradients_of_a_distance_between_samples_are_those_of_one_device(batch, getkey):
    # The losses of moment matching gather the codes of all devices.
    options = tiny_options(
        "moment-matching", reconstruction_optimizer=Optimizer("sgd", 0.01)
    )
    model = options.build(TINY, 100)
    state, key = init_state(model, getkey()), getkey()
    expected, _ = jax.jit(train_step(model.phases))(state, batch, key)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    for check_vma in (True, False):
        sharded = jax.shard_map(
            train_step(model.phases, "data"),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("data"), PartitionSpec()),
            out_specs=PartitionSpec(),
            check_vma=check_vma,
        )
        after, _ = jax.jit(sharded)(state, batch, key)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
            after.params,
            expected.params,
        )


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "image",
            None,
            "phase reconstruction reads 'image' of the batch, which has 'label'",
        ),
        ("label", None, "phase discriminator reads 'label' .* which has 'image'$"),
        ("labels", "label", "reads 'label' .* is it the 'labels' there"),
        (
            "image",
            lambda x: (x * 255).astype(jnp.uint8),
            "is uint8: it must be float32: di",
        ),
        ("image", lambda x: x * 2 - 1, r"lies in \[-.*\]: it must lie in \[0, 1\]"),
        ("image", lambda x: x[..., 0], r"has shape \[8, 6, 5\]: it must be \[B, 6, 5, 1\]"),
        (
            "label",
            lambda y: y.astype(jnp.float32),
            "'label' .* is float32: it must be int32",
        ),
        ("label", lambda y: y + 1, r"lies in . ... 3: it must lie in 0 ... 2"),
        ("image", lambda x: x.tolist(), "is of type list: it must be an array"),
        ("image", lambda x: x[:0], "has no examples"),
        ("label", lambda y: jax.nn.one_hot(y, 3).astype(jnp.int32), r"it must be \[B\]"),
    ],
)
def test_a_batch_without_what_the_model_reads_is_refused(name, change, words, getkey):
    model, state = make(getkey, "label-regularized", components=3)
    images = jax.random.uniform(getkey(), (8, *TINY.shape))
    batch = {"image": images, "label": jnp.arange(8) % 3}
    if change is None:
        del batch[name]
    elif isinstance(change, str):
        batch[name] = batch.pop(change)
    else:
        batch[name] = change(batch[name])
    with pytest.raises(UserError, match=words):
        train_step(model.phases)(state, batch, getkey())


def test_a_label_of_minus_one_is_unknown_and_allowed(batch, getkey):
    model, state = make(getkey, "label-regularized", components=3)
    batch["label"] = jnp.full(8, -1, jnp.int32)
    # Not under jit, where values are not known.
    (reads,) = [phase for phase in model.phases if phase.name == "discriminator"]
    _, metrics = phase_step(reads)(state, batch, getkey())
    assert np.isfinite(metrics["discriminator/loss"])


def test_phases_that_do_not_fit_the_networks_or_each_other_are_refused(getkey):
    model, _ = make(getkey)
    twin = dataclasses.replace(model.phases[0], trains=("encoder",))
    stray = dataclasses.replace(model.phases[0], name="new", trains=("nope",))
    lost = dataclasses.replace(stray, trains=("encoder",), optimizer=Optimizer())
    keyed = dataclasses.replace(lost, optimizer=optax.add_noise(0.1, 0.5, 0))
    for phase, words in (
        (lost, r"the optimizer of phase new is Optimizer\(.*: it must be an optax"),
        (keyed, "the optimizer of phase new has a random key in its state"),
        (twin, "two phases are called reconstruction but train encoder, decoder and enc"),
        (stray, "phase new trains 'nope': the model has the networks encoder, decoder, d"),
    ):
        changed = dataclasses.replace(model, phases=(*model.phases, phase))
        with pytest.raises(UserError, match=words):
            init_state(changed, getkey())


def test_the_average_of_the_parameters_is_that_of_every_step(batch, getkey):
    model, _ = make(getkey)
    state, key = init_state(model, getkey(), ema=0.5), getkey()
    seen = []
    step = jax.jit(train_step(model.phases, ema=0.5))
    for _ in range(3):
        state, _ = step(state, batch, key)
        seen.append(state.params["encoder"]["mlp"]["output"]["bias"])
    # Weights 1, 2, 4 of the three, over their sum.
    expected = (seen[0] + 2 * seen[1] + 4 * seen[2]) / 7
    found = averaged_params(state, 0.5)["encoder"]["mlp"]["output"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    for told, kept, words in ((0.5, 0.0, "has no moving"), (0.0, 0.5, "has a moving")):
        with pytest.raises(UserError, match=words):
            jax.eval_shape(
                train_step(model.phases, ema=told),
                init_state(model, getkey(), ema=kept),
                batch,
                key,
            )
