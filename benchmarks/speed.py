r"""Milliseconds per training step: aaejax beside PyTorch, in turn in one sitting.

    pip install -r benchmarks/requirements.txt
    python benchmarks/speed.py                           # 15 minutes on 2 cores
    python benchmarks/speed.py --quick                   # a minute or two: for regressions
    python benchmarks/speed.py --batch 1000 --steps 40 --warm-steps 40
    python benchmarks/speed.py --long                    # after 4,000 steps of training
    python benchmarks/speed.py --network conv --shape 32 32 3
    python benchmarks/speed.py --what scaling --rounds 1 # training and sampling, in size
    python benchmarks/speed.py --what startup            # of train.py and sample.py
    python benchmarks/speed.py --what profile            # kernels a step and their gaps

On a GPU, then with --batch 1000, and with --batch 8192 --examples 60000:

    python benchmarks/speed.py --device cuda --peers aaejax torch torch-compile torch-graphs
    python benchmarks/speed.py --device cuda --peers aaejax-bf16 torch-bf16 --batch 8192 \
        --examples 60000 --width 8192
    python benchmarks/speed.py --device cuda --peers aaejax aaejax-seeds
    python benchmarks/speed.py --device cuda --what profile

Measured are the AAE's three phases (the paper's 784-1000-1000-8 and back, or this project's
convolutions), three Adams, images in memory. The peers:

- aaejax: what `train.py` runs: 200 steps a dispatch (a convolution on a CPU: one), resident
  uint8 images; choosing the examples and bringing the metrics to the host count.
- aaejax-bf16: the same with --precision bf16.
- aaejax-seeds: ten seeds in one program (`train_seeds`), or --seeds of them; a step is one
  of each.
- sampling: its decoder, as many samples as a batch has images, a "step" each time.
- torch: an eager loop as people write it. Default threads and Adam, the losses' `.item()`
  every 100 steps, images as one float32 tensor (faster than a DataLoader).
- torch-tuned: fused Adam, all cores, denormals flushed to zero, and no gradients of the
  discriminator in the generator's phase; on a GPU products in TF32, as XLA's are.
- torch-once: torch-tuned; discriminator and generator share one pass of the encoder.
- torch-compile: torch-tuned with its networks compiled; on a CPU it needs a C++ compiler.
- torch-graphs: the same with mode="reduce-overhead", CUDA graphs; for a GPU.
- torch-bf16: torch-tuned under autocast to bfloat16.

Each measurement is a process of its own, so that no peer's threads disturb another's; a
round is one turn of each. The floor is a step's matrix products, the encoder's shared, at
the best rate of a large square product in the peer's precision, then Adam's 28 bytes a
parameter at the best rate of an addition in cache, both of the same sitting.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro  # no jax and no torch up here: every child process imports this file

# So that it runs from a clone in which nothing was installed.
ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from kernels import kernels, show
from speed_floor import floor, measure_rates
from speed_peers import CORES, PEERS, TORCH, Options, Record


def alone(measure: Callable[[Options], Record], options: Options) -> Record:
    """The measurement in a process of its own, spawned and not forked."""
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:
        return pool.submit(measure, options).result()


def compare(options: Options) -> dict[str, Any]:
    """Peers in turn: a table, and the same for the JSON."""
    rounds: dict[str, list[Record]] = {name: [] for name in options.peers}
    if TORCH:
        rounds = {"rates": [], **rounds}
    for name in list(rounds) * options.rounds:
        rounds[name].append(alone(PEERS.get(name, measure_rates), options))
        print(name, {k: round(v, 2) for k, v in rounds[name][-1].items()}, flush=True)
    base_name = options.peers[0]
    base = rounds[base_name]
    peers = {name: summary(rounds[name], base) for name in options.peers}
    floors: dict[str, Any] = {"float32": None, "bf16": None}
    if TORCH:
        floors["float32"] = floor(options, rounds["rates"])
        floors["bf16"] = floor(options, rounds["rates"], "gflop_per_s_bf16")
    print(f"\n| | ms per step | spread | images/s | floor / time | time / {base_name}'s |")
    print("|" + 6 * "-|")
    for name, peer in peers.items():
        ratios = ", ".join(f"{ratio:.2f}" for ratio in peer["ratio_by_round"])
        least = floors["bf16" if name.endswith("bf16") else "float32"]
        rate = peer["images_per_s"] / options.batch_size
        reached = f"{rate * least['ms'] / 1000:.2f}" if least else ""
        print(
            f"| {name} | {peer['ms']:.1f} | {peer['spread']:.0%} | "
            f"{peer['images_per_s']:,.0f} | {reached} | {ratios} |"
        )
    for name, least in floors.items():
        if least:
            print(f"| floor, {name} | {least['ms']:.1f} | | | | |")
    return {"peers": peers, "floors": floors, "rounds": rounds}


def summary(records: list[Record], base: list[Record]) -> dict[str, Any]:
    mine, others = (np.array([r["ms_per_step"] for r in one]) for one in (records, base))
    return {
        "ms": float(np.median(mine)),
        "spread": float(np.ptp(mine) / np.median(mine)),
        "images_per_s": float(np.median([r["images_per_s"] for r in records])),
        "ratio": float(np.median(mine / others)),
        "ratio_by_round": (mine / others).tolist(),
    }


def scale(options: Options) -> dict[str, Any]:
    """One size changed at a time, time and peak memory of the process.

    The peer as it is, is measured in each round.
    """
    networks = [{"latent": n} for n in (2, 64, 512)]
    networks += [{"width": n} for n in (250, 500, 2000)]
    changes: dict[str, list[dict[str, int]]] = {
        options.peers[0]: [
            *({}, {"batch_size": 10}, {"batch_size": 1000}, *networks),
            *({"examples": n} for n in (60_000, 600_000, 6_000_000)),
            *({"devices": n} for n in (2, 4)),
            {"seeds": 10},
        ],
        "sampling": [{}, {"batch_size": 10}, {"batch_size": 1000}, *networks],
    }
    sizes = [(name, change) for name in changes for change in changes[name]]
    rounds: list[list[Record]] = [[] for _ in sizes]
    for _ in range(options.rounds):
        for (name, change), found in zip(sizes, rounds, strict=True):
            peer = "aaejax-seeds" if "seeds" in change else name
            found.append(alone(PEERS[peer], dataclasses.replace(options, **change)))
            shown = {key: round(found[-1][key], 2) for key in ("ms_per_step", "host_gb")}
            print(name, change, shown, flush=True)
    print("\n| | | ms per step | x base | host GB | device GB |\n|-|-|-|-|-|-|")
    rows, base = [], np.ones(1)
    for (name, change), found in zip(sizes, rounds, strict=True):
        times = np.array([each["ms_per_step"] for each in found])
        base = base if change else times
        row: dict[str, Any] = {"peer": name, "change": change}
        row |= {"ms": float(np.median(times)), "rounds": times.tolist()}
        row["ratio"] = float(np.median(times / base))
        for key in ("host_gb", "device_gb"):
            if key in found[0]:
                row[key] = max(each[key] for each in found)
        rows.append(row)
        label = ", ".join(f"{k} {v:,}" for k, v in change.items()) or "base"
        print(
            f"| {name} | {label} | {row['ms']:.2f} | {row['ratio']:.2f} | "
            f"{row['host_gb']:.2f} | {row.get('device_gb', '')} |"
        )
    return {"sizes": rows}


def profile(options: Options) -> dict[str, Any]:
    """Kernels (on a CPU: XLA's thunks) of one peer's steps, and the gaps between them."""
    with tempfile.TemporaryDirectory() as folder:
        measured = alone(partial(PEERS[options.peers[0]], trace=folder), options)
        found = kernels(Path(folder), options.steps)
    print(
        f"{options.peers[0]}: {measured['ms_per_step']:.2f} ms a step under the profiler\n"
    )
    show(found)
    return {"measured": measured, **found}


def start_up(options: Options) -> dict[str, Any]:
    """Seconds of train.py to the line of its first step, and of sample.py, as processes."""
    seconds: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
            env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

            def timed(name: str, *args: str, until: str = "", env: Any = env) -> None:
                start = time.perf_counter()
                command = [sys.executable, *args]
                with subprocess.Popen(
                    command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
                ) as process:
                    assert process.stdout
                    for line in process.stdout:
                        if until and line.startswith(until):
                            seconds.setdefault(name, []).append(time.perf_counter() - start)
                            until = ""
                if process.returncode:
                    raise SystemExit(f"{' '.join(args)} failed")
                if name.startswith("sample"):
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
                print(name, round(seconds[name][-1], 1), flush=True)

            for state in ("cold", "warm"):
                run = f"{folder}/{state}"
                train = ["train.py", "--epochs", "1", "--log-every", "1"]
                train += ["--save-every", "40", "--workdir", run]
                timed(f"train.py, first step, {state}", *train, until="step 1/")
            for state in ("cold", "warm"):
                sample = ["sample.py", run, "--out", f"{folder}/samples.png"]
                timed(f"sample.py, whole, {state}", *sample)
    print("\n| | seconds, median | each round |\n|-|-|-|")
    for name, each in seconds.items():
        print(f"| {name} | {np.median(each):.1f} | {', '.join(f'{s:.1f}' for s in each)} |")
    return {"seconds": seconds}


WHAT: dict[str, Callable[[Options], dict[str, Any]]] = {
    "steps": compare,
    "scaling": scale,
    "startup": start_up,
    "profile": profile,
}


def main(options: Options) -> None:
    if options.long:
        options = dataclasses.replace(options, warm_steps=4000)
    if options.quick:
        options = dataclasses.replace(options, rounds=1, steps=20, warm_steps=20)
    cpu = Path("/proc/cpuinfo").read_text().split("model name\t: ")[-1].split("\n")[0]
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", *["torch"] * TORCH)
    kept = dataclasses.asdict(options)
    del kept["out"]
    result = {
        "command": " ".join(["python benchmarks/speed.py", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {"cpu": cpu, "cores": CORES, "device": options.device},
        "versions": {name: version(name) for name in packages} | {"python": sys.version},
        "options": kept,
        **WHAT[options.what](options),
    }
    print(f"\nbatch {options.batch_size}, {CORES} cores of {cpu}")
    if not options.quick:
        options.path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
