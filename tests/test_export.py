"""A run as a folder to take elsewhere: what it holds, how it is read, what is refused."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest

from aaejax.ask import command as sample_script
from aaejax.ask.export import export
from aaejax.ask.kinds import sample
from aaejax.ask.programs import programs
from aaejax.models._options import OwnNetworks
from aaejax.runs.on_disk.exported import flat
from aaejax.runs.on_disk.tensors_file import read_tensors, write_tensors
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import TINY, same, tiny_options, train_tiny

DOCS = Path(__file__).parent.parent / "docs" / "using.md"


@pytest.fixture(scope="module")
def trained(finished_run):
    return restore(finished_run)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return export(trained, tmp_path_factory.mktemp("export") / "out")


@pytest.fixture
def copied(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_it_is_read_back_bit_for_bit(trained, exported, finished_run):
    names = {path.name for path in exported.iterdir()}
    assert names >= {"README.md", "config.json", "model.safetensors", "heldout.npz"}
    again = restore(exported)
    assert (again.step, again.weights) == (40, "last")
    assert same(again.variables, trained.variables)
    for kind in ("samples", "reconstructions"):
        arrays = [sample(each, kind, count=10)["images"] for each in (trained, again)]
        np.testing.assert_array_equal(*arrays)
    assert again.history == trained.history
    assert "data_dir" not in json.loads((exported / "config.json").read_text())["where"]
    assert not list(exported.parent.glob(".tmp-*"))


def test_the_card_says_what_it_is(trained, exported):
    text = (exported / "README.md").read_text()
    assert "# aae on mnist5k\n" in text
    reached = trained.history[-1]["heldout/reconstruction"]
    assert f"| reconstruction | {reached:.6g} |" in text
    assert "python train.py aae --latent 2" in text
    for path in exported.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in text


OUTSIDE = """
import sys
import numpy as np
from jax import export
folder, = sys.argv[1:]
weights = read_weights(folder)
given = np.load(f"{folder}/given.npz")
call = {}
for name in ("decode", "encode", "sample"):
    with open(f"{folder}/{name}.jaxexport", "rb") as file:
        call[name] = export.deserialize(bytearray(file.read())).call
seed, labels = np.uint32(3), np.full(7, -1, np.int32)
np.savez(
    f"{folder}/made.npz",
    decode=call["decode"](weights, given["codes"]),
    encode=call["encode"](weights, given["images"], labels, seed),
    one=call["encode"](weights, given["images"][:1], labels[:1], seed),
    sample=call["sample"](weights, labels, seed),
)
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"flax", "aaejax", "orbax", "optax"}
"""


def plain_blocks():
    """The Python of the page that needs no aaejax."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)
    return [block for block in blocks if "aaejax" not in block]


