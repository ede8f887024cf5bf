"""Reconstruction losses of counts, such as reads of genes in cells or words in texts.

A decoder gives the share of each feature; the example itself gives its library size, the
sum of its counts, as in scVI (Lopez et al. 2018, with the observed library size). So the
rate of a feature is `library size * share`, and a network need not learn how deep an
example was sequenced. Units are nats; the constants are in them, so that they are
-log p(x|z).
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from aaejax.types import Array

LIBRARY = 10_000.0  # of examples that are made: counts per 10,000
# Of the logarithm of a dispersion. Above it the negative binomial is a Poisson as far as
# float32 can tell, and differences of its log-gammas are noise.
_LARGEST = 9.0


def library_size(counts: Array) -> Array:
    """The sum of each example's counts, [B, F] -> [B, 1]; 1e-6 where all are 0."""
    return jnp.maximum(counts.sum(axis=1, keepdims=True), 1e-6)


def poisson_error(logits: Array, counts: Array) -> Array:
    """The -log p(x|z) of a Poisson decoder.

    Args:
      logits: The logits of the share of each feature, [B, F].
      counts: The counts, [B, F], whole numbers from 0 on.

    Returns:
      The error of each example, float32 [B], in nats.
    """
    log_rate = jnp.log(library_size(counts)) + jax.nn.log_softmax(logits)
    log_density = counts * log_rate - jnp.exp(log_rate) - gammaln(counts + 1)
    return -log_density.sum(axis=1)


def negative_binomial_error(logits: Array, dispersions: Array, counts: Array) -> Array:
    """The -log p(x|z) of a negative binomial decoder: variance m + m^2 / r at the mean m.

    Args:
      logits: The logits of the share of each feature, [B, F].
      dispersions: Any numbers d, [B, F], with log r = 9 tanh(d / 9).
      counts: The counts, [B, F], whole numbers from 0 on.

    Returns:
      The error of each example, float32 [B], in nats.
    """
    log_mean = jnp.log(library_size(counts)) + jax.nn.log_softmax(logits)
    log_r = _LARGEST * jnp.tanh(dispersions / _LARGEST)
    r, log_both = jnp.exp(log_r), jnp.logaddexp(log_r, log_mean)
    log_density = (
        gammaln(counts + r)
        - gammaln(r)
        - gammaln(counts + 1)
        + r * (log_r - log_both)
        + counts * (log_mean - log_both)
    )
    return -log_density.sum(axis=1)
