"""What a kind is asked, and the examples that it is asked about."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from aaejax import sampling
from aaejax.ask import sources
from aaejax.ask.labels import class_number, listed
from aaejax.ask.sources import DATA_DIR, Examples
from aaejax.components.checks import check_seed, check_words
from aaejax.components.pixels import to_unit
from aaejax.runs.trained import Trained
from aaejax.types import LABELLED, Key, UserError

Sampler = Literal["prior", "gaussian", "gmm"]


@dataclass(frozen=True)
class Question:
    """What a kind is asked; each field after the first two is an option of `sample.py`.

    Raises:
      UserError: A word is none of those allowed, the count is below 1, or the seed is out
        of range.
    """

    trained: Trained
    tell: Callable[[str], None] = print
    _: KW_ONLY
    count: int = 100
    seed: int = 0
    data_dir: Path = DATA_DIR
    data: str | Path | None = None
    label: str | int | None = None
    pick: tuple[int, ...] = ()
    path: sampling.Path = "linear"
    plus: str | int | Path | None = None
    minus: str | int | Path | None = None
    contamination: float = 0.05
    sampler: Sampler = "prior"
    rows: int | None = None
    condition: tuple[float, ...] = ()

    def __post_init__(self):
        check_words(self)
        check_seed(self.seed)
        if self.count < 1:
            raise UserError(f"a count of {self.count}: it must be at least 1")

    @property
    def key(self) -> Key:
        """The key of all noise, and of the choice of examples."""
        return jax.random.key(self.seed)

    @property
    def finds_clusters(self) -> bool:
        """Whether the model's classes are clusters, which no label named."""
        model = self.trained.model
        return model.classify is not None and LABELLED not in model.reads

    def label_number(self) -> int | None:
        """Finds the class that samples are asked for, in the numbering of the model.

        Raises:
          UserError: The model can't be asked for a class, or has no such class.
        """
        classes = self.trained.model.prior_classes
        if self.label is None:
            return None
        if not classes:
            raise UserError(
                "samples of this model can't be asked for by --label: "
                "take a conditional model, as supervised"
            )
        if self.finds_clusters or not self.trained.class_names:
            text = str(self.label)
            if text.isdecimal() and int(text) < classes:
                return int(text)
            raise UserError(
                f"--label {listed([text])}: give the number of a cluster, "
                f"0 to {classes - 1}"
            )
        return class_number(self.trained.class_names, self.label)

    def told(self) -> np.ndarray | None:
        """Makes what samples are asked for: labels [count] or conditions [count, C].

        Conditions that are not given are those of the run's held-out examples, in turn.

        Raises:
          UserError: The model can't be asked for a label or a condition, or not for this
            one.
        """
        size = self.trained.model.conditions
        if not size and self.condition:
            raise UserError(
                "samples of this model can't be asked for by --condition: it was trained "
                "without one"
            )
        if size and self.label is not None:
            raise UserError(
                "samples of this model can't be asked for by --label: it reads a "
                "condition, give --condition"
            )
        if not size:
            label = self.label_number()
            return None if label is None else np.full(self.count, label, np.int32)
        if self.condition and len(self.condition) != size:
            raise UserError(
                f"--condition of {len(self.condition)} numbers: the run's has {size}"
            )
        if self.condition:
            with np.errstate(over="ignore"):
                given = np.array([self.condition], np.float32)
            if not np.isfinite(given).all():
                raise UserError(
                    f"--condition {' '.join(map(str, self.condition))}: give finite numbers"
                )
        else:
            given = self.trained.folder.read_heldout("--condition gives one")["condition"]
        return given[np.arange(self.count) % len(given)]

    def parts(self) -> list[Examples]:
        """Reads the parts of the user's data, or of the run's own as it was split."""
        if self.data is not None:
            return sources.given(self.trained, self.data, self.data_dir)
        dataset = sources.own(self.trained, None, self.data_dir)
        names = self.trained.class_names
        return [
            Examples(images, labels, names, beside)
            for images, labels, beside in dataset.parts
        ]

    def examples(self) -> Examples:
        """Reads the run's held-out examples, or all of the user's."""
        if self.data is not None:
            return sources.together(self.parts())
        kept = sources.heldout(self.trained)
        if not len(kept.images):
            raise UserError("this run has no held-out examples: give some with --data")
        return kept

    def some_examples(
        self, most: int, key: Key, in_order: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Chooses some of the examples, picked by the user or drawn by the key.

        Args:
          most: How many examples are drawn, at most; those picked are all taken.
          key: A PRNG key, which is consumed.
          in_order: Whether those that are drawn come in the order of the data.

        Returns:
          The images, [n, ...], float32; the labels, [n], or None, or the conditions,
          [n, C], where the model has them; and the numbers of the examples, [n].
        """
        examples = self.examples()
        n = len(examples.images)
        if any(not 0 <= number < n for number in self.pick):
            raise UserError(f"--pick {self.pick}: there are examples 0 to {n - 1}")
        drawn = np.asarray(jax.random.permutation(key, n))[:most]
        if in_order:
            drawn = np.sort(drawn)
        numbers = np.array(self.pick, int) if self.pick else drawn
        chosen = examples[numbers]
        told = chosen.told(self.trained.model)
        return np.asarray(to_unit(np.asarray(chosen.images))), told, numbers

    def mean_code(self, asked: str | int | Path, key: Key) -> np.ndarray:
        """Computes the mean code [Z] of the examples of a class, or of the user's data.

        A class is given by its name or number, and goes before data of that name; "./cat"
        and a `Path` are paths at any rate.
        """
        is_path = isinstance(asked, Path)
        of_class = None if is_path else self._of_class(str(asked))
        examples = of_class or self._of_data(asked if is_path else str(asked))
        encode = self.trained.model.encode
        ask = sampling.in_batches(lambda *given: {"z": encode(*given)})
        variables, told = self.trained.variables, examples.told(self.trained.model)
        return ask(variables, examples.images, told, key)["z"].mean(axis=0)

    def _of_class(self, name: str) -> Examples | None:
        """Finds the examples of a class; None where the name can be that of none."""
        examples = self.examples()
        known = examples.class_names
        if name not in known and not name.isdecimal():
            return None
        if examples.labels is None or not known:
            raise UserError(f"no example has the label {name}: these have no labels")
        number = class_number(known, name)
        members = np.flatnonzero(examples.labels == number)
        if not len(members):
            raise UserError(
                f"no example has the label {listed([name])}: give another, or a file"
            )
        if Path(name).exists():
            self.tell(
                f"{listed([name])} is taken as the class of that name, not as the file or "
                f"folder: write {listed([f'./{name}'])} for that"
            )
        return examples[members]

    def _of_data(self, name: str | Path) -> Examples:
        try:
            return sources.together(sources.given(self.trained, name, self.data_dir))
        except UserError as error:
            names = self.trained.class_names
            classes = f" (classes: {listed(names)})" if names else ""
            raise UserError(
                f"no class is called {listed([str(name)])}{classes}, and as data: {error}"
            ) from error

    def run(self, function: Callable, *arguments: Any) -> np.ndarray:
        """Runs `function(model, variables, *arguments)` as one program."""
        model = self.trained.model
        jitted = jax.jit(lambda *arguments: function(model, *arguments))
        return np.asarray(jitted(self.trained.variables, *arguments))
