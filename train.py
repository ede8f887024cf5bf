"""Trains a model; `python train.py --help` lists the options.

    python train.py                              an AAE on 5,000 real MNIST digits
    python train.py aae --latent 2 --dataset mnist

Started again on the same run folder, it goes on where it stopped.
"""

import dataclasses
import logging
import sys
from typing import Annotated

import tyro

from aaejax import data, models
from aaejax.runs.compile_cache import keep_compiled
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import NonFiniteLoss, Result, train
from aaejax.types import UserError


def parse(args: list[str]) -> RunConfig:
    """`[MODEL] [OPTIONS]` -> the configuration of a run."""
    named = bool(args) and not args[0].startswith("-")
    name, flags = (args[0], args[1:]) if named else ("aae", args)
    if name not in models.NAMES:
        known = ", ".join(models.NAMES)
        raise UserError(f"unknown model {name}: there are {known}; put one of them first")
    options = models.options(name)
    # The model's own options stand beside those of the run.
    model = (
        "model",
        Annotated[options, tyro.conf.arg(name="")],
        dataclasses.field(default_factory=options),
    )
    config = dataclasses.make_dataclass(
        "RunConfig", [model], bases=(RunConfig,), frozen=True
    )
    return tyro.cli(config, prog=f"train.py {name}", description=__doc__, args=flags)


def describe(result: Result) -> str:
    """What was reached, where everything is, and what to do next."""
    run, line = result.folder, result.metrics
    if result.stopped_by:
        return (
            f"stopped by {result.stopped_by} at step {result.step} of {result.steps}, "
            f"checkpoint written: the same command goes on from there"
        )
    if "heldout/reconstruction" in line:
        reached = (
            f"held-out reconstruction {line['heldout/reconstruction']:.2f}, codes to "
            f"prior: squared MMD {line['heldout/prior_mmd']:.4f} (two samples of the "
            f"prior: {line['heldout/prior_mmd_chance']:.4f})"
        )
    else:
        reached = (
            f"samples to held-out images: squared MMD {line['heldout/sample_mmd']:.4f} "
            f"(two halves of those images: {line['heldout/sample_mmd_chance']:.4f})"
        )
    return (
        f"done: {result.step} steps, {reached}\n"
        f"metrics: {run}/metrics.jsonl   checkpoints: {run}/checkpoints   "
        f"pictures: {run}/pictures\n"
        f"next: python sample.py {run} --out samples.png"
    )


def main() -> int:
    """Exit status: 0 done, 1 diverged, 2 the user's mistake, 128 + n signal n."""
    # What they log of a failed write, a page of it, is said in one line below.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        config = parse(sys.argv[1:])
        keep_compiled()
        dataset = data.load(config.dataset, config.data_dir)
        print(
            f"{config.model_name} on {dataset.name}: {len(dataset.train_images):,} "
            f"training and {len(dataset.test_images):,} held-out examples of shape "
            f"{list(dataset.example_shape)}; run folder {config.folder}",
            flush=True,
        )
        result = train(config, dataset, tell=lambda text: print(text, flush=True))
    except (UserError, OSError, NonFiniteLoss) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1 if isinstance(error, NonFiniteLoss) else 2
    print(describe(result))
    return {"SIGINT": 130, "SIGTERM": 143}.get(result.stopped_by or "", 0)


if __name__ == "__main__":
    sys.exit(main())
