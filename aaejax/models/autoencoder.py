"""The plain autoencoder: reconstruction, and a Gaussian fitted to its codes to sample from.

Nothing pulls the codes to a prior. After the fact they are described by a Gaussian, whose
mean and covariance are moving averages over the last hundred or so batches. A regularized
one (RAE, Ghosh et al. 2020, arXiv 1903.12436) keeps codes short and the decoder smooth, so
that a density of its codes has something to be fitted to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_number, check_optimizers, check_word
from aaejax.components.likelihoods import COUNTS
from aaejax.models._options import AutoencoderOptions
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Metrics,
    Model,
    Phase,
    States,
    UserError,
    Variables,
)

Regularization = Literal["no", "l2", "gradient-penalty"]

RATE = 0.01  # weight of one batch in the moving average, once a hundred have been seen
CODE_WEIGHT, DECODER_WEIGHT = 0.1, 1e-3


def share_of_batch(count: Any) -> Any:
    """The weight of a batch in the moments: all count alike until `RATE` is reached.

    So the first batch of a run replaces the moments that another run left.
    """
    return jnp.maximum(RATE, 1 / (count + 1))


def autoencoder(
    autoencoder: Autoencoder,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    regularize: Regularization = "no",
    code_weight: float = CODE_WEIGHT,
    decoder_weight: float = DECODER_WEIGHT,
) -> Model:
    """Makes an autoencoder of two phases: reconstruction, and the fit of its prior.

    Args:
      autoencoder: An autoencoder without classes.
      optimizers: The optimizer "reconstruction".
      regularize: What is added to the reconstruction: nothing; half the squared length of
        a code and the sum of the squares of the decoder's parameters; or that length and
        the squared slope of the decoder.
      code_weight: The weight of the length, where regularized.
      decoder_weight: The weight of the decoder's squares or slope, where regularized.

    Raises:
      UserError: The autoencoder has classes, the optimizers are others, a word is none of
        those allowed, or a weight is negative.
    """
    autoencoder.check_without_class("an autoencoder")
    check_optimizers(optimizers, ("reconstruction",))
    check_word("regularize", regularize, Regularization)
    check_number("code_weight", code_weight, 0)
    check_number("decoder_weight", decoder_weight, 0)
    latent = autoencoder.posterior.latent

    def init(key: Key) -> Variables:
        # In 64-bit mode too a state is float32.
        mean, second = jnp.zeros(latent, jnp.float32), jnp.eye(latent, dtype=jnp.float32)
        moments = {"mean": mean, "second": second}
        return {**autoencoder.init(key), "prior": {"params": moments}}

    def regularized(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        codes, encoded = autoencoder.draw_code(variables, batch, draw)
        error, decoded = autoencoder.train_error(variables, batch, codes, draw)
        lengths = 0.5 * jnp.square(codes).sum(axis=1)
        metrics = {
            "reconstruction": error,
            "code_length": autoencoder.mean(lengths, batch, draw),
            "decoder_penalty": penalty(variables, batch, codes, draw),
        }
        loss = error + code_weight * metrics["code_length"]
        loss += decoder_weight * metrics["decoder_penalty"]
        return loss, metrics, {**encoded, **decoded}

    def penalty(variables: Variables, batch: Batch, codes: Array, draw: Draw) -> Array:
        if regularize == "l2":
            parameters = variables["decoder"]["params"]
            if autoencoder.likelihood.dispersions(autoencoder.shape) is not None:
                parameters = parameters["network"]
            squares = [jnp.square(x).sum() for x in jax.tree.leaves(parameters)]
            return sum(squares, start=jnp.zeros(()))

        def decode(codes: Array) -> Array:
            outputs, _ = autoencoder.train_decoder(variables, codes, draw)
            return autoencoder.likelihood.images(outputs)

        def signs(key: Key) -> Array:
            return jax.random.rademacher(key, (latent,), jnp.float32)

        slopes = losses.jacobian_norm(decode, codes, draw("probes", signs))
        return autoencoder.mean(slopes, batch, draw)

    def fit(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        # Under SGD the distance to each code's moments is a moving average.
        moments = variables["prior"]["params"]
        codes = autoencoder.draw_evaluated(variables, batch, draw)
        mean = jnp.square(codes - moments["mean"][None]).sum(axis=1)
        products = codes[:, :, None] * codes[:, None]
        second = jnp.square(products - moments["second"][None]).sum(axis=(1, 2))
        return autoencoder.mean(0.5 * (mean + second), batch, draw), {}, {}

    def prior(variables: Variables, key: Key, n: int, labels: Array | None = None) -> Array:
        moments = variables["prior"]["params"]
        mean = moments["mean"]
        covariance = moments["second"] - mean[:, None] * mean[None]
        return jax.random.multivariate_normal(key, mean, covariance, (n,), method="svd")

    reconstruction = autoencoder.reconstruction_phase(optimizers["reconstruction"])
    if regularize != "no":
        reconstruction = replace(reconstruction, loss=regularized)
    return Model(
        init=init,
        phases=(
            reconstruction,
            Phase(
                "fit",
                ("prior",),
                fit,
                optimizer=optax.sgd(share_of_batch),
                inputs=autoencoder.inputs,
            ),
        ),
        prior=prior,
        latent=latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
    )


@dataclass(frozen=True)
class Options(AutoencoderOptions):
    """An autoencoder without any prior, sampled from a Gaussian fitted to its codes."""

    regularize: Regularization = "no"
    """Whether codes are kept short and the decoder's weights (l2) or slopes
    (gradient-penalty) small, as in RAE."""
    code_weight: float | None = None
    """The weight of half the squared length of a code, where regularized; by default
    0.1."""
    decoder_weight: float | None = None
    """The weight of the decoder's squared parameters or slope, where regularized; by
    default 0.001."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in self._weights().items():
            check_number(name, value, 0)
            if self.regularize == "no":
                raise UserError(f"{name} is of --regularize: leave it out, or take l2")
        if self.regularize == "gradient-penalty":
            self._check_slopes()

    def _check_slopes(self) -> None:
        """Raises UserError for options with which a decoder's slopes are not to be had."""
        norm = self.norm or ("batch" if self.network == "dcgan" else None)
        for name, bad in (
            ("precision", self.precision == "bf16"),
            ("reconstruction", self.reconstruction in COUNTS),
            ("norm", norm == "batch"),
        ):
            if bad:
                raise UserError(
                    "a gradient penalty is of the slopes of each example, and not for "
                    f"this {name}: take another {name}, or --regularize l2"
                )

    def decided(self) -> dict[str, Any]:
        """The options decided on, with the weights of what regularizes, where it does."""
        if self.regularize == "no":
            return super().decided()
        weights = {"code_weight": CODE_WEIGHT, "decoder_weight": DECODER_WEIGHT}
        return {**super().decided(), **weights, **self._weights()}

    def _weights(self) -> dict[str, float]:
        """The weights that are given, by name."""
        both = {"code_weight": self.code_weight, "decoder_weight": self.decoder_weight}
        return {name: value for name, value in both.items() if value is not None}

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        return autoencoder(
            self.autoencoder(data),
            self.optimizers(steps),
            regularize=self.regularize,
            **self._weights(),
        )
