import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from aaejax import init_state
from aaejax.models import NAMES, options
from aaejax.models._optimizers import Optimizer
from aaejax.models.aae import Options
from aaejax.models.pixelcnn import Options as PixelCNNOptions
from aaejax.phases import phase_losses
from aaejax.runs.command_line import command
from aaejax.runs.config import RunConfig
from aaejax.runs.on_disk.config_json import (
    FORMAT,
    completed,
    decides,
    differences,
    model_json,
    model_name,
    run_json,
    saved_model,
    saved_run,
)
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.reports.summary import train_arguments
from aaejax.runs.start import read_start
from aaejax.types import DataSpec, UserError
from tests.conftest import BITS, TINY, tiny_options

pytestmark = pytest.mark.quick

PHASES = ("reconstruction", "discriminator", "generator")


def written(options, config):
    """What config.json has of them."""
    built = options.build(TINY, 1)
    state = jax.eval_shape(lambda: init_state(built, jax.random.key(0)))
    whole = model_json(options, built, state) | {"format": FORMAT, "run": run_json(config)}
    return json.loads(json.dumps(whole))


def test_json_and_back():
    options = Options(latent=3, generator_optimizer=Optimizer(drops=(5, 9)))
    config = RunConfig(dataset="mnist", seed=4)
    saved = written(options, config)
    assert saved_run(saved) == config
    read = saved_model(saved)
    assert read == dataclasses.replace(options, **options.decided())
    assert (read.r1, read.generator_optimizer.drops) == (0.1, (5, 9))
    rates = [getattr(read, f"{name}_optimizer").learning_rate for name in PHASES]
    assert rates == [3e-3, 1e-3, 1e-3]
    assert written(saved_model(saved), config) == saved
    assert "workdir" not in saved["run"]


def test_a_rate_that_an_older_run_left_open_is_what_it_then_was():
    saved = written(Options(), RunConfig())
    for name in PHASES:
        saved["options"][f"{name}_optimizer"]["learning_rate"] = None
    read = saved_model({**saved, "format": 2})
    assert {getattr(read, f"{name}_optimizer").learning_rate for name in PHASES} == {1e-3}


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({}, [3e-3, 1e-3, 1e-3]),
        ({"prior": "mixture"}, [1e-3, 1e-3, 1e-3]),
        ({"network": "conv"}, [1e-3, 1e-3, 3e-4]),
        ({"network": "dcgan"}, [1e-3, 3e-4, 3e-4]),
    ],
)
def test_learning_rates_go_with_networks_and_prior(given, rates):
    decided = Options(**given).decided()
    found = [decided[f"{name}_optimizer"].learning_rate for name in PHASES]
    assert found == rates
    own = Options(**given, generator_optimizer=Optimizer(learning_rate=0.5))
    assert own.decided()["generator_optimizer"].learning_rate == 0.5


def test_convolutions_have_another_penalty():
    given = [Options(), Options(network="conv"), Options(network="conv", r1=0.0)]
    assert [each.penalty for each in given] == [0.1, 10.0, 0.0]


def test_an_option_that_is_not_read_decides_nothing():
    def what_decides(**given):
        # Of shapes alone: convolutions need a larger image.
        return decides({"options": dataclasses.asdict(Options(**given))})

    assert what_decides(channels=32, scales=3) == what_decides()
    assert what_decides(network="conv", channels=32) != what_decides(network="conv")


def test_differences_name_the_leaf_and_both_values():
    old = {"options": {"latent": 8, "drops": [1]}, "run": {"seed": 0}}
    new = {"options": {"latent": 2, "drops": (1,)}, "run": {"seed": 0, "epochs": 3}}
    assert differences(old, new) == [
        "options.latent was 8, now 2",
        "run.epochs was None, now 3",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"log_every": 300},
        {"keep": 0},
        {"seed": 2**32},
        {"epochs": 1.5},
        {"epochs": 2**31},
        {"batch_size": "100"},
        {"labels": True},
        {"workdir": 3},
        {"overwrite": "no"},
        {"stop_early": -1},
        {"from_networks": ("encoder",)},
    ],
)
def test_settings_that_cannot_be_are_refused(changes):
    with pytest.raises(UserError):
        RunConfig(**changes)


