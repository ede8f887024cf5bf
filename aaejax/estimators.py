"""The scikit-learn face: estimators that train an autoencoder on the rows of a table.

They have scikit-learn's words and manners, and work in its pipelines and searches. A seed
is the training that train.py makes of it, and with `density="prior"` the scores are those
of `sample.py RUN scores`. A pickle has the parameters of the estimator as plain values, and
what was trained as the bytes of a safetensors file with JSON in it: no code.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from aaejax import models
from aaejax.data.tabular.columns import moments
from aaejax.metrics import mixtures
from aaejax.metrics.outliers import combined, scales
from aaejax.models._optimizers import Optimizer
from aaejax.runs.fitted import Fitted, Recipe, fitted_of, options_of, programs
from aaejax.types import UserError

# Of an aae, as the figures of docs/using.md were measured.
AAE = {
    "reconstruction_optimizer": Optimizer(learning_rate=1e-3, schedule="cosine"),
    **dict.fromkeys(
        ("discriminator_optimizer", "generator_optimizer"),
        Optimizer(learning_rate=3e-4, momentum=0.5, schedule="cosine"),
    ),
}
ROWS = 50  # for each number of a mixture's mean, to fit one
FLOATS = [np.float64, np.float32]
ROUNDED = 1e-6  # how far MinMaxScaler may leave [0, 1]


class _Autoencoder(BaseEstimator):
    """What both estimators share: the training, the checks, and the pickle."""

    _most_latent = 8  # where none is asked for

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "latent": [Interval(Integral, 1, None, closed="left"), None],
        "model": [StrOptions(set(models.NAMES))],
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 0, None, closed="left")],
        "options": [dict, None],
        "shape": [tuple, list, None],
        "standardise": ["boolean", StrOptions({"auto"})],
        "steps": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        latent: int | None = None,
        *,
        model: str = "aae",
        width: int = 256,
        depth: int = 2,
        options: Mapping[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        standardise: bool | Literal["auto"] = "auto",
        steps: int = 1000,
        batch_size: int = 100,
        random_state: Any = None,
    ):
        self.latent, self.model, self.width, self.depth = latent, model, width, depth
        self.options, self.shape, self.standardise = options, shape, standardise
        self.steps, self.batch_size, self.random_state = steps, batch_size, random_state

    def _train(self, X: Any) -> tuple[Fitted, np.ndarray]:
        """What was trained on X, and X as rows of floats [N, F]."""
        self._validate_params()
        rows: Any = validate_data(self, X, dtype=FLOATS, ensure_min_samples=2)
        shape = self._shape(rows)
        unit = bool(rows.min() >= -ROUNDED and rows.max() <= 1 + ROUNDED)
        standardise = self.standardise
        if standardise == "auto":
            standardise = not unit and self.shape is None
        mean, std = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
        if standardise:
            mean, std = moments(iter([rows]), rows.shape[1])
        unit = unit and not standardise
        if self.shape is not None and not unit:
            raise UserError(
                "pictures have values in [0, 1]: divide X by its largest possible value, "
                "and leave out standardise"
            )
        recipe = Recipe(
            self._options(rows.shape[1], unit), shape, unit, self.steps, self.batch_size
        )
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31)
        fitted = Fitted(recipe, {}, mean, std)
        # Few rows are there several times, so that they fill a batch.
        x = fitted.scaled(rows)
        x = np.tile(x, (-(-self.batch_size // len(x)), *[1] * len(shape)))
        return Fitted(recipe, programs(recipe).train(x, int(seed)), mean, std), rows

    def _shape(self, rows: np.ndarray) -> tuple[int, ...]:
        """The shape of one example, as the model sees it."""
        features = rows.shape[1]
        if self.shape is None:
            return (features,)
        shape = tuple(self.shape)
        if len(shape) != 3 or math.prod(shape) != features:
            raise UserError(
                f"shape is {list(shape)}, X has {features} features: give [height, width, "
                "channels] of as many pixels, or leave it out"
            )
        return shape

    def _options(self, features: int, unit: bool) -> Any:
        """The options of the model, for so many features."""
        defaults = {
            "latent": self.latent or max(1, min(self._most_latent, features // 2)),
            "width": self.width,
            "depth": self.depth,
            "output": "sigmoid" if unit else "linear",
            "reconstruction": "squared-error",
        }
        if self.model == "aae":
            defaults |= AAE
        return options_of(self.model, defaults, self.options or {})

    def _checked(self, X: Any) -> np.ndarray:
        """X as rows [N, F] like those that it was trained on."""
        check_is_fitted(self)
        rows: Any = validate_data(self, X, dtype=FLOATS, reset=False)
        return rows

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, plain values, and a safetensors file of what was trained."""
        plain: Any = super().__getstate__()
        state = dict(plain)
        if "fitted_" in state:
            state["fitted_"] = state["fitted_"].to_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "fitted_" in state:
            state = {**state, "fitted_": fitted_of(state["fitted_"])}
        super().__setstate__(state)


class AAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, _Autoencoder):
    """Encodes rows, and decodes codes.

    Parameters:
      latent: The size of the code; by default half of the features, at most 8.
      model: The name of any model of `train.py` that has an encoder and needs no labels.
      width: The number of units of a hidden layer.
      depth: The number of hidden layers.
      options: More options of the model by name, as {"prior": "mixture"}; of an optimizer
        {"reconstruction_optimizer": {"learning_rate": 1e-4}}.
      shape: The [height, width, channels] of a row where rows are pictures in [0, 1] and
        networks are to see them as such, with {"network": "conv"} among the options.
      standardise: Whether features get mean 0 and standard deviation 1; by default ("auto")
        unless all values are in [0, 1], as those of pictures.
      steps: The number of steps of the training.
      batch_size: The number of rows in a step.
      random_state: The seed.

    Attributes:
      fitted_: What was trained.
      n_features_in_: The number of features of a row.
      feature_names_in_: The names of the features, where X had some.
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on rows [N, F]; y is not read."""
        self.fitted_, _ = self._train(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encodes rows [N, F] to codes, float32 [N, Z]."""
        rows = self._checked(X)
        return self.fitted_.encoded(rows)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decodes codes [N, Z] to rows, float64 [N, F].

        Raises:
          UserError: The codes are of another size.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype="float32")
        size = self._n_features_out
        if codes.shape[1] != size:
            raise UserError(f"codes have {codes.shape[1]} features: this one's have {size}")
        return self.fitted_.decoded(codes)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean reconstruction loss of rows [N, F], negated: higher is better."""
        rows = self._checked(X)
        return -float(self.fitted_.measured(rows)["reconstruction"].mean())

    @property
    def _n_features_out(self) -> int:
        return self.fitted_.programs.model.latent

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # type: ignore[union-attr]
        return tags


class AAEDetector(OutlierMixin, _Autoencoder):
    """Finds rows that are unlike those that it was trained on.

    The score of a row is the mean of how badly it is reconstructed and of how unlikely its
    code is, each in standard deviations from the median of the training rows. As of
    scikit-learn's other detectors the threshold is one of the training rows.

    What is unlike often has a code in the middle of the prior. So the codes are those of a
    density of the training codes, a mixture of Gaussians, where there are rows enough.

    Parameters:
      latent: The size of the code; by default half of the features, at most 16.
      model, width, depth, options, shape, standardise, steps, batch_size, random_state: The
        parameters of `AAETransformer` of these names.
      contamination: The share of the training rows that are outliers, in (0, 0.5].
      density: The density under which a code is unlikely: "codes", a mixture fitted to the
        training codes; "prior"; or "auto", the mixture where there are 50 rows or more for
        each dimension of the code and one.

    Attributes:
      fitted_: What was trained.
      offset_: The score that is the threshold.
      n_features_in_: The number of features of a row.
      feature_names_in_: The names of the features, where X had some.
    """

    _most_latent = 16

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle that is older than the choice was made with the prior's.
        super().__setstate__({"density": "prior", **state})

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Autoencoder._parameter_constraints,
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
        "density": [StrOptions({"auto", "codes", "prior"})],
    }

    def __init__(
        self,
        latent: int | None = None,
        *,
        model: str = "aae",
        width: int = 256,
        depth: int = 2,
        options: Mapping[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        standardise: bool | Literal["auto"] = "auto",
        steps: int = 1000,
        batch_size: int = 100,
        contamination: float = 0.05,
        density: Literal["auto", "codes", "prior"] = "auto",
        random_state: Any = None,
    ):
        super().__init__(
            latent,
            model=model,
            width=width,
            depth=depth,
            options=options,
            shape=shape,
            standardise=standardise,
            steps=steps,
            batch_size=batch_size,
            random_state=random_state,
        )
        self.contamination, self.density = contamination, density

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on rows [N, F]; y is not read."""
        fitted, rows = self._train(X)
        size = fitted.programs.model.latent
        enough = len(rows) >= ROWS * (size + 1)
        if self.density == "codes" or (self.density == "auto" and enough):
            fitted = replace(fitted, mixture=mixtures.fit(fitted.drawn(rows)))
        found = fitted.measured(rows)
        self.fitted_ = replace(fitted, scales=scales(found))
        normal = -combined(found, self.fitted_.scales).astype(np.float64)
        self.offset_ = float(np.quantile(normal, self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """How like the training rows are rows [N, F]: float64 [N], lower is more unlike.

        With the density "prior" it is the score of `sample.py RUN scores`, negated,
        calibrated on training rows.
        """
        rows = self._checked(X)
        found = self.fitted_.measured(rows)
        return -combined(found, self.fitted_.scales).astype(np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less the threshold: float64 [N], below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Gives -1 for outliers and 1 for others, int [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
