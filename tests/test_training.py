import dataclasses
import gc
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import optax
import pytest

from aaejax import data
from aaejax.models._optimizers import Optimizer
from aaejax.runs import examples
from aaejax.runs.finite import NonFiniteLoss, check_finite
from aaejax.runs.hooks import Event, Hook, Progress
from aaejax.runs.restore import restore
from aaejax.types import UserError
from tests.conftest import (
    ROOT,
    Cut,
    CutAt,
    environment,
    final_params,
    read_lines,
    same,
    tiny_options,
    train_tiny,
)


def timeless(folder):
    """metrics.jsonl but for the times in it."""
    return [
        {name: line[name] for name in line if name != "images_per_second"}
        for line in read_lines(folder)
    ]


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    """A finished run, two devices, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    told = []
    result = train_tiny(folder, digits, devices=2, tell=told.append)
    return folder, result, told


def test_a_run_leaves_its_folder_and_learns(finished):
    folder, result, _ = finished
    assert (result.step, result.steps, result.stopped_by) == (40, 40, None)
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "config.json",
        "metrics.jsonl",
        "heldout.npz",
        "report.html",
        "checkpoints",
        "pictures",
    }
    pictures = {path.stem for path in (folder / "pictures").iterdir()}
    rows = {"samples-step-20", "samples-step-40"}
    assert pictures == {"samples", "reconstructions", "manifold", "codes"} | rows
    logged = read_lines(folder)
    assert [line["step"] for line in logged] == [10, 20, 30, 40]
    assert [line["epoch"] for line in logged] == [1, 2, 3, 4]
    assert all(line["images_per_second"] > 0 for line in logged)
    assert [("heldout/prior_mmd" in line) for line in logged] == [False, True] * 2
    # Phases stand in their order, and the reconstruction was learnt.
    names = [name for name in logged[0] if name.endswith("/loss")]
    assert names == ["reconstruction/loss", "discriminator/loss", "generator/loss"]
    assert logged[-1]["reconstruction/loss"] < 0.6 * logged[0]["reconstruction/loss"]
    assert logged[-1] == result.metrics


def test_a_finished_run_started_again_does_nothing(finished, digits):
    folder, result, _ = finished
    before = (folder / "metrics.jsonl").read_text()
    again = train_tiny(folder, digits, devices=2)
    assert again.step == result.step
    assert (folder / "metrics.jsonl").read_text() == before
    for name in ("heldout/reconstruction", "heldout/prior_mmd"):
        assert again.metrics[name] == result.metrics[name]


def test_an_option_younger_than_the_run_had_its_default(finished, digits):
    folder, result, _ = finished
    saved = json.loads((folder / "config.json").read_text())
    del saved["options"]["initial_std"]
    (folder / "config.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=r"options.initial_std was 0.0, now 0.01"):
        train_tiny(folder, digits, model=tiny_options(initial_std=0.01))
    assert train_tiny(folder, digits, devices=2).step == result.step


def test_another_configuration_is_refused_and_nothing_is_lost(finished, digits):
    folder, _, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    del before[folder / ".lock"]
    with pytest.raises(UserError, match=r"options.latent was 2, now 4.*--overwrite"):
        train_tiny(folder, digits, model=tiny_options(latent=4))
    fewer = dataclasses.replace(digits, test_images=digits.test_images[:50])
    with pytest.raises(UserError, match=r"data.test was 100, now 50"):
        train_tiny(folder, fewer)
    assert (
        before.items()
        <= {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}.items()
    )


def test_a_run_cut_anywhere_ends_bit_for_bit_where_an_unbroken_one_does(
    finished, digits, tmp_path
):
    folder, _, _ = finished

    told = []
    two = {"devices": 2, "tell": told.append}
    for step in (10, 20, 30):
        with pytest.raises(Cut):
            train_tiny(tmp_path, digits, hooks=[CutAt(step)], **two)
    result = train_tiny(tmp_path, digits, devices=2, tell=told.append)
    assert result.step == 40
    anew = f"{tmp_path} has metrics but no checkpoint: training starts anew"
    assert told == [anew, *[f"resuming {tmp_path} at step 20 of 40"] * 2]
    assert final_params(tmp_path)[0] == 40
    assert same(final_params(tmp_path)[1], final_params(folder)[1])
    # Nothing that a cut run had logged past its checkpoint stands twice.
    assert timeless(tmp_path) == timeless(folder)


def test_the_last_chunk_may_be_shorter(digits, tmp_path):
    one = {"devices": 1, "tell": lambda _: None}
    lengths = {"model": tiny_options(latent=3), "epochs": 1}  # no plane to be drawn
    folder = tmp_path / "uneven"
    result = train_tiny(folder, digits, **one, **lengths, log_every=4, save_every=8)
    assert result.step == 10
    logged = read_lines(tmp_path / "uneven")
    assert [(line["step"], line["epoch"]) for line in logged] == [
        (4, 0.4),
        (8, 0.8),
        (10, 1.0),
    ]
    # Each line is the mean over its own steps.
    folder = tmp_path / "even"
    train_tiny(folder, digits, **one, **lengths, log_every=2, save_every=10)
    losses = [line["reconstruction/loss"] for line in read_lines(tmp_path / "even")]
    means = [np.mean(losses[0:2]), np.mean(losses[2:4]), losses[4]]
    found = [line["reconstruction/loss"] for line in logged]
    np.testing.assert_allclose(found, means, rtol=1e-4)


def test_any_optimizer_goes_on_bit_for_bit(digits, tmp_path):
    ours = Optimizer(schedule="exponential", warmup_steps=15, weight_decay=0.1)
    optimizers = {
        "reconstruction": ours.build(20),
        "discriminator": optax.lion(1e-3),
        "generator": optax.MultiSteps(optax.adam(1e-3), 3),
    }
    model = tiny_options().build(examples.data_spec(digits), 20)
    phases = [
        dataclasses.replace(phase, optimizer=optimizers[phase.name])
        for phase in model.phases
    ]
    model = dataclasses.replace(model, phases=tuple(phases))

    class Stop(Hook):
        def on_log(self, event):
            if event.step == 5:
                raise KeyboardInterrupt

    def run(folder, *hooks):
        settings = {"epochs": 2, "log_every": 5, "save_every": 5}
        return train_tiny(folder, digits, model=model, devices=1, hooks=hooks, **settings)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Stop())
    assert run(tmp_path / "cut").step == run(tmp_path / "unbroken").step == 20
    cut, unbroken = (
        restore(tmp_path / name, model=model).variables for name in ("cut", "unbroken")
    )
    assert same(cut, unbroken)


ARGS = [
    *("--width", "16", "--latent", "3", "--epochs", "9", "--log-every", "20"),
    *("--save-every", "60"),
]


def start(folder, *more):
    return subprocess.Popen(
        [sys.executable, "train.py", *ARGS, "--workdir", str(folder), *more],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process, words):
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} never came: {seen}")


def test_a_killed_process_goes_on_as_an_unbroken_one(tmp_path):
    """A kill of the system's; more cuts, of a run that went on too, are made above."""
    short = "--epochs", "4"
    unbroken = start(tmp_path / "unbroken", *short)
    assert "done: 160 steps" in unbroken.communicate(timeout=600)[0]
    process = start(tmp_path / "killed", *short)
    wait_for(process, "step 140/160")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    last = start(tmp_path / "killed", *short)
    out = last.communicate(timeout=600)[0]
    assert "resuming" in out
    assert "done: 160 steps" in out
    step, params = final_params(tmp_path / "killed")
    assert step == 160
    assert same(params, final_params(tmp_path / "unbroken")[1])
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_chunk_and_writes_a_checkpoint(number, status, tmp_path):
    process = start(tmp_path, "--epochs", "2000", "--save-every", "2000")
    wait_for(process, "step 40/80000")
    process.send_signal(number)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == status
    assert f"stopped by {number.name} at step" in out
    step = final_params(tmp_path)[0]
    assert step == read_lines(tmp_path)[-1]["step"]
    assert step % 20 == 0
    assert step % 2000 != 0


