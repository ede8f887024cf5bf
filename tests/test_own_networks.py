"""Runs with a user's own networks, with batch norm and dropout; moving averages."""

import dataclasses
import json
import os
import sys

import jax
import numpy as np
import pytest

from aaejax.ask import command as sample_script
from aaejax.ask.kinds import sample
from aaejax.data import from_arrays
from aaejax.runs import own_networks
from aaejax.runs.command_line import command as train_script
from aaejax.runs.config import RunConfig
from aaejax.runs.hooks import Hook
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import TINY, tiny_options

FILE = """
import flax.linen as nn
import math


class Net(nn.Module):
    shape: tuple

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(math.prod(self.shape))(x).reshape(x.shape[0], *self.shape)


def encoder(data, outputs):
    return Net((outputs,))


def decoder(data):
    return Net(data.shape)


def discriminator(data):
    return Net(())
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "nets.py"
    path.write_text(FILE)
    return path


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    return from_arrays(rng.random((80, *TINY.shape), np.float32), np.arange(80) % 3)


def options(file):
    return tiny_options(network=str(file)).with_networks(own_networks.load(file))


def start(file, dataset, workdir, devices=1, hooks=(), **changes):
    """Trains, or goes on; its folder."""
    settings = {"epochs": 3, "batch_size": 8, "log_every": 3, "save_every": 6, "ema": 0.9}
    return train(
        options(file),
        dataset,
        RunConfig(workdir=workdir, **{**settings, **changes}),
        devices=jax.devices()[:devices],
        hooks=hooks,
        tell=lambda _: None,
    ).folder


@pytest.fixture(scope="module")
def whole(file, dataset, tmp_path_factory):
    """A finished run on one device."""
    return start(file, dataset, tmp_path_factory.mktemp("run") / "whole")


def lines(folder):
    text = (folder / "metrics.jsonl").read_text()
    read = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in read]


def variables(folder, file, **how):
    return jax.device_get(restore(folder, network=file, **how).variables)


class Cut(Hook):
    def on_log(self, event):
        if event.step == 9:
            raise KeyboardInterrupt  # no Exception: nothing is saved


def test_a_run_that_was_stopped_goes_on_bit_for_bit(whole, file, dataset, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        start(file, dataset, tmp_path, hooks=[Cut()])
    start(file, dataset, tmp_path)
    assert lines(tmp_path) == lines(whole)
    for weights in ("last", "ema"):
        pair = (variables(folder, file, weights=weights) for folder in (tmp_path, whole))
        jax.tree.map(np.testing.assert_array_equal, *pair)


def test_four_devices_train_what_one_does(whole, file, dataset, tmp_path):
    start(file, dataset, tmp_path, devices=4, epochs=1)
    for line, other in zip(lines(tmp_path)[:2], lines(whole)[:2], strict=True):
        for name in ("reconstruction/loss", "discriminator/loss", "generator/loss"):
            np.testing.assert_allclose(line[name], other[name], rtol=2e-4)


def test_the_state_of_networks_and_the_average_are_kept_and_asked_for(whole, file):
    last, averaged = (variables(whole, file, weights=w) for w in ("last", "ema"))
    stats = last["encoder"]["batch_stats"]["BatchNorm_0"]
    assert stats["mean"].any()  # it has moved from its start
    moved = jax.tree.map(lambda x, y: (x != y).any(), last, averaged)
    assert all(jax.tree.leaves(moved["encoder"]["params"]["Dense_0"]["kernel"]))
    trained = restore(whole, network=file)
    images = [sample(trained, count=4, seed=seed)["images"] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()


def test_a_run_folder_never_chooses_the_code(whole, dataset, tmp_path):
    with pytest.raises(UserError, match="say --network FILE"):
        restore(whole)
    other = tmp_path / "other.py"
    other.write_text(FILE + "\n# another\n")
    told = []
    restore(whole, network=other, tell=told.append)
    (note,) = told
    assert "other.py is not, byte for byte, the file that the run was trained" in note
    # Going on with it is refused: it is another run.
    with pytest.raises(UserError, match=r"network_file\.sha256 was"):
        start(other, dataset, whole)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        (os.mkfifo, "is no plain file"),
        ("x = 1\n", "has no function encoder and no decoder"),
        ("def encoder(:\n", "fails when it is run .SyntaxError"),
        ("import sys\nsys.exit()\n", "fails when it is run .SystemExit"),
        ("import no_such_module\n", "fails when it is run .ModuleNotFoundError"),
        (FILE.replace("Net((outputs,))", "Net((7,))"), r"encoder Net gives \(2, 7\)"),
        (FILE.replace("Net(data.shape)", "data.nope"), "your function decoder fails"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(text, words, tmp_path):
    path = tmp_path / "bad.py"
    if callable(text):
        text(path)
    elif text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as refused:
        options(path).build(TINY, 1)
    assert "\n" not in str(refused.value)


def test_a_gan_takes_the_discriminator_of_a_file(tmp_path):
    path = tmp_path / "gan.py"
    without = FILE[: FILE.index("def discriminator")]
    for text, asked in ((FILE, []), (without, [1])):
        path.write_text(text)
        loaded, outputs = own_networks.load(path), []

        def encoder(data, n, loaded=loaded, outputs=outputs):
            outputs.append(n)
            return loaded.encoder(data, n)

        own = dataclasses.replace(loaded, encoder=encoder)
        tiny_options("gan", network=str(path)).with_networks(own).build(TINY, 1)
        assert outputs == asked


NNX_FILE = """
import math
import jax.numpy as jnp
from flax import nnx
from aaejax import networks


