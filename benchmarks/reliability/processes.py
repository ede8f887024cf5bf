"""What is done to processes: kills, full and read-only disks, two writers."""

import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.reliability.tiny import LAST, ROOT, Tiny, one_line, popen

Trial = tuple[str, int, str | None]  # class, how many were tried, what went wrong

LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.path.insert(0, sys.argv[2].rpartition('/')[0])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


def kills(tiny: Tiny, number: int, jobs: int, rng: random.Random) -> Iterator[Trial]:
    """Half at random moments, half just before a file operation of each kind in turn."""
    counts = list(Counter(tiny.events).items())
    rng.shuffle(counts)
    aims = [counts[i % len(counts)] for i in range(number - number // 2)]
    moments: list[float | tuple[str, int]] = [
        *((kind, rng.randint(1, count)) for kind, count in aims),
        *(rng.uniform(0, tiny.seconds) for _ in range(number // 2)),
    ]
    # Up to three in one run: each start but the last of a chain is killed.
    rng.shuffle(moments)
    chains = [moments[i : i + 3] for i in range(0, len(moments), 3)]
    with ThreadPoolExecutor(jobs) as pool:
        for trials in pool.map(lambda chain: list(_chain(tiny, chain)), chains):
            yield from trials


def _chain(tiny: Tiny, moments: list[float | tuple[str, int]]) -> Iterator[Trial]:
    folder, done, problem = tiny.folder(), [], None
    for moment in moments:
        if isinstance(moment, tuple):
            where = f"kill: {_place(moment[0])}"
            process = tiny.start(folder, *moment, folder.with_suffix(".events"))
            status, said, _ = tiny.finish(process)
        else:
            where = "kill: at a random moment"
            process = tiny.start(folder, "", 0, folder.with_suffix(".events"))
            status, said, _ = tiny.finish(process, moment)
        if status == -9:
            done.append((where, moment))
        elif status:
            problem = f"{moment}: status {status}: {said[-300:]}"
    status, said = tiny.run("train.py", *tiny.arguments(folder))
    if status or "Traceback" in said:
        problem = f"resumed: status {status}: {said[-300:]}"
    problem = problem or tiny.differs(folder)
    for where, _ in done:
        yield where, 1, problem and f"after kills at {[m for _, m in done]}: {problem}"


def _place(kind: str) -> str:
    event, _, path = kind.partition(" ")
    if event in ("os.remove", "os.rmdir", "shutil.rmtree"):
        return "while an old checkpoint is removed"
    places = {
        "checkpoints": "while a checkpoint is written",
        "pictures": "while pictures are drawn",
        "metrics.jsonl": "between a checkpoint and its metrics line",
    }
    return next(
        (text for name, text in places.items() if path.startswith(name)),
        "while the folder is made",
    )


def disks(tiny: Tiny) -> Iterator[Trial]:
    """Disks that take no more."""
    yield from _full(tiny)
    yield from _read_only(tiny)


def _full(tiny: Tiny) -> Iterator[Trial]:
    """Files that may not grow; a disk of a few sizes, which then gets room."""
    for limit in (100, 1_000, 3_000, 10_000, 30_000, 100_000):
        folder = tiny.folder()
        arguments = [str(limit), str(ROOT / "train.py"), *tiny.arguments(folder)]
        process = popen("-c", LIMITED, *arguments)
        said = process.communicate(timeout=300)[0]
        yield (
            "disk: files of limited size",
            1,
            _then_ends(tiny, folder, process.returncode, said),
        )
    for size in (16, 64, 256, 1200, 1400, 1600, 2000):
        folder = tiny.folder()
        folder.mkdir()
        if not mount(f"size={size}k", folder):
            return
        try:
            status, said = tiny.run("train.py", *tiny.arguments(folder))
            mount("remount,size=64m", folder)
            yield "disk: full", 1, _then_ends(tiny, folder, status, said)
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def _then_ends(tiny: Tiny, folder: Path, status: int, said: str) -> str | None:
    if status and not one_line(status, said):
        return f"status {status}: {said[-500:]}"
    status, said = tiny.run("train.py", *tiny.arguments(folder))
    return tiny.differs(folder) if status == 0 else f"then: status {status}: {said[-300:]}"


def mount(options: str, folder: Path) -> bool:
    """A disk in memory; False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _read_only(tiny: Tiny) -> Iterator[Trial]:
    """Of a run half done: training says so, asking works, and with room again it ends."""
    folder = tiny.folder()
    folder.mkdir()
    if not mount("size=64m", folder):
        return
    try:
        tiny.finish(
            tiny.start(folder, "open metrics.jsonl", 12, folder.with_suffix(".events"))
        )
        mount("remount,ro", folder)
        status, said = tiny.run("train.py", *tiny.arguments(folder))
        wrong = None if one_line(status, said) else f"train.py: {status}: {said[-300:]}"
        yield "disk: read-only", 1, wrong
        status, said = tiny.run("sample.py", str(folder), "--out", f"{tiny.place}/s.npy")
        yield "disk: read-only", 1, f"sample.py: {said[-300:]}" if status else None
        mount("remount,rw,size=64m", folder)
        status, said = tiny.run("train.py", *tiny.arguments(folder))
        yield "disk: read-only", 1, tiny.differs(folder) if status == 0 else said[-300:]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def two_writers(tiny: Tiny, number: int) -> Iterator[Trial]:
    """Two trainings of one folder started at once, and a reader beside them."""
    for _ in range(number):
        folder = tiny.folder()
        both = [popen(str(ROOT / "train.py"), *tiny.arguments(folder)) for _ in range(2)]
        said = [process.communicate(timeout=300)[0] for process in both]
        ends = [process.returncode for process in both]
        wrong = None
        for status, text in zip(ends, said, strict=True):
            if status and not (one_line(status, text) and "in use" in text):
                wrong = f"status {status}: {text[-300:]}"
        if 0 not in ends:
            wrong = f"neither ended: {said}"
        yield "two writers at once", 1, wrong or tiny.differs(folder)
        folder = tiny.folder()
        writer = popen(str(ROOT / "train.py"), *tiny.arguments(folder))
        while writer.poll() is None:
            status, text = tiny.run(
                "sample.py", str(folder), "--out", f"{tiny.place}/s.npy"
            )
            right = f"at step {LAST}" in text or status == 0 or one_line(status, text)
            yield "asking beside a training", 1, None if right else text[-300:]
        yield "asking beside a training", 1, tiny.differs(folder)
