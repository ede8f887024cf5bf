"""Networks from a file of the user's own, named by `--network FILE.py`.

The file is Python and is run, as a script is: modules beside it can be imported. So it is
always one that the user names on the command line: a run folder records its hash, and
nothing is run because a run folder says so.
"""

import functools
import hashlib
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aaejax.models._options import OwnNetworks
from aaejax.runs.on_disk.files import read_bytes
from aaejax.types import UserError


def load(path: str | Path) -> OwnNetworks:
    """Runs a file of networks.

    Args:
      path: The path of a Python file with the functions `encoder(data, outputs)` and
        `decoder(data)`, and perhaps `discriminator(data)`; `data` is the `DataSpec`, and
        each returns anything that `networks.as_network` takes. Each may have an argument
        `inputs`, and the encoder's `class_logits`, as `OwnNetworks` says.

    Raises:
      UserError: There is no such file, it fails, or it lacks a function.
    """
    try:
        code = read_bytes(Path(path))
    except OSError as error:
        raise UserError(
            f"--network {path}: {error.strerror or error}: give mlp, conv, or a Python "
            "file with encoder(data, outputs) and decoder(data)"
        ) from error
    folder = Path(path).resolve().parent
    try:
        with _importable(folder):
            names = runpy.run_path(str(path), run_name="aaejax_own_networks")
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        raise UserError(
            f"--network {path} fails when it is run ({type(error).__name__}: {error}): "
            "mend it"
        ) from error
    missing = [name for name in ("encoder", "decoder") if not callable(names.get(name))]
    if missing:
        raise UserError(
            f"--network {path} has no function {' and no '.join(missing)}: it must define "
            "encoder(data, outputs) and decoder(data), and may define discriminator(data)"
        )
    discriminator = names.get("discriminator")
    return OwnNetworks(
        _importing(folder, names["encoder"]),
        _importing(folder, names["decoder"]),
        discriminator and _importing(folder, discriminator),
        hashlib.sha256(code).hexdigest(),
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules of a folder can be imported; afterwards all is as it was.

    What was imported of it is forgotten too: the next file may have modules of those names.
    """
    before = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before[0]
        for name in set(sys.modules) - before[1]:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().is_relative_to(folder):
                del sys.modules[name]


def _importing(folder: Path, function: Callable) -> Callable:
    """A function that may import modules of the folder when it is called."""

    @functools.wraps(function)
    def called(*arguments, **named):
        with _importable(folder):
            return function(*arguments, **named)

    return called