def test_a_second_ctrl_c_leaves_at_once(tmp_path):
    # A chunk of 40,000 steps takes far longer than this test waits.
    process = start(
        tmp_path, "--epochs", "1000", "--log-every", "40000", "--save-every", "40000",
        "--width", "600",
    )  # fmt: skip
    wait_for(process, "run folder")
    while not (tmp_path / "config.json").exists():
        time.sleep(0.1)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    wait_for(process, "finishing this chunk")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - began < 3
    assert process.returncode == 130


def test_many_runs_in_a_process_need_the_memory_of_one(digits, tmp_path):
    """jax.pmap would keep each run's programs: thousands of objects and 16 MB a run."""
    small = {"model": tiny_options("vae", width=4), "epochs": 1}
    small |= {"batch_size": 200, "log_every": 2, "save_every": 2}

    def objects_after_a_run(name):
        train_tiny(tmp_path / name, digits, devices=1, **small)
        gc.collect()
        return len(gc.get_objects())

    objects_after_a_run("first")
    before = objects_after_a_run("second")
    assert objects_after_a_run("third") - before < 2000


def test_a_diverging_run_stops_and_names_phase_and_step(digits, tmp_path):
    wild = tiny_options(discriminator_optimizer=Optimizer("sgd", 1e30))
    with pytest.raises(NonFiniteLoss, match=r"in the \w+ phase of step \d+:"):
        train_tiny(tmp_path, digits, model=wild, devices=1)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_check_finite_finds_the_first_step_and_there_the_first_phase():
    good = np.ones(4, np.float32)
    bad = np.array([1, 1, np.nan, np.nan], np.float32)
    late = np.array([1, 1, 1, np.inf], np.float32)
    check_finite({"a/loss": good, "b/loss": good}, 0)
    with pytest.raises(NonFiniteLoss, match="b/loss became nan in the b phase of step 103"):
        check_finite({"a/loss": late, "b/loss": bad, "c/loss": bad}, 100)