def test_programs_run_without_flax_and_aaejax(trained, copied):
    rng = np.random.default_rng(0)
    images = rng.random((7, 28, 28, 1), np.float32)
    codes = rng.normal(size=(5, 2)).astype(np.float32)
    np.savez(copied / "given.npz", images=images, codes=codes)
    code = "\n".join([*plain_blocks(), OUTSIDE])
    done = subprocess.run(
        [sys.executable, "-c", code, copied],
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": ""},
        cwd=copied,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = np.load(copied / "made.npz")
    np.testing.assert_allclose(made["decode"], trained.decode(codes), atol=1e-5)
    found = trained.encode(images)
    np.testing.assert_allclose(made["encode"], found, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(made["one"], found[:1], atol=1e-5, rtol=1e-5)
    keys = [jax.random.fold_in(jax.random.key(3), i) for i in range(7)]
    drawn = [trained.model.prior(trained.variables, key, 1)[0] for key in keys]
    expected = trained.decode(np.stack(drawn))
    np.testing.assert_allclose(made["sample"], expected, atol=1e-5)


def test_the_numpy_of_the_docs_is_the_model(trained, exported):
    names = {}
    for code in plain_blocks():
        exec(code, names)
    weights = names["read_weights"](exported)
    assert same(weights, read_tensors(exported / "model.safetensors")[0])
    images = trained.folder.read_heldout()["images"][:20] / np.float32(255)
    codes = names["encode"](weights, images)
    np.testing.assert_allclose(codes, trained.encode(images), atol=1e-5, rtol=1e-5)
    decoded = names["decode"](weights, codes).reshape(images.shape)
    np.testing.assert_allclose(decoded, trained.decode(codes), atol=1e-5)


class Net(nn.Module):
    """Takes the length of a batch for a number, and has running averages."""

    shape: tuple

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(6)(x.reshape(len(x), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(int(np.prod(self.shape)))(x).reshape(len(x), *self.shape)


def test_programs_of_ones_own_networks_and_of_classes():
    own = OwnNetworks(lambda data, n: Net((n,)), lambda data: Net(data.shape), None, "")
    options = tiny_options("supervised", network="own.py", posterior="gaussian")
    model = options.with_networks(own).build(dataclasses.replace(TINY, labelled=9), 1)
    variables = model.init(jax.random.key(0))
    made = programs(model, variables, TINY.shape)
    call = {name: jax.export.deserialize(bytearray(made[name])).call for name in made}
    weights, seed = flat(variables), np.uint32(5)
    assert "encoder/batch_stats/BatchNorm_0/mean" in weights
    images = np.random.default_rng(0).random((4, *TINY.shape), np.float32)
    labels = np.array([0, 2, -1, 1], np.int32)
    keys = [jax.random.fold_in(jax.random.key(5), i) for i in range(4)]
    codes = [
        model.encode(variables, images[i : i + 1], keys[i], labels[i : i + 1])[0]
        for i in range(4)
    ]
    found = np.asarray(call["encode"](weights, images, labels, seed))
    np.testing.assert_allclose(found, np.stack(codes), atol=1e-5)
    np.testing.assert_array_equal(found[:, :3], jax.nn.one_hot(labels, 3))
    decoded = model.decode(variables, found)
    np.testing.assert_allclose(call["decode"](weights, found), decoded, atol=1e-5)
    assert call["sample"](weights, labels, seed).shape == images.shape


def test_safetensors_is_read_and_written_as_its_own_package_does(tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {
        "a/b": rng.normal(size=(3, 2)).astype(np.float32),
        "flags": np.array([True, False, True]),
        "none": np.zeros((0, 4), np.int8),
        "count": np.array(7, np.int64),
        "halves": np.arange(5, dtype=np.float16),
    }
    write_tensors(tmp_path / "ours", arrays, {"x": "y"})
    package.save_file(arrays, tmp_path / "theirs", {"x": "y"})
    for found in (
        package.load_file(tmp_path / "ours"),
        read_tensors(tmp_path / "ours")[0],
        read_tensors(tmp_path / "theirs")[0],
    ):
        assert set(found) == set(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            np.testing.assert_array_equal(found[name], array)
    assert read_tensors(tmp_path / "theirs")[1] == {"x": "y"}


def header(**entries):
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**40).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"[1]",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        header(a=ENTRY),
        header(a=ENTRY) + b"12345",
        header(a=ENTRY, b=ENTRY) + b"1234",
        header(a={**ENTRY, "dtype": "F99"}) + b"1234",
        header(a={**ENTRY, "shape": [-1, -1]}) + b"1234",
        header(a={**ENTRY, "shape": [2**62, 2**62]}) + b"1234",
        header(a={**ENTRY, "shape": [1.0]}) + b"1234",
        header(a={**ENTRY, "data_offsets": [4, 8]}) + b"12345678",
        header(a=7),
    ],
)
def test_what_is_no_file_of_arrays_is_refused(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError):
        read_tensors(tmp_path / "x")


def flipped(folder):
    path = folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def other_names(folder):
    path = folder / "model.safetensors"
    tensors, metadata = read_tensors(path)
    write_tensors(path, {f"x{name}": tensors[name] for name in tensors}, metadata)


def other_options(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flipped, "does not have its checksum"),
        (cut, "bytes of arrays, not"),
        (other_names, "does not have its checksum"),
        (other_options, "run.seed was 0, now 1"),
    ],
)
def test_a_damaged_folder_is_one_line(damage, words, copied):
    damage(copied)
    with pytest.raises(UserError, match=words):
        restore(copied)


def test_what_an_export_has_not_is_refused(exported, finished_run, digits, tmp_path):
    for asked, words in (
        ({"step": 20}, "of step 40 alone"),
        ({"weights": "ema"}, "average"),
    ):
        with pytest.raises(UserError, match=words):
            restore(exported, **asked)
    with pytest.raises(UserError, match="is an export"):
        train_tiny(exported, digits)
    with pytest.raises(UserError, match="is an export: give the run"):
        train_tiny(tmp_path / "new", digits, from_run=exported)


def test_a_model_built_by_hand_and_a_moving_average_are_exported(trained, tmp_path):
    by_hand = {k: trained.config[k] for k in ("format", "run", "data")}
    by_hand |= {"custom_model": True, "networks": {"encoder": 1}, "latent": 2}
    other = dataclasses.replace(trained, config=by_hand, weights="ema")
    out = export(other, tmp_path / "out")
    text = (out / "README.md").read_text()
    assert 'restore("FOLDER", model=...)' in text and "moving average" in text
    again = restore(out, model=trained.model, weights="ema")
    assert again.weights == "ema" and same(again.variables, trained.variables)
    with pytest.raises(UserError, match="a model built by hand"):
        restore(out)


def test_the_command_exports_once(exported, finished_run, tmp_path, monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(sys, "argv", ["sample.py", *map(str, args)])
        return sample_script.main(), *capsys.readouterr()

    out = tmp_path / "out"
    status, said, _ = call(exported, "export", "--out", out)
    assert status == 0 and said.endswith(f"step 40: {out}/README.md says more\n")
    assert same(restore(out).variables, restore(finished_run).variables)
    (tmp_path / "file").touch()
    for args, words in (
        (["--out", out], "is there, and not empty"),
        (["--out", tmp_path / "file"], "is no folder"),
        (["--out", tmp_path / "new", "--count", 3], "--count has no meaning for export"),
    ):
        status, _, said = call(exported, "export", *args)
        assert (status, said.count("\n")) == (2, 1) and words in said
    assert not (tmp_path / "new").exists()


def test_onnx_is_beside_the_programs_where_it_can_be(trained, tmp_path, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    out = export(trained, tmp_path / "out", onnx=True)
    card = (out / "README.md").read_text()
    assert "`decode.onnx`" in card and "import onnxruntime" in card
    images = trained.folder.read_heldout()["images"][:7] / np.float32(255)
    run = runtime.InferenceSession(out / "encode.onnx")
    (codes,) = run.run(None, {"examples": images})
    np.testing.assert_allclose(codes, trained.encode(images), atol=1e-4)
    names = {}
    for code in plain_blocks():
        exec(code, names)
    decoded = names["decode_by_onnx"](out, codes)
    np.testing.assert_allclose(decoded, trained.decode(codes), atol=1e-4)
    # An encoder that draws noise has no equal; the decoder has.
    model = tiny_options("vae").build(trained.data.spec, 1)
    variables = model.init(jax.random.key(0))
    noisy = dataclasses.replace(trained, model=model, variables=variables)
    told = []
    other = export(noisy, tmp_path / "noisy", onnx=True, tell=told.append)
    assert told == ["note: no encode.onnx: ONNX has no equal here of seed, which is uint32"]
    assert (other / "decode.onnx").exists() and not (other / "encode.onnx").exists()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"pip install 'aaejax\[onnx\]'"):
        export(trained, tmp_path / "none", onnx=True)
    assert not (tmp_path / "none").exists()