def test_paths_may_be_strings():
    config = RunConfig(dataset=Path("a/b.npz"), workdir="x", data_dir="d")
    assert (config.dataset, config.workdir) == ("a/b.npz", Path("x"))
    assert config.data_dir == Path("d")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Options(latent=0),
        lambda: Options(depth=-1),
        lambda: Options(posterior="gausian"),
        lambda: Options(depth=3000),
        lambda: Options(width=10**8),
        lambda: Options(width=[[[1]]]),
        lambda: Options(latent="8"),
        lambda: Options(latent=True),
        lambda: Options(latent=8.0),
        lambda: Options(latent=10**4000),
        lambda: Options(channels=10**6),
        lambda: Options(noise_inputs=10**9),
        lambda: Options(components=0),
        lambda: Options(prior_std=0),
        lambda: Options(prior_std=float("nan")),
        lambda: Options(prior_std=1e-300),  # 0 as a float32
        lambda: Options(input_noise=1e300),  # infinite as a float32
        lambda: Options(r1=float("inf")),
        lambda: Options(prior="x" * 10_000),
        lambda: Options(prior=["gaussian"]),
        lambda: Options(generator_optimizer={"clip": 1}),
        lambda: tiny_options("vae", decoder_std=0.0),
        lambda: tiny_options("vae", conditional=1),
        lambda: tiny_options("clustering", clusters=10**9),
        lambda: Optimizer(learning_rate=float("nan")),
        lambda: Optimizer(learning_rate=float("inf")),
        lambda: Optimizer(learning_rate=1e-300),
        lambda: Optimizer(momentum=1 - 1e-12),  # 1 as a float32
        lambda: Optimizer(clip=float("nan")),
        lambda: Optimizer(drops=(1, 2.5)),
        lambda: Optimizer(drops=([1],)),
        lambda: Optimizer(drops=[1]),
        lambda: Optimizer(drops=tuple(range(1, 1000))),
        lambda: Optimizer(0.001),
        lambda: Optimizer(learning_rate=0.0),
        lambda: Optimizer(momentum=1.0),
        lambda: Optimizer(beta2=1.0),
        lambda: Optimizer(drops=(0,)),
        lambda: Optimizer(clip=-1.0),
        lambda: Optimizer(beta2=1.0),
        lambda: Optimizer(weight_decay=-0.1),
        lambda: Optimizer(warmup_steps=-1),
        lambda: Optimizer(warmup_steps=2.5),
        lambda: Optimizer(schedule="exponential", decay_rate=1.0),
        lambda: Optimizer(schedule="exponential", decay_rate=0.0),
        lambda: Optimizer(schedule="exponential", transition_steps=-1),
        lambda: Optimizer(schedule="exponential", drops=(3,)),
        lambda: Optimizer(schedule="piecewise"),
        lambda: Optimizer(decay_rate=0.5),
        lambda: Optimizer(schedule="cosine", decay_rate=0.5),
        lambda: Optimizer(schedule="cosine", transition_steps=5),
        lambda: Optimizer("sgd", beta2=0.9),
        lambda: Optimizer(warmup_steps=10).build(10),
        lambda: tiny_options(prior="swiss-roll", latent=8).build(TINY, 1),
        lambda: tiny_options(output="linear").build(TINY, 1),
        lambda: tiny_options(network="conv").build(DataSpec((7,), 0, True), 1),
        lambda: tiny_options().build(DataSpec((7,), 0, False), 1),
    ],
)
def test_options_that_cannot_be_are_refused(make):
    with pytest.raises(UserError) as error:
        make()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


