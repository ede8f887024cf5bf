"""The command that trains: `train.py`, and `aaejax-train` of an installed package."""

import dataclasses
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from aaejax import data, models
from aaejax.models._options import NetworkOptions
from aaejax.runs import own_networks
from aaejax.runs.command_line.options_file import options_json, with_file
from aaejax.runs.command_line.scripts import parse, script, start_jax, tell
from aaejax.runs.compile_cache import CompileCache
from aaejax.runs.config import READING, RunConfig
from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hosts import HostOptions, start
from aaejax.runs.hosts.agreement import Hosts
from aaejax.runs.hosts.watch import joined, left_early
from aaejax.runs.loop import run_folder, train
from aaejax.runs.on_disk.config_json import model_name
from aaejax.runs.record import Result
from aaejax.types import UserError

HELP = """Trains a model. The model comes first: it has options of its own.

    {name}                              an AAE on 5,000 real MNIST digits
    {name} aae --latent 2 --dataset mnist
    {name} semi-supervised --help       the options of that model

Started again on the same run folder, it goes on where it stopped.

Ten options to begin with; all are below:

    --dataset WHAT      a folder of pictures, an .npz or .npy file, or a TFDS set
    --epochs N          how often each example is seen
    --workdir FOLDER    where the run is kept, and goes on
    --latent N          size of the code
    --prior NAME        the distribution that codes are to follow
    --network conv      convolutions, for larger pictures
    --width N           units of a hidden layer
    --batch-size N      examples a step
    --labels N          how many labels it may see, as many of each class
    --seed N            another seed is another run
"""
OPTIONS = (
    "A JSON or YAML file of options, as --print-options prints or config.json has them; "
    "options beside it count in their place."
)
PRINT = "Prints the options as JSON, and trains nothing."
_OTHERS = {"help", "from", "options", "print_options"}  # which are no field of a class


GROUPS = ("data", "networks", "prior", "optimization", "run")
_DATA = {"dataset", "labels", "binarize", "flip", "cache", "data_dir", *READING}
_NETWORKS = {"posterior", "noise_inputs", *(each.name for each in fields(NetworkOptions))}
_NETWORKS |= {"masked", "orderings", "layers", "reach", "dilations"}
_NETWORKS |= {"conditional", "spectral_norm"}
_RUN = {each.name for each in fields(RunConfig)} - {"epochs", "batch_size", "ema"}
_RUN |= {each.name for each in (*fields(HostOptions), *fields(CompileCache))}


def group_of(option: str) -> str:
    """The one of `GROUPS` that --help has an option in; "optimization" has the losses."""
    name = option.replace("-", "_")
    if name in _DATA:
        return "data"
    if name in _NETWORKS:
        return "networks"
    if "prior" in name or name == "components":
        return "prior"
    return "run" if name in _RUN or name in _OTHERS else "optimization"


def parse_run(args: Sequence[str], name: str = "train.py") -> tuple[Any, RunConfig]:
    """Reads `[MODEL] [OPTIONS]` as the options of a model and the settings of a run."""
    parsed = _parse(args, name)
    return parsed.model, parsed.run


def _parse(args: Sequence[str], name: str) -> Any:
    """The command line: the fields `model`, `run`, `hosts` and `compiled` are its parts."""
    args = with_file(args)
    named = bool(args) and not args[0].startswith("-")
    word, flags = (args[0], args[1:]) if named else ("aae", args)
    if word not in models.NAMES:
        known = ", ".join(models.NAMES)
        raise UserError(f"unknown model {word}: there are {known}; put one of them first")
    options = models.options(word)
    # The model's own options stand beside those of the run.
    flat = tyro.conf.arg(name="")
    # Without defaults: tyro would make options of all that a default instance has.
    entries = [
        ("model", Annotated[options, flat]),
        ("run", Annotated[RunConfig, flat]),
        ("hosts", Annotated[HostOptions, flat]),
        ("compiled", Annotated[CompileCache, flat]),
        ("options", Annotated[Path | None, tyro.conf.arg(help=OPTIONS)], None),
        ("print_options", Annotated[bool, tyro.conf.arg(help=PRINT)], False),
    ]
    command = dataclasses.make_dataclass("Command", entries, frozen=True)
    prog = f"{name} {word}" if named else f"{name} [MODEL]"
    if flags and flags[0].startswith("--tyro-"):  # a script of completion is of the command
        prog = name
    script_name = f"python {name}" if name.endswith(".py") else name
    try:
        return parse(
            command,
            flags,
            prog,
            f"{HELP.format(name=script_name)}\n{list_models()}",
            GROUPS,
            group_of,
        )
    except SystemExit as end:
        later = [each for each in flags if each in models.NAMES]
        if end.code and later:
            print(f"a model goes first: {name} {later[0]} ...", file=sys.stderr)
        raise


