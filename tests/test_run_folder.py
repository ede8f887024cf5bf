"""The run folder: what is removed, what is never written through, what damage gives."""

import io
import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from aaejax.runs.on_disk.files import append, atomic, write_atomically
from aaejax.runs.on_disk.folder import RunFolder, locked
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import final_params, read_lines, train_tiny


def go_on(folder, digits, **changes):
    """Starts the run of that folder again; what it said."""
    told = []
    train_tiny(folder, digits, devices=1, tell=told.append, **changes)
    return told


def refused(folder, digits, **changes):
    """The line of a start that is refused."""
    with pytest.raises(UserError) as error:
        go_on(folder, digits, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_overwrite_starts_anew(run, digits):
    changed = {"seed": 1, "epochs": 2, "overwrite": True}
    result = train_tiny(run, digits, devices=1, **changed)
    assert result.step == 20
    assert [line["step"] for line in read_lines(run)] == [10, 20]
    assert final_params(run)[0] == 20


def test_two_processes_cannot_share_a_run(tmp_path, digits):
    with locked(tmp_path), pytest.raises(UserError, match="in use by another process"):
        train_tiny(tmp_path, digits, devices=1)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(run, digits):
    pictures, checkpoints = "pictures/wedding.jpg", "checkpoints/llama.pt"
    others = ["notes.txt", "checkpoints/best/w.pt", "unusable-checkpoints/why.txt"]
    others += ["tensorboard/notes.txt", "pictures/samples-step-x.png"]
    mine = [pictures, checkpoints, *others, "metrics.jsonl.tmp"]
    for name in mine:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    (run / "unusable-checkpoints/60").mkdir()
    (run / "checkpoints/80.orbax-checkpoint-tmp-3").mkdir()
    (run / ".tmp-0123abcd-config.json").write_text("of a killed write")
    (run / "tensorboard/events.out.tfevents.1.host").write_text("of --log")
    assert (run / "pictures/samples-step-40.png").exists()
    go_on(run, digits, overwrite=True, seed=5, epochs=2)
    assert not (run / "tensorboard/events.out.tfevents.1.host").exists()
    assert not (run / "pictures/samples-step-40.png").exists()
    assert all((run / name).read_text() == "mine" for name in mine)
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"20", "llama.pt", "best"}
    assert not (run / "unusable-checkpoints/60").exists()
    assert not list(run.glob(".tmp-*"))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["pictures/wedding.jpg", "checkpoints/3/llama.pt", "metrics.jsonl"]
)
def test_a_folder_of_another_program_is_left_alone(name, overwrite, digits, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    line = refused(tmp_path, digits, overwrite=overwrite)
    assert "but no config.json" in line
    assert "--overwrite" not in line
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {tmp_path / name}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", "5", '{"name": "a web app"}', "{", "[" * 100_000, None],
)
def test_a_config_that_is_no_runs_offers_nothing_for_deletion(content, run, digits):
    if content is None:
        (run / "config.json").unlink()
    else:
        (run / "config.json").write_text(content)
    with pytest.raises(UserError) as error:
        restore(run)
    lines = [str(error.value), refused(run, digits), refused(run, digits, overwrite=True)]
    for line in lines:
        assert "config.json" in line
        assert "a copy" in line
        assert "--overwrite" not in line
        assert "\n" not in line
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"20", "40"}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("options", "latent"), "2"),
        (("options", "latent"), 2.5),
        (("options", "latent"), True),
        (("options", "latent"), [[2]]),
        (("options", "reconstruction_optimizer"), 3),
        (("options", "reconstruction_optimizer", "drops"), [["a"]]),
        (("options", "nonsense"), 1),
        (("options",), None),
        (("run", "seed"), "0"),
        (("run", "workdir"), "/elsewhere"),
        (("run",), []),
        (("network_file",), []),
        (("model",), "../evil"),
        (("model",), ["aae"]),
        (("format",), {}),
    ],
)
def test_a_config_of_other_types_is_one_line(place, value, run, digits):
    saved = json.loads((run / "config.json").read_text())
    inner = saved
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (run / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError) as error:
        restore(run)
    assert "\n" not in str(error.value)
    assert "config.json" in refused(run, digits)