@functools.cache
def program(opts, labelled=8):
    """All that an option may change, as text: jaxprs.

    Of the first parameters, of a step's losses and updates, which are what it consists of
    but for gradients, and of evaluation.
    """
    bits = model_name(opts) in BITS
    data = dataclasses.replace(TINY, labelled=labelled, binary=bits)
    model = opts.build(data, steps=2)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda key: init_state(model, key), key)
    image = jax.ShapeDtypeStruct((8, *TINY.shape), np.float32)
    label = jax.ShapeDtypeStruct((8,), np.int32)
    batch = {f"{p}image": image for p in model.reads}
    batch |= {f"{p}label": label for p in model.reads}

    def score(variables, images, key):
        codes = model.prior(variables, key, 8)
        made = model.decode(variables, codes)
        return (made, model.error(variables, images, codes)) if model.encodes else made

    def updates(state):
        for phase in model.phases:
            trained = {name: state.params[name] for name in phase.trains}
            yield phase.optimizer.update(trained, state.opt_state[phase.name], trained)

    return "".join(
        str(jax.make_jaxpr(function)(*arguments))
        for function, arguments in (
            (model.init, (key,)),
            (phase_losses(model.phases), (state, batch, key)),
            (lambda state: list(updates(state)), (state,)),
            (score, (state.variables, image, key)),
        )
    )


# Each option with another value, and the setting in which it is read.
OTHER = {
    "latent": (4, {}),
    "network": ("conv", {}),
    "width": (5, {}),
    "depth": (2, {}),
    "initial_std": (0.01, {}),
    "channels": (2, {"network": "conv"}),
    "scales": (2, {"network": "conv"}),
    "norm": ("batch", {}),
    "precision": ("bf16", {}),
    "posterior": ("gaussian", {}),
    "noise_inputs": (3, {"posterior": "universal"}),
    "prior": ("uniform", {}),
    "prior_std": (3.0, {}),
    "components": (3, {"prior": "mixture"}),
    "reconstruction": ("squared-error", {}),
    "output": ("linear", {"reconstruction": "squared-error"}),
    "generator_loss": ("minimax", {}),
    "r1": (1.0, {}),
    "spectral_norm": (True, {}),
    "dropout": (0.2, {}),
    "input_noise": (0.3, {}),
    "reconstruction_optimizer": (Optimizer(learning_rate=0.5), {}),
    "discriminator_optimizer": (Optimizer(learning_rate=0.5), {}),
    "generator_optimizer": (Optimizer(learning_rate=0.5), {}),
}


# Those of the other models alone.
OTHER |= {
    "class_discriminator_optimizer": (Optimizer(learning_rate=0.5), {}),
    "class_generator_optimizer": (Optimizer(learning_rate=0.5), {}),
    "style_discriminator_optimizer": (Optimizer(learning_rate=0.5), {}),
    "style_generator_optimizer": (Optimizer(learning_rate=0.5), {}),
    "joint_style": (True, {}),
    "stop_class_gradient": (True, {"consistency": 1.0}),
    "consistency": (1.0, {}),
    "information": (0.1, {"consistency": 1.0}),
    "mutual_information": (1.0, {}),
    "unevenness": (0.1, {"mutual_information": 1.0}),
    "translation": (1.0, {"consistency": 1.0}),
    "distortion": (0.1, {"consistency": 1.0}),
    "consistency_optimizer": (Optimizer(learning_rate=0.5), {"consistency": 1.0}),
    "classification_optimizer": (Optimizer(learning_rate=0.5), {}),
    "heads_optimizer": (Optimizer(learning_rate=0.5), {}),
    "clusters": (5, {}),
    "distance": (1.0, {}),
    "simplex": (2.0, {"latent": 3}),
    "beta": (2.0, {}),
    "decoder_std": (0.5, {"reconstruction": "squared-error"}),
    "conditional": (True, {}),
    "two_stage": (True, {}),
    "regularize": ("l2", {}),
    "code_weight": (2.0, {"regularize": "l2"}),
    "decoder_weight": (2.0, {"regularize": "gradient-penalty"}),
    "method": ("gmmn", {}),
    "kernel": ("rbf", {}),
    "weight": (3.0, {}),
    "discriminator_steps": (2, {}),
    "loss": ("wasserstein", {}),
    "slope": (3.0, {"loss": "wasserstein"}),
    "masked": (True, {}),
    "orderings": (2, {}),
    "layers": (2, {}),
    "reach": (2, {}),
    "dilations": ((2,), {}),
    "likelihood_optimizer": (Optimizer(learning_rate=0.5), {}),
}


