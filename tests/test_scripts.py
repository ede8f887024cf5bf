"""train.py and sample.py as a person runs them."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaejax import data, models
from aaejax.ask import command as sample
from aaejax.ask import kinds
from aaejax.ask.kinds import KINDS
from aaejax.metrics.heldout import mixed_order
from aaejax.runs.command_line import command as train
from aaejax.runs.command_line import scripts
from aaejax.runs.record import Result
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import ROOT, environment, run_python

TINY = [
    *("--width", "16", "--channels", "2", "--epochs", "2", "--log-every", "20"),
    *("--save-every", "20"),
]


def run(*command, devices=1):
    return run_python(*command, devices=devices, environ={"PYTHONWARNINGS": "default"})


@pytest.fixture
def call(monkeypatch, capfd):
    """A script's main in this process, to save imports: (status, out, err)."""

    def call(script, *args):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, args)])
        capfd.readouterr()
        status = script.main()
        return status, *capfd.readouterr()

    call.read = lambda: capfd.readouterr().out
    return call


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    """A run with 2-D codes, trained on four devices."""
    folder = tmp_path_factory.mktemp("scripts") / "plane"
    done = run("train.py", *TINY, "--latent", "2", "--workdir", folder, devices=4)
    assert done.returncode == 0, done.stderr
    assert f"next: python sample.py {folder}\n" in done.stdout
    assert "step 20/80" in done.stdout
    assert "images/s" in done.stdout
    return folder


@pytest.fixture(scope="module")
def trained(plane):
    return restore(plane)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("samples", (30, 28, 28, 1)),
        ("reconstructions", (30, 2, 28, 28, 1)),
        ("interpolation", (3, 10, 28, 28, 1)),
        ("manifold", (5, 5, 28, 28, 1)),
    ],
)
def test_every_kind_makes_arrays_and_a_picture(plane, trained, kind, shape, call, tmp_path):
    arrays, drawn = tmp_path / "a.npz", tmp_path / "b.png"
    for file in (arrays, drawn):
        status, out, err = call(sample, plane, kind, "--out", file, "--count", 30)
        assert (status, err) == (0, "")
        assert f"{kind} of {plane} at step 80: {file}" in out
    first = np.load(arrays)["images"]
    again, other = (
        kinds.sample(trained, kind, count=30, seed=seed)["images"] for seed in (0, 1)
    )
    assert first.shape == shape
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with Image.open(drawn) as picture:
        assert picture.width >= 300
        assert np.asarray(picture).std() > 10


def test_the_nearest_training_images_stand_beside_a_sample(plane, call, tmp_path):
    assert call(sample, plane, "nearest", "--out", tmp_path / "n.npy", "--count", 3)[0] == 0
    rows = np.load(tmp_path / "n.npy").reshape(3, 10, -1)
    training = np.asarray(data.load("mnist5k", "unused").train_images).reshape(4000, -1)
    distances = np.linalg.norm(rows[:, :1] - rows[:, 1:], axis=2)
    for made, found in zip(rows[:, 0], distances, strict=True):
        expected = np.sort(np.linalg.norm(training / 255 - made, axis=1))[:9]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_picked_examples_are_the_ends_of_a_way(plane, call, tmp_path):
    for kind, more in (
        ("reconstructions", []),
        ("interpolation", ["--path", "spherical"]),
        ("arithmetic", ["--plus", 4, "--minus", 4]),
    ):
        out = tmp_path / f"{kind}.npy"
        done = call(sample, plane, kind, "--out", out, "--pick", 3, 5, *more)
        assert done[0] == 0
    pairs, way, none = (
        np.load(tmp_path / f"{kind}.npy")
        for kind in ("reconstructions", "interpolation", "arithmetic")
    )
    assert way.shape == (1, 10, 28, 28, 1)
    np.testing.assert_allclose(way[0, [0, -1]], pairs[:, 1], atol=1e-3)
    # A class less itself moves nothing.
    np.testing.assert_allclose(none[:, 0], pairs[:, 0], atol=1e-6)
    np.testing.assert_allclose(none[:, -1], pairs[:, 1], atol=1e-4)


