"""What is done to files: flipped bits, damage, what a stranger might put there."""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.runs.restore import restore
from aaejax.types import TrainState, UserError
from benchmarks.reliability.processes import Trial
from benchmarks.reliability.tiny import LAST, Tiny, metrics, same

NOBODY = 65534


def flips(tiny: Tiny, number: int, rng: random.Random) -> Iterator[Trial]:
    """Single bits of the newest checkpoint's files, then of others."""
    newest = Path("checkpoints") / str(LAST)
    arrays = [
        path.relative_to(tiny.good)
        for item in ("params", "opt_state")
        for path in (tiny.good / newest / item).rglob("*")
        if path.is_file() and path.stat().st_size
    ]
    sizes = [(tiny.good / path).stat().st_size for path in arrays]
    for path in rng.choices(arrays, sizes, k=number):
        yield "bit flipped: array files", 1, _flip(tiny, path, rng, _read)
    few = number // 4
    for name, what in (
        ("about/metadata", "item about of a checkpoint"),
        ("_CHECKPOINT_METADATA", "list of a checkpoint's items"),
    ):
        for _ in range(few):
            yield f"bit flipped: {what}", 1, _flip(tiny, newest / name, rng, _read)
    for _ in range(few):
        wrong = _flip(tiny, Path("metrics.jsonl"), rng, _read)
        yield "bit flipped: metrics.jsonl", 1, wrong
    for name in ("config.json", "heldout.npz"):
        for _ in range(few):
            yield f"bit flipped: {name}", 1, _flip(tiny, Path(name), rng, _ask)


def _flip(tiny: Tiny, name: Path, rng: random.Random, use: Callable) -> str | None:
    folder = tiny.copy()
    content = bytearray((folder / name).read_bytes())
    where, bit = rng.randrange(len(content)), rng.randrange(8)
    content[where] ^= 1 << bit
    (folder / name).write_bytes(content)
    wrong = use(tiny, folder)
    shutil.rmtree(folder)
    return wrong and f"{name}, byte {where}, bit {bit}: {wrong}"


def _read(tiny: Tiny, folder: Path) -> str | None:
    """What is wrong with what a resumed run begins with."""
    told: list[str] = []
    try:
        state = tiny.read(folder, told.append)
    except (UserError, OSError) as error:
        return _unless_one_line(error) or f"no checkpoint is used: {error}"
    return _judged(tiny, folder, state, told)


def _judged(tiny: Tiny, folder: Path, state: TrainState, told: list[str]) -> str | None:
    step = int(state.step)
    if not same(state, tiny.states[step]):
        return f"another state is used; said {told}"
    if step < LAST and not told:
        return f"without a word the state of step {step} is used"
    right = [line for line in tiny.lines if line["step"] <= step]
    if metrics(folder) != right and not any("metrics.jsonl" in text for text in told):
        return "without a word metrics.jsonl is another"
    return None


def _ask(tiny: Tiny, folder: Path) -> str | None:
    """What is wrong with what sample.py gets."""
    told: list[str] = []
    try:
        found = restore(folder, tell=told.append)
        heldout = found.folder.read_heldout()
    except (UserError, OSError) as error:
        return _unless_one_line(error)
    if not same(found.variables, tiny.states[found.step].variables):
        return "other parameters are used"
    if found.step < LAST and not told:
        return f"without a word the parameters of step {found.step} are used"
    if found.data != tiny.trained.data or not same(heldout, tiny.heldout):
        return "another record of the data, or other held-out examples"
    return None


def _train(tiny: Tiny, folder: Path) -> str | None:
    """What is wrong when train.py is started on it again."""
    told: list[str] = []
    try:
        with contextlib.redirect_stdout(None):
            tiny.train(folder, told.append)
    except (UserError, OSError) as error:
        return _unless_one_line(error)
    return _judged(tiny, folder, tiny.read(folder, told.append), told)


def _unless_one_line(error: Exception) -> str | None:
    text = str(error)
    good = 0 < len(text) < 1000 and "\n" not in text
    return None if good else f"no line but {type(error).__name__}: {text[:300]!r}"


def damage(tiny: Tiny) -> Iterator[Trial]:
    """Each file: of the run by asking and training, of the newest checkpoint by reading."""
    kinds: dict[str, Callable[[Path], Any]] = {
        "empty": lambda path: path.write_bytes(b""),
        "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
        "junk": lambda path: path.write_bytes(random.Random(0).randbytes(500)),
        "JSON of another type": lambda path: path.write_text("[5, null]\n"),
        "JSON nested too deep": lambda path: path.write_text("[" * 100_000),
        "missing": Path.unlink,
        "a folder": lambda path: (path.unlink(), path.mkdir()),
        "no permission": lambda path: path.chmod(0),
    }
    files = sorted(
        path.relative_to(tiny.good) for path in tiny.good.rglob("*") if path.is_file()
    )
    newest = Path("checkpoints") / str(LAST)
    for name in files:
        if name.parts[0] == "checkpoints" and newest not in name.parents:
            continue
        uses = [_read] if newest in name.parents else [_ask, _train]
        for kind, spoil in kinds.items():
            for use in uses:
                folder = tiny.copy()
                spoil(folder / name)
                with _no_root(folder, only_if=kind == "no permission"):
                    wrong = _attempt(use, tiny, folder)
                yield f"file {kind}", 1, wrong and f"{name}: {wrong}"
                shutil.rmtree(folder)


