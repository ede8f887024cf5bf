"""A run for Weights & Biases, online or offline as its own settings say."""

from typing import Any

from aaejax.runs.hooks import Event, Hook
from aaejax.runs.reports.logs import Watched


class WeightsAndBiases(Hook):
    """Logs each line, and the pictures of each evaluation, to the project aaejax.

    Each start of a run is a run of W&B's own, in a group that is named after the folder:
    what a run before logged of later steps is not in it.
    """

    def __init__(self, watched: Watched):
        self._watched = watched
        self._run: Any = None

    def on_log(self, event: Event) -> None:
        """Logs the line, with the pictures of an evaluation."""
        import wandb  # type: ignore[import-not-found]

        if self._run is None:
            name = self._watched.folder.path.resolve().name
            self._run = wandb.init(
                project="aaejax",
                name=name,
                group=name,
                dir=str(self._watched.folder.path),
                config=self._watched.options,
            )
        found: dict[str, Any] = {k: v for k, v in event.metrics.items() if k != "step"}
        if any(name in found for name in self._watched.scores):
            pictures = self._watched.pictures()
            found |= {name: wandb.Image(str(path)) for name, path in pictures.items()}
        self._run.log(found, step=event.step)

    def on_end(self, result: Any) -> None:
        """Ends the run of W&B."""
        if self._run is not None:
            self._run.finish()