def own_options():
    """(model, option): each option once where it is declared, for the first that has it."""
    shared = {f.name for f in dataclasses.fields(Options) if f.init}
    found = {(Options, name): ("aae", name) for name in shared}
    for model in NAMES:
        cls = options(model)
        for name in {f.name for f in dataclasses.fields(cls) if f.init} - shared:
            (declared,) = [
                c for c in cls.__mro__ if name in vars(c).get("__annotations__", ())
            ]
            found.setdefault((declared, name), (model, name))
    return sorted(found.values())


@pytest.mark.parametrize(("model", "field"), own_options())
def test_every_option_changes_something(model, field):
    value, setting = OTHER[field]
    labelled = 0 if field == "clusters" else 8  # with labels there are as many as classes
    before = program(tiny_options(model, **setting), labelled)
    assert before != program(tiny_options(model, **{**setting, field: value}), labelled)


def test_options_that_change_nothing_make_the_same_program():
    assert program(tiny_options()) == program.__wrapped__(tiny_options())


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": "sgd"},
        {"learning_rate": 0.2},
        {"momentum": 0.1},
        {"beta2": 0.9},
        {"schedule": "cosine"},
        {"drops": (1,)},
        {"clip": 0.01},
        {"beta2": 0.5},
        {"weight_decay": 0.1},
        {"warmup_steps": 2},
        {"decay_rate": 0.5},
        {"transition_steps": 1},
    ],
)
def test_every_field_of_an_optimizer_changes_something(changes):
    def after_three(optimizer):
        made = optimizer.build(steps=3)
        x = {"w": np.array([1.0, -2.0], np.float32)}
        state = made.init(x)
        for _ in range(3):
            updates, state = made.update({"w": x["w"] ** 2}, state, x)
            x = {"w": x["w"] + np.asarray(updates["w"])}
        return x["w"]

    base = Optimizer(learning_rate=0.1)
    if changes.keys() & {"decay_rate", "transition_steps"}:
        base = Optimizer(learning_rate=0.1, schedule="exponential")
    if "clip" in changes:  # Adam divides the scale of a gradient away
        base = Optimizer("sgd", 0.1)
    assert (after_three(base) != after_three(dataclasses.replace(base, **changes))).any()


def test_learning_rate_follows_its_schedule():
    # SGD without momentum on a gradient of 1: the updates are minus the rates.
    def rates(optimizer):
        made = optimizer.build(steps=4)
        state, found = made.init(np.float32(0)), []
        for _ in range(4):
            update, state = made.update(np.float32(1), state)
            found.append(-float(update))
        return found

    drops = Optimizer("sgd", 1.0, 0.0, drops=(1, 3))
    np.testing.assert_allclose(rates(drops), [1, 0.1, 0.1, 0.01], rtol=1e-5)
    piecewise = dataclasses.replace(drops, schedule="piecewise", decay_rate=0.5)
    np.testing.assert_allclose(rates(piecewise), [1, 0.5, 0.5, 0.25], rtol=1e-5)
    # (1 + cos(pi t / 4)) / 2
    cosine = Optimizer("sgd", 1.0, 0.0, schedule="cosine")
    np.testing.assert_allclose(rates(cosine), [1, 0.853553, 0.5, 0.146447], rtol=1e-5)
    # 0.01 ** (t / 4), then 0.25 ** (t / 1)
    slow = Optimizer("sgd", 1.0, 0.0, schedule="exponential", decay_rate=0.01)
    np.testing.assert_allclose(rates(slow), [1, 0.316228, 0.1, 0.0316228], rtol=1e-5)
    fast = dataclasses.replace(slow, decay_rate=0.25, transition_steps=1)
    np.testing.assert_allclose(rates(fast), [1, 0.25, 0.0625, 0.015625], rtol=1e-5)
    # After a warm-up of two steps, the schedule is that of the two that are left.
    for optimizer, rest in (
        (dataclasses.replace(cosine, warmup_steps=2), [1, 0.5]),
        (dataclasses.replace(slow, warmup_steps=2), [1, 0.1]),
        (dataclasses.replace(fast, warmup_steps=2), [1, 0.25]),
        (dataclasses.replace(piecewise, warmup_steps=2, drops=(3,)), [1, 0.5]),
    ):
        np.testing.assert_allclose(rates(optimizer), [0, 0.5, *rest], rtol=1e-5)