@contextlib.contextmanager
def _no_root(folder: Path, only_if: bool) -> Iterator[None]:
    """As a user whom permissions hold back, where we are root."""
    root = only_if and os.geteuid() == 0
    if root:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def _attempt(use: Callable, tiny: Tiny, folder: Path) -> str | None:
    """What is wrong with a use; no error but those of one line, no waiting for ever."""

    def late(*_: object) -> None:
        raise TimeoutError("it waits for ever")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    try:
        return use(tiny, folder)
    except Exception as error:
        return f"{use.__name__}: {type(error).__name__}: {str(error)[:200]!r}"
    finally:
        signal.alarm(0)


class _Code:
    """Makes the file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return open, (str(self.mark), "w")


def hostile(tiny: Tiny) -> Iterator[Trial]:
    """Links to a file that is precious, pipes, code, numbers out of all bounds."""
    outside = tiny.place / "outside"
    mark = tiny.place / "code-ran"
    places = [
        "config.json", "metrics.jsonl", "heldout.npz", ".lock", "pictures/samples.png",
        "pictures", "checkpoints", "unusable-checkpoints", f"checkpoints/{LAST}",
        f"checkpoints/{LAST}/params", f"checkpoints/{LAST}/about/metadata",
    ]  # fmt: skip

    def replaced(name: str, by: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def spoil(folder: Path) -> None:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            by(path)

        return spoil

    def changed(*keys: Any, value: Any) -> Callable[[Path], Any]:
        def spoil(folder: Path) -> None:
            whole = part = json.loads((folder / "config.json").read_text())
            for key in keys[:-1]:
                part = part[key]
            part[keys[-1]] = value
            (folder / "config.json").write_text(json.dumps(whole))

        return spoil

    def npz(path: Path) -> None:
        images = np.array([_Code(mark)], object)
        np.savez(path, images=images, labels=np.zeros(1, int))

    def bomb(path: Path) -> None:
        head = io.BytesIO()
        shape = {"descr": "|u1", "fortran_order": False, "shape": (2**30, 8, 8, 1)}
        np.lib.format.write_array_header_1_0(head, shape)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", head.getvalue() + bytes(2**26))

    def features(folder: Path) -> None:
        (folder / "payload.py").write_text(f"open({str(mark)!r}, 'w')\n")
        place = folder / "data/pics/1.0.0"
        place.mkdir(parents=True)
        code = {"pythonClassName": "payload.Feature", "featuresDict": {"features": {}}}
        (place / "features.json").write_text(json.dumps(code))
        (place / "dataset_info.json").write_text('{"name": "pics", "version": "1.0.0"}')
        changed("run", "dataset", value="pics")(folder)
        changed("where", "data_dir", value=str(folder / "data"))(folder)

    def own_file(folder: Path) -> None:
        (folder / "nets.py").write_text(f"open({str(mark)!r}, 'w')\n")
        changed("options", "network", value=str(folder / "nets.py"))(folder)

    tries: list[tuple[str, Callable[[Path], Any]]] = []
    for name in places:
        file = outside / "precious"
        links = (file, outside, outside / "none", Path("/dev/zero"))
        tries += [
            ("a link", replaced(name, lambda path, to=to: path.symlink_to(to)))
            for to in links
        ]
        tries.append(("a pipe", replaced(name, os.mkfifo)))

    def pickled(path: Path) -> None:
        path.write_bytes(pickle.dumps(_Code(mark)))

    tries += [
        ("code", replaced("heldout.npz", npz)),
        ("code", replaced("metrics.jsonl", pickled)),
        ("code", replaced("config.json", pickled)),
        ("code", features),
        ("code", own_file),
        ("numbers", replaced("heldout.npz", bomb)),
        *(
            ("numbers", changed(*keys, value=value))
            for keys, value in (
                (("options", "depth"), 3000), (("options", "width"), 10**8),
                (("options", "width"), -1), (("options", "latent"), 10**9),
                (("options", "latent"), [[3]]), (("run", "batch_size"), 1e99),
                (("run", "epochs"), 10**30), (("data", "shape"), [8, 8, 10**9]),
                (("data", "shape"), [[8], 8, 1]), (("data", "classes"), 10**12),
                (("data", "class_names"), ["\x1b[31m"] * 3), (("format",), 1e308),
                (("model",), "os.system"), (("model",), {"a": 1}), (("run",), None),
            )
        ),
    ]  # fmt: skip
    for number, (kind, spoil) in enumerate(tries):
        for use in (_ask, _train):
            shutil.rmtree(outside, ignore_errors=True)
            outside.mkdir()
            (outside / "precious").write_text("precious")
            folder = tiny.copy()
            spoil(folder)
            wrong = _attempt(use, tiny, folder)
            if mark.exists():
                mark.unlink()
                wrong = "its code ran"
            inside = {path.name: path.read_text() for path in outside.iterdir()}
            if inside != {"precious": "precious"}:
                wrong = f"written outside of it: {sorted(inside)}"
            yield f"hostile: {kind}", 1, wrong and f"{number}: {wrong}"
            shutil.rmtree(folder, ignore_errors=True)
