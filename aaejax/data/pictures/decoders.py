"""Processes that decode small pictures, of which threads decode but one at a time."""

import contextlib
import pickle
import queue
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from aaejax.data.pictures import picture_files
from aaejax.data.pictures.picture_files import Head
from aaejax.types import UserError


class Decoders:
    """A number of processes that decode, which end with this object and with this process.

    They take no more memory than what they are asked for at once.
    """

    def __init__(self, count: int):
        """Starts `count` processes.

        Raises:
          OSError: No process can be started.
        """
        self._idle: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()
        self._processes: list[subprocess.Popen[bytes]] = []
        weakref.finalize(self, _end, self._processes)
        for _ in range(count):
            self._idle.put(self._start())

    def heads(self, paths: list[Path]) -> list[Head]:
        """Reads heads as `picture_files.heads`, by an idle process, or waits for one.

        Raises:
          UserError: A file is no picture, or the process died.
        """
        return [Head(*head) for head in self._ask("heads", paths)]

    def decoded(self, paths: list[Path], how: picture_files.How) -> list[Any]:
        """Decodes pictures as `picture_files.decoded`; otherwise as `heads`."""
        return self._ask("decoded", paths, tuple(how))

    def _start(self) -> subprocess.Popen[bytes]:
        # As a program of its own: to import this package takes longer than its work.
        command = [sys.executable, "-P", picture_files.__file__]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes.append(process)
        return process

    def _ask(self, name: str, *arguments: Any) -> Any:
        process, whole = self._idle.get(), False
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((name, arguments), process.stdin, protocol=5)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
            whole = True
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"a process that decodes pictures died ({_reason(process)}): where memory "
                "is short give smaller pictures or another machine, and start again"
            ) from error
        finally:
            self._idle.put(process if whole else self._replaced(process))
        if isinstance(answer, str):
            raise UserError(answer)
        return answer

    def _replaced(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Ends a process whose answer nobody may read any more, and starts another."""
        process.kill()
        process.wait()
        try:
            started = self._start()
        except OSError:
            return process  # which is dead, as its next request will say
        self._processes.remove(process)
        _close(process)
        return started


def _reason(process: subprocess.Popen[bytes]) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    status = process.poll()
    if status is None:
        return "it gives no answer"
    if status < 0:
        return signal.Signals(-status).name
    return f"status {status}"


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    # Before their pipes are closed, which would wait for one that is to read a request.
    for process in processes:
        process.kill()  # which may be in the midst of an answer that nobody reads
    for process in processes:
        process.wait()
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # of a request that it did not read
                pipe.close()