class Net(nnx.Module):
    def __init__(self, inputs, shape, rngs):
        self.layer = nnx.Linear(inputs, math.prod(shape), rngs=rngs)
        self.norm = nnx.BatchNorm(math.prod(shape), rngs=rngs)
        self.shape = shape

    def __call__(self, x, noise=None):
        given = [y.reshape(len(y), -1) for y in (x, noise) if y is not None]
        x = self.norm(self.layer(jnp.concatenate(given, axis=1)))
        return x.reshape(len(x), *self.shape)


def net(inputs, shape):
    return networks.from_nnx(lambda rngs: Net(inputs, shape, rngs))


def encoder(data, outputs, inputs):
    return net(inputs, (outputs,))


def decoder(data, inputs):
    return net(inputs, data.shape)


def discriminator(data, inputs):
    return net(inputs, ())
"""


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("aae", {"posterior": "universal"}),
        ("vae", {"conditional": True}),
        ("gan", {"conditional": True}),
        ("label-regularized", {"components": 3}),
        ("supervised", {}),
        ("supervised", {"joint_style": True}),
        ("semi-supervised", {}),
        ("semi-supervised", {"joint_style": True}),
        ("clustering", {"clusters": 4}),
        ("reduction", {}),
    ],
)
def test_nnx_modules_of_a_file_are_told_what_they_read(model, changes, tmp_path):
    path = tmp_path / "nets.py"
    options = tiny_options(model, network=str(path), **changes)
    texts = [NNX_FILE]
    if model == "gan":  # without a discriminator an encoder judges
        texts.append(NNX_FILE[: NNX_FILE.index("def discriminator")])
    for text in texts:
        path.write_text(text)
        own = options.with_networks(own_networks.load(path))
        built = own.build(dataclasses.replace(TINY, labelled=9), 1)
        like = jax.eval_shape(built.init, jax.random.key(0))
        for name in like.keys() - {"heads"}:
            assert set(like[name]["state"]) == {"norm/mean", "norm/var"}


@pytest.mark.parametrize(
    ("model", "changes", "classes"),
    [
        ("semi-supervised", {}, TINY.classes),
        ("clustering", {"clusters": 4}, 4),
        ("reduction", {}, TINY.classes),
        ("reduction", {"clusters": 5}, 5),
        ("supervised", {}, 0),
        ("aae", {}, 0),
        ("gan", {}, 0),
    ],
)
def test_an_encoder_is_told_how_many_of_its_outputs_are_classes(
    model, changes, classes, file, getkey
):
    loaded, told = own_networks.load(file), []

    def encoder(data, outputs, class_logits):
        told.append(class_logits)
        return loaded.encoder(data, outputs)

    own = dataclasses.replace(loaded, encoder=encoder, discriminator=None)
    options = tiny_options(model, network=str(file), **changes).with_networks(own)
    labelled = 0 if "clusters" in changes else 9
    built = options.build(dataclasses.replace(TINY, labelled=labelled), 1)
    assert told == [classes]
    if classes:
        variables = built.init(getkey())
        images = np.zeros((2, *TINY.shape), np.float32)
        assert built.classify is not None
        assert built.classify(variables, images, getkey()).shape == (2, classes)


def test_an_nnx_file_trains_and_is_asked_again(dataset, tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NNX_FILE)
    folder = start(path, dataset, tmp_path / "run", epochs=1)
    trained = restore(folder, network=path)
    assert trained.variables["discriminator"]["state"]["norm/mean"].shape == (1,)
    assert np.isfinite(trained.sample(3)).all()


def test_a_file_of_networks_may_import_what_lies_beside_it(tmp_path):
    before = list(sys.path)
    for name, number in (("a", 3), ("b", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "sizes.py").write_text(f"width = {number}\n")
        (folder / "more.py").write_text("from sizes import width\n")
        (folder / "nets.py").write_text(
            "import sizes\n\n\ndef encoder(data, outputs):\n    from more import width\n\n"
            "    return width + sizes.width\n\n\ndef decoder(data):\n    return data\n"
        )
        # The second file's modules are its own.
        assert own_networks.load(folder / "nets.py").encoder(TINY, 2) == 2 * number
    assert sys.path == before
    assert not {"sizes", "more"} & set(sys.modules)


def test_the_scripts_take_a_file_of_networks(file, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.random((60, 6, 5)))
    run, out = str(tmp_path / "run"), str(tmp_path / "s.npy")
    small = ["--epochs", "1", "--batch-size", "8", "--log-every", "3", "--save-every", "3"]
    data = ["--dataset", str(tmp_path / "x.npz"), "--workdir", run]
    for script, arguments, status in (
        (train_script, ["aae", "--network", str(file), *small, *data], 0),
        (sample_script, [run, "--out", out], 2),
        (sample_script, [run, "--out", out, "--network", str(file)], 0),
        (sample_script, [run, "--out", out, "--network", str(file), "--weights", "ema"], 2),
    ):
        monkeypatch.setattr("sys.argv", ["script", *arguments])
        assert script.main() == status, capsys.readouterr().err
    assert np.load(out).shape == (100, 6, 5, 1)
    assert "it was trained without --ema" in capsys.readouterr().err
