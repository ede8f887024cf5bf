"""Data of every size: time to the first step, memory and rate, beside the limits for them.

    python -m benchmarks.data --cifar CIFAR_FOLDER --place BIG_DISK --out FILE.json
    python -m benchmarks.data --only large parquet --gigabytes 2     # smaller and sooner

`train.py` runs as a process of its own, whose memory is looked at 20 times a second: what
is its own (anonymous) and not what the system keeps of files. Large data are made here of
random bytes. The numbers of the whole take an hour, 60 GB of disk and a quiet machine.
"""

import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image

from aaejax import models, train_step
from aaejax.data import batches, lazy
from aaejax.data.array_files.mapped_file import MappedFile
from aaejax.data.pictures.decoding import PictureFiles
from aaejax.data.reading import Reading
from aaejax.runs.chunks import run_chunks
from aaejax.runs.devices import feed, replicate, steps_alone, train_chunk
from aaejax.runs.run import batch_shapes, seed_start
from aaejax.types import DataSpec, Model

ROOT = Path(__file__).parent.parent
TINY = ("--width", "100", "--latent", "4")
GB = 10**9


@dataclass(frozen=True)
class Arguments:
    """Data of every size."""

    place: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """A folder on a disk with room, for the data and the runs."""
    cifar: Path | None = None
    """A folder of small JPEGs, as train/CLASS/NAME.jpg."""
    data_dir: Path | None = None
    """Where TFDS has mnist prepared."""
    gigabytes: float = 20
    """Of the memory map."""
    rows: int = 1_000_000
    """Of the Parquet file, of 2,000 columns."""
    only: tuple[str, ...] = ("jpegs", "tfds", "large", "rate", "decoding", "parquet")
    """Which parts."""
    out: Path | None = None
    """A JSON file for the figures; those of other parts that it has stay."""


@dataclass
class Watched:
    """What was seen of one `train.py`.

    Attributes:
      first_step: seconds from the start of the process to the end of the first steps.
      memory: the most bytes of its own that it had.
      stopped: seconds from SIGTERM to its end.
      rate: examples a second, the median of its lines but the first two.
    """

    first_step: float = 0.0
    memory: int = 0
    stopped: float = 0.0
    rate: float = 0.0


def watch(*options: str, steps: int = 1, timeout: float = 3600) -> Watched:
    """Trains until `steps` lines of metrics.jsonl are there, then sends SIGTERM."""
    folder = Path(tempfile.mkdtemp(prefix="run-"))
    log = folder / "run" / "metrics.jsonl"
    command = [sys.executable, "train.py", *options, "--workdir", str(folder / "run")]
    seen, started, stopped_at = Watched(), time.perf_counter(), 0.0
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
        while process.poll() is None:
            now = time.perf_counter() - started
            seen.memory = max(seen.memory, own_memory(process.pid))
            lines = log.read_text().splitlines() if log.exists() else []
            if lines and not seen.first_step:
                seen.first_step = now
            if not stopped_at and (len(lines) >= steps or now > timeout):
                process.send_signal(signal.SIGTERM)
                stopped_at = time.perf_counter()
            time.sleep(0.05)
    if not stopped_at or not seen.first_step:
        raise SystemExit(f"{' '.join(command)}:\n{(folder / 'said').read_text()}")
    seen.stopped = time.perf_counter() - stopped_at
    rates = [json.loads(line)["images_per_second"] for line in log.read_text().splitlines()]
    seen.rate = statistics.median(rates[2:] or rates)
    shutil.rmtree(folder)
    return seen


