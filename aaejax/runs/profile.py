"""A trace of some steps, for Perfetto and XProf."""

from pathlib import Path

import jax

from aaejax.data.notes import Tell


class Profile:
    """Traces whole chunks of steps until there are enough, from the second chunk on.

    The first is left out where there are others: what a device does at its first run alone
    is in it.
    """

    def __init__(self, folder: Path, steps: int, tell: Tell):
        """Traces nothing yet.

        Args:
          folder: The folder that the trace goes to.
          steps: The number of steps that are enough; 0 for no trace.
          tell: A function that gets a line when the trace is written.
        """
        self._folder, self._steps, self._tell = folder, steps, tell
        self._chunks, self._from = 0, None

    def chunk_starts(self, step: int, last: bool) -> None:
        """Is called before a chunk, which is compiled.

        Args:
          step: The number of steps done.
          last: Whether the chunk is the run's last one.
        """
        self._chunks += 1
        if self._steps and self._from is None and (self._chunks > 1 or last):
            self._from = step
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)

    def chunk_ended(self, step: int, last: bool) -> None:
        """Is called after a chunk; the arguments are as of `chunk_starts`."""
        if self._steps and self._from is not None:
            traced = step - self._from
            if traced >= self._steps or last:
                self._steps = 0
                jax.profiler.stop_trace()
                self._tell(f"a trace of {traced} steps: {self._folder} (see docs/hosts.md)")

    def close(self) -> None:
        """Ends a trace that is on its way, as of a run that is stopped."""
        if self._steps and self._from is not None:
            self._steps = 0
            jax.profiler.stop_trace()
