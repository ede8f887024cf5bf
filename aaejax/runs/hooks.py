"""What watches a run: the progress bar, the pictures, and a user's own hooks.

A hook is passed to `train(..., hooks=[...])`. Nothing that it does changes the run. Where
it raises an exception, the run ends as at a Ctrl-C, with a checkpoint, and the exception
goes on to the caller.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from aaejax.types import TrainState


@dataclass(frozen=True)
class Event:
    """The point that a run has come to.

    Attributes:
      step: The number of steps done.
      metrics: The line of metrics.jsonl, by name; held-out scores are in it from
        `on_evaluate` on.
      state: The state, on the devices. The next step writes over it: copy what is to be
        kept.
      plane: The held-out codes as they are drawn, float32 [N, 2], where the event is an
        evaluation and codes can be drawn; else None.
    """

    step: int
    metrics: dict[str, Any]
    state: TrainState
    plane: np.ndarray | None = field(default=None, repr=False)


class Hook:
    """Watches a run. Override what is of interest: nothing happens here."""

    def on_log(self, event: Event) -> None:
        """Is called after each line of metrics.jsonl."""

    def on_evaluate(self, event: Event) -> None:
        """Is called after held-out examples are scored, before that step's checkpoint."""

    def on_checkpoint(self, event: Event) -> None:
        """Is called after a checkpoint was handed to the disk."""

    def on_end(self, result: Any) -> None:
        """Is called when the last checkpoint is on disk, with what `train` returns."""


class Hooks(Hook):
    """Several hooks as one; keeps the first exception that one raises."""

    def __init__(self, hooks: Sequence[Hook]):
        self.error: Exception | None = None
        self._hooks = hooks

    def on_log(self, event: Event) -> None:
        """Tells all hooks."""
        self._tell(lambda hook: hook.on_log(event))

    def on_evaluate(self, event: Event) -> None:
        """Tells all hooks."""
        self._tell(lambda hook: hook.on_evaluate(event))

    def on_checkpoint(self, event: Event) -> None:
        """Tells all hooks."""
        self._tell(lambda hook: hook.on_checkpoint(event))

    def on_end(self, result: Any) -> None:
        """Tells all hooks."""
        self._tell(lambda hook: hook.on_end(result))

    def _tell(self, call: Callable[[Hook], None]) -> None:
        if self.error is not None:  # the run is ending
            return
        for hook in self._hooks:
            try:
                call(hook)
            except Exception as error:
                self.error = error
                return


class Progress(Hook):
    """A progress bar on a terminal, plain lines in a pipe."""

    def __init__(self, steps: int, first: int, batch_size: int, save_every: int):
        """Starts the bar at a step.

        Args:
          steps: The number of steps of the whole run.
          first: The number of steps done before.
          batch_size: The number of examples in a batch.
          save_every: The number of steps between checkpoints.
        """
        self._steps, self._first, self._save_every = steps, first, save_every
        self._batch_size, self._shown = batch_size, first
        self._trained = 0.0  # seconds
        self._saves: list[float] = []  # seconds of each
        self._bar = tqdm(
            total=steps, initial=first, unit="step", disable=not sys.stderr.isatty()
        )
        self._bar.set_postfix_str("compiling")

    def close(self) -> None:
        """Ends the bar and leaves it as it is."""
        self._bar.close()

    def resume(self) -> None:
        """Leaves the time since the last line, a compiler's, out of the bar's rate."""
        self._bar.unpause()

    def saved(self, seconds: float) -> None:
        """Learns how long a checkpoint and its evaluation take."""
        self._saves.append(seconds)

    def on_log(self, event: Event) -> None:
        """Shows one line of metrics.jsonl."""
        line = event.metrics
        losses = "  ".join(
            f"{name.removesuffix('/loss')} {value:.4g}"
            for name, value in line.items()
            if name.endswith("/loss")
        )
        rate = max(line["images_per_second"], 0.01)  # which was rounded, perhaps to 0
        self._trained += (line["step"] - self._shown) * self._batch_size / rate
        self._shown = line["step"]
        text = f"epoch {line['epoch']:.4g}  {losses}  {rate:,.0f} images/s"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(line["step"] - self._bar.n)
        if self._bar.disable:
            left = self._left()
            print(
                f"step {line['step']}/{self._steps}  {text}  {left:.0f} s left", flush=True
            )

    def _left(self) -> float:
        """Seconds to the end, from what steps and checkpoints have taken so far."""
        left, done = self._steps - self._shown, self._shown - self._first
        if not left:
            return 0.0
        saves = -(-self._steps // self._save_every) - self._shown // self._save_every
        # The first compiles too: it does not say how long others take.
        each = min(self._saves[1:], default=0.0)
        return left * self._trained / done + saves * each
