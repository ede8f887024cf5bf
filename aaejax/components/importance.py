"""Importance weights: what one sample of z says of log p(x)."""

from collections.abc import Callable

import jax

from aaejax.components.autoencoder import Autoencoder
from aaejax.types import Array, Key, Variables

# (variables, codes [B, K + Z], key, labels [B] or None) -> log p(z) [B], nats, or an
# unbiased estimate of p(z), logarithm taken
LogPrior = Callable[[Variables, Array, Key, Array | None], Array]


def log_weights(autoencoder: Autoencoder, log_prior: LogPrior) -> Callable[..., Array]:
    """Makes `Model.log_weights`, log p(x|z) + log p(z) - log q(z|x) of one z an image.

    Args:
      autoencoder: An autoencoder with a "gaussian" posterior.
      log_prior: The log-density of codes, which is asked with a key of its own.
    """
    posterior = autoencoder.posterior

    def weights(
        variables: Variables, images: Array, key: Key, labels: Array | None = None
    ) -> Array:
        noise_key, prior_key = jax.random.split(key)
        noise = autoencoder.noise(noise_key, images.shape[0])
        outputs = autoencoder.encoder_outputs(variables, images, noise)
        codes = autoencoder.code_of(outputs, noise, labels)
        decoded = autoencoder.decoder_outputs(variables, codes)
        return (
            autoencoder.likelihood.log_density(decoded, images)
            + log_prior(variables, codes, prior_key, labels)
            - posterior.log_density(outputs, noise)
        )

    return weights