def test_codes_are_those_of_the_encoder_in_the_order_of_the_file(plane, call, tmp_path):
    assert call(sample, plane, "codes", "--out", tmp_path / "own.npz")[0] == 0
    own = np.load(tmp_path / "own.npz")
    assert own["codes"].shape == (5000, 2)
    assert np.bincount(own["split"]).tolist() == [4000, 1000]
    assert np.bincount(own["labels"]).tolist() == [500] * 10
    assert own["class_names"].tolist() == [str(digit) for digit in range(10)]
    # The held-out examples, as a file of the user's: the same codes.
    held_out = np.load(plane / "heldout.npz")["images"]
    np.save(tmp_path / "mine.npy", held_out)
    out = tmp_path / "codes.npy"
    assert (
        call(sample, plane, "codes", "--out", out, "--data", tmp_path / "mine.npy")[0] == 0
    )
    mine = np.load(out)
    np.testing.assert_allclose(
        mine, own["codes"][4000 + mixed_order(1000)[:256]], atol=1e-5
    )


def test_a_gan_makes_the_class_that_is_asked_for(call, tmp_path):
    # A class is a bright half: something that a generator learns in seconds.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 40, (400, 4, 4, 1), np.uint8)
    labels = np.arange(400) % 2
    images[labels == 0, :2] += 200
    images[labels == 1, 2:] += 200
    names = np.array(["top", "bottom"])[labels]
    np.savez(tmp_path / "halves.npz", images=images, labels=names)
    status, out, err = call(
        train, "gan", "--conditional", "--dataset", tmp_path / "halves.npz",
        "--latent", 2, "--width", 16, "--epochs", 30, "--batch-size", 40,
        "--log-every", 90, "--save-every", 270, "--workdir", tmp_path / "run",
        "--generator-optimizer.learning-rate", 0.01,
        "--discriminator-optimizer.learning-rate", 0.01,
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "done: 270 steps" in out
    for label in ("top", "bottom"):
        out = tmp_path / f"{label}.npy"
        args = ("--out", out, "--label", label, "--count", 40)
        assert call(sample, tmp_path / "run", *args)[0] == 0
        made = np.load(out)
        assert made.shape == (40, 4, 4, 1)
        halves = {"top": made[:, :2].mean(), "bottom": made[:, 2:].mean()}
        assert max(halves, key=halves.get) == label, halves


def test_an_older_checkpoint_can_be_asked_in_a_process_of_its_own(plane, tmp_path):
    done = run("sample.py", plane, "--out", tmp_path / "s.npy", "--step", 40)
    assert "at step 40" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    done = run("sample.py", plane, "--out", tmp_path / "s.npy", "--step", 41)
    assert done.returncode == 2
    assert "there are 40, 60, 80" in done.stderr


def test_rgb_images_of_a_folder_train_with_convolutions(call, tmp_path):
    rng = np.random.default_rng(0)
    for label in ("bright", "dark"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(40):
            low, high = (150, 256) if label == "bright" else (0, 100)
            pixels = rng.integers(low, high, (11, 13, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    done = run(
        "train.py", *TINY, "--network", "conv", "--dataset", tmp_path / "images",
        "--batch-size", "8", "--workdir", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = tmp_path / "s.npy"
    assert call(sample, tmp_path / "run", "--out", out, "--count", 7)[0] == 0
    assert np.load(tmp_path / "s.npy").shape == (7, 11, 13, 3)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["gan2"], "unknown model gan2: there are"),
        (["--dataset", "no_such_set"], "no_such_set"),
        (["--dataset", "./missing.npz"], "missing.npz"),
        (["--dataset", "{tmp}/empty"], "holds no images"),
        (["--dataset", "{tmp}/text.npz"], "cannot be read"),
        (["--dataset", "{tmp}/nan.npy"], "NaN"),
        (["--batch-size", "4001"], "larger than the training set of 4000"),
        (["--prior", "swiss-roll", "--batch-size", "80"], "the code size must be 2"),
        (["--batch-size", "99"], "does not divide over 8 devices"),
        (["--seed", "-1"], "seed is -1: it must be in 0 ... 4294967295"),
        (["--r1", "nan"], "r1 is nan: it must be a finite number"),
        (
            ["--generator-optimizer.learning-rate", "inf"],
            "learning_rate is inf: it must be a finite number",
        ),
        (
            ["--batch-size", "80", "--width", "60000", "--depth", "5"],
            "GiB are free: take a smaller --width",
        ),
        (["--batch-size", "80", "--epochs", "2000000000"], "steps are too many to count"),
    ],
)
def test_bad_input_gets_one_line_and_writes_nothing(args, words, call, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no data")
    np.save(tmp_path / "nan.npy", np.full((30, 4, 4), np.nan, np.float32))
    args = [arg.format(tmp=tmp_path) for arg in args]
    status, _, err = call(train, *args, "--workdir", tmp_path / "run")
    assert status == 2
    assert err.startswith("train.py: ")
    assert err.count("\n") == 1
    assert words in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["{tmp}/nothing"], "is no run folder"),
        (
            ["{run}", "clusters"],
            "no kind clusters, which needs an encoder that classifies: it has",
        ),
        (["{run}", "--out", "{tmp}/x.jpg"], "must end in .png, .npy or .npz"),
        (["{run}", "codes", "--out", "{tmp}/x.png"], "must end in .npy, .npz"),
        (["{run}", "codes", "--out", "{tmp}/x.npz", "--data", "{tmp}/small.npy"], "shape"),
        (["{run}", "--count", "0"], "at least 1"),
        (["{run}", "--seed", "-1"], "seed -1: it must be in 0 ... 2^32 - 1"),
        (["{run}", "--seed", "4294967296"], "it must be in 0 ... 2^32 - 1"),
        (["{run}", "--step", "-1"], "there is no checkpoint of step -1: there are 40"),
        (["{run}", "--out", "{tmp}"], "must end in .png, .npy or .npz"),
        (["{run}", "--out", "{tmp}/small.npy/s.npy"], "small.npy"),
        (["{run}", "--out", "/proc/none/s.npy"], "/proc/none"),
        (["{run}", "--label", "3"], "can't be asked for by --label"),
        (["{run}", "arithmetic"], "needs --plus A --minus B"),
        (
            ["{run}", "arithmetic", "--plus", "77", "--minus", "1"],
            "the run has no class 77: it has 0, 1",
        ),
        (["{run}", "manifold", "--plus", "1"], "--plus has no meaning for manifold"),
        (["{run}", "codes", "--count", "50"], "--count has no meaning for codes"),
        (["{run}", "scores", "--seed", "1"], "--seed has no meaning for scores"),
        (["{run}", "--data-dir", "x"], "--data-dir has no meaning for samples"),
        (
            ["{run}", "interpolation", "--pick", "1", "2", "--count", "20"],
            "give one of them",
        ),
        (["{run}", "reconstructions", "--pick", "999"], "there are examples 0 to 255"),
    ],
)
def test_sample_refuses_in_one_line(plane, args, words, call, tmp_path):
    np.save(tmp_path / "small.npy", np.zeros((30, 4, 4), np.float32))
    args = [arg.format(tmp=tmp_path, run=plane) for arg in args]
    status, _, err = call(sample, *args)
    assert status == 2
    assert err.startswith("sample.py: ")
    assert err.count("\n") == 1
    assert words in err


