"""Milliseconds per training step on a CPU: aaejax beside PyTorch, in one sitting.

    pip install -r benchmarks/requirements.txt
    python benchmarks/speed.py              # 9 minutes on 2 cores
    python benchmarks/speed.py --quick      # 40 seconds, too short to quote

Measured are the AAE's three phases on the paper's networks (784-1000-1000-8 and back),
float32, three Adams, real digits (mnist5k) in memory. The peers:

- aaejax: what `train.py` runs: 200 steps a dispatch, resident uint8 digits; choosing the
  examples and bringing every step's metrics to the host count.
- torch: an eager loop as people write it. Default threads and Adam, the losses' `.item()`
  every 100 steps, digits as one float32 tensor (faster than a DataLoader).
- torch-tuned: fused Adam, all cores, denormals flushed to zero, and no gradients of the
  discriminator in the generator's phase.
- torch-compile (with --compile): torch-tuned with its three networks compiled.

Each measurement is a process of its own, so that no peer's threads disturb another's; a
round is one turn of each. The floor is a step's matrix products at the best rate of a
2000x2000 product in the same sitting.
"""

import dataclasses
import json
import os
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tyro  # no jax and no torch up here: every child process imports this file

# So that it runs from a clone in which nothing was installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

# Matrix products of one step for one image: forward and backward of what a phase trains,
# without the gradient for the images; forward only of what it does not.
GFLOP_PER_IMAGE = 0.0488
CORES = len(os.sched_getaffinity(0))
Arrays = dict[str, np.ndarray]
Record = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Options:
    """Compares aaejax's training step with PyTorch's on this machine's CPU."""

    batch_size: int = 100
    """Images a step."""
    steps: int = 600
    """Measured steps of each peer in each round; over 200, a multiple of it."""
    warm_steps: int = 200
    """Steps before those, at least one dispatch; thousands show a trained state."""
    rounds: int = 3
    """Turns of each peer."""
    compile: bool = False
    """Adds torch-compile; needs a C++ compiler."""
    quick: bool = False
    """One round of 20 steps after 20, for a look; writes nothing."""
    out: Path = Path(__file__).parent / "results" / "speed-cpu.json"
    """The result."""


