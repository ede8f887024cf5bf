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
    """A training run. Lengths are in steps but for `epochs`."""

    dataset: str = "mnist5k"
    """mnist5k, a TFDS image dataset by name, or a path: .npz, .npy, .h5 or folder of
    images, or a table: .csv, .tsv, .parquet or .h5ad."""
    labels: int | None = None
    """Training labels that are kept, as many of each class; by default all."""
    epochs: int = 50
    """How often each training example is seen."""
    batch_size: int = 100
    """Examples a step, over all devices."""
    seed: int = 0
    """Of the parameters, the order of the data and all noise."""
    log_every: int = 200
    """Steps in one dispatch, and between lines of metrics.jsonl."""
    save_every: int = 400
    """Steps between checkpoints, each with an evaluation and pictures."""
    keep: int = 3
    """How many checkpoints are kept."""
    ema: float = 0.0
    """Decay of an exponential moving average of the parameters, such as 0.999, which
    sample.py --weights ema asks; 0 for none."""
    matmul_precision: MatmulPrecision = "default"
    """Of float32 products where a machine has faster ones, in training and for all that
    sample.py is asked: high, or highest for float32 itself; a CPU has that alone."""
    stop_early: int = 0
    """The run ends after so many evaluations without a better one; 0 for never."""
    best: str = ""
    """The held-out score that the best checkpoint is best in, such as heldout/prior_mmd; by
    default the sum of reconstruction and match; without an encoder nll where there is one,
    or sample_mmd."""
    background: str = "white"
    """Ground under transparent pixels of pictures: white, black or #rrggbb."""
    resize: str | None = None
    """64: the shorter side becomes 64 pixels, and the middle is cut out; 64x48: pictures
    become 64 wide and 48 high."""
    grey: bool = False
    """Pictures become grey."""
    label_column: str | None = None
    """The column of a table that has the labels; all others are features."""
    key: str | None = None
    """The array of an .h5 file that has the images or vectors."""
    label_key: str | None = None
    """That of its labels."""
    condition_columns: tuple[str, ...] = ()
    """Columns of a table that are no features but its condition: numbers that the decoder
    of supervised reads, or that of vae or gan with --conditional."""
    weight_column: str | None = None
    """The column of a table that says how much each row counts in the loss."""
    condition_key: str | None = None
    """The array of an .npz or .h5 file that has the condition; of a file with two parts c
    stands for c_train and c_test."""
    weight_key: str | None = None
    """That of the weights."""
    standardise: bool = False
    """Features of tables and vectors get mean 0 and standard deviation 1; sample.py writes
    them as the table has them."""
    binarize: Binarize = "no"
    """Grey pixels become bits, 1 with their grey as the probability: static, by one draw
    that is the same in every run; dynamic, by a new draw at each step, and held-out ones
    by the one of static."""
    own_data: bool = False
    """Of several hosts each has training data that no other has, and reads those alone; the
    first scores on what it holds out."""
    flip: bool = False
    """Pictures are turned left to right at random, in training alone."""
    cache: Path | None = field(default=None, metadata={"where": True})
    """Where pictures of a folder are kept once they are decoded, and tables and HDF5 files
    that are large, for any later run."""
    data_dir: Path = field(default=Path("data"), metadata={"where": True})
    """Where TFDS datasets are prepared, once."""
    workdir: Path | None = field(default=None, metadata={"where": True})
    """The run folder; by default runs/<model>-<dataset>."""
    from_run: Annotated[Path | None, tyro.conf.arg(name="from")] = field(
        default=None, metadata={"where": True}
    )
    """Another run, whose networks this one starts from; its data and options may differ."""
    from_networks: tuple[str, ...] = field(default=(), metadata={"where": True})
    """Which of those networks, such as encoder decoder; by default all."""
    log: tuple[Literal["tensorboard", "wandb"], ...] = field(
        default=(), metadata={"where": True}
    )
    """Where lines and pictures go too: tensorboard, in the run folder, or wandb."""
    parallel: Parallel = field(default="pmap", metadata={"where": True})
    """How a step runs on many devices: by jax.pmap, or by jax.jit and jax.shard_map."""
    profile: int = field(default=0, metadata={"where": True})
    """Steps of which a trace for Perfetto and XProf is written, in whole dispatches; 0 for
    none."""
    overwrite: bool = field(default=False, metadata={"where": True})
    """Throw away what the run folder has and start anew."""

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
        """How data are read: arguments of `aaejax.data.load`."""
        return {name: getattr(self, name) for name in READING}