@pytest.mark.parametrize("limit", [20_000, 300_000])
def test_a_disk_that_takes_no_more_is_one_line_and_loses_nothing(limit, tmp_path):
    # A limit on the size of a file is what a full disk is to the writer: of the held-out
    # examples at 20 kB, of a checkpoint at 300 kB.
    limited = (
        f"import resource, runpy, sys; limit = {limit}; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); "
        "sys.argv = sys.argv[1:]; runpy.run_path('train.py', run_name='__main__')"
    )
    wide = ["autoencoder", *TINY[2:], "--width", "200"]
    done = run("-c", limited, "train.py", *wide, "--workdir", tmp_path / "run")
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("train.py: "), done.stderr[-2000:]
    assert ("earlier checkpoints are kept" in last) == (limit == 300_000)


def test_help_lists_the_models_and_keeps_the_lines_of_examples(call):
    for script in (train, sample):
        with pytest.raises(SystemExit):
            call(script, "--help")
        lines = call.read().splitlines()
        name = f"{'train' if script is train else 'sample'}.py"
        text = script.HELP.format(name=f"python {name}")
        examples = [line for line in text.splitlines() if "python" in line]
        assert len(examples) >= 2
        assert set(examples) <= set(lines)
        if script is train:
            first_words = {line.split()[0] for line in lines if line.strip()}
            assert set(models.NAMES) <= first_words
            flags = re.findall(r"^    (--[a-z-]+)", text, re.M)
            boxes = "".join(line for line in lines if line.startswith("│"))
            assert len(flags) == 10 and all(f"│ {flag} " in boxes for flag in flags)


