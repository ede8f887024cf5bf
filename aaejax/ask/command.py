"""The command that asks: `sample.py`, and `aaejax-sample` of an installed package."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from aaejax.ask import export
from aaejax.ask.explore import command as explore
from aaejax.ask.kinds import flag, sample
from aaejax.ask.out import check_out, default_out, write
from aaejax.ask.overview import describe, listing
from aaejax.ask.question import Question, Sampler
from aaejax.ask.sources import DATA_DIR
from aaejax.runs.command_line.scripts import parse, script, start_jax, tell
from aaejax.runs.compile_cache import CompileCache
from aaejax.runs.on_disk.exported import Weights
from aaejax.runs.reports.pictures import tell_of_channels
from aaejax.runs.restore import restore
from aaejax.runs.trained import Trained
from aaejax.types import UserError

HELP = """Asks a trained model; needs nothing but the run folder.

    {name} runs/aae-mnist5k --out samples.png
    {name} runs/aae-mnist5k codes --out codes.npz --data my_images.npz

Without a kind it says what the run is and can be asked for, and makes samples.

Ten options to begin with; all are below:

    --out FILE          where it goes: .png a picture, .npz arrays, .csv a table
    --count N           how many images
    --seed N            another seed draws others
    --label CLASS       samples of that class
    --data WHAT         a folder, file or data set, in place of the run's own
    --pick N N ...      these images, in place of a random choice
    --step best         the checkpoint of the best evaluation, not the newest
    --weights ema       the moving average of the weights
    --sampler gmm       codes from a density fitted to those of the training data
    --network FILE.py   the networks of your own that the run was trained with

A kind refuses what it has no use for.
"""


@dataclass(frozen=True)
class Arguments:
    """Asks a trained model; needs nothing but the run folder."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder that train.py wrote."""
    kind: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[KIND]")] = (
        None
    )
    """The kind of thing that is asked for, one of those above."""
    out: Path | None = None
    """The file that is written: .png is a picture, .npy or .npz the arrays, .csv or
    .parquet a table with a row for each example (samples and reconstructions: of a run on
    a table). By default it is KIND.png, or KIND.npz where there is no picture. For export
    it is a folder, by default one called export; for explore, with codes of two dimensions,
    a page .html to send."""
    count: int = 100
    """How many images are made; of interpolations, the images on all lines."""
    seed: int = 0
    """The seed of all random draws, 0 to 2^32 - 1; the same seed gives the same file."""
    step: int | Literal["best"] | None = None
    """The step of the checkpoint that is asked; by default the newest. best is that of the
    best evaluation, as the run's --best has it."""
    weights: Weights = "last"
    """Which weights are asked: last, or ema, the moving average of a run that was trained
    with --ema."""
    network: Path | None = None
    """The Python file of networks that the run was trained with; it is run."""
    data: str | None = None
    """A dataset, or a file or folder of images, to encode in place of the run's own; its
    labels go by name to the run's classes."""
    data_dir: Path = DATA_DIR
    """The folder where TFDS datasets are prepared."""
    label: str | None = None
    """The class of samples and nearest, where the model can be asked for one: by name, or
    by number where no class of the run is named by one."""
    condition: tuple[float, ...] = ()
    """The numbers of the condition of samples and nearest, for a model that was trained
    with a condition; by default those of the run's held-out examples, in turn."""
    pick: tuple[int, ...] = ()
    """Which images of the data are taken, by number, in place of a random choice;
    interpolations go from the first half of them to the second."""
    path: Literal["linear", "spherical"] = "linear"
    """The way that interpolations go from one code to another."""
    plus: str | None = None
    """The examples whose mean code arithmetic adds: a class as in --label, or else
    a dataset, file or folder (./cat, where there is a class cat too)."""
    minus: str | None = None
    """The examples whose mean code arithmetic takes away, as in --plus."""
    sampler: Sampler = "prior"
    """What the codes of samples, nearest and explore are drawn from, and those of scores
    compared with: the prior, or a density fitted to the codes of the run's training data
    and kept in the run folder: one Gaussian, or a mixture (gmm)."""
    rows: int | None = None
    """How many rows of an image complete keeps; by default half of them."""
    contamination: float = 0.05
    """The share of the run's held-out examples whose scores lie above the threshold, for
    scores."""
    onnx: bool = False
    """Whether export writes decode.onnx and encode.onnx too, by the package onnx."""
    port: int = 0
    """The port where explore serves its page; by default any that is free."""
    browser: bool = True
    """Whether explore opens its page in the browser."""
    compile_cache: str | None = None
    """A folder in which compiled programs are kept, for any later start; or no. By default
    ~/.cache/aaejax, or what JAX_COMPILATION_CACHE_DIR says."""


