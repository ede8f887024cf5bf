"""Whether the other hosts still live: a connection between host 0 and each of the others.

Where a process dies, its machine's kernel closes its connections at once; where a machine
or the network dies, nothing is heard any more. A process that waits for a device can't be
told, so the thread that notices ends it, with one line that says which host it was.
"""

import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax._src.distributed import global_state

from aaejax.runs.finite import NonFiniteLoss
from aaejax.runs.hosts.agreement import Agreement, Alone, Hosts
from aaejax.types import UserError, printable

GRACE = 5.0  # seconds in which a host may come to the same end by itself
BEAT = 1.0  # seconds between signs of life
SILENCE = 300  # seconds after which a host counts as gone, unless `silence` is set
BYE = "bye"
_silence = [SILENCE]
_left_early = [False]
_joined: list[Hosts] = []  # of the outermost body


def set_silence(seconds: int) -> None:
    """Sets how many seconds a host may be silent before it counts as gone: at least ten."""
    _silence[0] = max(seconds, round(10 * BEAT))


def left_early() -> bool:
    """Whether a run of several hosts ended here by an error.

    Then the others have gone too, and the farewell of `jax.distributed` would wait for them
    in vain.
    """
    return _left_early[0]


@contextmanager
def joined() -> Iterator[Hosts]:
    """The hosts of a run; in the body the end of one is the end of all.

    Where the body raises, the other hosts are told its words and end too. Bodies may stand
    in one another: the outermost counts.
    """
    if _joined:
        yield _joined[0]
        return
    if jax.process_count() == 1:
        yield Alone()
        return
    hosts = Agreement()
    try:
        watch = _Watch(hosts)
    except BaseException:
        _left_early[0] = True
        raise
    _joined.append(hosts)
    try:
        yield hosts
        hosts.agree("done")
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError):
            # Where it is a collective operation that broke, the thread knows why.
            time.sleep(GRACE)
        _left_early[0] = True
        watch.fail(error)
        raise
    finally:
        _joined.clear()
    watch.close()


class _Watch:
    """The connections and the thread that listens to them."""

    def __init__(self, hosts: Hosts):
        self._hosts, self._names = hosts, hosts.agree(socket.gethostname())
        self._own_name = self._names[hosts.index]
        self._ending = threading.Event()  # this host ends by itself
        self._open = self._connected()  # by index
        self._heard = dict.fromkeys(self._open, time.monotonic())
        self._partial = dict.fromkeys(self._open, b"")
        self._thread = threading.Thread(target=self._run, name="hosts", daemon=True)
        self._thread.start()

    def _connected(self) -> dict[int, socket.socket]:
        """Connects host 0 with all others, and each of them with it."""
        client = global_state.client
        assert client is not None
        if not self._hosts.first:
            port, token = self._hosts.agree(None)[0]
            address = (global_state.coordinator_address or "").rpartition(":")[0]
            try:
                link = socket.create_connection((address.strip("[]"), port), _silence[0])
            except OSError as error:
                raise UserError(
                    f"host 0 can't be reached at {address}:{port} "
                    f"({error.strerror or error}): open the ports between the hosts"
                ) from error
            link.sendall(f"{token} {self._hosts.index}\n".encode())
            return {0: link}
        token, peers = secrets.token_hex(16), {}
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        with socket.create_server(
            ("", 0), family=family, dualstack_ipv6=socket.has_dualstack_ipv6()
        ) as server:
            self._hosts.agree([server.getsockname()[1], token])
            server.settimeout(_silence[0])
            while len(peers) < self._hosts.count - 1:
                try:
                    link, _ = server.accept()
                except TimeoutError as error:
                    raise UserError(
                        f"host 0 listens at port {server.getsockname()[1]} and "
                        f"{self._hosts.count - 1 - len(peers)} hosts can't reach it there: "
                        "open the ports between the hosts"
                    ) from error
                with suppress(OSError, ValueError):
                    link.settimeout(10)
                    words = _first_line(link).split()
                    if len(words) == 2 and secrets.compare_digest(words[0], token):
                        peers[int(words[1])] = link
                        continue
                link.close()  # a stranger
        return peers

    def fail(self, error: BaseException) -> None:
        """Tells the others how this host ends; host 0 waits until they have gone."""
        self._ending.set()
        text = (printable(error) or type(error).__name__)[:500]
        status = 2 if isinstance(error, UserError | OSError) else 1
        line = f"host {self._hosts.index} ({self._own_name}) ended: {text}"
        # Where all come to it by themselves, host 0 may still be writing a checkpoint.
        grace = _silence[0] if isinstance(error, NonFiniteLoss) else GRACE
        self._send({"line": line, "status": status, "grace": grace})
        until = time.monotonic() + 2 * GRACE
        while self._hosts.first and len(self._open) and time.monotonic() < until:
            time.sleep(0.05)
        self._close()

    def close(self) -> None:
        """Ends the watch: all hosts have done their part."""
        self._ending.set()
        self._send(BYE)
        self._close()

    def _close(self) -> None:
        for link in list(self._open.values()):
            with suppress(OSError):
                link.shutdown(socket.SHUT_WR)
        self._thread.join(GRACE)

    def _send(self, message: Any) -> None:
        for link in list(self._open.values()):
            with suppress(OSError):
                link.sendall(json.dumps(message).encode() + b"\n")

    def _run(self) -> None:
        beaten = 0.0
        with selectors.DefaultSelector() as selector:
            for index, link in self._open.items():
                link.settimeout(10)
                selector.register(link, selectors.EVENT_READ, index)
            while self._open:
                for ready, _ in selector.select(BEAT / 2):
                    if not self._read(ready.data):
                        selector.unregister(ready.fileobj)
                        self._open.pop(ready.data).close()
                now = time.monotonic()
                for index in self._open:
                    if now - self._heard[index] > _silence[0]:
                        self._gone(index, f"has been silent for {_silence[0]} s")
                if now - beaten > BEAT:
                    beaten = now
                    self._send(None)

    def _read(self, index: int) -> bool:
        """What a host says; False where it will say no more."""
        try:
            read = self._open[index].recv(4096)
        except OSError:
            read = b""
        self._heard[index] = time.monotonic()
        *lines, self._partial[index] = (self._partial[index] + read).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if message == BYE:
                return False
            if message is not None:  # else a sign of life
                self._told(message)
        if not read:
            self._gone(index, "is gone without a word")
        return bool(read)

    def _told(self, message: Any) -> None:
        """How a host ended: so does this one."""
        if self._hosts.first:
            self._send(message)
        # Where all hosts come to the same end, as of a loss that is NaN, each says so.
        if not self._ending.wait(message["grace"]):
            leave(message["line"], message["status"])

    def _gone(self, index: int, how: str) -> None:
        if self._ending.is_set():
            return
        line = (
            f"host {index} ({self._names[index]}) {how}: start all hosts again, and they "
            "go on at the last checkpoint"
        )
        self._told({"line": line, "status": 1, "grace": 0})


def _first_line(link: socket.socket) -> str:
    """Reads a line, and nothing of what comes after it; raises OSError or ValueError."""
    read = b""
    while not read.endswith(b"\n"):
        read += (byte := link.recv(1))
        if not byte or len(read) > 100:
            raise ValueError("no line")
    return read.decode()


def leave(line: str, status: int) -> None:
    """Ends this process at once, wherever its main thread may be, with a line."""
    name = Path(sys.argv[0]).name
    os.write(2, f"{name}: {printable(line)}\n".encode())
    os._exit(status)
