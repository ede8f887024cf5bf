"""Networks from a file of the user's own, named by `--network FILE.py`.

The file is Python and is run. So it is always one that the user names on the command line:
a run folder records its hash, and nothing is run because a run folder says so.
"""

import hashlib
import runpy
from pathlib import Path

from aaejax.models._options import OwnNetworks
from aaejax.types import UserError


def load(path: str | Path) -> OwnNetworks:
    """Runs a file of networks.

    Args:
      path: of a Python file with the functions `encoder(data, outputs)` and
        `decoder(data)`, and perhaps `discriminator(data)`; `data` is the `DataSpec`, and
        each returns anything that `networks.as_network` takes.

    Raises:
      UserError: there is no such file, it fails, or it lacks a function.
    """
    try:
        code = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"--network {path}: {error.strerror or error}: give mlp, conv, or a Python "
            "file with encoder(data, outputs) and decoder(data)"
        ) from error
    try:
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
    return OwnNetworks(
        names["encoder"],
        names["decoder"],
        names.get("discriminator"),
        hashlib.sha256(code).hexdigest(),
    )
