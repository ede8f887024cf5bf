"""Several hosts, as processes of one machine that have devices of their own."""

import functools
import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from aaejax.components.pixels import to_unit
from aaejax.data.batches import batch_indices
from aaejax.phases import train_step
from aaejax.runs.examples import data_spec
from aaejax.runs.hosts import HostOptions, idle, start
from aaejax.runs.loop import train
from aaejax.runs.on_disk.config_json import leaves_that_differ
from aaejax.runs.run import seed_start
from aaejax.types import UserError
from tests.conftest import ROOT, Cut, CutAt, environment, final_params, read_lines, same
from tests.hosts_worker import CLI, config, dataset, options

STEPS = 20
# The other one, which compiles fastest, is trained by four hosts.
PAIRS = ("conv", "semi-supervised")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def begin(count, devices, command):
    """So many processes; the command is a function of address and index."""
    address = f"127.0.0.1:{free_port()}"
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command(address, index))],
            cwd=ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(count)
    ]


def ends(processes):
    """Status and words of each, when all have ended."""
    said = [process.communicate(timeout=900)[0] for process in processes]
    return list(zip([process.returncode for process in processes], said, strict=True))


def work(folder, count, devices, words):
    """What workers say that train these things in turn."""
    module = ("-m", "tests.hosts_worker")
    done = ends(begin(count, devices, lambda a, i: [*module, a, count, i, folder, *words]))
    for status, said in done:
        assert status == 0, said
    each = [json.loads((folder / f"said-{i}.json").read_text()) for i in range(count)]
    return each, done


def losses(folder):
    """Lines of metrics.jsonl, without what is a time or of a chance."""
    return [
        {name: line[name] for name in line if name != "images_per_second"}
        for line in read_lines(folder)
    ]


def assert_like(folder, expected):
    found, wanted = losses(folder), losses(expected)
    assert [sorted(line) for line in found] == [sorted(line) for line in wanted]
    for one, other in zip(found, wanted, strict=True):
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=5e-3, abs=5e-4), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """From a model's name to the folder of its run by this process on four devices."""
    folder = tmp_path_factory.mktemp("alone")

    @functools.cache
    def trained(name):
        devices = jax.devices()[:4]
        train(options(name), dataset(), config(folder / name), devices=devices)
        return folder / name

    return trained


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of `train.py` on two hosts, the second of which is killed.

    The folder; the status, the words and the seconds of the first host's end.
    """
    folder = tmp_path_factory.mktemp("killed") / "run"

    def command(address, index):
        where = ["--hosts", address, "--host-count", 2, "--host-index", index]
        return ["train.py", *CLI, "--workdir", folder, *where]

    first, second = begin(2, 2, command)
    for line in first.stdout:
        if "step 60/" in line:
            break
    else:
        pytest.fail(f"no step 60 of {second.communicate()[0]}")
    second.send_signal(signal.SIGKILL)
    began = time.monotonic()
    (status, said), _ = ends([first, second])
    return folder, status, said, time.monotonic() - began


@pytest.fixture(scope="module")
def two(killed, tmp_path_factory):
    """What two hosts of two devices each made: the folder, and what each said."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(killed[0], folder / "restarted")
    words = [*PAIRS, "signalled", "refused", "own_data", "unbroken", "restarted"]
    return folder, *work(folder, 2, 2, words)


@pytest.mark.parametrize("name", PAIRS)
def test_two_hosts_of_two_devices_are_one_of_four(name, two, alone):
    folder, each, _ = two
    assert [answers[name] for answers in each] == [STEPS, STEPS]
    assert_like(folder / name, alone(name))
    assert (folder / name / "report.html").exists()


def test_the_first_line_says_what_was_found(two):
    name = socket.gethostname()
    for index, (_, said) in enumerate(two[2]):
        line = f"2 hosts: 2 with 2 devices (cpu), on {name}, {name}; this is host {index}"
        assert line in said.splitlines()


def test_four_hosts_of_one_device_go_on_as_one_of_four(alone, tmp_path):
    name = "moment-matching"
    # Half of a run: the hosts go on with what one process began.
    half = {"devices": jax.devices()[:4], "hooks": [CutAt(10)]}
    with pytest.raises(Cut):
        train(options(name), dataset(), config(tmp_path / name), **half)
    assert losses(tmp_path / name)[-1]["step"] == 10
    each, _ = work(tmp_path, 4, 1, [name])
    assert [answers[name] for answers in each] == [STEPS] * 4
    assert_like(tmp_path / name, alone(name))


def test_a_run_of_two_hosts_goes_on_on_one(two, alone, tmp_path):
    for source, place in ((two[0] / "conv", "two"), (alone("conv"), "alone")):
        shutil.copytree(source, tmp_path / place)
        longer = config(tmp_path / place, epochs=6)
        train(options("conv"), dataset(), longer, devices=jax.devices()[:4])
    assert losses(tmp_path / "two")[-1]["step"] == 30
    assert_like(tmp_path / "two", tmp_path / "alone")


def test_sigterm_on_one_host_stops_all_at_the_same_chunk(two):
    folder, each, _ = two
    (signal_name, step), other = [answers["signalled"] for answers in each]
    assert [signal_name, step] == other
    assert signal_name == "SIGTERM"
    assert 0 < step < 10_000
    assert step % 10 == 0
    assert final_params(folder / "signalled")[0] == step
    assert losses(folder / "signalled")[-1]["step"] == step


