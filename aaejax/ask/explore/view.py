"""What the page of `sample.py RUN explore` asks of a model: codes, places, examples."""

import base64
import io
import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from aaejax.ask import sources
from aaejax.ask.question import Question
from aaejax.components.pixels import to_unit
from aaejax.data.binarize import bits
from aaejax.data.pictures.decoding import PictureFiles
from aaejax.data.reading import Reading
from aaejax.runs.reports.pictures import shortened, shown_channels
from aaejax.sampling import between
from aaejax.types import UserError

MOST_EXAMPLES = 1000  # whose codes are drawn
DRAWN = 2000  # samples that describe the prior
MOST_GROUPS = 20  # classes that have a colour and a name in the legend
# Ten colours that people tell apart; the last is of what is not known.
COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
    "#888888",
)
MOST_UPLOAD = 8 * 2**20  # bytes of a picture
Axes = tuple[int, int] | None  # two dimensions of the style; None for principal components


class View:
    """A model as it is looked at: its codes in a plane, and what is at a place there.

    Attributes:
      codes: The codes of the examples, [N, Z], float32; [0, Z] without an encoder.
      labels: The labels of the examples, [N], int, or None.
      images: The examples, [N, ...], float32.
      front: K, how many numbers of a code stand before its style: those of a class, or
        a condition.
      conditions: The conditions of the examples, [N, K], float32; None where the model has
        none.
      drawn: Samples of the prior, [M, Z], float32.
      mean: The mean of the prior's style, [Z - K].
      std: The standard deviation of the prior's style, [Z - K].
    """

    def __init__(self, question: Question):
        """Encodes the examples of the question; raises UserError where there are none."""
        self.question, self.trained = question, question.trained
        model = self.model = self.trained.model
        self.classes, self.front = model.classes, model.front
        self.size = model.latent - self.front
        self.shape, self.columns = self.trained.data.spec.shape, self.trained.columns
        key, choice_key = jax.random.split(question.key)
        self.images = np.zeros((0, *self.shape), np.float32)
        self.codes = np.zeros((0, model.latent), np.float32)
        self.labels: np.ndarray | None = None
        told = None
        if model.encodes:
            self.images, told, _ = question.some_examples(
                MOST_EXAMPLES, choice_key, in_order=True
            )
            self.codes = self.trained.encode(self.images, told)
        if model.conditions and told is None:
            told = self.trained.folder.read_heldout("explore shows some")["condition"]
        self.conditions = told if model.conditions else None
        self.labels = None if model.conditions else told
        self._draw = jax.jit(
            lambda variables, key, told: model.prior(variables, key, DRAWN, told)
        )
        every = None
        if self.conditions is not None:
            every = np.resize(self.conditions, (DRAWN, model.conditions))
        self.drawn = np.asarray(self._draw(self.trained.variables, key, every))
        style = self.drawn[:, self.front :]
        self.mean, self.std = style.mean(axis=0), np.maximum(style.std(axis=0), 1e-6)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes that can be asked for, by number."""
        names, count = self.trained.class_names, self.model.prior_classes
        named = len(names) == count and not self.question.finds_clusters
        return list(names) if named else [str(number) for number in range(count)]

    def start(self) -> np.ndarray:
        """Makes the code in the middle of the prior and the conditions: [Z], float32."""
        code = np.zeros(self.model.latent, np.float32)
        code[: self.classes] = np.eye(1, self.classes, dtype=np.float32)[0]
        if self.conditions is not None:
            code[: self.front] = self.conditions.mean(axis=0)
        code[self.front :] = self.mean
        return code

    @cached_property
    def _principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Middle [Z - K] and two directions [2, Z - K] of the codes, or of the prior."""
        style = (self.codes if len(self.codes) > 2 else self.drawn)[:, self.front :]
        middle = style.mean(axis=0)
        directions = np.linalg.svd(style - middle[None], full_matrices=False)[2][:2]
        # One dimension has one direction: all is at 0 of the other.
        return middle, np.pad(directions, [(0, 2 - len(directions)), (0, 0)])

    def _plane(self, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
        if self.size == 2:
            axes = (0, 1)
        if axes is None:
            return self._principal
        return np.zeros(self.size, np.float32), np.eye(self.size, dtype=np.float32)[[*axes]]

    def places(self, codes: np.ndarray, axes: Axes) -> np.ndarray:
        """Finds where codes [N, Z] are drawn: [N, 2]."""
        middle, directions = self._plane(axes)
        return (codes[:, self.front :] - middle[None]) @ directions.T

    def moved(self, code: np.ndarray, axes: Axes, x: float, y: float) -> np.ndarray:
        """Makes the code [Z] that is drawn at that place and is else as this one."""
        _, directions = self._plane(axes)
        away = np.array([x, y]) - self.places(code[None], axes)[0]
        changed = code.copy()
        changed[self.front :] += away.astype(np.float32) @ directions
        return changed

    def groups(self) -> list[tuple[str, np.ndarray, int]]:
        """Lists each class's name, places among the examples, and number in `COLOURS`."""
        every = np.arange(len(self.codes))
        if not len(every):
            return []
        names, labels = self.trained.class_names, self.labels
        if labels is None or len(np.unique(labels)) > MOST_GROUPS:
            return [("examples", every, 0)]
        found = []
        for number, label in enumerate(np.unique(labels)):
            known = 0 <= label < len(names)
            name = shortened(names[label]) if known else "unknown"
            found.append((name, every[labels == label], number % 10 if known else 10))
        return found

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Decodes codes [N, Z] to examples: [N, ...], float32."""
        return self.trained.decode(codes)

    def samples(
        self, n: int, seed: int, like: np.ndarray, label: int | None = None
    ) -> np.ndarray:
        """Draws codes of the prior: [n, Z], float32.

        Args:
          n: How many codes are drawn.
          seed: The seed of the draw.
          like: A code [Z], whose condition they have where the model has conditions.
          label: The class that they are of, where the prior can be asked for one.
        """
        told = None if label is None else np.full(DRAWN, label, np.int32)
        if self.conditions is not None:
            told = np.tile(like[: self.front], (DRAWN, 1))
        key = jax.random.key(seed)
        return np.asarray(self._draw(self.trained.variables, key, told))[:n]

    def line(self, first: np.ndarray, last: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Makes codes on the way from one code to another: [len(t), Z], float32."""
        points = between(first[None], last[None], t[:, None], "linear")
        return np.asarray(points, np.float32)

    def nearest(self, example: np.ndarray, n: int) -> np.ndarray:
        """Finds the training examples that are closest to one: [n, ...], float32.

        Raises:
          UserError: The run's data are not at hand, or have missing values.
        """
        from aaejax.metrics import fidelity  # SciPy: only those who ask pay for it

        training = self._training
        found = fidelity.nearest(example[None], training, min(n, len(training)))[0]
        return np.asarray(to_unit(training[found]))

    @cached_property
    def _training(self) -> np.ndarray:
        if self.trained.data.spec.missing:
            raise UserError(
                "nearest compares whole examples: the run's have missing values"
            )
        # --data may be other examples than those that it was trained on.
        question = self.question
        dataset = sources.own(self.trained, None, question.data_dir)
        return np.asarray(dataset.train_images)

    def encode_picture(self, raw: bytes, like: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads a picture file as the model takes it, [H, W, C], float32, and its code [Z].

        Args:
          raw: The bytes of the file.
          like: A code [Z], whose condition it gets where the model has conditions.

        Raises:
          UserError: The file is no picture, or too large, or the model encodes none.
        """
        if not self.model.encodes or len(self.shape) != 3:
            raise UserError("this model encodes no pictures")
        if len(raw) > MOST_UPLOAD:
            raise UserError(
                f"the picture has {len(raw) / 2**20:.1f} MiB: give one of at most "
                f"{MOST_UPLOAD // 2**20} MiB"
            )
        height, width, channels = self.shape
        run = self.trained.config.get("run", {})
        size = run.get("resize") or (str(width) if width == height else f"{width}x{height}")
        ground = run.get("background", "white")
        reading = Reading(background=ground, resize=size, grey=channels == 1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture")
            path.write_bytes(raw)
            try:
                read = PictureFiles([path], path.parent, reading, "the picture")
                pixels = read[np.array([0])]["image"]
            except UserError as error:
                said = str(error).replace(str(path), "the file")
                raise UserError(said) from error
        if pixels.shape[3] == 1 != channels:
            pixels = np.repeat(pixels, 3, axis=3)
        if pixels.shape[1:] != tuple(self.shape):
            raise UserError(f"the model reads examples of {channels} channels, no pictures")
        if self.trained.data.spec.binary:
            pixels = np.asarray(bits(pixels, 1, "the picture"))
        told = None if self.conditions is None else like[None, : self.front]
        return np.asarray(to_unit(pixels))[0], self.trained.encode(pixels, told)[0]

    @property
    def standardised(self) -> bool:
        """Whether the network has other numbers than the user's data."""
        return self.columns is not None and self.columns.standardised

    def values(self, example: np.ndarray) -> dict[str, float]:
        """Turns a vector into named values, as the user's data have them."""
        if self.columns is None:
            return {f"x{number}": float(x) for number, x in enumerate(example)}
        values = self.columns.unscaled(example[None])[0]
        return dict(zip(self.columns.features, map(float, values), strict=True))


def sampled(question: Question) -> Question:
    """Gives the question's model the density that `--sampler` asks for as its prior."""
    from aaejax.ask import samplers

    if question.sampler == "prior":
        return question
    # The density is that of the run's own training data, whatever is looked at.
    own = replace(question, data=None)
    return replace(question, trained=samplers.with_sampler(own))


def png(image: np.ndarray, most: int = 0) -> bytes:
    """Makes a PNG of an image [H, W, C], clipped to [0, 1], no side over `most` pixels."""
    pixels = np.rint(np.clip(image[..., : shown_channels(image.shape[2])], 0, 1) * 255)
    pixels = pixels.astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if most and max(picture.size) > most:
        picture.thumbnail((most, most))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def uri(image: np.ndarray, most: int = 0) -> str:
    """Makes the address of an image in a page, from its `png`."""
    return f"data:image/png;base64,{base64.b64encode(png(image, most)).decode()}"
