"""The settings of a run, as a frozen dataclass, validated when built."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from aaejax.components.checks import check_at_least, check_fields
from aaejax.data.binarize import Binarize
from aaejax.data.reading import Reading
from aaejax.runs.devices import Parallel
from aaejax.runs.precision import MatmulPrecision
from aaejax.types import UserError

READING = tuple(each.name for each in fields(Reading))  # how data are read


@dataclass(frozen=True)
class RunConfig:
    """The settings of a training run. Lengths are in steps, but for `epochs`."""

    dataset: str = "mnist5k"
    """The data to train on: mnist5k, a TFDS image dataset by name, or the path of an .npz,
    .npy or .h5 file, of a folder of images, or of a table: .csv, .tsv, .parquet or .h5ad.
    """
    labels: int | None = None
    """How many training labels are kept, as many of each class; by default all."""
    epochs: int = 50
    """How often each training example is seen."""
    batch_size: int = 100
    """The number of examples in a batch, over all devices."""
    seed: int = 0
    """The seed of the parameters, the order of the data and all noise."""
    log_every: int = 200
    """The number of steps in one dispatch, and between lines of metrics.jsonl."""
    save_every: int = 400
    """The number of steps between checkpoints, each with an evaluation and pictures."""
    keep: int = 3
    """How many checkpoints are kept."""
    ema: float = 0.0
    """The decay, such as 0.999, of an exponential moving average of the parameters, which
    sample.py --weights ema asks; 0 for none."""
    matmul_precision: MatmulPrecision = "default"
    """The precision of float32 products where a machine has faster ones, in training and
    for all that sample.py is asked: JAX's default, high, or highest for float32 itself; a
    CPU has that alone."""
    stop_early: int = 0
    """The number of evaluations without a better one that end the run; 0 for never."""
    best: str = ""
    """The held-out score that the best checkpoint is best in, such as heldout/prior_mmd. By
    default it is the sum of heldout/reconstruction and heldout/prior_mmd, or, without an
    encoder, heldout/nll where there is one, or else heldout/sample_mmd."""
    background: str = "white"
    """The colour under transparent pixels of pictures: white, black or #rrggbb."""
    resize: str | None = None
    """The size that pictures get: with 64 the shorter side becomes 64 pixels, and the
    middle is cut out; with 64x48 pictures become 64 wide and 48 high."""
    grey: bool = False
    """Pictures become grey."""
    label_column: str | None = None
    """The column of a table that has the labels; all others are features."""
    key: str | None = None
    """The array of an .h5 file that has the images or vectors."""
    label_key: str | None = None
    """The array of an .h5 file that has the labels."""
    condition_columns: tuple[str, ...] = ()
    """The columns of a table that are no features but its condition: numbers that the
    decoder of supervised reads, or that of vae or gan with --conditional."""
    weight_column: str | None = None
    """The column of a table that says how much each row counts in the loss."""
    condition_key: str | None = None
    """The array of an .npz or .h5 file that has the condition; for a file with two parts,
    c stands for c_train and c_test."""
    weight_key: str | None = None
    """The array of an .npz or .h5 file that has the weights."""
    standardise: bool = False
    """Features of tables and vectors get mean 0 and standard deviation 1; sample.py writes
    them as the table has them."""
    binarize: Binarize = "no"
    """How grey pixels become bits, each 1 with its grey as the probability: with static by
    one draw that is the same in every run; with dynamic by a new draw at each step, and
    held-out ones by the draw of static; no leaves them grey."""
    own_data: bool = False
    """Each of several hosts has training data that no other has, and reads those alone; the
    first host scores on what it holds out."""
    flip: bool = False
    """Pictures are turned left to right at random, in training alone."""
    cache: Path | None = field(default=None, metadata={"where": True})
    """The folder that keeps, for any later run, decoded pictures of a folder of images, and
    tables and HDF5 files that are large."""
    data_dir: Path = field(default=Path("data"), metadata={"where": True})
    """The folder in which TFDS datasets are prepared, once."""
    workdir: Path | None = field(default=None, metadata={"where": True})
    """The run folder; by default runs/<model>-<dataset>."""
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = field(
        default=None, metadata={"where": True}
    )
    """Another run, whose networks this one starts from; its data and options may differ."""
    from_networks: tuple[str, ...] = field(default=(), metadata={"where": True})
    """The networks taken from that run, such as encoder decoder; by default all."""
    log: tuple[Literal["tensorboard", "wandb"], ...] = field(
        default=(), metadata={"where": True}
    )
    """The logs that lines of metrics and pictures go to as well: tensorboard, in the run
    folder, or wandb."""
    parallel: Parallel = field(default="pmap", metadata={"where": True})
    """How a step runs on many devices: by jax.pmap, or by jax.jit and jax.shard_map."""
    profile: int = field(default=0, metadata={"where": True})
    """The number of steps of which a trace for Perfetto and XProf is written, in whole
    dispatches; 0 for none."""
    overwrite: bool = field(default=False, metadata={"where": True})
    """The run that the folder has is thrown away, and a new one starts."""

    def __post_init__(self) -> None:
        # A path may be given as a string.
        for name in ("dataset", "data_dir", "workdir", "from_run", "cache"):
            value, kind = getattr(self, name), str if name == "dataset" else Path
            if kind is Path and isinstance(value, str) and not value.strip():
                raise UserError(f"{name} is {value!r}: give a folder, or leave it out")
            if isinstance(value, str | Path):
                object.__setattr__(self, name, kind(value))
        check_fields(self)
        lengths = "epochs", "batch_size", "log_every", "save_every", "keep"
        check_at_least(self, 1, *lengths, most=2**31 - 1)  # steps are counted in int32
        check_at_least(self, 0, "seed", most=2**32 - 1)
        check_at_least(self, 0, "stop_early", "profile", most=2**31 - 1)
        if self.from_networks and self.from_run is None:
            raise UserError(
                "from_networks without a run to take them from: give --from RUN"
            )
        Reading(**self.reading())
        if not 0 <= np.float32(self.ema) < 1:
            raise UserError(f"ema is {self.ema}: it must be in [0, 1)")
        if self.save_every % self.log_every:
            raise UserError(
                f"save_every {self.save_every} is no multiple of log_every "
                f"{self.log_every}: checkpoints are written between dispatches"
            )

    def reading(self) -> dict[str, Any]:
        """The settings of how data are read, as arguments of `aaejax.data.load`."""
        return {name: getattr(self, name) for name in READING}