GROUPS = ("what is made", "data", "run", "page")
_GROUP = {
    "data": {"data", "data-dir", "label", "condition", "pick", "plus", "minus"},
    "run": {"help", "step", "weights", "network", "compile-cache"},
    "page": {"port", "browser"},
}
OPTIONS = tuple(field.name for field in fields(Arguments))
OF_OTHERS = ("onnx", "port", "browser")  # of words that make no arrays
EXPORT = Path("export")
OF_ALL = ("run", "kind", "step", "weights", "network", "compile_cache")


def group_of(option: str) -> str:
    """Finds which of `GROUPS` an option stands in, in --help."""
    return next((name for name in _GROUP if option in _GROUP[name]), GROUPS[0])


def main(name: str = "sample.py") -> int:
    """Runs the command line; a mistake of the user's is one line and status 2.

    Args:
      name: The command's name in messages.

    Returns:
      The exit status: 0 when done, 2 after a mistake of the user's.
    """
    return script(name)(lambda: _main(name))()


def _main(name: str) -> int:
    script_name = f"python {name}" if name.endswith(".py") else name
    text = f"{HELP.format(name=script_name)}\n{listing()}"
    arguments = parse(Arguments, sys.argv[1:], name, text, GROUPS, group_of)
    if arguments.kind == "explore":
        explore.check(arguments.out, arguments.port, arguments.browser)
    elif arguments.kind == "export":
        export.check_out(arguments.out or EXPORT)
    CompileCache(arguments.compile_cache).start()
    start_jax()
    trained = restore(
        arguments.run,
        arguments.step,
        tell=tell,
        network=arguments.network,
        weights=arguments.weights,
    )
    if arguments.kind == "export":
        return _export(arguments, trained)
    if arguments.kind == "explore":
        return _explore(arguments, trained)
    _check_for(arguments, [name for name in OPTIONS if name not in OF_OTHERS])
    shape, columns = trained.data.spec.shape, trained.columns
    kind = arguments.kind or "samples"
    out = arguments.out or default_out(kind, shape)
    check_out(out, kind, shape, columns)
    trained.folder.check_foreign(out)
    _check_not_read(out, arguments, trained)
    if arguments.kind is None:
        tell(describe(trained, script_name.split(), network=arguments.network))
    if out.suffix.lower() == ".png":
        tell_of_channels(shape[-1], tell)
    arrays = sample(
        trained,
        kind,
        count=arguments.count,
        seed=arguments.seed,
        data_dir=arguments.data_dir,
        data=arguments.data,
        label=arguments.label,
        pick=arguments.pick,
        path=arguments.path,
        plus=arguments.plus,
        minus=arguments.minus,
        contamination=arguments.contamination,
        sampler=arguments.sampler,
        rows=arguments.rows,
        condition=arguments.condition,
    )
    write(out, kind, arrays, columns)
    tell(f"{kind} of {arguments.run} at step {trained.step}: {out}")
    return 0


def _export(arguments: Arguments, trained: Trained) -> int:
    out = arguments.out or EXPORT
    _check_for(arguments, ("out", "onnx"))
    export.export(trained, out, onnx=arguments.onnx, tell=tell)
    tell(f"export of {arguments.run} at step {trained.step}: {out}/README.md says more")
    return 0


def _explore(arguments: Arguments, trained: Trained) -> int:
    reads = ("out", "seed", "data", "data_dir", "sampler", "port", "browser")
    _check_for(arguments, reads)
    question = Question(
        trained,
        tell,
        seed=arguments.seed,
        data_dir=arguments.data_dir,
        data=arguments.data,
        sampler=arguments.sampler,
    )
    if arguments.out is None:
        explore.explore(question, arguments.port, arguments.browser)
        return 0
    trained.folder.check_foreign(arguments.out)
    explore.write_page(question, arguments.out)
    tell(f"explore of {arguments.run} at step {trained.step}: {arguments.out}")
    return 0


def _check_not_read(out: Path, arguments: Arguments, trained: Trained) -> None:
    """Raises UserError where the file that is to be written is one that is asked about."""
    dataset = trained.config.get("run", {}).get("dataset")
    for name in (arguments.data, arguments.plus, arguments.minus, dataset):
        read = None if name is None else Path(name).expanduser()
        if read is not None and out.exists() and read.exists() and out.samefile(read):
            raise UserError(f"--out {out} are the data that are read: give another name")


def _check_for(arguments: Arguments, reads: Sequence[str]) -> None:
    """Raises UserError for an option that the kind does not read."""
    for field in fields(Arguments):
        given = getattr(arguments, field.name) != field.default
        if given and field.name not in (*OF_ALL, *reads):
            name = flag("no_browser" if field.name == "browser" else field.name)
            kind = arguments.kind or "samples"
            raise UserError(f"{name} has no meaning for {kind}: leave it out")
