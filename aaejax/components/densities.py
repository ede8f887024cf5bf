"""Log densities of priors: functions `codes [n, Z] -> log p(z) [n]`, in nats.

They are for models that need more of a prior than its samples. Each has the arguments of
the prior of its name in `priors.py`, and raises UserError for numbers out of range and for
codes of another size.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from aaejax.components.checks import check_number, check_positive_number
from aaejax.types import Array, UserError

LogDensity = Callable[[Array], Array]
LOG_2_PI = math.log(2 * math.pi)


def gaussian(latent: int, std: float = 1.0) -> LogDensity:
    """Makes the log-density of N(0, std^2 I) in `latent` dimensions."""
    check_positive_number("std", std)

    def log_density(codes: Array) -> Array:
        _check_size(codes, latent)
        squares = jnp.square(codes / std).sum(axis=1)
        return -0.5 * squares - latent * (0.5 * LOG_2_PI + math.log(std))

    return log_density


def mixture(
    latent: int,
    components: int = 10,
    radius: float = 1.4,
    std_along: float = 0.5,
    std_across: float = 0.1,
) -> LogDensity:
    """Makes the log-density of `priors.mixture`, whose arguments these are."""
    check_number("latent", latent, 2, whole=True)
    if latent % 2:
        raise UserError(
            f"latent is {latent}: a mixture of 2-D Gaussians has an even number"
        )
    check_number("components", components, 1, whole=True)
    check_number("radius", radius)
    check_positive_number("std_along", std_along)
    check_positive_number("std_across", std_across)
    constant = -math.log(components) - latent // 2 * (
        LOG_2_PI + math.log(std_along * std_across)
    )

    def log_density(codes: Array) -> Array:
        _check_size(codes, latent)
        angle = (2 * math.pi / components) * jnp.arange(components)
        x, y = codes[:, None, ::2], codes[:, None, 1::2]  # [n, 1, Z / 2]
        cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
        along = (x * cos + y * sin - radius) / std_along  # [n, components, Z / 2]
        across = (y * cos - x * sin) / std_across
        squares = (jnp.square(along) + jnp.square(across)).sum(axis=2)
        return jax.nn.logsumexp(-0.5 * squares, axis=1) + constant

    return log_density


def swiss_roll(
    radius: float = 3.0, turns: float = 2.0, std: float = 0.05, points: int = 1000
) -> LogDensity:
    """Makes the log-density of `priors.swiss_roll`, as that of `points` Gaussians along it.

    It is good where they lie closer than their std: 1000 of them, in two turns, are at most
    0.018 radii apart.
    """
    check_number("radius", radius, 0)
    check_number("turns", turns, 0)
    check_positive_number("std", std)
    check_number("points", points, 1, whole=True)
    constant = -math.log(points) - LOG_2_PI - 2 * math.log(std)

    def log_density(codes: Array) -> Array:
        _check_size(codes, 2)
        root = jnp.sqrt((jnp.arange(points) + 0.5) / points)
        angle = 2 * math.pi * turns * root
        x = radius * root * jnp.cos(angle)
        y = radius * root * jnp.sin(angle)
        squares = jnp.square(codes[:, :1] - x[None]) + jnp.square(codes[:, 1:] - y[None])
        return jax.nn.logsumexp(-0.5 * squares / std**2, axis=1) + constant

    return log_density


def _check_size(codes: Array, latent: int) -> None:
    if codes.shape[1:] != (latent,):
        raise UserError(
            f"a log density of {latent} dimensions is asked for codes of shape "
            f"{list(codes.shape)}: give both of them one size"
        )


def gaussian_mixture(weights: Array, means: Array, roots: Array) -> LogDensity:
    """Makes the log-density of a mixture of any Gaussians.

    Args:
      weights: The weights of the Gaussians, [C], positive; their sum counts as 1.
      means: The means, [C, Z].
      roots: The lower triangular roots of the covariances, [C, Z, Z].
    """
    diagonal = jnp.diagonal(roots, axis1=1, axis2=2)
    constants = (
        jnp.log(weights / weights.sum())
        - jnp.log(diagonal).sum(axis=1)
        - 0.5 * means.shape[1] * LOG_2_PI
    )  # [C]

    def log_density(codes: Array) -> Array:
        _check_size(codes, means.shape[1])
        away = codes[None] - means[:, None]  # [C, n, Z]
        white = jax.scipy.linalg.solve_triangular(
            roots, jnp.swapaxes(away, 1, 2), lower=True
        )
        squares = jnp.square(white).sum(axis=1)  # [C, n]
        return jax.nn.logsumexp(constants[:, None] - 0.5 * squares, axis=0)

    return log_density
