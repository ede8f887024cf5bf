"""Trains a model. The model comes first: it has options of its own.

    python train.py                              an AAE on 5,000 real MNIST digits
    python train.py aae --latent 2 --dataset mnist
    python train.py semi-supervised --help       the options of that model

Started again on the same run folder, it goes on where it stopped.
"""

import os
import signal
import sys


def leave(*_: object) -> None:
    """Ctrl-C while there is nothing to save: one line and the status of SIGINT."""
    os.write(2, b"train.py: interrupted\n")
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":  # before JAX, whose import takes seconds
    signal.signal(signal.SIGINT, leave)

import dataclasses
from typing import Annotated

import tyro

from aaejax import data, models
from aaejax.runs import own_networks
from aaejax.runs.config import RunConfig
from aaejax.runs.loop import NonFiniteLoss, Result, train
from aaejax.runs.scripts import parse, script, start_jax, tell
from aaejax.types import UserError


def parse_run(args: list[str]) -> RunConfig:
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
    prog = f"train.py {name}" if named else "train.py [MODEL]"
    try:
        return parse(config, flags, prog, f"{__doc__}\n{list_models()}")
    except SystemExit as end:
        later = [word for word in flags if word in models.NAMES]
        if end.code and later:
            print(f"a model goes first: train.py {later[0]} ...", file=sys.stderr)
        raise


def list_models() -> str:
    """A line for each model, for --help."""
    what = {name: models.options(name).__doc__.partition("\n")[0] for name in models.NAMES}
    lines = [f"    {name:20}{what[name]}" for name in models.NAMES]
    return "\n".join(["Models (aae where none is given):", "", *lines])


def describe(result: Result, network: str = "") -> str:
    """What was reached, where everything is, and what to do next.

    Args:
      result: of the run.
      network: the option that sample.py needs too, where the run has a file of networks.
    """
    run, line = result.folder, result.metrics
    if result.stopped_by:
        return (
            f"stopped by {result.stopped_by} at step {result.step} of {result.steps}, "
            f"checkpoint written: the same command goes on from there"
        )
    reached = [f"{result.step} steps"]
    for name, text in (
        ("reconstruction", "held-out reconstruction {:.2f}"),
        ("prior_mmd", "codes to prior: squared MMD {:.4f}"),
        ("prior_mmd_chance", "two samples of the prior: {:.4f}"),
        ("sample_mmd", "samples to held-out images: squared MMD {:.4f}"),
        ("sample_mmd_chance", "two halves of those images: {:.4f}"),
    ):
        if f"heldout/{name}" in line:
            reached.append(text.format(line[f"heldout/{name}"]))
    if len(reached) == 1:
        reached.append("no scores: nothing, or too little, is held out")
    return (
        f"done: {', '.join(reached)}\n"
        f"metrics: {run}/metrics.jsonl   checkpoints: {run}/checkpoints   "
        f"pictures: {run}/pictures\n"
        f"next: python sample.py {run}{network} --out samples.png"
    )


@script("train.py")
def main() -> int:
    """Exit status: 0 done, 1 diverged, 2 the user's mistake, 128 + n signal n."""
    config = parse_run(sys.argv[1:])
    start_jax()
    network = ""
    if config.model.network.endswith(".py"):
        network = f" --network {config.model.network}"
        own = config.model.with_networks(own_networks.load(config.model.network))
        config = dataclasses.replace(config, model=own)
    dataset = data.load(config.dataset, config.data_dir, background=config.background)
    tell(
        f"{config.model_name} on {dataset.name}: {len(dataset.train_images):,} "
        f"training and {len(dataset.test_images):,} held-out examples of shape "
        f"{list(dataset.example_shape)}; run folder {config.folder}"
    )
    try:
        result = train(config, dataset, tell=tell)
    except NonFiniteLoss as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    tell(describe(result, network))
    return {"SIGINT": 130, "SIGTERM": 143}.get(result.stopped_by or "", 0)


if __name__ == "__main__":
    sys.exit(main())
