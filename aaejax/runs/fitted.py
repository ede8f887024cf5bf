"""A model that was trained on arrays, as one value: its programs, and its bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from aaejax import models
from aaejax.metrics.mixtures import Mixture, floored
from aaejax.metrics.outliers import Measures, Scales
from aaejax.models._optimizers import Optimizer
from aaejax.runs.arrays import ArrayTrainer
from aaejax.runs.on_disk.config_json import (
    FORMAT,
    model_name,
    model_options_json,
    saved_model,
)
from aaejax.runs.on_disk.exported import flat, in_places
from aaejax.runs.on_disk.tensors_file import tensor_bytes, tensors_of
from aaejax.sampling import each_alone, in_batches
from aaejax.types import DataSpec, UserError, Variables

BATCH = 256  # examples that are asked about at once
KEPT = 16  # recipes whose compiled programs are kept


@dataclass(frozen=True)
class Recipe:
    """All that decides a training but for its data and its seed.

    Attributes:
      options: The options of a model, as `aaejax.models.options` has them.
      shape: The shape of an example.
      unit_range: Whether all values of the training data lie in [0, 1].
      steps: The number of steps of the training.
      batch_size: The number of examples in a batch.
    """

    options: Any
    shape: tuple[int, ...]
    unit_range: bool
    steps: int
    batch_size: int

    def json(self) -> dict[str, Any]:
        """The recipe as JSON, which `recipe_of` reads."""
        return {
            "format": FORMAT,
            "model": model_name(self.options),
            "options": model_options_json(self.options),
            "shape": list(self.shape),
            "unit_range": self.unit_range,
            "steps": self.steps,
            "batch_size": self.batch_size,
        }


def recipe_of(saved: dict[str, Any]) -> Recipe:
    """Reads a recipe from JSON.

    Raises:
      UserError: It has options that this aaejax does not know.
      KeyError, TypeError, ValueError: It is no recipe.
    """
    return Recipe(
        saved_model(saved),
        tuple(map(int, saved["shape"])),
        bool(saved["unit_range"]),
        int(saved["steps"]),
        int(saved["batch_size"]),
    )


def options_of(model: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Makes the options of a model.

    Args:
      model: The name of the model.
      defaults: The default values by name; those that the model has not are left out.
      given: The values by name that go before the defaults; that of an optimizer may be a
        mapping of its own options.

    Raises:
      UserError: The model, or an optimizer, does not have an option, or a value is wrong.
    """
    cls = models.options(model)
    known = {each.name for each in fields(cls) if each.init}
    chosen = {name: value for name, value in defaults.items() if name in known}
    for name, value in given.items():
        if name not in known:
            raise UserError(
                f"options have {name!r}, which {model} has not: it has "
                f"{', '.join(sorted(known))}"
            )
        is_optimizer = name.endswith("_optimizer") and isinstance(value, Mapping)
        chosen[name] = _optimizer(name, value) if is_optimizer else value
    return cls(**chosen)


def _optimizer(name: str, values: Mapping[str, Any]) -> Optimizer:
    known = [each.name for each in fields(Optimizer)]
    for key in values:
        if key not in known:
            raise UserError(
                f"options have {name}.{key}: an optimizer has {', '.join(known)}"
            )
    return Optimizer(**values)


class Programs:
    """The model of a recipe, and what it does, each compiled when it is first needed."""

    def __init__(self, recipe: Recipe):
        """Builds the model.

        Raises:
          UserError: The options don't fit the data, or the model has no encoder.
        """
        spec = DataSpec(recipe.shape, 0, recipe.unit_range)
        model = self.model = recipe.options.build(spec, recipe.steps)
        # Filled: of an example the same comes out whatever stands beside it.
        self.measures = Measures(model, BATCH, filled=True)
        self.train = ArrayTrainer(model, recipe.steps, recipe.batch_size)
        encode = each_alone(model.encode)
        self.encode = in_batches(
            lambda variables, x, key, _: {"found": encode(variables, x, key, None)},
            BATCH,
            filled=True,
        )
        # Each with noise of its own: together they are like q(z) over the data.
        self.draw = in_batches(
            lambda variables, x, key, _: {"found": model.encode(variables, x, key)}, BATCH
        )
        self.decode = in_batches(
            lambda variables, codes, key, _: {"found": model.decode(variables, codes)},
            BATCH,
            filled=True,
        )