def list_models() -> str:
    """The list of the models for --help, with a line for each."""
    what = {name: models.options(name).__doc__.partition("\n")[0] for name in models.NAMES}
    lines = [f"    {name:20}{what[name]}" for name in models.NAMES]
    return "\n".join(["Models (aae where none is given):", "", *lines])


def describe(result: Result, sample: str = "python sample.py", network: str = "") -> str:
    """Says what was reached, where everything is, and what to do next.

    Args:
      result: The result of the run.
      sample: The command that asks a trained model.
      network: The option that this command needs too, where the run has a file of networks.
    """
    run, line = result.folder, result.metrics
    if result.stopped_by not in (None, "stop-early"):
        return (
            f"stopped by {result.stopped_by} at step {result.step} of {result.steps}, "
            f"checkpoint written: the same command goes on from there"
        )
    reached = [f"{result.step} steps"]
    if result.stopped_by:
        reached = [f"{result.step} of {result.steps} steps, stopped early"]
    if result.best is not None and result.best != result.step:
        reached[0] += f" (--step best asks step {result.best})"
    for name, text in (
        ("reconstruction", "held-out reconstruction {:.2f}"),
        ("prior_mmd", "codes to prior: squared MMD {:.4f}"),
        ("prior_mmd_chance", "two samples of the prior: {:.4f}"),
        ("nll", "held-out negative log-likelihood {:.2f} nats"),
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
        f"pictures: {run}/pictures   report: {run}/report.html\n"
        f"next: {sample} {run}{network}"
    )


def main(name: str = "train.py") -> int:
    """Runs the command line; a mistake of the user's is one line and status 2.

    Args:
      name: The name of the command in messages.

    Returns:
      The exit status: 0 for a run that is done, 1 for one that diverged, 2 for a mistake of
      the user's, 128 + n for signal n.
    """
    try:
        status = script(name)(lambda: _main(name))()
    except Exception:
        if not left_early():
            raise
        traceback.print_exc()
        status = 1
    if left_early():  # JAX would wait for the farewell of hosts that are gone
        os._exit(status)
    return status


def _main(name: str) -> int:
    parsed = _parse(sys.argv[1:], name)
    if parsed.print_options:
        print(options_json(parsed.model, parsed.run))
        return 0
    parsed.compiled.start()
    start(parsed.hosts, tell)
    start_jax()
    try:
        with joined() as hosts:
            return _train(parsed.model, parsed.run, name, hosts)
    except NonFiniteLoss as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1


def _train(options: Any, config: RunConfig, name: str, hosts: Hosts) -> int:
    """Loads the data and trains."""
    network = ""
    if options.network_file is not None:
        network = f" --network {options.network_file}"
        options = options.with_networks(own_networks.load(options.network_file))
    if not hosts.first:
        hosts.agree(None)  # the first host prepares what all may share on a disk
    dataset = data.load(
        config.dataset,
        config.data_dir,
        cache=config.cache,
        # The first host scores: what another held out would be of no use.
        hold_out=hosts.first or not config.own_data,
        **config.reading(),
    )
    if hosts.first:
        hosts.agree(None)
        tell(
            f"{model_name(options)} on {dataset.name}: {len(dataset.train_images):,} "
            f"training and {len(dataset.test_images):,} held-out examples of shape "
            f"{list(dataset.example_shape)}; run folder "
            f"{run_folder(options, dataset, config)}"
        )
    result = train(options, dataset, config, tell=tell)
    sample = "python sample.py" if name.endswith(".py") else "aaejax-sample"
    if hosts.first:
        tell(describe(result, sample, network))
    return {"SIGINT": 130, "SIGTERM": 143}.get(result.stopped_by or "", 0)
