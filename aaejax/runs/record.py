"""What the first host keeps of a run: lines, scores, checkpoints, pictures, hooks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax.data.notes import Tell
from aaejax.metrics.heldout import HeldOut
from aaejax.runs.best import Best, best_metrics, best_score
from aaejax.runs.config import RunConfig
from aaejax.runs.devices import local
from aaejax.runs.examples import Examples
from aaejax.runs.finite import NonFiniteLoss, finite_copy
from aaejax.runs.hooks import Event, Hook, Hooks, Progress
from aaejax.runs.on_disk.checkpoints import Checkpoints
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.on_disk.metrics_log import MetricsLog
from aaejax.runs.profile import Profile
from aaejax.runs.reports.snapshots import RunPictures
from aaejax.types import Device, Key, Model, TrainState


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
      folder: The folder of the run.
      step: The number of steps done.
      steps: The number of steps of the whole run.
      metrics: The last line of metrics.jsonl.
      stopped_by: What ended the run before its last step: the name of a signal, or
        "stop-early"; None where nothing did.
      best: The step of the best evaluation; None where there is no score to go by.
    """

    folder: Path
    step: int
    steps: int
    metrics: dict[str, Any]
    stopped_by: str | None = None
    best: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, as for `pandas.DataFrame(result.history)`."""
        return RunFolder(self.folder).history()


class Recorder:
    """The recorder of a host that keeps nothing; `Record` is that of the first host."""

    failed: str | None = None  # why the run is to end, but for a signal
    stops_early = False

    def __init__(self, folder: Path, steps: int):
        """Takes a run folder, which is the first host's, and the number of steps in all."""
        self._path, self._steps = folder, steps

    def resume(self, restored: TrainState | None) -> bool:
        """Takes up the run, and says whether it is over already."""
        return False

    def again(self, restored: TrainState | None, step: int) -> Result:
        """Does what is left to do for a run that is over, at a step."""
        return self.ended({"step": step}, "stop-early")

    def started(self) -> None:
        """Is called when a chunk of steps starts, after a compiler perhaps."""

    def ran(self, step: int) -> None:
        """Is called when a chunk of steps has ended; a line comes after one or several."""

    def add(
        self, line: dict[str, Any], state: TrainState, *, commit: bool, planned: bool
    ) -> None:
        """Takes one more line of metrics.jsonl.

        Args:
          line: The line as it will stand there; scores are added to it.
          state: The state, on the devices.
          commit: Whether a checkpoint is due.
          planned: Whether it is due by the settings of the run, and not at a signal.
        """

    def close(self) -> None:
        """Is called when no more lines come."""

    def ended(self, line: dict[str, Any], signal: str | None) -> Result:
        """Says how the run ended, by its last line."""
        done = line["step"] >= self._steps
        return Result(self._path, line["step"], self._steps, line, None if done else signal)


