"""A run for TensorBoard: event files by tensorboardX, codes for its projector."""

from typing import Any

import jax
import numpy as np
from PIL import Image

from aaejax import sampling
from aaejax.components.pixels import to_unit
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.on_disk.files import atomic, write_atomically
from aaejax.runs.reports.logs import Watched
from aaejax.types import printable

SHOWN = 1000  # held-out codes in the projector
MOST_SPRITE = 8192  # pixels of a side, the projector's own limit


class TensorBoard(Hook):
    """Writes RUN/tensorboard: scalars, pictures, options, and codes for the projector.

    A run that goes on marks where it does, so that TensorBoard leaves out what a run before
    wrote of later steps.
    """

    def __init__(self, watched: Watched):
        self._watched, self._folder = watched, watched.folder.tensorboard
        self._writer: Any = None
        self._end: Any = None
        self._projected = watched.model.encodes and len(watched.images) > 0
        encode = watched.model.encode
        self._encode = sampling.in_batches(lambda *given: {"codes": encode(*given)})

    def on_log(self, event: Event) -> None:
        """Writes the line of metrics."""
        self._start(event.step)
        for name, value in event.metrics.items():
            if name != "step":
                self._writer.add_scalar(name, value, event.step)

    def on_checkpoint(self, event: Event) -> None:
        """Writes the pictures, and the codes in the place of those before."""
        self._start(event.step)
        for name, path in self._watched.pictures().items():
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            self._writer.add_image(name, pixels, event.step, dataformats="HWC")
        if self._projected:
            watched = self._watched
            labels = None if watched.labels is None else watched.labels[:SHOWN]
            codes = self._encode(
                event.state.variables, watched.images[:SHOWN], labels, jax.random.key(0)
            )["codes"]
            lines = ["\t".join(f"{x:.6g}" for x in code) for code in codes]
            self._write("codes.tsv", "\n".join(lines) + "\n")
        self._writer.flush()

    def on_end(self, result: Any) -> None:
        """Ends the event files."""
        if self._writer is not None:
            self._writer.file_writer.add_summary(self._end)
            self._writer.close()

    def _start(self, step: int) -> None:
        """Opens the files at the first line, whose step says what is to be left out."""
        if self._writer is not None:
            return
        from tensorboardX import SummaryWriter  # type: ignore[import-not-found]
        from tensorboardX.summary import hparams  # type: ignore[import-not-found]

        self._writer = SummaryWriter(str(self._folder), purge_step=step)
        scores = dict.fromkeys(self._watched.scores, 0.0)
        *start, self._end = hparams(self._watched.options, scores)
        for each in start:
            self._writer.file_writer.add_summary(each)
        if self._projected:
            self._write_examples()

    def _write_examples(self) -> None:
        """What the projector shows at a code: its label and its picture."""
        watched = self._watched
        config = '  tensor_name: "codes"\n  tensor_path: "codes.tsv"\n'
        if watched.labels is not None and not watched.model.conditions:
            known = dict(enumerate(watched.class_names))
            names = [known.get(int(y), str(y)) for y in watched.labels[:SHOWN]]
            self._write("labels.tsv", "\n".join(map(printable, names)) + "\n")
            config += '  metadata_path: "labels.tsv"\n'
        images = to_unit(np.asarray(watched.images[:SHOWN]))
        side = int(np.ceil(np.sqrt(len(images))))
        if images.ndim == 4 and side * max(images.shape[1:3]) <= MOST_SPRITE:
            with atomic(self._folder / "sprite.png") as file:
                Image.fromarray(_sheet(np.asarray(images), side)).save(file, "PNG")
            height, width = images.shape[1:3]
            config += (
                '  sprite {\n    image_path: "sprite.png"\n'
                f"    single_image_dim: {width}\n    single_image_dim: {height}\n  }}\n"
            )
        self._write("projector_config.pbtxt", f"embeddings {{\n{config}}}\n")

    def _write(self, name: str, text: str) -> None:
        write_atomically(self._folder / name, text.encode())


def _sheet(images: np.ndarray, side: int) -> np.ndarray:
    """Images [N, H, W, C] in [0, 1] without borders: uint8 [side * H, side * W, 3]."""
    n, height, width, channels = images.shape
    sheet = np.ones((side * side, height, width, 3), np.float32)
    sheet[:n] = images[..., [0, 1, 2] if channels >= 3 else [0, 0, 0]]
    rows = sheet.reshape(side, side, height, width, 3).swapaxes(1, 2)
    return np.rint(rows.reshape(side * height, side * width, 3) * 255).astype(np.uint8)
