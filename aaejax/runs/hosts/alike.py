"""Whether all hosts were started alike: what differs is refused by its name."""

import copy
import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
import numpy as np

import aaejax
from aaejax.runs.hosts.agreement import Hosts
from aaejax.runs.on_disk.config_json import leaves_that_differ
from aaejax.types import Device, UserError


def check_alike(hosts: Hosts, config: dict[str, Any], devices: Sequence[Device]) -> None:
    """Compares what decides a run with that of the first host.

    Args:
      hosts: The hosts that take part.
      config: The contents of config.json, as this host would write it.
      devices: The devices of all hosts, in their order.

    Raises:
      UserError: A host has other options, data, devices, or versions of what is installed;
        all hosts raise the same.
    """
    if hosts.count == 1:
        return
    own = copy.deepcopy({name: config[name] for name in config if name != "where"})
    if own["run"]["own_data"]:  # as each host calls its own
        del own["run"]["dataset"], own["data"]["name"]
    mine = [each for each in devices if each.process_index == hosts.index]
    own["devices"] = f"{len(mine)} of {mine[0].device_kind}"
    own["device_order"] = [each.id for each in devices]
    own["x64"] = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    own["version"] = {
        "aaejax": f"{aaejax.__version__}, code {code()}",
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "numpy": np.__version__,  # it draws the order of the examples
        "python": platform.python_version(),
    }
    first, *others = hosts.agree(json.loads(json.dumps(own)))
    for index, other in enumerate(others, 1):
        found = leaves_that_differ(first, other)
        if found:
            said = "; ".join(
                f"{name} is {theirs} there and {ours} on host 0"
                for name, ours, theirs in found
            )
            hint = ""
            if any(name == "data.fingerprint" for name, _, _ in found):
                hint = (
                    " (copies of large data must keep the times of files, as by rsync -a)"
                )
            raise UserError(
                f"host {index} is not started as host 0 is: {said}; start all hosts with "
                f"the same options, data and versions{hint}"
            )


def code() -> str:
    """12 hexadecimal digits that stand for the code of aaejax that this process runs."""
    total, root = hashlib.sha256(), Path(aaejax.__file__).parent
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:12]
