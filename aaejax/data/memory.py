"""How much memory is free: what would not fit is refused before it is taken."""

from contextlib import suppress
from pathlib import Path

import psutil

from aaejax.types import UserError

_CGROUPS = Path("/sys/fs/cgroup")


def free() -> int:
    """Says how many bytes this process may still take, by the machine and its container."""
    return min([psutil.virtual_memory().available, *_left_to_cgroups()])


def check(size: int, what: str) -> None:
    """Raises UserError where `size` bytes for `what` are more than are free."""
    there = free()
    if size > there:
        raise UserError(
            f"{what} would take {_readable(size)} of memory and {_readable(there)} are "
            "free: give less or smaller data, or a machine with more memory"
        )


def _readable(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**27 else f"{size / 2**20:,.1f} MiB"


def _left_to_cgroups() -> list[int]:
    """What the limits of this process's containers leave, where there are any."""
    own = ""
    with suppress(OSError, IndexError):  # version 2: one line, "0::/path"
        own = Path("/proc/self/cgroup").read_text().split("::")[1].strip().lstrip("/")
    left = []
    for folder in {_CGROUPS / own, _CGROUPS}:
        left += _left(folder, "memory.max", "memory.current", "inactive_file")
    version_1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    return left + _left(_CGROUPS / "memory", *version_1)


def _left(folder: Path, limit: str, used: str, cached: str) -> list[int]:
    try:
        room = int((folder / limit).read_text()) - int((folder / used).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such version, or "max": no limit
        return []
    # Cached files count as used but give way.
    return [max(0, room + int(dict(line.split() for line in lines).get(cached, 0)))]
