"""Several hosts: how their processes find each other, before any device is asked for.

JAX's own distributed runtime is the engine. A host is a process here: two of them may run
on one machine.
"""

import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax._src import xla_bridge

from aaejax.components.checks import check_at_least, check_fields
from aaejax.data.notes import Tell
from aaejax.runs.command_line.scripts import start_jax
from aaejax.runs.hosts.agreement import Agreement
from aaejax.runs.hosts.watch import leave, set_silence
from aaejax.types import UserError


@dataclass(frozen=True)
class HostOptions:
    """The processes that train together, all started with the same other options."""

    hosts: str | None = None
    """How the hosts find each other: auto, as Slurm, Open MPI, a TPU pod or Kubernetes
    says; or ADDRESS:PORT of host 0, where it listens, with --host-count and --host-index.
    By default there is one host."""
    host_count: int | None = None
    """How many hosts there are."""
    host_index: int | None = None
    """The number of this host: 0, 1, ..."""
    hosts_timeout: int = 300
    """How many seconds to wait for the others at the start, and later for one that is
    silent (then not less than 10)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_at_least(self, 1, "hosts_timeout", most=10**6)
        by_hand = [self.host_count, self.host_index]
        if self.hosts in (None, "auto"):
            if by_hand != [None, None]:
                what = "without --hosts" if self.hosts is None else "beside --hosts auto"
                raise UserError(
                    f"--host-count and --host-index stand {what}: give --hosts "
                    "ADDRESS:PORT, the same on every host, or leave them out"
                )
            return
        self.address()
        if self.host_count is None or self.host_index is None:
            raise UserError(
                f"--hosts {self.hosts} needs --host-count and --host-index too (or give "
                "--hosts auto, where a cluster says how many there are)"
            )
        check_at_least(self, 1, "host_count", most=2**20)
        if not 0 <= self.host_index < self.host_count:
            raise UserError(
                f"--host-index {self.host_index} of {self.host_count} hosts: give 0 ... "
                f"{self.host_count - 1}, another one on each"
            )

    def address(self) -> tuple[str, int]:
        """The name and port of host 0; raises UserError where `hosts` has not the two."""
        found = re.fullmatch(
            r"(\[[0-9a-fA-F:]+\]|[^:\s\[\]/]+):([0-9]{1,5})", self.hosts or ""
        )
        if found is None or not 0 < int(found[2]) < 2**16:
            raise UserError(
                f"--hosts {self.hosts}: give auto, or ADDRESS:PORT of host 0, such as "
                "10.0.0.1:1234"
            )
        return found[1].strip("[]"), int(found[2])


def start(options: HostOptions, tell: Tell = print) -> None:
    """Joins the other hosts, where there are to be any, before a device is asked for.

    Args:
      options: The options that say which hosts there are.
      tell: A function that gets a line that says how many hosts and devices were found, and
        a warning where a machine has GPUs that no process drives.

    Raises:
      UserError: There is no cluster, a port is taken, host 0 does not come, or JAX finds no
        device.
    """
    if options.hosts is None:
        return
    if options.hosts == "auto":
        where: dict[str, Any] = {}
        waiting = "--hosts auto: the other hosts"
    else:
        first = options.host_index == 0
        _check_port(options) if first else _wait_for_first(options)
        where = {
            "coordinator_address": options.hosts,
            "num_processes": options.host_count,
            "process_id": options.host_index,
            # A Slurm that is around would choose one GPU of this host.
            "cluster_detection_method": "deactivate",
        }
        waiting = f"--hosts {options.hosts}: the other hosts"
    if xla_bridge.backends_are_initialized():
        raise UserError(
            "JAX's devices were asked for before hosts joined: call start first"
        )
    # JAX's would take SIGTERM for itself; hosts agree on it at the ends of chunks.
    jax.config.update("jax_enable_preemption_service", False)
    timeout = options.hosts_timeout
    set_silence(timeout)
    try:
        # JAX's own bounds are the later ones: it ends a process with a page of C++.
        with _patience(
            timeout,
            f"{waiting} did not all come within {timeout} s: start all, with one --hosts "
            "(an address of host 0's own), one --host-count and an index of its own each, "
            "or give a longer --hosts-timeout",
        ):
            jax.distributed.initialize(
                **where,
                initialization_timeout=timeout + 60,
                heartbeat_timeout_seconds=timeout + 60,
                shutdown_timeout_seconds=60,
            )
    except Exception as error:  # what JAX asks of a cluster raises whatever it likes
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
        if options.hosts == "auto" and not isinstance(error, RuntimeError):
            srun = "start it by srun, or " * ("SLURM_JOB_ID" in os.environ)
            raise UserError(
                f"--hosts auto: JAX finds no Slurm, Open MPI, TPU pod or Kubernetes here "
                f"({said}): {srun}give --hosts ADDRESS:PORT --host-count N --host-index I"
            ) from error
        raise UserError(
            f"{waiting} can't be joined ({said}): check the address, the port and that "
            "every host has an index of its own"
        ) from error
    with _patience(timeout, f"{waiting} did not say their devices within {timeout} s"):
        start_jax()
        for line in _found(Agreement()):
            tell(line)


def _check_port(options: HostOptions) -> None:
    """Raises UserError where host 0 can't listen at its port.

    Two of JAX's coordinators would share a port without a word, each with some hosts.
    """
    name, port = options.address()
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # A run that has just ended may hold the port for a minute: that is no matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            probe.listen(1)
    except OSError as error:
        raise UserError(
            f"--hosts {name}:{port}: host 0 can't listen at port {port} "
            f"({error.strerror or error}): give another port, the same on every host"
        ) from error


def _wait_for_first(options: HostOptions) -> None:
    """Waits until host 0 listens; raises UserError where it does not in time."""
    name, port = options.address()
    until, said = time.monotonic() + options.hosts_timeout, "nobody listens there"
    while time.monotonic() < until:
        try:
            socket.create_connection((name, port), timeout=options.hosts_timeout).close()
            return
        except OSError as error:
            said = error.strerror or str(error)
        time.sleep(0.2)
    raise UserError(
        f"--hosts {name}:{port}: host 0 did not come within {options.hosts_timeout} s "
        f"({said}): start it, check the address and the firewall, or give a longer "
        "--hosts-timeout"
    )


@contextmanager
def _patience(seconds: int, otherwise: str) -> Iterator[None]:
    """Ends the process with a line where the body takes longer: JAX's waits have no end."""
    timer = threading.Timer(seconds, leave, (otherwise, 2))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _found(agreement: Agreement) -> list[str]:
    """What was found, from this host's and the others' words."""
    devices = jax.local_devices()
    each = agreement.agree(
        {
            "name": socket.gethostname(),
            "devices": len(devices),
            "kind": devices[0].device_kind,
            "gpus": len(list(Path("/dev").glob("nvidia[0-9]*"))),
            "driven": len(devices) * (devices[0].platform == "gpu"),
        }
    )
    counts = Counter((host["devices"], host["kind"]) for host in each)
    kinds = [
        f"{hosts} with {count} device{'s' * (count > 1)} ({kind})"
        for (count, kind), hosts in counts.items()
    ]
    names = [host["name"] for host in each]
    shown = ", ".join(names[:8]) + ", ..." * (len(names) > 8)
    found = f"{len(each)} host{'s' * (len(each) > 1)}: {', '.join(kinds)}, on {shown}"
    return [f"{found}; this is host {agreement.index}", *idle(each)]


def idle(hosts: Sequence[dict[str, Any]]) -> list[str]:
    """A warning for each machine that has GPUs which no process drives.

    Args:
      hosts: What each process says: the "name" of its machine, how many "gpus" that has,
        and how many of them are "driven" by the process.
    """
    lines = []
    for name in dict.fromkeys(host["name"] for host in hosts):
        here = [host for host in hosts if host["name"] == name]
        gpus, driven = here[0]["gpus"], sum(host["driven"] for host in here)
        if driven < gpus:
            lines.append(
                f"warning: {name} has {gpus} GPUs and {len(here)} process"
                f"{'es' * (len(here) > 1)} of this run that drive {driven} of them: start "
                "a process for each GPU, or give one process all"
            )
    return lines