def test_streamed_data_train_like_resident_ones(finished, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(examples.batches, "fits_on", lambda *_: False)
    result = train_tiny(tmp_path, digits, devices=2)
    assert result.metrics["reconstruction/loss"] == pytest.approx(
        finished[1].metrics["reconstruction/loss"], rel=1e-3
    )


def test_vectors_train_too(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.normal(3.0, 2.0, (300, 12)).astype(np.float32)
    dataset = data.from_arrays(vectors)
    model = tiny_options(output="linear", reconstruction="squared-error")
    result = train_tiny(tmp_path, dataset, model=model, devices=1, batch_size=30)
    assert result.step == 36
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"codes.png"}
    with pytest.raises(UserError, match=r"values outside \[0, 1\]"):
        train_tiny(tmp_path / "new", dataset, devices=1)
    assert not (tmp_path / "new").exists()


def test_a_batch_larger_than_the_set_is_refused(digits, tmp_path):
    with pytest.raises(
        UserError, match="batch of 401 is larger than the training set of 400"
    ):
        train_tiny(tmp_path / "new", digits, batch_size=401)
    assert not (tmp_path / "new").exists()


def test_a_run_in_a_thread_is_that_of_the_main_thread(finished, digits, tmp_path):
    results = []

    def go():
        results.append(train_tiny(tmp_path, digits, devices=2, tell=lambda _: None))

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    assert results[0].step == 40
    assert same(final_params(tmp_path)[1], final_params(finished[0])[1])


def test_a_class_that_is_never_seen_is_refused_where_labels_are_learned(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, 6, 5, 1), np.uint8)
    pets = data.from_arrays(x, ["cat"] * 6, x, ["cow"] * 6, name="pets", tell=[].append)
    with pytest.raises(UserError, match="pets: no training example has the class cow, and"):
        train_tiny(
            tmp_path, pets, model=tiny_options("supervised"), batch_size=2, devices=1
        )
    assert not (tmp_path / "config.json").exists()