def measure_aaejax(arrays: Arrays, options: Options) -> Record:
    """As `aaejax.training` does it."""
    import jax

    from aaejax import DataSpec, batches, init_state, parallel, train_step
    from aaejax.models import aae

    dispatch = min(200, options.steps)
    warm_steps = max(1, options.warm_steps // dispatch) * dispatch
    steps = warm_steps + options.steps
    devices = jax.local_devices()
    model = aae.Options(r1=0.0).build(DataSpec((28, 28, 1), 10, True), steps)
    init_key, key = jax.random.split(jax.random.key(0))
    state = jax.jit(lambda key: init_state(model, key))(init_key)
    state, key, data = parallel.replicate((state, key, arrays), devices)
    chunk = parallel.train_chunk(
        lambda axis: train_step(model.phases, axis),
        lambda rows: {**rows, "image": batches.to_unit(rows["image"])},
        devices,
        one_by_one=False,
    )
    metrics, start = {}, clock()
    for stop in range(dispatch, steps + 1, dispatch):
        first, examples = stop - dispatch, len(arrays["image"])
        rows = batches.batch_indices(0, first, stop, examples, options.batch_size)
        state, metrics = chunk(state, data, rows, key)
        metrics = parallel.to_host(metrics)
        if stop == warm_steps:
            start = clock()
    return record(start, options.steps, float(metrics["reconstruction/loss"][-1]))


def measure_torch(arrays: Arrays, options: Options, tuned: bool, compiled: bool) -> Record:
    """The same phases in PyTorch."""
    import torch
    from torch import nn

    if tuned:
        torch.set_num_threads(CORES)
        torch.set_flush_denormal(True)
    torch.manual_seed(0)
    size = options.batch_size

    def mlp(inputs: int, outputs: int) -> nn.Sequential:
        hidden = nn.Linear(inputs, 1000), nn.ReLU(), nn.Linear(1000, 1000), nn.ReLU()
        return nn.Sequential(*hidden, nn.Linear(1000, outputs))

    def adam(*networks: nn.Module, lr: float, beta1: float) -> torch.optim.Adam:
        params = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(params, lr, (beta1, 0.999), fused=tuned or None)

    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, inputs=None):
        optimizer.zero_grad()
        loss.backward(inputs=inputs)
        optimizer.step()
        return loss

    def examples() -> Iterator[torch.Tensor]:
        images = torch.from_numpy(arrays["image"].reshape(-1, 784)).float() / 255
        while True:
            order = torch.randperm(len(images))
            for rows in order[: len(order) // size * size].view(-1, size):
                yield images[rows]

    encoder, decoder, discriminator = mlp(784, 8), mlp(8, 784), mlp(8, 1)
    for network in (encoder, decoder, discriminator) if compiled else ():
        network.compile()
    reconstruct = adam(encoder, decoder, lr=1e-3, beta1=0.9)
    discriminate = adam(discriminator, lr=3e-4, beta1=0.5)
    generate = adam(encoder, lr=3e-4, beta1=0.5)
    bce = nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(size, 1), torch.zeros(size, 1)
    trained = list(encoder.parameters()) if tuned else None

    steps = range(1, options.warm_steps + options.steps + 1)
    losses, shown, start = [], [], clock()
    for number, x in zip(steps, examples(), strict=False):
        loss = bce(decoder(encoder(x)), x, reduction="sum") / size
        losses = [update(reconstruct, loss)]
        with torch.no_grad():
            fake = encoder(x)
        real = torch.randn(size, 8)
        loss = bce(discriminator(real), ones) + bce(discriminator(fake), zeros)
        losses.append(update(discriminate, loss))
        loss = bce(discriminator(encoder(x)), ones)
        losses.append(update(generate, loss, trained))
        if number % 100 == 0:
            shown.append([loss.item() for loss in losses])
        if number == options.warm_steps:
            start = clock()
    return record(start, options.steps, losses[0].item())


def measure_gemm(arrays: Arrays, options: Options) -> Record:
    """The best of NumPy's and PyTorch's 2000x2000 product, in GFLOP/s."""
    import torch

    a = np.random.default_rng(0).random((2000, 2000), np.float32)
    seconds = [
        min(timeit.repeat(lambda x=x: x @ x, number=1, repeat=20))
        for x in (a, torch.from_numpy(a))
    ]
    return {"gflop_per_s": 2 * 2000**3 / min(seconds) / 1e9}


def clock() -> np.ndarray:
    """Wall time, and CPU time of all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def record(start: np.ndarray, steps: int, loss: float) -> Record:
    """Clearly fewer cores used than there are: others were at work; measure again."""
    wall, cpu = (clock() - start).tolist()
    return {"ms_per_step": 1000 * wall / steps, "cores_used": cpu / wall, "loss": loss}


PEERS: dict[str, Callable[[Arrays, Options], Record]] = {
    "gemm": measure_gemm,
    "aaejax": measure_aaejax,
    "torch": partial(measure_torch, tuned=False, compiled=False),
    "torch-tuned": partial(measure_torch, tuned=True, compiled=False),
    "torch-compile": partial(measure_torch, tuned=True, compiled=True),
}


def main(options: Options) -> None:
    if options.quick:
        options = dataclasses.replace(options, rounds=1, steps=20, warm_steps=20)
    if options.steps > 200 and options.steps % 200:
        raise SystemExit(f"--steps {options.steps}: take a multiple of 200, or less")
    from aaejax.data import load

    digits = load("mnist5k", "data")
    arrays = {"image": digits.train_images, "label": digits.train_labels}
    names = [name for name in PEERS if options.compile or name != "torch-compile"]
    rounds: dict[str, list[Record]] = {name: [] for name in names}
    for name in names * options.rounds:
        with ProcessPoolExecutor(1, max_tasks_per_child=1) as alone:  # spawned, not forked
            rounds[name].append(alone.submit(PEERS[name], arrays, options).result())
        print(name, {k: round(v, 2) for k, v in rounds[name][-1].items()}, flush=True)
    rate = max(one["gflop_per_s"] for one in rounds["gemm"])
    floor = 1000 * GFLOP_PER_IMAGE * options.batch_size / rate
    cpu = Path("/proc/cpuinfo").read_text().split("model name\t: ")[-1].split("\n")[0]
    packages = ("jax", "jaxlib", "flax", "optax", "torch", "numpy")
    peers = {name: summary(rounds[name], rounds["aaejax"]) for name in names[1:]}
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": {"cpu": cpu, "cores": CORES},
        "versions": {name: version(name) for name in packages} | {"python": sys.version},
        "options": {k: v for k, v in vars(options).items() if k != "out"},
        "gemm_gflop_per_s": rate,
        "floor_ms_per_step": floor,
        "peers": peers,
        "rounds": rounds,
    }
    print(f"\nbatch {options.batch_size}, {CORES} cores of {cpu}, {rate:.0f} GFLOP/s\n")
    print(
        "| | ms per step | spread | images/s | time / aaejax's (each round) |\n|" + 5 * "-|"
    )
    for name, peer in peers.items():
        ms, ratios = peer["median_ms_per_step"], peer["times_aaejax_by_round"]
        print(
            f"| {name} | {ms:.1f} | {peer['spread']:.0%} "
            f"| {1000 * options.batch_size / ms:,.0f} "
            f"| {peer['times_aaejax']:.2f} ({', '.join(f'{r:.2f}' for r in ratios)}) |"
        )
    print(f"| floor | {floor:.1f} | | {rate / GFLOP_PER_IMAGE:,.0f} | |")
    if not options.quick:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def summary(records: list[Record], ours: list[Record]) -> dict:
    mine, base = (np.array([r["ms_per_step"] for r in one]) for one in (records, ours))
    return {
        "median_ms_per_step": float(np.median(mine)),
        "spread": float(np.ptp(mine) / np.median(mine)),
        "times_aaejax": float(np.median(mine) / np.median(base)),
        "times_aaejax_by_round": (mine / base).tolist(),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