class Record(Recorder):
    """The recorder of the first host, which keeps all in the run folder and tells hooks."""

    def __init__(
        self,
        config: RunConfig,
        model: Model,
        examples: Examples,
        steps: int,
        folder: RunFolder,
        keys: Sequence[Key],
        device: Device,
        tell: Tell,
    ):
        """Opens nothing yet.

        Args:
          config: The settings of the run.
          model: The model that is trained.
          examples: The examples that it is scored by.
          steps: The number of steps of the whole run.
          folder: The folder of the run.
          keys: The keys of the scores and of the pictures.
          device: The device that a finished run is scored on.
          tell: A function that gets lines for the user.
        """
        super().__init__(folder.path, steps)
        self._device = device
        self.config, self.folder, self.tell = config, folder, tell
        shown = examples.shown
        self.heldout = HeldOut(model, shown.images, shown.told(model), keys[0])
        # What a state that is good always has: its first score, where enough is held out.
        self.needed_score = next(iter(self.heldout.names), None)
        self.best_of = best_metrics(config.best, self.heldout.names, config.stop_early > 0)
        self.best = Best()
        self.pictures = RunPictures(
            model,
            shown.images,
            shown.told(model),
            examples.class_names,
            folder,
            keys[1],
        )
        self.log = MetricsLog(folder.metrics)
        self._profile = Profile(folder.profile, config.profile, tell)
        self._step = 0

    def watched(self, checkpoints: Checkpoints, hooks: Sequence[Hook]) -> None:
        """Takes the checkpoints to write to, and the hooks that watch."""
        self._checkpoints, self._hooks = checkpoints, hooks

    @property
    def failed(self) -> str | None:  # type: ignore[override]
        """The word "hook" where a hook raised an exception; else None."""
        return None if self._told.error is None else "hook"

    @property
    def stops_early(self) -> bool:  # type: ignore[override]
        """Whether enough evaluations have come without a better one."""
        return 0 < self.config.stop_early <= self.best.since

    def resume(self, restored: TrainState | None) -> bool:
        """Takes up the run, and says whether it is over already."""
        first = 0 if restored is None else int(restored.step)
        self._step = first
        self.log.resume(first, self._checkpoints.segments(first), self.tell)
        if restored is not None:
            self.best = self._checkpoints.best(first)
            self.tell(f"resuming {self.folder.path} at step {first} of {self._steps}")
        over = restored is not None and (first >= self._steps or self.stops_early)
        batch_size, save_every = self.config.batch_size, self.config.save_every
        self._bar = None if over else Progress(self._steps, first, batch_size, save_every)
        watching = [self.pictures, *([] if self._bar is None else [self._bar])]
        self._told = Hooks([*watching, *self._hooks])
        return over

    def again(self, restored: TrainState | None, step: int) -> Result:
        """Makes scores and pictures anew, of a run that is over, at a step."""
        assert restored is not None
        at_first = jax.device_put(restored, self._device)
        last = self.folder.history()[-1:]
        line = {"step": int(restored.step), **(last[0] if last else {})}
        event = self._evaluated(at_first, line)
        self._told.on_evaluate(event)
        self.pictures.on_checkpoint(event)
        return self.ended(event.metrics, None)

    def started(self) -> None:
        """Is called when a chunk of steps starts, after a compiler perhaps."""
        assert self._bar is not None
        self._bar.resume()
        only = self._steps - self._step <= self.config.log_every
        self._profile.chunk_starts(self._step, only)

    def ran(self, step: int) -> None:
        """Is called when a chunk has ended: the trace may be long enough."""
        self._step = step
        self._profile.chunk_ended(step, step >= self._steps)

    def add(
        self, line: dict[str, Any], state: TrainState, *, commit: bool, planned: bool
    ) -> None:
        """Writes a line, with a checkpoint where one is due; then tells the hooks."""
        # Hooks run here alone: what they compute must not ask the devices of other hosts.
        event = Event(self._step, line, local(state))
        if commit:
            started = time.perf_counter()
            event = self._commit(state, line, planned)
            assert self._bar is not None
            self._bar.saved(time.perf_counter() - started)
        else:
            self.log.append(self.log.add(line))
        self._told.on_log(event)

    def close(self) -> None:
        """Leaves the progress bar as it is, and ends what is on its way."""
        self._profile.close()
        if self._bar is not None:
            self._bar.close()

    def ended(self, line: dict[str, Any], signal: str | None) -> Result:
        """Waits for the disk, so that nobody is told of a checkpoint that is not there."""
        self._checkpoints.close()
        done = line["step"] >= self._steps
        early = "stop-early" if self.stops_early else None if signal == "hook" else signal
        result = Result(
            self.folder.path,
            line["step"],
            self._steps,
            line,
            None if done else early,
            self.best.step or None,
        )
        self._told.on_end(result)
        if self._told.error is not None:
            raise self._told.error
        return result

    def _commit(
        self,
        state: TrainState,
        line: dict[str, Any],
        planned: bool,
    ) -> Event:
        """Writes a checkpoint with its scores and line in it; then does what follows.

        An evaluation that was not planned, as at a signal, does not count for the best: an
        unbroken run has none there.
        """
        host = finite_copy(state)
        event = self._evaluated(local(state), line)
        self._check_scores(line)
        if planned and self.best_of:
            self.best = self.best.after(line["step"], best_score(line, self.best_of))
        self._told.on_evaluate(event)
        text = self.log.add(line)
        self._checkpoints.save(host, self.log.segment(), self.best)
        self.log.append(text)
        self._told.on_checkpoint(event)
        return event

    def _check_scores(self, line: dict[str, Any]) -> None:
        """Raises NonFiniteLoss for a finite state that gives nothing finite any more."""
        name = self.needed_score
        if name is not None and not np.isfinite(line.get(name, np.nan)):
            raise NonFiniteLoss(f"{name} is not finite after step {line['step']}")

    def _evaluated(self, state: TrainState, line: dict[str, Any]) -> Event:
        """Adds held-out scores to a line; the state is on one device."""
        scores, plane = self.heldout(state.variables)
        line |= scores
        return Event(line["step"], line, state, plane)