programs = lru_cache(maxsize=KEPT)(Programs)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model that was trained on arrays.

    Attributes:
      recipe: The recipe of the training.
      variables: The variables of the networks, on the host.
      mean: The value that is subtracted from each feature, float64 [F].
      std: The value that each feature is then divided by, float64 [F].
      scales: The median and spread of each part of a score on the training data.
      mixture: The mixture that the codes of the training data are like, where the latent
        part of a score is by it; None where that is by the prior.
    """

    recipe: Recipe
    variables: Variables = field(repr=False)
    mean: np.ndarray = field(repr=False)
    std: np.ndarray = field(repr=False)
    scales: Scales = field(default_factory=dict)
    mixture: Mixture | None = field(default=None, repr=False)

    @property
    def programs(self) -> Programs:
        """The programs of the recipe."""
        return programs(self.recipe)

    def scaled(self, rows: np.ndarray) -> np.ndarray:
        """Turns rows [N, F] of the user into examples [N, ...] of the model, float32."""
        x = ((rows - self.mean) / self.std).astype(np.float32)
        return x.reshape(len(x), *self.recipe.shape)

    def unscaled(self, examples: np.ndarray) -> np.ndarray:
        """Turns examples [N, ...] of the model into rows [N, F] of the user, float64."""
        return examples.reshape(len(examples), -1) * self.std + self.mean

    def measured(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The parts of the score of rows [N, F] by name, each float32 [N]."""
        measured = self.programs.measures.of(self.variables, mixture=self.mixture)
        return measured(self.scaled(rows), None)

    def encoded(self, rows: np.ndarray) -> np.ndarray:
        """The codes of rows [N, F]: float32 [N, Z]. All have the same noise, if any."""
        return self._asked(self.programs.encode, self.scaled(rows))

    def drawn(self, rows: np.ndarray) -> np.ndarray:
        """Codes drawn for rows [N, F], each by noise of its own: float32 [N, Z]."""
        return self._asked(self.programs.draw, self.scaled(rows))

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """The rows that codes [N, Z] decode to: float64 [N, F]."""
        return self.unscaled(self._asked(self.programs.decode, codes))

    def _asked(self, program: Any, given: np.ndarray) -> np.ndarray:
        return program(self.variables, given, None, jax.random.key(0))["found"]

    def to_bytes(self) -> bytes:
        """The model as the bytes of a safetensors file."""
        about = {"recipe": self.recipe.json(), "scales": self.scales}
        scaling = {"mean": self.mean, "std": self.std}
        named = {f"model/{name}": array for name, array in flat(self.variables).items()}
        mixture = {} if self.mixture is None else self.mixture._asdict()
        density = {f"mixture/{name}": array for name, array in mixture.items()}
        about = {"aaejax": json.dumps(about)}
        return tensor_bytes({**named, **scaling, **density}, about)


def fitted_of(raw: bytes) -> Fitted:
    """Reads what `Fitted.to_bytes` made.

    Raises:
      UserError: The bytes are no such model, or that of another aaejax.
    """
    try:
        tensors, metadata = tensors_of(raw)
        about: Mapping[str, Any] = json.loads(metadata["aaejax"])
        recipe = recipe_of(about["recipe"])
        mean, std = tensors.pop("mean"), tensors.pop("std")
        density = {k: tensors.pop(k) for k in list(tensors) if k.startswith("mixture/")}
        weights = {name.removeprefix("model/"): array for name, array in tensors.items()}
        like = jax.eval_shape(programs(recipe).model.init, jax.random.key(0))
        variables = in_places(weights, like)
        mixture = None
        if density:
            mixture = floored(Mixture(*(density[f"mixture/{n}"] for n in Mixture._fields)))
        scales = {name: (float(a), float(b)) for name, (a, b) in about["scales"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"what was pickled can't be used ({said}): load it with the aaejax that wrote "
            "it, or fit again"
        ) from error
    return Fitted(recipe, variables, mean, std, scales, mixture)
