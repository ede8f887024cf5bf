"""The least time that a training step can take, from the best rates of this machine."""

import itertools
import math
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
from speed_peers import FLOAT32_PRODUCTS, Options, Record


def measure_rates(options: Options) -> Record:
    """The best rates of PyTorch, on a CPU of NumPy too, in 1e9 a second."""
    import torch

    torch.set_float32_matmul_precision(FLOAT32_PRODUCTS[options.device])
    size = 2000 if options.device == "cpu" else 8192  # smaller ones don't fill a GPU
    a = np.random.default_rng(0).random((size, size), np.float32)
    moved = torch.from_numpy(a).to(options.device)
    rounded = moved.bfloat16()
    # As large as a layer, on a GPU larger than its cache, and than what a launch takes.
    side = 1000 if options.device == "cpu" else 8192
    rows = torch.ones(side, side, device=options.device)
    sum_ = torch.empty_like(rows)

    def best(function: Callable[[], Any]) -> float:
        def run() -> None:
            function()
            if options.device == "cuda":
                torch.cuda.synchronize()

        # Twenty times, or for some seconds where a product takes as long.
        times, start = [], time.perf_counter()
        while len(times) < 20 and (len(times) < 2 or time.perf_counter() - start < 5):
            times.append(timeit.timeit(run, number=1))
        return min(times)

    products = [best(lambda: moved @ moved)]
    if options.device == "cpu":
        products.append(best(lambda: a @ a))
    add = best(lambda: torch.add(rows, rows, out=sum_))
    return {
        "gflop_per_s": 2 * size**3 / min(products) / 1e9,
        "gflop_per_s_bf16": 2 * size**3 / best(lambda: rounded @ rounded) / 1e9,
        "gbyte_per_s": 8 * rows.numel() / add / 1e9,  # one read, one written
    }


def floor(
    options: Options, rates: list[Record], product: str = "gflop_per_s"
) -> dict[str, float] | None:
    """Milliseconds a step, of the MLPs; `product` is the rate of matrix products."""
    if options.network != "mlp":
        return None
    pixels, latent = math.prod(options.shape), options.latent

    def weights(inputs: int, outputs: int) -> tuple[int, int]:
        """Of all layers, of the first."""
        sizes = (inputs, options.width, options.width, outputs)
        each = [a * b for a, b in itertools.pairwise(sizes)]
        return sum(each), each[0]

    encoder, first = weights(pixels, latent)
    decoder, _ = weights(latent, pixels)
    judge, judge_first = weights(latent, 1)
    # Forward, gradients of weights, gradients of inputs where something trains before them.
    products = 3 * (encoder + decoder) - first
    products += encoder + 2 * (3 * judge - judge_first)
    products += 2 * judge + 2 * encoder - first
    adam_bytes = 28 * (2 * encoder + decoder + judge)
    flop = 2 * products * options.batch_size
    gemm = flop / max(r[product] for r in rates) / 1e6
    adam = adam_bytes / max(r["gbyte_per_s"] for r in rates) / 1e6
    return {"gflop": flop / 1e9, "gemm_ms": gemm, "adam_ms": adam, "ms": gemm + adam}
