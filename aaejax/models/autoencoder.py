"""The plain autoencoder: reconstruction, and a Gaussian fitted to its codes to sample from.

Nothing pulls the codes to a prior. After the fact they are described by a Gaussian, whose
mean and covariance are moving averages over the last hundred or so batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_optimizers
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
    Variables,
)

RATE = 0.01  # weight of one batch in the moving average


def autoencoder(
    autoencoder: Autoencoder, optimizers: Mapping[str, optax.GradientTransformation]
) -> Model:
    """Makes an autoencoder of two phases: reconstruction, and the fit of its prior.

    Args:
      autoencoder: encoder and decoder.
      optimizers: "reconstruction".

    Raises:
      UserError: other optimizers.
    """
    check_optimizers(optimizers, ("reconstruction",))
    latent = autoencoder.posterior.latent

    def init(key: Key) -> Variables:
        # In 64-bit mode too a state is float32.
        mean, second = jnp.zeros(latent, jnp.float32), jnp.eye(latent, dtype=jnp.float32)
        moments = {"mean": mean, "second": second}
        return {**autoencoder.init(key), "prior": {"params": moments}}

    def fit(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        # Under SGD the distance to each code's moments is an exponential moving average.
        moments = variables["prior"]["params"]
        codes, _ = autoencoder.draw_code(variables, batch, draw)
        mean = jnp.square(codes - moments["mean"][None]).sum(axis=1)
        products = codes[:, :, None] * codes[:, None]
        second = jnp.square(products - moments["second"][None]).sum(axis=(1, 2))
        return autoencoder.mean(0.5 * (mean + second), batch, draw), {}, {}

    def prior(variables: Variables, key: Key, n: int, labels: Array | None = None) -> Array:
        moments = variables["prior"]["params"]
        mean = moments["mean"]
        covariance = moments["second"] - mean[:, None] * mean[None]
        return jax.random.multivariate_normal(key, mean, covariance, (n,), method="svd")

    return Model(
        init=init,
        phases=(
            autoencoder.reconstruction_phase(optimizers["reconstruction"]),
            Phase(
                "fit",
                ("prior",),
                fit,
                optimizer=optax.sgd(RATE),
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

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        return autoencoder(self.autoencoder(data), self.optimizers(steps))
