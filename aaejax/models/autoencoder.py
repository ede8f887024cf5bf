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
from aaejax.models._options import AutoencoderOptions
from aaejax.types import Array, Batch, DataSpec, Draw, Key, Metrics, Model, Networks, Phase

RATE = 0.01  # weight of one batch in the moving average


def autoencoder(
    networks: Autoencoder, optimizers: Mapping[str, optax.GradientTransformation]
) -> Model:
    """An autoencoder: reconstruction, then the fit.

    Args:
      networks: encoder and decoder.
      optimizers: "reconstruction".
    """
    latent = networks.posterior.latent

    def init(key: Key) -> Networks:
        moments = {"mean": jnp.zeros(latent), "second": jnp.eye(latent)}
        return {**networks.init(key), "prior": moments}

    def fit(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
        # Under SGD the distance to each code's moments is an exponential moving average.
        codes = networks.draw_code(params, batch, draw)
        mean = jnp.square(codes - params["prior"]["mean"][None]).sum(axis=1)
        products = codes[:, :, None] * codes[:, None]
        second = jnp.square(products - params["prior"]["second"][None]).sum(axis=(1, 2))
        return 0.5 * (mean + second).mean(), {}

    def prior(params: Networks, key: Key, n: int, labels: Array | None = None) -> Array:
        mean, second = params["prior"]["mean"], params["prior"]["second"]
        covariance = second - mean[:, None] * mean[None]
        return jax.random.multivariate_normal(key, mean, covariance, (n,), method="svd")

    return Model(
        init,
        (
            networks.reconstruction_phase(optimizers["reconstruction"]),
            Phase("fit", ("prior",), fit, optax.sgd(RATE)),
        ),
        prior,
        latent,
        networks.decode,
        networks.encode,
        networks.error,
    )


@dataclass(frozen=True)
class Options(AutoencoderOptions):
    """An autoencoder without any prior, sampled from a Gaussian fitted to its codes."""

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        return autoencoder(self.autoencoder(data), self.optimizers(steps))