def test_a_run_from_python_says_what_it_was(digits, tmp_path):
    model = tiny_options(latent=3).build(examples.data_spec(digits), 40)
    own = dataclasses.replace(digits, name="my digits")
    train_tiny(tmp_path, own, model=model, devices=1, epochs=2)
    with pytest.raises(UserError, match=r"by hand .*encoder of \d+.*restore.run, model="):
        restore(tmp_path)
    assert restore(tmp_path, model=model).step == 20
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["custom_model"] is True
    assert not {"model", "options"} & saved.keys()
    assert saved["data"]["name"] == saved["run"]["dataset"] == "my digits"
    # A file that was only named otherwise is the same data.
    again = {"epochs": 2, "dataset": "elsewhere.npz"}
    assert train_tiny(tmp_path, own, model=model, devices=1, **again).step == 20


def test_hooks_see_each_line_evaluation_checkpoint_and_the_end(digits, tmp_path):
    seen = []

    class Watch(Hook):
        def on_log(self, event):
            seen.append(("log", event.step, int(event.state.step), dict(event.metrics)))

        def on_evaluate(self, event):
            assert "heldout/reconstruction" in event.metrics
            seen.append(("evaluate", event.step))

        def on_checkpoint(self, event):
            seen.append(("checkpoint", event.step))

        def on_end(self, result):
            seen.append(("end", result.step))

    result = train_tiny(tmp_path, digits, devices=1, hooks=[Watch()])
    words = [event[:2] for event in seen]
    saved = [("evaluate", 20), ("checkpoint", 20), ("log", 20)]
    assert words == [
        *[("log", 10), *saved, ("log", 30)],
        *[(word, 40) for word, _ in saved],
        ("end", 40),
    ]
    logged = [event[3] for event in seen if event[0] == "log"]
    assert logged == read_lines(tmp_path) == result.history
    assert [event[2] for event in seen if event[0] == "log"] == [10, 20, 30, 40]
    # Of a run that is done there is an evaluation and an end.
    seen.clear()
    again = train_tiny(tmp_path, digits, devices=1, hooks=[Watch()], tell=lambda _: None)
    assert seen == [("evaluate", 40), ("end", 40)]
    assert again.metrics.keys() == result.metrics.keys()
    with pytest.raises(UserError, match="must be a list of objects of subclasses of"):
        train_tiny(tmp_path / "other", digits, hooks=[Watch])
    assert not (tmp_path / "other").exists()


def test_a_hook_that_raises_ends_the_run_with_a_checkpoint(finished, digits, tmp_path):
    class Break(Hook):
        def on_log(self, event):
            raise RuntimeError("the logger broke")

    one = {"devices": 2, "tell": lambda _: None}
    with pytest.raises(RuntimeError, match="the logger broke"):
        train_tiny(tmp_path, digits, hooks=[Break()], **one)
    # It broke at step 10; the chunk after it was the last, with a checkpoint.
    assert final_params(tmp_path)[0] == 20
    train_tiny(tmp_path, digits, **one)
    assert same(final_params(tmp_path)[1], final_params(finished[0])[1])


def test_the_first_checkpoint_does_not_say_how_long_others_take(capsys):
    """It compiles what scores held-out examples."""
    bar = Progress(steps=44, first=0, batch_size=10, save_every=4)
    line = {"epoch": 1.0, "images_per_second": 10.0}  # a step a second
    for step, seconds in ((4, 60.0), (8, 0.5), (12, 2.0)):
        bar.saved(seconds)
        bar.on_log(Event(step, {"step": step, **line}, None))  # type: ignore[arg-type]
    bar.close()
    left = [text.rpartition("images/s")[2] for text in capsys.readouterr().out.splitlines()]
    assert left == ["  40 s left", "  40 s left", "  36 s left"]


def test_vectors_are_in_the_unit_range_where_both_parts_are():
    x = np.random.default_rng(0).random((30, 4), np.float32)
    inside = data.from_arrays(x, test_images=x[:5])
    outside = data.from_arrays(x, test_images=x[:5] + 0.5)
    specs = [examples.data_spec(each) for each in (inside, outside)]
    assert [spec.unit_range for spec in specs] == [True, False]