@pytest.mark.parametrize(
    "name",
    [
        ".lock", "heldout.npz", "metrics.jsonl", "config.json", "pictures/samples.png",
        "pictures/codes.png", "pictures", "unusable-checkpoints",
    ],
)  # fmt: skip
def test_nothing_is_written_through_a_link(name, run, digits, tmp_path):
    precious = tmp_path / "precious"
    if name in ("pictures", "unusable-checkpoints"):
        precious.mkdir()
        shutil.rmtree(run / name, ignore_errors=True)
    else:
        # What is read through a link is read; what is written takes its place.
        shutil.copyfile(run / name, precious)
        (run / name).unlink()
    before = precious.read_bytes() if precious.is_file() else os.listdir(precious)
    (run / name).symlink_to(precious)
    if name in (".lock", "pictures", "unusable-checkpoints"):
        assert f"{name} is a link to {str(precious)!r}" in refused(run, digits)
    else:
        go_on(run, digits)
        assert not (run / name).is_symlink()
    assert before == (precious.read_bytes() if precious.is_file() else os.listdir(precious))


def test_checkpoints_may_be_a_link_to_another_disk(run, digits, tmp_path):
    other = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    scratch = other / f"aaejax-test-{os.getpid()}"
    try:
        shutil.copytree(run / "checkpoints", scratch)
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").symlink_to(scratch)
        shutil.rmtree(scratch / "40/params")  # is moved from disk to disk
        told = go_on(run, digits)
        assert any("moved 1 unusable checkpoint(s)" in line for line in told)
        assert final_params(run)[0] == 40
        assert {path.name for path in scratch.iterdir()} == {"20", "40"}
        go_on(run, digits, overwrite=True, seed=2, epochs=2)
        assert (run / "checkpoints").is_symlink()
        assert {path.name for path in scratch.iterdir()} == {"20"}
        (scratch / "thesis").mkdir()
        line = refused(run, digits, seed=2, epochs=2)
        assert "'thesis' in it" in line
    finally:
        shutil.rmtree(scratch)
    assert "no folder that is there" in refused(run, digits, seed=2, epochs=2)


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


GOOD = np.zeros((3, 28, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "not a zip"),
        (b"junk", "not a zip"),
        (npz(images=GOOD)[:300], "not a zip"),
        (npz(images=GOOD[:, :8]), "its images are uint8[3, 8, 28, 1]"),
        (npz(images=GOOD.astype(float)), "its images are float64"),
        (npz(images=GOOD[:0]), "its images are uint8[0"),
        (npz(images=np.array(["a", None], object)), "its images are object"),
        (npz(images=np.full(GOOD.shape, np.nan, np.float32)), "not finite"),
        (npz(images=np.full(GOOD.shape, 2, np.float32)), "not in [0, 1]"),
        (npz(images=GOOD, labels=np.arange(2)), "its labels are int64[2]"),
        (npz(images=GOOD, labels=np.full(3, 10)), "its labels go from 10 to 10"),
        (npz(images=GOOD, more=GOOD), "'more.npy'"),
        (npz(labels=np.arange(2)), "its images are None"),
    ],
)
def test_held_out_examples_are_checked_and_written_again(content, words, run, digits):
    if content is None:
        (run / "heldout.npz").unlink()
    else:
        (run / "heldout.npz").write_bytes(content)
    with pytest.raises(UserError) as error:
        RunFolder(run).read_heldout()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert "train.py writes it again" in str(error.value)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run, digits):
    for name in ("heldout.npz", "metrics.jsonl", "config.json"):
        kept = (run / name).read_bytes()
        (run / name).unlink()
        os.mkfifo(run / name)
        if name == "heldout.npz":
            with pytest.raises(UserError, match="no plain file"):
                RunFolder(run).read_heldout()
        else:
            assert "no plain file" in refused(run, digits)
        (run / name).unlink()
        (run / name).write_bytes(kept)


def test_a_started_run_mends_what_it_can_write_again(run, digits):
    (run / "heldout.npz").write_bytes(b"")
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n{}\n5\n")
    told = go_on(run, digits)
    assert RunFolder(run).read_heldout()["images"].shape == (100, 28, 28, 1)
    assert (run / "metrics.jsonl").read_text() == lines
    assert any("steps 10, 20, 30, 40 were missing or changed" in line for line in told)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "a") as file:
        file.write(b"new")
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize("write", [write_atomically, lambda p, x: append(p, x.decode())])
def test_a_write_that_does_not_fit_names_the_file(write, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a.json can't be written \(File too large\): "):
            write(tmp_path / "a.json", bytes(2 * 10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_files_of_a_run_are_readable_as_the_users_others_are(run):
    (run / "plain").write_text("")
    for name in ("config.json", "heldout.npz", "metrics.jsonl", "pictures/samples.png"):
        assert (run / name).stat().st_mode == (run / "plain").stat().st_mode