def test_a_host_that_is_started_otherwise_is_refused_by_name(two):
    folder, each, _ = two
    assert each[0]["refused"] == each[1]["refused"]
    options_said, data_said = each[0]["refused"]
    assert "host 1 is not started as host 0 is: run.epochs is 5 there and 4" in options_said
    assert "data.fingerprint is" in data_said
    assert not (folder / "refused").exists()


def test_hosts_that_have_data_of_their_own_train_on_all_of_them(two):
    folder, each, _ = two
    for step, said in (answers["own_data"] for answers in each):
        assert step == STEPS
        assert "host 1 has no label" in said[0]
        assert "host 1 are image float32 [6, 6, 1], and of host 0 image uint8" in said[1]
        assert said[2:] == [
            "--own-data is given on some hosts alone: give it on all",
            "a batch of 1 does not divide over 2 hosts: take a --batch-size that is a "
            "multiple of 2",
        ]
    whole = dataset()
    model = options("moment-matching").build(data_spec(whole), STEPS)
    step = jax.jit(train_step(model.phases))
    state, key = seed_start(0, model)
    found = []
    for number in range(STEPS):
        rows = [
            40 * host + batch_indices(0, number, number + 1, examples, 8, share=host)[0]
            for host, examples in enumerate((40, 40))
        ]
        image = to_unit(whole.train_images[np.concatenate(rows)])
        state, metrics = step(state, {"image": image}, key)
        found.append({name: float(value) for name, value in metrics.items()})
    lines = losses(folder / "own_data")
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    for number, line in enumerate(lines):
        for name in found[0]:
            mean = np.mean([each[name] for each in found[5 * number :][:5]])
            assert line[name] == pytest.approx(mean, rel=5e-3, abs=5e-4), name
    data = json.loads((folder / "own_data" / "config.json").read_text())["data"]
    assert data["train"] == 80


def test_where_a_host_is_killed_the_others_end_and_a_restart_goes_on(killed, two):
    run, status, said, seconds = killed
    assert seconds < 30
    assert status == 1
    (line,) = [line for line in said.splitlines() if line.startswith("train.py: ")]
    assert line.startswith(f"train.py: host 1 ({socket.gethostname()}) is gone")
    assert "Traceback" not in said
    assert losses(run)[-1]["step"] < 240
    folder, each, _ = two
    assert [answers["restarted"] for answers in each] == [240, 240]
    assert losses(folder / "restarted") == losses(folder / "unbroken")
    one, other = (final_params(folder / name)[1] for name in ("restarted", "unbroken"))
    assert same(one, other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host_count": 2}, "stand without --hosts"),
        ({"hosts": "auto", "host_index": 1}, "stand beside --hosts auto"),
        ({"hosts": "10.0.0.1:1234", "host_count": 2}, "needs --host-count and --host-ind"),
        ({"hosts": "a:1", "host_count": 2, "host_index": 2}, "give 0 ... 1, another one"),
        ({"hosts": "nowhere", "host_count": 2, "host_index": 0}, "ADDRESS:PORT of host 0"),
        ({"hosts": "a:70000", "host_count": 2, "host_index": 0}, "ADDRESS:PORT of host 0"),
        ({"hosts_timeout": 0}, "hosts_timeout"),
    ],
)
def test_options_of_hosts_that_do_not_fit_are_refused(given, said):
    with pytest.raises(UserError, match=said):
        HostOptions(**given)


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=f"can't listen at port {port}"):
            start(HostOptions(f"127.0.0.1:{port}", 2, 0))


def test_a_first_host_that_never_comes_is_said_in_time():
    began = time.monotonic()
    with pytest.raises(UserError, match="host 0 did not come within 1 s"):
        start(HostOptions(f"127.0.0.1:{free_port()}", 2, 1, hosts_timeout=1))
    assert time.monotonic() - began < 10


def test_other_hosts_that_never_come_are_said_in_time():
    where = f"127.0.0.1:{free_port()}"
    code = f"from aaejax.runs.hosts import *; start(HostOptions({where!r}, 2, 0, 2))"
    ((status, said),) = ends(begin(1, 1, lambda *_: ["-c", code]))
    assert status == 2
    assert "the other hosts did not all come within 2 s: start all, with one" in said
    assert said.count("\n") == 1


def test_own_data_of_one_host_are_refused(tmp_path):
    with pytest.raises(UserError, match="--own-data: there is one host"):
        train(options("conv"), dataset(), config(tmp_path / "run", own_data=True))
    assert not (tmp_path / "run").exists()


def test_gpus_that_no_process_drives_are_said():
    hosts = [{"name": "a", "gpus": 8, "driven": 1}, {"name": "b", "gpus": 2, "driven": 1}]
    (line,) = idle([*hosts, {"name": "b", "gpus": 2, "driven": 1}])
    assert line.startswith("warning: a has 8 GPUs and 1 process of this run that drive 1")


def test_leaves_that_differ_are_named():
    one, other = {"a": {"b": 1, "c": [2]}}, {"a": {"b": 3, "c": (2,)}}
    assert leaves_that_differ(one, other) == [("a.b", "1", "3")]
    assert np.array_equal([], leaves_that_differ(one, one))
