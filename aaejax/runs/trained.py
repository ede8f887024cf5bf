"""A model with the parameters of one checkpoint, and what it answers in NumPy."""

import base64
import html
import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import numpy as np

from aaejax import sampling
from aaejax.components.checks import check_seed
from aaejax.data import memory
from aaejax.data.beside import check_beside
from aaejax.data.checks import check_images
from aaejax.data.lazy import Images, Rows
from aaejax.data.tabular import tables
from aaejax.data.tabular.columns import Columns
from aaejax.data.tabular.table_files import FrameTable
from aaejax.metrics.outliers import Outliers
from aaejax.runs.on_disk.folder import RunFolder
from aaejax.runs.on_disk.run_data import MOST_CLASSES, RunData, run_data
from aaejax.runs.reports import pictures
from aaejax.types import Model, UserError, Variables

SHOWN = 10  # samples in a notebook


@dataclass(frozen=True, repr=False)
class Trained:
    """A model with the parameters of one checkpoint."""

    model: Model
    variables: Variables
    step: int
    folder: RunFolder
    config: dict[str, Any]  # config.json; {} of networks that come from no run folder
    best: int | None = None  # the step of the run's best evaluation, where that is known
    weights: Literal["last", "ema"] = "last"  # of that step, or a moving average up to it

    def __repr__(self) -> str:
        """One line: what it is, without its parameters."""
        name, classes = self.config.get("model", "a model"), self.model.prior_classes
        kinds = f", {classes} classes" if classes else ""
        return (
            f"<{name} of {self.folder.path} at step {self.step}: "
            f"codes of {self.model.latent}{kinds}>"
        )

    @property
    def history(self) -> list[dict[str, Any]]:
        """The lines of the run's metrics.jsonl, those after this step too."""
        return self.folder.history()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the run's data, by number; () where it has none."""
        return self.data.class_names if self.config else ()

    @property
    def columns(self) -> Columns | None:
        """The columns of the table that the run was trained on; None where it was none."""
        return self.data.columns if self.config else None

    @cached_property
    def data(self) -> RunData:
        """The record of the run's data.

        Raises:
          UserError: The file config.json has no such record, or one that can't be.
        """
        try:
            return run_data(self.config["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.folder.config} is not one that this aaejax wrote "
                f"(data: {error!r}): use the aaejax that wrote it"
            ) from error

    def sample(
        self, n: int, seed: int = 0, labels: np.ndarray | int | None = None
    ) -> np.ndarray:
        """Decodes n samples of the prior.

        Args:
          n: How many samples.
          seed: A seed, 0 to 2^32 - 1; the same gives the same.
          labels: The class numbers [n], or one for all, where the prior can be asked for
            one; -1 for any class. Of a model with conditions these, [n, C], or one [C] for
            all; by default those of the held-out examples in the run folder, in turn.

        Returns:
          The samples, float32 [n, ...], images in [0, 1].

        Raises:
          UserError: The number is negative, or more than the free memory holds; the seed is
            out of range; or the prior has not such a class.
        """
        if n < 0:
            raise UserError(f"{n} samples: ask for 0 or more")
        self.check_room(n)
        classes = self.model.prior_classes
        if self.model.conditions:
            if labels is None:
                kept = self.folder.read_heldout("labels= gives one")["condition"]
                labels = kept[np.arange(n) % len(kept)]
            given = np.asarray(labels)
            whole = np.broadcast_to(given, (n, *given.shape)) if given.ndim == 1 else given
            labels = self._conditions(whole, n)
        elif labels is not None:
            if not classes:
                raise UserError("samples of this model can't be asked for by class")
            labels = _labels(np.broadcast_to(labels, n), n, classes)
        # The function makes codes of its own: what is given says how many.
        return self._asked("sample", np.zeros((n, 1), np.float32), labels, seed)

    def encode(self, x: Any, labels: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
        """Encodes examples.

        Args:
          x: The examples, [N, ...], as `Dataset.train_images` were: uint8, or float on
            their scale. Or, where the run was trained on a table, a data frame with its
            columns.
          labels: The class numbers [N], -1 where unknown, for models whose code has the
            label; of a model with conditions these, [N, C].
          seed: The seed of the noise of q(z|x), where it has any.

        Returns:
          The codes, float32 [N, Z].

        Raises:
          UserError: There is no encoder, or the examples have another shape or scale.
        """
        return self._asked("encode", self.checked(x), self._known(labels, x), seed)

    def decode(self, z: Any) -> np.ndarray:
        """Decodes codes [N, Z] to examples: float32 [N, ...].

        Raises:
          UserError: The codes are of another size.
        """
        codes = np.asarray(z, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.model.latent:
            raise UserError(
                f"codes have shape {codes.shape}: this model's are [N, {self.model.latent}]"
            )
        return self._asked("decode", codes, None, 0)

    def reconstruct(
        self, x: Any, labels: np.ndarray | None = None, seed: int = 0
    ) -> np.ndarray:
        """Encodes and decodes examples: float32 [N, ...]; arguments are as of `encode`."""
        return self._asked("reconstruct", self.checked(x), self._known(labels, x), seed)

    def table(self, x: Any) -> dict[str, np.ndarray]:
        """Turns examples into columns, as of the table that the run was trained on.

        Args:
          x: The examples, [N, features], as from `sample`, `decode` or `reconstruct`.

        Returns:
          The columns by name, [N] each: numbers in their own units, and texts.

        Raises:
          UserError: The run was trained on no table.
        """
        columns = self.columns
        if columns is None:
            raise UserError(
                "this run was trained on no table: its examples have no columns"
            )
        return columns.table(columns.unscaled(np.asarray(x)))

    def score(self, x: Any, labels: np.ndarray | None = None) -> np.ndarray:
        """Scores how unlike the training data examples are: float32 [N], higher is more so.

        It is the "score" of `Outliers`, calibrated on the held-out examples of the run
        folder; arguments are as of `encode`.
        """
        return self.outliers(self.checked(x), self._known(labels, x))["score"]

    @cached_property
    def outliers(self) -> Outliers:
        """Scores examples for being unlike the held-out ones of the run folder.

        Raises:
          UserError: The model has no encoder, or the run has no held-out examples.
        """
        kept = self.folder.read_heldout()
        told = self.model.told(kept.get("labels"), kept.get("condition"))
        return Outliers(self.model, self.variables, kept["images"], told)

    def checked(self, x: Any, what: str = "the examples") -> Images:
        """The examples as the model takes them, uint8 or float32 [N, ...].

        Raises:
          UserError: They have another shape or scale than what the run was trained on.
        """
        if isinstance(x, Rows) and self.config:  # they are checked when they are read
            self.data.check_shape(what, x.shape[1:])
            self.data.check_scale(what, x)
            return x
        columns = self.columns
        if columns is not None and hasattr(x, "columns"):  # a data frame
            frame = tables.read(FrameTable(x, what), columns=columns)
            x = columns.scaled(frame["train_images"])
        given = np.asarray(x)
        if not self.config:
            return given
        if given.shape == (0, *self.data.spec.shape):
            return given.astype(np.float32)
        images = check_images(given, what, self.data.spec.missing)
        self.data.check_shape(what, images.shape[1:])
        self.data.check_scale(what, images)
        return images

    def check_room(self, n: int) -> None:
        """Raises UserError where n made examples need more memory than is free."""
        # Batches of them are put together: for a moment they are there twice.
        memory.check(2 * int(n) * self._example_bytes, f"{n:,} examples, twice,")

    @cached_property
    def _example_bytes(self) -> int:
        code = jax.ShapeDtypeStruct((1, self.model.latent), np.float32)
        made = jax.eval_shape(self.model.decode, self.variables, code)
        return made.size * made.dtype.itemsize

    def _known(self, labels: np.ndarray | None, x: Any) -> np.ndarray | None:
        if self.model.conditions:
            return self._conditions(labels, len(x))
        return None if labels is None else _labels(labels, len(x), self._most_classes)

    def _conditions(self, given: Any, n: int) -> np.ndarray:
        """The conditions as float32 [n, C]; raises UserError for others."""
        wanted = self.model.conditions
        found = check_beside(given, None, n, "the examples:").condition
        if found is None or found.shape[1] != wanted:
            there = "none" if found is None else f"one of {found.shape[1]}"
            raise UserError(
                f"the model reads a condition of {wanted} numbers, and is given {there}: "
                f"give [{n}, {wanted}] as labels"
            )
        return found

    @property
    def _most_classes(self) -> int:
        return self.data.spec.classes if self.config else MOST_CLASSES

    def _asked(
        self, name: str, given: Images, labels: np.ndarray | None, seed: int
    ) -> np.ndarray:
        check_seed(seed)
        ask = self._programs[name]
        return ask(self.variables, given, labels, jax.random.key(seed))["found"]

    @cached_property
    def _programs(self) -> dict[str, Any]:
        """The functions that can be asked, compiled once for each length of a batch."""
        model = self.model
        functions = {
            "sample": lambda variables, x, key, labels: sampling.samples(
                model, variables, key, len(x), labels
            ),
            "encode": model.encode,
            "decode": lambda variables, x, key, labels: model.decode(variables, x),
            "reconstruct": lambda variables, x, key, labels: sampling.reconstructions(
                model, variables, x, key, labels
            ),
        }
        return {
            name: sampling.in_batches(lambda *given, f=f: {"found": f(*given)})
            for name, f in functions.items()
        }

    def _repr_png_(self) -> bytes | None:
        """A row of samples, in a notebook; None of vectors."""
        if self.config and len(self.data.spec.shape) != 3:
            return None
        samples = self.sample(SHOWN)
        if samples.ndim != 4:
            return None
        file = io.BytesIO()
        pictures.write_grid(file, samples, SHOWN)
        return file.getvalue()

    def _repr_html_(self) -> str:
        """What it is, over a row of samples."""
        text = f"<code>{html.escape(repr(self))}</code>"
        png = self._repr_png_()
        if png is None:
            return text
        data = base64.b64encode(png).decode()
        return f'{text}<br><img alt="samples" src="data:image/png;base64,{data}">'


def _labels(labels: Any, n: int, classes: int) -> np.ndarray:
    """Class numbers int32 [n]; raises UserError for others than -1 ... classes - 1."""
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise UserError(
            f"labels are {given.dtype}{list(given.shape)}: give class numbers, int [{n}]"
        )
    if n and not (given.min() >= -1 and given.max() < classes):
        raise UserError(
            f"labels go from {given.min()} to {given.max()}: they must be in "
            f"-1 ... {classes - 1}"
        )
    return given.astype(np.int32)