def test_warm_up_and_cosine_are_those_of_optax():
    ours = Optimizer(learning_rate=0.3, schedule="cosine", warmup_steps=10)
    made = ours.learning_rate_in(50)
    theirs = optax.warmup_cosine_decay_schedule(0.0, 0.3, 10, 50)
    for step in (0, 3, 10, 30, 49):
        np.testing.assert_allclose(made(step), theirs(step), rtol=1e-6)


def test_weight_decay_is_decoupled_and_of_all_parameters():
    x = {"kernel": np.array([[2.0]], np.float32), "bias": np.array([-4.0], np.float32)}
    gradient = {"kernel": np.array([[5.0]], np.float32), "bias": np.zeros(1, np.float32)}

    def after_two(made):
        state, found = made.init(x), x
        for _ in range(2):
            updates, state = made.update(gradient, state, found)
            found = optax.apply_updates(found, updates)
        return found

    # By hand, momentum 0.5: 2 - 0.1 (5 + 0.2 * 2) = 1.46, 1.46 - 0.1 (7.5 + 0.2 * 1.46).
    sgd = after_two(Optimizer("sgd", 0.1, 0.5, weight_decay=0.2).build(2))
    np.testing.assert_allclose(sgd["kernel"], [[0.6808]], rtol=1e-5)
    np.testing.assert_allclose(sgd["bias"], [-4 * 0.98**2], rtol=1e-5)
    adam = after_two(Optimizer(learning_rate=0.1, weight_decay=0.2, beta2=0.99).build(2))
    theirs = after_two(optax.adamw(0.1, b2=0.99, weight_decay=0.2))
    jax.tree.map(np.testing.assert_array_equal, adam, theirs)


def test_an_optimizer_that_is_younger_than_a_config_has_its_defaults():
    options = Options(generator_optimizer=Optimizer(drops=(5, 9)))
    saved = written(options, RunConfig())
    for name in list(saved["options"]):
        if name.endswith("_optimizer"):
            kept = "algorithm", "learning_rate", "momentum", "schedule", "drops", "clip"
            saved["options"][name] = {key: saved["options"][name][key] for key in kept}
    old = {**saved["options"], "generator": saved["options"]["generator_loss"]}
    del old["generator_loss"]
    for each in (saved, {**saved, "format": 1, "options": old}):
        read = saved_model(json.loads(json.dumps(each)))
        assert read.decided() == options.decided()


def test_a_younger_option_whose_default_changes_a_model_is_as_in_older_runs(tmp_path):
    options = PixelCNNOptions()
    saved = written(options, RunConfig())
    assert saved_model(saved).dilations == options.dilations != (1,)
    del saved["options"]["dilations"]
    assert saved_model(saved).dilations == (1,)
    assert completed(saved)["options"]["dilations"] == (1,)
    assert train_arguments(saved) == ["pixelcnn", "--dilations", "1"]
    assert command.group_of("dilations") == "networks"
    # Its parameters fit into the networks of now, which would read them otherwise.
    (tmp_path / "config.json").write_text(json.dumps(saved))
    config, other = RunConfig(from_run=tmp_path), RunFolder(tmp_path / "other")
    now = written(options, config)
    with pytest.raises(UserError, match=r"dilations \[1\], .*: give --dilations 1$"):
        read_start(config, other, init_state, now, print)


def test_a_file_in_models_is_a_model_on_the_command_line():
    folder = Path(__file__).parent.parent / "aaejax" / "models"
    stems = [f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")]
    files = {stem.replace("_", "-") for stem in stems}
    assert files == set(NAMES)
    for name in NAMES:
        assert model_name(options(name)()) == name
