"""What several hosts cost: bytes and collective operations a step, and the time they take.

    python benchmarks/hosts.py                     # 1, 2 and 4 processes of this machine
    python benchmarks/hosts.py --counts 1 2 --width 100

The processes are hosts of one CPU device each, which share the cores of this machine: the
times say what it costs to be many, and nothing of what it brings: milliseconds as they
pass, and those of processor of all hosts together, which say the same where other programs
run beside. `strong` keeps the batch
of all devices, `weak` that of each. Bytes and operations are read from the compiled
program, and are the same on any machine. The result goes to benchmarks/results/hosts.json.

Each process compiles each program for itself, so that four on two cores take minutes to
begin. What they have got to is said on stderr.
"""

import dataclasses
import json
import math
import os
import platform
import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import tyro

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter)(?:-start)?\(")
ARRAY = re.compile(r"(pred|[a-z]+)(\d*)\[([\d,]*)\]")


@dataclasses.dataclass
class Arguments:
    """What is measured."""

    counts: tuple[int, ...] = (1, 2, 4)
    """Numbers of hosts."""
    parallel: tuple[str, ...] = ("pmap", "shard_map")
    """Ways to run a step on many devices."""
    width: int = 1000
    """Units of a hidden layer of the AAE."""
    batch_size: int = 128
    """Examples a step: of all devices (strong), or of each (weak)."""
    steps: int = 5
    """In one dispatch, of which three are measured and the fastest is shown."""
    host: str = ""
    """ADDRESS:PORT COUNT INDEX of a process that this script starts itself."""


def collectives(text: str) -> dict[str, Any]:
    """Of a program with one step in it: operations over devices, and their bytes."""
    found: dict[str, list[int]] = {}
    for shapes, kind in COLLECTIVE.findall(text):
        size = sum(
            max(1, int(bits or 8) // 8)
            * math.prod(map(int, filter(None, lengths.split(","))))
            for _, bits, lengths in ARRAY.findall(shapes)
        )
        found.setdefault(kind, []).append(size)
    return {
        "operations": {kind: len(sizes) for kind, sizes in found.items()},
        "bytes": sum(map(sum, found.values())),
    }


def measured(arguments: Arguments, batch_size: int, parallel: str) -> dict[str, Any]:
    """A step of an AAE on the devices of all hosts, in this process."""
    import jax
    import numpy as np

    from aaejax import init_state, models, train_step
    from aaejax.data import batches
    from aaejax.runs.devices import all_devices, feed, replicate, to_host, train_chunk
    from aaejax.runs.hosts.agreement import Agreement, Alone
    from aaejax.types import DataSpec

    devices = all_devices()
    among = Agreement() if jax.process_count() > 1 else Alone()
    options = models.options("aae")(width=arguments.width, depth=2)
    model = options.build(DataSpec((28, 28, 1), 10, True), 1000)
    init_key, key = jax.random.split(jax.random.key(0))
    state = jax.jit(lambda key: init_state(model, key))(init_key)
    size = sum(x.size for x in jax.tree.leaves(state.params))
    state, key = replicate((jax.device_get(state), key), devices)
    rng = np.random.default_rng(0)
    arrays = {"image": rng.integers(0, 256, (2000, 28, 28, 1), np.uint8)}
    rows = rng.integers(0, 2000, (arguments.steps, batch_size, 1)).astype(np.int32)
    chunk = train_chunk(
        partial(train_step, model.phases),
        partial(batches.step_batch, model.reads),
        devices,
        one_by_one=False,
        parallel=parallel,
    )
    ((data, rows),) = feed(arrays, [lambda: rows], devices, streamed=False)
    began = time.perf_counter()
    chunk.compile(state, data, rows, key)
    (program,) = chunk._compiled.values()
    among.agree(None)
    note(f"batch {batch_size}, {parallel}: compiled on all in", began)
    seconds, of_processor = [], []
    for _ in range(4):  # the first is not counted
        among.agree(None)
        began, worked = time.perf_counter(), time.process_time()
        state, metrics = chunk(state, data, rows, key)
        to_host(metrics)
        seconds.append(time.perf_counter() - began)
        of_processor.append(sum(among.agree(time.process_time() - worked)))
        note("  a dispatch in", began)
    among.agree(None)
    return {
        "batch_size": batch_size,
        "parallel": parallel,
        "parameters": size,
        "ms_per_step": round(1e3 * min(seconds[1:]) / arguments.steps, 3),
        "cpu_ms_per_step": round(1e3 * min(of_processor[1:]) / arguments.steps, 3),
        **collectives(program.as_text()),
    }


def note(what: str, began: float) -> None:
    print(f"{what} {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


def as_host(arguments: Arguments) -> None:
    """One of the processes."""
    from aaejax.runs.hosts import HostOptions, start

    address, count, index = arguments.host.split()
    if int(count) > 1:
        start(HostOptions(address, int(count), int(index), 300), lambda _: None)
    found = []
    for scaling in ("strong", "weak"):
        batch_size = arguments.batch_size * (int(count) if scaling == "weak" else 1)
        for parallel in arguments.parallel:
            one = {"scaling": scaling, **measured(arguments, batch_size, parallel)}
            found.append(one)
    if index == "0":
        print("FOUND " + json.dumps(found), flush=True)


def main(arguments: Arguments) -> None:
    if arguments.host:
        as_host(arguments)
        return
    rows = []
    for count in arguments.counts:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        command = [sys.executable, __file__, *sys.argv[1:], "--host"]
        processes = [
            subprocess.Popen(
                [*command, f"{address} {count} {i}"],
                env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if i else None,  # the first speaks for all
                text=True,
            )
            for i in range(count)
        ]
        said = [process.communicate()[0] for process in processes]
        if any(process.returncode for process in processes):
            raise SystemExit(f"{count} hosts ended with an error")
        (line,) = [x for x in said[0].splitlines() if x.startswith("FOUND ")]
        rows += [{"hosts": count, **row} for row in json.loads(line[6:])]
    names = "hosts | scaling | batch | by | ms a step | of processor | operations | bytes"
    print(f"| {names} |\n{'|-' * 8}|")
    for row in rows:
        operations = ", ".join(f"{n} {kind}" for kind, n in row["operations"].items())
        print(
            f"| {row['hosts']} | {row['scaling']} | {row['batch_size']} "
            f"| {row['parallel']} | {row['ms_per_step']:.2f} "
            f"| {row['cpu_ms_per_step']:.2f} | {operations or 'none'} "
            f"| {row['bytes']:,} |"
        )
    out = ROOT / "benchmarks" / "results" / "hosts.json"
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    command = " ".join(["python benchmarks/hosts.py", *sys.argv[1:]])
    found = {"command": command, "machine": machine, "rows": rows}
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
