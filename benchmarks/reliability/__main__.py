"""What a run folder survives: prints a table, ends with 1 where something did not.

    python -m benchmarks.reliability                        # ten minutes or so on 2 cores
    python -m benchmarks.reliability --kills 200 --flips 526
    python -m benchmarks.reliability --only flips damage

A tiny run is killed (at random moments, and just before each kind of file operation that it
does), its files are damaged and replaced, its disk is filled. It survives a kill or a full
disk if the same command then ends as an unbroken run does: the same bits of parameters and
optimizers, the same pictures, exactly the same lines of metrics.jsonl (without
images_per_second). It survives damage if nothing wrong is used: what is damaged is put
right, passed over with a line that says so, or refused in one line.
"""

import json
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PLACE = Path(tempfile.mkdtemp(prefix="aaejax-reliability-"))
PLACE.chmod(0o755)  # for the trials as another user
# Before JAX: programs compiled once serve all processes.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PLACE / "cache"))
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

import tyro

from benchmarks.reliability import files, processes
from benchmarks.reliability.processes import Trial
from benchmarks.reliability.tiny import Tiny

PARTS = ("kills", "flips", "damage", "disks", "writers", "hostile")


@dataclass(frozen=True)
class Arguments:
    """What a run folder survives."""

    kills: int = 20
    """Half at random moments, half aimed."""
    flips: int = 100
    """Of single bits in the arrays of checkpoints, and a quarter of that in other files."""
    writers: int = 2
    """Pairs of trainings in one folder."""
    jobs: int = 2
    """Killed runs at the same time."""
    seed: int = 0
    only: tuple[str, ...] = PARTS
    """Which parts."""
    out: Path | None = None
    """A JSON file for the figures; those of other parts that it has stay."""


def trials(arguments: Arguments, tiny: Tiny) -> Iterator[Trial]:
    rng = random.Random(arguments.seed)
    parts = {
        "kills": lambda: processes.kills(tiny, arguments.kills, arguments.jobs, rng),
        "flips": lambda: files.flips(tiny, arguments.flips, rng),
        "damage": lambda: files.damage(tiny),
        "disks": lambda: processes.disks(tiny),
        "writers": lambda: processes.two_writers(tiny, arguments.writers),
        "hostile": lambda: files.hostile(tiny),
    }
    for name in arguments.only:
        yield from parts[name]()


def main() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # as the scripts do
    started = time.perf_counter()
    table: dict[str, dict] = {}
    try:
        for kind, number, problem in trials(arguments, Tiny(PLACE)):
            row = table.setdefault(kind, {"tried": 0, "survived": 0, "failed": 0})
            row["tried"] += number
            row["failed" if problem else "survived"] += number
            if problem:
                row.setdefault("problems", []).append(problem)
                print(f"FAILED {kind}: {problem}", flush=True)
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)
    print(f"| {'':44} | tried | survived | failed |\n|---|---:|---:|---:|")
    for kind, row in table.items():
        print(f"| {kind:44} | {row['tried']:5} | {row['survived']:8} | {row['failed']:6} |")
    seconds = time.perf_counter() - started
    print(f"{seconds:.0f} s")
    if arguments.out is not None:
        # Parts can be run one by one: classes that were not tried now stay.
        old = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        arguments.out.write_text(json.dumps(old | table, indent=2) + "\n")
    return int(any(row["failed"] for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
