"""What `benchmarks/speed.py` times: a training step of aaejax, and PyTorch's.

Its command line is here, as each peer reads it.
"""

import dataclasses
import itertools
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro  # no jax and no torch up here: every child process imports this file

ROOT = Path(__file__).parent.parent
CORES = len(os.sched_getaffinity(0))
TORCH = find_spec("torch") is not None  # without it there is no floor, and no such peer
# PyTorch's products of float32 matrices: TF32 where XLA takes it.
FLOAT32_PRODUCTS = {"cpu": "highest", "cuda": "high"}
Images = np.ndarray  # uint8 [N, H, W, C]
Record = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Options:
    """Compares aaejax's training step with PyTorch's on this machine."""

    what: Literal["steps", "scaling", "startup", "profile"] = "steps"
    """Peers beside each other; the first of them, and sampling, at other sizes; the
    scripts' start; where the time of the first peer, an aaejax, goes."""
    peers: tuple[str, ...] = ("aaejax", "torch", "torch-tuned", "torch-once")
    """In this order; also aaejax-bf16, aaejax-seeds, torch-bf16, torch-compile,
    torch-graphs and sampling."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Of PyTorch; JAX takes the best that it finds."""
    batch_size: Annotated[int, tyro.conf.arg(aliases=["--batch"])] = 100
    """Images a step."""
    network: Literal["mlp", "conv"] = "mlp"
    """Encoder and decoder."""
    shape: tuple[int, int, int] = (28, 28, 1)
    """Of an image; other than 28 28 1, real digits, they are noise."""
    width: int = 1000
    """Units of a hidden layer."""
    latent: int = 8
    """Size of the code."""
    examples: int = 4000
    """Images to choose from, at least a batch; aaejax streams them where they don't fit (on
    a CPU: 4 GiB)."""
    devices: int = 1
    """Of aaejax; on a CPU they share its cores."""
    seeds: int = 10
    """Of aaejax-seeds."""
    steps: int = 600
    """Measured steps of each peer in each round; over 200, a multiple of it."""
    warm_steps: int = 200
    """Steps before those, at least one dispatch."""
    long: bool = False
    """4,000 steps before those: eager PyTorch slows down as Adam's moments decay."""
    rounds: int = 3
    """Turns of each peer."""
    quick: bool = False
    """One round of 20 steps after 20, for a look; writes nothing."""
    out: Path | None = None
    """The result; by default benchmarks/results/speed-<what is asked>.json."""

    def __post_init__(self) -> None:
        unknown = set(self.peers) - PEERS.keys()
        if unknown:
            raise SystemExit(f"--peers {' '.join(unknown)}: there are {' '.join(PEERS)}")
        if self.steps > 200 and self.steps % 200:
            raise SystemExit(f"--steps {self.steps}: take a multiple of 200, or less")
        if self.what == "profile" and self.peers[0] not in ("aaejax", "aaejax-bf16"):
            raise SystemExit(f"--peers {self.peers[0]}: a profile is of aaejax's steps")
        if self.examples < self.batch_size:
            raise SystemExit(
                f"--examples {self.examples}: take {self.batch_size} or more, a batch"
            )

    @property
    def dispatches(self) -> tuple[int, int, int]:
        """Of aaejax: steps in each, steps before the measured ones, and all steps."""
        dispatch = min(200, self.steps)
        warm_steps = max(1, self.warm_steps // dispatch) * dispatch
        return dispatch, warm_steps, warm_steps + self.steps

    @property
    def path(self) -> Path:
        """Of the result: what differs from the defaults is in the name."""
        if self.out:
            return self.out
        parts = ["speed", self.device if self.what == "steps" else self.what]
        if self.batch_size != 100:
            parts.append(f"batch{self.batch_size}")
        if self.network == "conv":
            parts.append(f"conv{self.shape[0]}")
        if self.long:
            parts.append("long")
        return ROOT / "benchmarks" / "results" / ("-".join(parts) + ".json")


def measure_aaejax(
    options: Options, precision: str = "float32", trace: str | None = None
) -> Record:
    """As `aaejax.runs.run` does it; a profile of the measured steps goes to the folder."""
    import jax

    if options.device == "cpu":
        jax.config.update("jax_num_cpu_devices", options.devices)
    from aaejax import init_state, train_step
    from aaejax.components.pixels import to_unit
    from aaejax.data import batches
    from aaejax.runs.devices import feed, replicate, to_host, train_chunk

    dispatch, warm_steps, steps = options.dispatches
    devices = jax.local_devices()[: options.devices]
    model = the_model(options, steps, precision)
    init_key, key = jax.random.split(jax.random.key(0))
    state = jax.jit(lambda key: init_state(model, key))(init_key)
    state, key = replicate((state, key), devices)
    arrays = {"image": load_images(options)}
    streamed = not batches.fits_on(devices[0], arrays)
    chunk = train_chunk(
        lambda axis: train_step(model.phases, axis),
        lambda data, rows: {"image": to_unit(data["image"][rows])},
        devices,
        one_by_one=options.network == "conv" and devices[0].platform == "cpu",
        streamed=streamed,
    )
    stops = range(dispatch, steps + 1, dispatch)
    indices = [
        lambda stop=stop: batches.batch_indices(
            0, stop - dispatch, stop, options.examples, options.batch_size
        )
        for stop in stops
    ]
    fed = feed(arrays, indices, devices, streamed=streamed)
    metrics, start = {}, clock()
    for stop, (data, rows) in zip(stops, fed, strict=True):
        state, metrics = chunk(state, data, rows, key)
        metrics = to_host(metrics)
        if stop == warm_steps:
            if trace:
                jax.profiler.start_trace(trace)
            start = clock()
    measured = record(start, options, float(metrics["reconstruction/loss"][-1]))
    if trace:
        jax.profiler.stop_trace()
    return measured


def measure_seeds(options: Options) -> Record:
    """So many seeds at once, as `benchmarks/paper.py` trains them."""
    from aaejax.runs.seeds import train_seeds

    images = load_images(options)
    dispatch, warm_steps, steps = options.dispatches
    ends = []
    train_seeds(
        the_model(options, steps),
        images,
        np.full(len(images), -1, np.int32),
        seeds=range(options.seeds),
        steps=steps,
        batch_size=options.batch_size,
        chunk=dispatch,
        tell=lambda _: ends.append(clock()),
    )
    return record(
        ends[warm_steps // dispatch - 1], options, images=options.seeds, end=ends[-1]
    )


def the_model(options: Options, steps: int, precision: Any = "float32") -> Any:
    """The AAE that is measured, for a run of so many steps."""
    from aaejax import DataSpec
    from aaejax.models import aae

    chosen: Any = {name: getattr(options, name) for name in ("network", "width", "latent")}
    return aae.Options(depth=2, r1=0.0, precision=precision, **chosen).build(
        DataSpec(options.shape, 0, True), steps
    )


def measure_sampling(options: Options) -> Record:
    """`sampling.samples`, each result brought to the host."""
    import jax

    from aaejax import sampling

    model = the_model(options, 1)
    variables = model.init(jax.random.key(0))
    draw = jax.jit(lambda key: sampling.samples(model, variables, key, options.batch_size))
    start, drawn = clock(), np.zeros(1)
    for number in range(options.warm_steps + options.steps):
        if number == options.warm_steps:
            start = clock()
        drawn = np.asarray(draw(jax.random.key(number)))
    return record(start, options, float(drawn.mean()))


def measure_torch(
    options: Options,
    tuned: bool = True,
    once: bool = False,
    bf16: bool = False,
    mode: str | None = None,
) -> Record:
    """The same phases in PyTorch; `mode` is that of torch.compile."""
    import torch
    from torch import nn

    if tuned:
        torch.set_num_threads(CORES)
        torch.set_flush_denormal(True)
        torch.set_float32_matmul_precision(FLOAT32_PRODUCTS[options.device])
    torch.manual_seed(0)
    images, size, device = load_images(options), options.batch_size, options.device
    encoder, decoder, discriminator = torch_networks(nn, options)
    for network in (encoder, decoder, discriminator):
        network.to(device)
        if mode:
            network.compile(mode=mode)

    def adam(*networks: nn.Module, lr: float, beta1: float) -> torch.optim.Adam:
        params = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(params, lr, (beta1, 0.999), fused=tuned or None)

    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, inputs=None):
        optimizer.zero_grad()
        loss.backward(inputs=inputs)
        optimizer.step()
        return loss

    def examples() -> Iterator[torch.Tensor]:
        data = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        while True:
            order = torch.randperm(len(data), device=device)
            for rows in order[: len(order) // size * size].view(-1, size):
                yield data[rows]

    reconstruct = adam(encoder, decoder, lr=1e-3, beta1=0.9)
    discriminate = adam(discriminator, lr=3e-4, beta1=0.5)
    generate = adam(encoder, lr=3e-4, beta1=0.5)
    bce = nn.functional.binary_cross_entropy_with_logits
    ones = torch.ones(size, 1, device=device)
    zeros = torch.zeros(size, 1, device=device)
    trained = list(encoder.parameters()) if tuned else None

    def step(x: torch.Tensor) -> list[torch.Tensor]:
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = decoder(encoder(x))
        loss = bce(logits.float(), x, reduction="sum") / size
        losses = [update(reconstruct, loss)]
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            if once:
                codes = encoder(x)
                fake = codes.detach()
            else:
                with torch.no_grad():
                    fake = encoder(x)
            real = torch.randn(size, options.latent, device=device)
            to_real, to_fake = discriminator(real), discriminator(fake)
        loss = bce(to_real.float(), ones) + bce(to_fake.float(), zeros)
        losses.append(update(discriminate, loss))
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            to_fake = discriminator(codes if once else encoder(x))
        losses.append(update(generate, bce(to_fake.float(), ones), trained))
        return losses

    losses, shown, start = [], [], clock()
    last = options.warm_steps + options.steps
    for number, x in zip(range(1, last + 1), examples(), strict=False):
        losses = step(x)
        if number % 100 == 0:
            shown.append([loss.item() for loss in losses])
        if number in (options.warm_steps, last) and device == "cuda":
            torch.cuda.synchronize()
        if number == options.warm_steps:
            start = clock()
    return record(start, options, losses[0].item())


def torch_networks(nn: Any, options: Options) -> tuple[Any, Any, Any]:
    """Those of `aaejax.networks`: encoder, decoder, discriminator."""
    (height, width, channels), latent = options.shape, options.latent
    pixels = math.prod(options.shape)

    def mlp(inputs: int, outputs: int) -> list[Any]:
        sizes = (inputs, options.width, options.width, outputs)
        layers = [
            m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())
        ]
        return layers[:-1]

    discriminator = nn.Sequential(*mlp(latent, 1))
    if options.network == "mlp":
        encoder = nn.Sequential(nn.Flatten(), *mlp(pixels, latent))
        decoder = nn.Sequential(
            *mlp(latent, pixels), nn.Unflatten(1, (channels, height, width))
        )
        return encoder, decoder, discriminator
    rows, columns = height // 4, width // 4
    encoder = nn.Sequential(
        *(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, 32, 3, padding=1), nn.ReLU()),
        *(nn.PixelUnshuffle(2), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(64 * rows * columns, latent)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent, 64 * rows * columns), nn.ReLU()),
        *(nn.Unflatten(1, (64, rows, columns)), nn.Conv2d(64, 128, 3, padding=1)),
        *(nn.PixelShuffle(2), nn.ReLU(), nn.Conv2d(32, 4 * channels, 3, padding=1)),
        nn.PixelShuffle(2),
    )
    return encoder, decoder, discriminator


