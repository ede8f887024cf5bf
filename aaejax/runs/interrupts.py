"""SIGTERM and Ctrl-C: the first asks the run to stop, a second Ctrl-C leaves at once."""

import contextlib
import os
import signal
import sys
import threading
from types import TracebackType


class Interrupts:
    """In a `with`, `requested` says which signal asked to stop, or is None.

    Signals are read by a thread, from the pipe that Python's C handler writes to, so that
    a second Ctrl-C works while the main thread waits for a compiler or a device.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None

    @property
    def name(self) -> str | None:
        """The name of the signal that asked to stop, or None."""
        return None if self.requested is None else self.requested.name

    def __enter__(self) -> "Interrupts":
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if not self._in_main_thread:  # Python allows handlers in the main thread only
            return self
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._old_wakeup = signal.set_wakeup_fd(self._write_end)
        self._old_handlers = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._in_main_thread:
            return
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_wakeup)
        os.close(self._write_end)  # ends the thread
        self._thread.join()
        os.close(self._read_end)

    def _watch(self) -> None:
        while received := os.read(self._read_end, 1):
            number = received[0]
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            if self.requested is not None and number == signal.SIGINT:
                os._exit(128 + number)
            if self.requested is None:
                self.requested = signal.Signals(number)
                with contextlib.suppress(OSError):  # nobody reads stderr any more
                    print(
                        f"\n{self.requested.name}: finishing this chunk of steps and "
                        "writing a checkpoint; Ctrl-C (again) leaves at once",
                        file=sys.stderr,
                        flush=True,
                    )