@pytest.mark.parametrize(
    "args", [["--workdir", "x", "semi-supervised"], ["--overwrite", "vae", "--beta", "2"]]
)
def test_a_model_after_an_option_is_told_where_it_goes(args, monkeypatch, capfd):
    with pytest.raises(SystemExit) as end:
        train.parse_run(args)
    assert end.value.code == 2
    named = next(word for word in args if word in models.NAMES)
    assert f"a model goes first: train.py {named}" in capfd.readouterr().err


def test_done_says_what_scores_there_are():
    def said(**scores):
        metrics = {f"heldout/{name}": value for name, value in scores.items()}
        return train.describe(Result(Path("run"), 8, 8, {"step": 8, **metrics}))

    assert "done: 8 steps, no scores: nothing" in said()
    assert "held-out reconstruction 1.50\n" in said(reconstruction=1.5)
    whole = said(sample_mmd=0.25, sample_mmd_chance=0.0)
    assert "squared MMD 0.2500, two halves of those images: 0.0000\n" in whole


def test_names_that_the_terminal_can_not_write_are_escaped(monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    @scripts.script("x.py")
    def main():
        scripts.tell("Käse")
        raise UserError("no ä")

    assert main() == 2
    assert out.buffer.getvalue() == b"K\\xe4se\n"
    err.flush()
    assert err.buffer.getvalue() == b"x.py: no \\xe4\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--workdir", ""], "the value after --workdir is empty: give one"),
        (["--workdir="], "the value after --workdir is empty: give one"),
        (["--dataset", " ", "--overwrite"], "the value after --dataset is empty"),
    ],
)
def test_an_empty_value_is_none(args, words):
    with pytest.raises(UserError, match=words):
        train.parse_run(args)


def test_a_device_that_is_not_there_is_one_line(tmp_path):
    code = (
        "import os, runpy, sys; os.environ['JAX_PLATFORMS'] = 'nonsense'; "
        "sys.argv = sys.argv[1:]; runpy.run_path('train.py', run_name='__main__')"
    )
    done = run("-c", code, "train.py", "--workdir", tmp_path / "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "train.py: JAX finds no device for JAX_PLATFORMS=nonsense" in done.stderr


@pytest.mark.parametrize(
    ("shell", "status"),
    [
        # Nobody reads the output, from the start on; there is none; no home to write to.
        ('{ sleep 0.1; python "$@"; echo $? >&3; } | true', "141"),
        ('python "$@" >&-; echo $? >&3', "0"),
        ('HOME=/proc/none XDG_CACHE_HOME= python "$@"; echo $? >&3', "0"),
    ],
)
def test_output_that_goes_nowhere_is_no_traceback(shell, status, tmp_path):
    small = [*TINY[:4], "--epochs", "1", *TINY[6:], "--workdir", str(tmp_path / "run")]
    done = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {shell}", "bash", "train.py", *small],
        cwd=ROOT,
        env=environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == (status, "")


@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_ctrl_c_in_the_first_second_is_one_line(script, tmp_path):
    # An audit hook sends it as JAX starts to be imported.
    code = (
        "import os, runpy, signal, sys; sys.argv = sys.argv[1:]; "
        "sys.addaudithook(lambda event, args: event == 'import' and args[0] == 'jax' "
        "and os.kill(os.getpid(), signal.SIGINT)); "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = run("-c", code, script, tmp_path / "run")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{script}: interrupted\n"


def test_help_lists_what_the_readme_names(call):
    text = ""
    for script, *model in ([sample], *([train, name] for name in models.NAMES)):
        with pytest.raises(SystemExit):
            call(script, *model, "--help")
        text += call.read()
    for script in (ROOT / "benchmarks").glob("*.py"):
        text += script.read_text()  # their own help would need their own requirements
    # Examples keep their lines, and each kind has one.
    for line in ("python sample.py runs/aae-mnist5k --out samples.png", *KINDS):
        assert re.search(rf"^ +{re.escape(line)}\b.*\n", text, re.M)
    for flag in re.findall(r"--[a-z][a-z-]+", (ROOT / "README.md").read_text()):
        assert flag in text, flag
