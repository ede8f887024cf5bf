"""What takes the time of a step, from a trace that `train.py --profile N` wrote.

    python benchmarks/kernels.py runs/aae-mnist5k/profile 200

Kernels are a GPU's, or on a CPU what XLA calls thunks. Of each kernel the time is the
median of the trace, so that a moment in which another program had the device is not seen.
"""

import dataclasses
import json
import re
import statistics
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclasses.dataclass
class Arguments:
    """Reads the newest trace below a folder."""

    folder: Annotated[Path, tyro.conf.Positional]
    """That has a trace: of a run its "profile"."""
    steps: Annotated[int, tyro.conf.Positional]
    """How many steps are in it, as train.py said when it wrote it."""
    most: int = 15
    """Rows of the table."""
    out: Path | None = None
    """All that was found, as JSON."""


def kernels(folder: Path, steps: int) -> dict[str, Any]:
    """What a trace of so many steps holds, by the step."""
    import jax

    files = sorted(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise SystemExit(f"{folder} has no trace: train.py --profile N writes one")
    lines = [
        (plane.name, line)
        for plane in jax.profiler.ProfileData.from_file(str(files[-1])).planes
        for line in plane.lines
    ]
    streams = [
        line for plane, line in lines if "GPU" in plane and line.name.startswith("Stream")
    ] or [line for _, line in lines if line.name.startswith(("XLA Ops", "tf_XLA"))]
    events = sorted(
        (event.start_ns, event.start_ns + event.duration_ns, event.name)
        for line in streams
        for event in line.events
        # XLA:CPU also marks what waits for the kernels.
        if not re.match("Thunk|Slinky|end: ", event.name)
    )
    each: dict[str, list[float]] = {}
    gap, last = 0.0, events[0][0]
    for start, end, name in events:
        gap += max(0.0, start - last)
        last = max(last, end)
        each.setdefault(name, []).append((end - start) / 1e6)
    by_name: dict[str, list[float]] = {}
    for name, times in each.items():
        of_name = by_name.setdefault(re.sub(r"[._\d]+$", "", name), [0.0, 0.0])
        of_name[0] += len(times) / steps
        of_name[1] += len(times) * statistics.median(times) / steps
    ms = (last - events[0][0]) / 1e6 / steps
    all_ms = sum(sum(times) for times in each.values()) / steps
    return {
        "of_step": {
            "kernels": len(events) / steps,
            "ms from the first to the last": ms,
            "ms in gaps, with no kernel running": gap / 1e6 / steps,
            "kernels running at a time, mean": all_ms / ms,
        },
        "by_name": dict(sorted(by_name.items(), key=lambda item: -item[1][1])),
    }


def show(found: dict[str, Any], most: int = 20) -> None:
    """Prints it as two tables."""
    print("| | a step |\n|-|-|")
    for name, value in found["of_step"].items():
        print(f"| {name} | {value:.2f} |")
    whole = sum(ms for _, ms in found["by_name"].values())
    print("\n| kernels of one name | a step | ms a step | of all |\n|-|-|-|-|")
    for name, (count, ms) in list(found["by_name"].items())[:most]:
        print(f"| {name} | {count:.1f} | {ms:.3f} | {ms / whole:.0%} |")


def main(arguments: Arguments) -> None:
    found = kernels(arguments.folder, arguments.steps)
    show(found, arguments.most)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
