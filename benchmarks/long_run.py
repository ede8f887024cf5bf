"""Whether a long training is as fast and as large at its end as at its start.

    python benchmarks/long_run.py --hours 4
    python benchmarks/long_run.py --hours 1.5 --out /tmp/long.json

Runs train.py on the installed digits, by default with small networks, of which an hour has
as many steps, lines, evaluations and checkpoints as a day or more has of the paper's. Each
half minute is written down how many steps there are, the seconds of processor that they
took (which other programs disturb little), and the memory of the process; at the end a
table is printed, and the JSON and a picture of the curves are written.
"""

import contextlib
import dataclasses
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import psutil
import tyro

# So that it runs from a clone in which nothing was installed.
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from records import measured_on

from aaejax.runs.on_disk.folder import RunFolder

PARTS = 8  # of the run, in the table


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Trains for hours and looks at rate and memory."""

    hours: float = 4.0
    """After which the run is stopped by SIGTERM."""
    width: int = 32
    """Units of a hidden layer."""
    log_every: int = 500
    """Steps of a dispatch and between lines."""
    save_every: int = 5000
    """Steps between checkpoints, each with an evaluation and pictures."""
    every: float = 30.0
    """Seconds between looks."""
    out: Path = ROOT / "benchmarks" / "results" / "long-run.json"
    """The result; the picture has the same name, in pictures/ beside it."""


def train(arguments: Arguments, folder: Path) -> subprocess.Popen:
    """The process of the training."""
    words = ["--width", arguments.width, "--depth", 1, "--epochs", 2_000_000]
    words += ["--log-every", arguments.log_every, "--save-every", arguments.save_every]
    words += ["--workdir", folder]
    command = [sys.executable, ROOT / "train.py", "aae", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def look(process: psutil.Process, folder: Path, began: float) -> dict[str, float] | None:
    """What there is now; None before the first line."""
    run = RunFolder(folder)
    lines = run.history()
    if not lines:
        return None
    times = process.cpu_times()
    return {
        "hours": (time.monotonic() - began) / 3600,
        "step": lines[-1]["step"],
        "cpu_seconds": times.user + times.system,
        "gb": process.memory_info().rss / 1e9,
        "files_open": process.num_fds(),
        "metrics_mb": run.metrics.stat().st_size / 1e6,
    }


def parts(looks: list[dict[str, float]]) -> list[dict[str, float]]:
    """Of each eighth of the run: steps a second of processor and of the clock, memory.

    There are none where there are too few looks.
    """
    if len(looks) <= PARTS:
        return []
    found = []
    ends = np.linspace(0, len(looks) - 1, PARTS + 1).astype(int)
    for first, last in itertools.pairwise(ends):
        start, end = looks[first], looks[last]
        steps, cpu = (end[name] - start[name] for name in ("step", "cpu_seconds"))
        found.append(
            {
                "until_hours": end["hours"],
                "steps": end["step"],
                "steps_per_cpu_second": steps / cpu if cpu else 0.0,  # it was stopped
                "steps_per_second": steps / (3600 * (end["hours"] - start["hours"])),
                "gb": end["gb"],
                "files_open": end["files_open"],
                "metrics_mb": end["metrics_mb"],
            }
        )
    return found


def draw(looks: list[dict[str, float]], path: Path) -> None:
    """Rate and memory over the steps."""
    steps, cpu, gb = (
        np.array([x[n] for x in looks]) for n in ("step", "cpu_seconds", "gb")
    )
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    axes[0].plot(steps[1:] / 1e6, np.diff(steps) / np.diff(cpu))
    axes[0].set(ylabel="steps a second of processor", ylim=(0, None))
    axes[1].plot(steps / 1e6, gb)
    axes[1].set(ylabel="memory of the process, GB", ylim=(0, None))
    for each in axes:
        each.set_xlabel("steps, millions")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains, looks, writes."""
    arguments = tyro.cli(Arguments, description=__doc__)
    place = Path(tempfile.mkdtemp(prefix="aaejax-long-"))
    run = train(arguments, place / "run")
    try:
        looks = watch(arguments, run, place / "run")
        run.send_signal(signal.SIGTERM)
        status = run.wait()
    finally:
        run.kill()  # where the lines above were interrupted
    steps = [path.name for path in (place / "run" / "checkpoints").iterdir()]
    shutil.rmtree(place)
    if status != 128 + signal.SIGTERM or not looks:
        sys.exit(f"train.py ended with {status} after {len(looks)} looks")
    print(
        f"{looks[-1]['step']:,} steps; checkpoints of {', '.join(sorted(steps, key=int))}"
    )
    for part in parts(looks):
        print({name: round(value, 3) for name, value in part.items()})
    draw(looks, arguments.out.parent / "pictures" / f"{arguments.out.stem}.png")


def watch(
    arguments: Arguments, run: subprocess.Popen, folder: Path
) -> list[dict[str, float]]:
    """What was seen until the time was up or the run ended; written along the way."""
    began, looks = time.monotonic(), []
    process = psutil.Process(run.pid)
    while time.monotonic() - began < 3600 * arguments.hours and run.poll() is None:
        time.sleep(arguments.every)
        with contextlib.suppress(psutil.Error):  # it ended just now
            if seen := look(process, folder, began):
                looks.append(seen)
                arguments.out.write_text(json.dumps(record(arguments, looks)) + "\n")
    return looks


def record(arguments: Arguments, looks: list[dict[str, float]]) -> dict[str, Any]:
    """For the JSON."""
    return {
        "command": " ".join(["python benchmarks/long_run.py", *sys.argv[1:]]),
        **measured_on(),
        "width": arguments.width,
        "log_every": arguments.log_every,
        "save_every": arguments.save_every,
        "parts": parts(looks),
        "looks": [{k: round(v, 5) for k, v in x.items()} for x in looks],
    }


if __name__ == "__main__":
    main()