def load_images(options: Options) -> Images:
    """4,000 digits, or as much noise of another shape, again and again, on disk."""
    from aaejax.data import load

    if options.shape == (28, 28, 1):
        images = load("mnist5k", "data").train_images
    else:
        noise = np.random.default_rng(0).integers
        images = noise(0, 256, (4000, *options.shape), np.uint8)
    if options.examples == len(images):
        return images
    with tempfile.TemporaryFile() as file:
        shape = (options.examples, *options.shape)
        many = np.memmap(file, np.uint8, "w+", shape=shape)  # stays when the file is closed
        for first in range(0, len(many), len(images)):
            part = many[first : first + len(images)]
            part[:] = images[: len(part)]
    return many


def clock() -> np.ndarray:
    """Wall time, and CPU time of all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def record(
    start: np.ndarray,
    options: Options,
    loss: float | None = None,
    images: int = 1,
    end: np.ndarray | None = None,
) -> Record:
    """Of the measured steps, each of so many times a batch's images.

    Clearly fewer cores used than there are: others were at work; measure again.
    """
    wall, cpu = ((clock() if end is None else end) - start).tolist()
    return {
        "ms_per_step": 1000 * wall / options.steps,
        "images_per_s": images * options.batch_size * options.steps / wall,
        "cores_used": cpu / wall,
        **peak_memory(),
        **({} if loss is None else {"loss": loss}),
    }


def peak_memory() -> Record:
    """The most that this process had so far, GB; on an accelerator of its memory too."""
    # Linux says kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"host_gb": unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9}
    if "jax" in sys.modules:
        stats = sys.modules["jax"].local_devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in stats:
            found["device_gb"] = stats["peak_bytes_in_use"] / 1e9
    return found


PEERS: dict[str, Callable[[Options], Record]] = {
    "aaejax": measure_aaejax,
    "aaejax-bf16": partial(measure_aaejax, precision="bf16"),
    "aaejax-seeds": measure_seeds,
    "sampling": measure_sampling,
    "torch": partial(measure_torch, tuned=False),
    "torch-tuned": measure_torch,
    "torch-once": partial(measure_torch, once=True),
    "torch-compile": partial(measure_torch, mode="default"),
    "torch-graphs": partial(measure_torch, mode="reduce-overhead"),
    "torch-bf16": partial(measure_torch, bf16=True),
}