def own_memory(pid: int) -> int:
    """Bytes of a process, and of those that it started, that are no copy of a file's.

    0 where it has ended.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        started = [child for task in tasks for child in task.read_text().split()]
    except OSError:
        return 0
    kib = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return 1024 * int(kib[0] if kib else 0) + sum(own_memory(int(n)) for n in started)


def jpegs(arguments: Arguments) -> Iterator[dict]:
    """60,000 JPEGs of 32x32, first and again."""
    if arguments.cifar is None:
        raise SystemExit("--cifar: which folder has the JPEGs?")
    options = ("autoencoder", "--dataset", str(arguments.cifar), "--log-every", "1", *TINY)
    name = "60,000 JPEGs of 32x32"
    with tempfile.TemporaryDirectory(dir=arguments.place) as cache:
        first, again = (watch(*options, "--cache", cache) for _ in range(2))
    yield row(f"{name}: to the first step, with `--cache`", first.first_step, 15, "s")
    yield row(f"{name}: again", again.first_step, 5, "s")
    yield row(f"{name}: memory", max(first.memory, again.memory) / GB, 1.5, "GB")


def tfds(arguments: Arguments) -> Iterator[dict]:
    """Prepared TFDS `mnist`, first and again."""
    where = ("--data-dir", str(arguments.data_dir)) if arguments.data_dir else ()
    options = ("autoencoder", "--dataset", "mnist", *where, "--log-every", "1", *TINY)
    watch(*options)  # prepares it if need be
    kept = sorted((arguments.data_dir or Path("data")).glob("mnist/*/decoded-*"))
    for folder in kept:
        shutil.rmtree(folder)
    for name, limit in (("first time after preparing", 10), ("again", 2)):
        seconds = watch(*options).first_step
        yield row(f"TFDS `mnist`, {name}: to the first step", seconds, limit, "s")
    base = ("autoencoder", "--dataset", "mnist5k", "--log-every", "1", *TINY)
    yield row("for comparison, `mnist5k`: to the first step", watch(*base).first_step, None)


def large(arguments: Arguments) -> Iterator[dict]:
    """A memory map nearly as large as memory."""
    rows = int(arguments.gigabytes * GB) // (64 * 64 * 3)
    file = arguments.place / "large.npy"
    random_bytes(file, (rows, 64, 64, 3))
    options = (
        "autoencoder",
        "--dataset",
        str(file),
        "--network",
        "conv",
        "--log-every",
        "20",
    )
    small = arguments.place / "small.npy"
    random_bytes(small, (2000, 64, 64, 3))
    base = watch(*options[:2], str(small), *options[3:], steps=3)
    found = watch(*options, steps=3)
    for each in (file, small):
        each.unlink()
    name = f"{arguments.gigabytes:.0f} GB memory map of uint8 images"
    more = (found.memory - base.memory) / GB
    yield row(f"{name}: memory, more than with 2,000 images", more, 2, "GB")
    yield row(f"{name}: to the first 20 steps", found.first_step, 10, "s")
    yield row("the same of 2,000 images", base.first_step, None, "s")
    yield row(f"{name}: from SIGTERM to the end", found.stopped, 10, "s")


def rate(arguments: Arguments) -> Iterator[dict]:
    """Examples a second, streamed from a file and resident in memory, in turn.

    In one process, without what a run writes; the first chunks of each turn, which were
    read ahead of time, are left out.
    """
    file = arguments.place / "streamed.npy"
    random_bytes(file, (2 * GB // 784, 28, 28, 1))
    streamed = lazy.Rows(MappedFile(np.load(file, mmap_mode="r")), "streamed")
    resident = np.asarray(streamed[:60_000])
    for name, options, steps in (
        ("MLPs of 1000", models.options("aae")(width=1000, depth=2), 10),
        ("convolutions", models.options("aae")(network="conv"), 10),
    ):
        model = options.build(DataSpec((28, 28, 1), 0, True), 10**6)
        turns = [_turns(model, x, steps, x is streamed) for x in (streamed, resident)]
        ratios = []
        for _ in range(RATE_TURNS):
            rates = [next(each) for each in turns]
            ratios.append(rates[0] / rates[1])
        ratio = statistics.median(ratios[1:])
        what = f"rate streamed over resident, {name}, batch 100"
        yield row(what, ratio, 0.95, least=True)
    file.unlink()


RATE_TURNS = 5


def _turns(
    model: Model, images: lazy.Images, steps: int, streamed: bool, chunks: int = 6
) -> Iterator[float]:
    """Steps a second of some chunks of steps, as often as is asked."""
    arrays, devices = {"image": images}, jax.local_devices()[:1]
    state, key = seed_start(0, model)
    example = batch_shapes(model, arrays, 100)
    program = train_chunk(
        partial(train_step, model.phases),
        partial(batches.step_batch, model.reads),
        devices,
        one_by_one=steps_alone(model.phases, devices, state, example, key),
        streamed=streamed,
    )
    state, key = replicate(state, devices), replicate(key, devices)
    for turn in itertools.count():
        first = turn * chunks * steps
        starts = range(first, first + chunks * steps, steps)

        def rows(start: int) -> np.ndarray:
            return batches.step_rows(model.reads, 0, start, start + steps, arrays, 100)

        indices = [partial(rows, start) for start in starts]
        taken = []
        fed = feed(arrays, indices, devices, streamed=streamed)
        ends = [start + steps for start in starts]
        for ran in run_chunks(program, state, key, fed=fed, ends=ends, phases=model.phases):
            state = ran.state
            taken.append(ran.seconds)
        left = taken[batches.CHUNKS_AHEAD + 1 :]
        yield len(left) * steps / sum(left)


def decoding(arguments: Arguments) -> Iterator[dict]:
    """JPEGs a second, through all checks, over those that Pillow alone decodes."""
    rng = np.random.default_rng(0)
    for side, count in ((32, 8000), (256, 1000)):
        folder = Path(tempfile.mkdtemp(dir=arguments.place))
        for number in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))
            picture = coarse.resize((side, side), Image.Resampling.BICUBIC)
            picture.save(folder / f"{number:05}.jpg", quality=90)
        files = sorted(folder.iterdir())
        rows = lazy.Rows(PictureFiles(files, folder, Reading(), "pictures"), "pictures")
        workers = lazy.workers()

        def pillow(files: list[Path] = files, workers: int = workers) -> None:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda path: np.asarray(Image.open(path)), files))

        def ours(rows: lazy.Rows = rows, workers: int = workers) -> None:
            with ThreadPoolExecutor(workers) as pool:
                at = np.array_split(np.arange(len(rows)), 4 * workers)
                list(pool.map(rows.__getitem__, at))

        ratio = statistics.median(seconds(pillow) / seconds(ours) for _ in range(5))
        shutil.rmtree(folder)
        name = f"JPEGs of {side}x{side} a second, over Pillow's own rate"
        yield row(name, ratio, 0.8, least=True)


def parquet(arguments: Arguments) -> Iterator[dict]:
    """A table larger than memory should be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file, rng = arguments.place / "large.parquet", np.random.default_rng(0)
    names = [f"x{number}" for number in range(2000)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as to:
        for start in range(0, arguments.rows, 10_000):
            count = min(10_000, arguments.rows - start)
            block = rng.standard_normal((2000, count), np.float32)
            to.write_table(pa.table(list(map(pa.array, block)), schema=schema))
    options = (
        "autoencoder",
        "--dataset",
        str(file),
        "--output",
        "linear",
        "--log-every",
        "20",
    )
    with tempfile.TemporaryDirectory(dir=arguments.place) as cache:
        options += ("--output", "linear", "--reconstruction", "squared-error")
        options += ("--cache", cache, *TINY)
        first, again = (watch(*options) for _ in range(2))
    name = f"{arguments.rows:,} rows of 2,000 floats in Parquet"
    file.unlink()
    yield row(f"{name}: memory", max(first.memory, again.memory) / GB, 2, "GB")
    yield row(f"{name}: to the first step, with `--cache`", first.first_step, None, "s")
    yield row(f"{name}: again", again.first_step, None, "s")


def random_bytes(file: Path, shape: tuple[int, ...]) -> None:
    """An .npy file of random bytes; written in blocks, which are all unlike."""
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    block, rng = max(1, 2**26 // int(np.prod(shape[1:]))), np.random.default_rng(0)
    for start in range(0, len(array), block):
        part = array[start : start + block]
        part[:] = np.frombuffer(rng.bytes(part.nbytes), np.uint8).reshape(part.shape)
    array.flush()
    del array
    with file.open("rb+") as written:  # none of it counts as memory of anybody
        os.fsync(written.fileno())
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(
    what: str, value: float, limit: float | None, unit: str = "", least: bool = False
) -> dict:
    """A line of the table; a limit is the most, or the least."""
    found = {"what": what, "value": round(value, 3), "limit": limit, "unit": unit}
    return found | {"limit_is": "least" if least else "most"}


def main() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    parts = {part.__name__: part for part in (jpegs, tfds, large, rate, decoding, parquet)}
    found = {}
    for name in arguments.only:
        found[name] = list(parts[name](arguments))
        for each in found[name]:
            bound = (
                "" if each["limit"] is None else f"at {each['limit_is']} {each['limit']}"
            )
            print(
                f"{each['what']:70} {each['value']:8.2f} {each['unit']:3} {bound}",
                flush=True,
            )
        if arguments.out is not None:
            old = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
            arguments.out.write_text(json.dumps(old | found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
