import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from aaejax import Phase, init_state, phase_step, scan_steps, train_step
from tests.conftest import TINY, tiny_options

pytestmark = pytest.mark.quick
KINDS = [
    {"posterior": "deterministic"},
    {"posterior": "gaussian", "prior": "mixture"},
    {"posterior": "universal", "prior": "swiss-roll", "generator": "minimax"},
    {"network": "conv", "prior": "uniform", "reconstruction": "squared-error"},
]


def make(getkey, **changes):
    model = tiny_options(**changes).build(TINY, steps=100)
    return model, init_state(model, getkey())


def equal(a, b):
    return all(
        (x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("changes", KINDS)
def test_a_phase_touches_only_the_networks_that_it_names(changes, batch, getkey):
    model, state = make(getkey, **changes)
    key = getkey()
    for phase in model.phases:
        after, _ = jax.jit(phase_step(phase))(state, batch, key)
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


def test_a_step_does_what_the_optimizer_says(getkey):
    # loss = mean(w * x) with x = 1, 2, 3: gradient 2; SGD with rate 0.1: w = 5 - 0.2.
    def loss(networks, batch, draw):
        return (networks["net"]["w"] * batch["image"]).mean(), {}

    phase = Phase("only", ("net",), loss, optax.sgd(0.1))

    class Model:
        phases = (phase,)
        init = staticmethod(lambda key: {"net": {"w": jnp.array(5.0)}})

    state = init_state(Model, getkey())
    state, metrics = phase_step(phase)(
        state, {"image": jnp.array([1.0, 2.0, 3.0])}, getkey()
    )
    assert state.params["net"]["w"] == pytest.approx(4.8)
    assert metrics["only/loss"] == pytest.approx(10)
    assert metrics["only/gradient_norm"] == pytest.approx(2)


def test_noise_depends_on_step_phase_name_and_position_alone(getkey):
    drawn = []

    def loss(networks, batch, draw):
        values = [draw(name, lambda key: jax.random.normal(key)) for name in ("a", "b")]
        return networks["net"]["w"], {"a": values[0], "b": values[1]}

    state = init_state(
        type(
            "Model",
            (),
            {
                "phases": (),
                "init": staticmethod(lambda key: {"net": {"w": jnp.zeros(())}}),
            },
        ),
        getkey(),
    )
    key = getkey()
    for size, step, name in ((4, 0, "x"), (2, 0, "x"), (4, 1, "x"), (4, 0, "y")):
        phase = Phase(name, ("net",), loss, optax.sgd(0.1))
        at = state.replace(
            step=jnp.int32(step), opt_state={name: optax.sgd(0.1).init({"net": {"w": 0.0}})}
        )
        _, metrics = phase_step(phase)(at, {"image": jnp.zeros((size, 1))}, key)
        drawn.append((metrics[f"{name}/a"], metrics[f"{name}/b"]))
    base = np.asarray(drawn[0])
    np.testing.assert_array_equal(base[:, :2], np.asarray(drawn[1]))
    values = np.concatenate([base.ravel(), *(np.ravel(d) for d in drawn[2:])])
    assert len(np.unique(values)) == len(values)


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


def test_the_step_runs_under_scan_vmap_and_shard_map(batch, getkey):
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
    states = jax.vmap(lambda k: init_state(model, k))(jax.random.split(getkey(), 2))
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

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharded = jax.shard_map(
        train_step(model.phases, "data"),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data"), PartitionSpec()),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    after, metrics = jax.jit(sharded)(state, batch, key)
    np.testing.assert_allclose(metrics["reconstruction/loss"], losses[0], rtol=1e-5)
    assert after.step == 1
