"""Priors p(z): functions `(key, n, labels) -> codes [n, Z]`.

One idea serves them all: a code starts from a number t drawn uniformly from [0, 1). Class k
of K owns the slice [k/K, (k+1)/K) of it, so a labelled code comes from its class's part of
the prior (a slice of the Gaussian, a component of the mixture, a segment of the roll) and
classes drawn uniformly make up exactly the prior without labels (Makhzani et al. 2015,
section 2.3). Any function of the same shape can take the place of these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from aaejax.components import densities
from aaejax.components.checks import check_number, check_positive_number, traced
from aaejax.types import Array, Key, Prior, UserError, Variables


@dataclass(frozen=True)
class Known:
    """A prior whose density is known.

    Attributes:
      sample: What draws codes: a prior, or a `Model.prior`.
      log_density: The log-density, `codes [n, Z] -> log p(z) [n]`, in nats, of the prior
        without labels.
    """

    sample: Callable[..., Array]
    log_density: densities.LogDensity

    def __call__(self, *given: Any, **named: Any) -> Array:
        """Draws codes, as `sample` does."""
        return self.sample(*given, **named)


def log_density(prior: Callable[..., Array]) -> densities.LogDensity | None:
    """The log-density of a prior, or of a `Model.prior`; None where it is not known."""
    return getattr(prior, "log_density", None)


def gaussian(latent: int, std: float = 1.0, classes: int = 10) -> Prior:
    """Makes N(0, std^2 I). A class is a slice, of equal mass, of the first dimension.

    Args:
      latent: Z, the code size.
      std: The standard deviation in each dimension (the paper's likelihood runs use 5).
      classes: K, how many slices labels choose from.

    Raises:
      UserError: A size is below 1, or std is not positive and finite.
    """
    _check_sizes(latent, classes)
    check_positive_number("std", std)

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        if labels is None:
            return std * jax.random.normal(key, (n, latent))
        slice_key, rest_key = jax.random.split(key)
        # Away from 0, where the quantile function is -inf.
        t = jnp.maximum(_uniform_slices(slice_key, n, labels, classes), 2**-24)
        first = jax.scipy.special.ndtri(t)[:, None]
        rest = jax.random.normal(rest_key, (n, latent - 1))
        return std * jnp.concatenate([first, rest], axis=1)

    return Known(sample, densities.gaussian(latent, std))


def uniform(latent: int, low: float = -2.0, high: float = 2.0, classes: int = 10) -> Prior:
    """Makes the uniform prior on a cube. A class is a slice of the first dimension.

    Args:
      latent: Z, the code size.
      low: The lower edge in each dimension.
      high: The upper edge in each dimension.
      classes: K, how many slices labels choose from.

    Raises:
      UserError: A size is below 1, an edge is not finite, or high is not above low.
    """
    _check_sizes(latent, classes)
    for name, edge in (("low", low), ("high", high)):
        check_number(name, edge)
    if not high > low:
        raise UserError(f"a uniform prior from {low} to {high}: high must be above low")

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        slice_key, rest_key = jax.random.split(key)
        first = _uniform_slices(slice_key, n, labels, classes)[:, None]
        rest = jax.random.uniform(rest_key, (n, latent - 1))
        return low + (high - low) * jnp.concatenate([first, rest], axis=1)

    return sample


def mixture(
    latent: int,
    components: int = 10,
    radius: float = 1.4,
    std_along: float = 0.5,
    std_across: float = 0.1,
) -> Prior:
    """Makes a mixture of 2-D Gaussians like the petals of a flower; class k is petal k.

    Petal k has its centre at `radius` from the origin at the angle 2 pi k / components, and
    points outwards. The paper shows ten of them (figures 2 and 4) and doesn't give their
    geometry; these numbers are those of public reproductions.

    Args:
      latent: Z, the code size, an even number: each pair of dimensions is an independent
        flower, and a code is on the same petal in all of them.
      components: The number of petals, which is also K, the number of classes.
      radius: The distance of the centres from the origin.
      std_along: The standard deviation along the ray from the origin.
      std_across: The standard deviation across that ray.

    Raises:
      UserError: The code size is odd, a size is below 1, the radius is not finite, or a
        standard deviation is not positive and finite.
    """
    _check_sizes(latent, components, "components")
    check_number("radius", radius)
    if latent % 2:
        raise UserError(
            f"a mixture of 2-D Gaussians can't have {latent} dimensions: "
            "the code size must be even, say 2"
        )
    check_positive_number("std_along", std_along)
    check_positive_number("std_across", std_across)

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        slice_key, normal_key = jax.random.split(key)
        petal = jnp.floor(components * _uniform_slices(slice_key, n, labels, components))
        angle = (2 * math.pi / components) * petal[:, None]  # [n, 1]
        noise = jax.random.normal(normal_key, (n, latent // 2, 2))
        along = radius + std_along * noise[..., 0]
        across = std_across * noise[..., 1]
        x = along * jnp.cos(angle) - across * jnp.sin(angle)
        y = along * jnp.sin(angle) + across * jnp.cos(angle)
        return jnp.stack([x, y], axis=2).reshape(n, latent)

    return Known(
        sample, densities.mixture(latent, components, radius, std_along, std_across)
    )


def swiss_roll(
    latent: int = 2,
    radius: float = 3.0,
    turns: float = 2.0,
    std: float = 0.05,
    classes: int = 10,
) -> Prior:
    """Makes a 2-D swiss roll; class k is the k-th segment from the middle (figure 4b).

    The point t in [0, 1) of the roll lies at radius * sqrt(t) and the angle
    2 pi turns sqrt(t), so that mass per length is even. Geometry as in public
    reproductions; the paper doesn't give it.

    Args:
      latent: Z, the code size, which must be 2.
      radius: The distance of the roll's outer end from the origin.
      turns: How often the roll winds around the origin.
      std: The standard deviation of the Gaussian noise around the roll.
      classes: K, how many segments labels choose from.

    Raises:
      UserError: The code size is not 2, classes are below 1, or a number is negative or not
        finite.
    """
    _check_sizes(latent, classes)
    if latent != 2:
        raise UserError(
            f"a swiss roll can't have {latent} dimensions: the code size must be 2"
        )
    for name, number in (("radius", radius), ("turns", turns), ("std", std)):
        check_number(name, number, 0)

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        slice_key, noise_key = jax.random.split(key)
        root = jnp.sqrt(_uniform_slices(slice_key, n, labels, classes))
        angle = 2 * math.pi * turns * root
        roll = radius * root[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        return roll + std * jax.random.normal(noise_key, (n, 2))

    return Known(sample, densities.swiss_roll(radius, turns, std)) if std else sample


def gaussian_mixture(weights: Array, means: Array, covariances: Array) -> Prior:
    """Makes a mixture of any Gaussians, as fitted to codes, in which labels choose nothing.

    Args:
      weights: The weights of the Gaussians, [C], positive; their sum counts as 1.
      means: The means, [C, Z].
      covariances: The covariances, [C, Z, Z], positive definite.
    """
    weights, means = jnp.asarray(weights), jnp.asarray(means)
    roots = jnp.linalg.cholesky(jnp.asarray(covariances))  # [C, Z, Z], lower

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        part_key, normal_key = jax.random.split(key)
        part = jax.random.categorical(part_key, jnp.log(weights), shape=(n,))
        noise = jax.random.normal(normal_key, (n, means.shape[1]))
        highest = jax.lax.Precision.HIGHEST  # float32 on every device
        added = jnp.einsum("nij,nj->ni", roots[part], noise, precision=highest)
        return means[part] + added

    return Known(sample, densities.gaussian_mixture(weights, means, roots))


def fixed(prior: Prior) -> Callable[..., Array]:
    """Makes the `Model.prior` of a prior that is not learned: it reads no network."""

    def sample(_: Variables, key: Key, n: int, labels: Array | None = None) -> Array:
        return prior(key, n, labels)

    density = log_density(prior)
    return sample if density is None else Known(sample, density)


def with_class(style: Prior, classes: int) -> Prior:
    """Puts a one-hot class, uniform or the label's, before a style: [n, classes + Z].

    The style doesn't depend on the label: one key and two labels give one style twice.

    Args:
      style: The prior of the style, which is called without labels.
      classes: K, the number of classes.

    Raises:
      UserError: The number of classes is not 1 or more.
    """
    check_number("classes", classes, 1, whole=True)

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        class_key, style_key = jax.random.split(key)
        drawn = jax.random.randint(class_key, (n,), 0, classes)
        if labels is not None:
            drawn = jnp.where(labels >= 0, labels, drawn)
        y = jax.nn.one_hot(drawn, classes)
        return jnp.concatenate([y, style(style_key, n)], axis=1)

    density = log_density(style)
    if density is None:
        return sample

    def joint(codes: Array) -> Array:
        # Of a class that is sure; one that is not is taken for one.
        return density(codes[:, classes:]) - math.log(classes)

    return Known(sample, joint)


def with_condition(style: Prior, conditions: int) -> Prior:
    """Puts the condition that is given before a style: [n, C + Z].

    The prior is asked with conditions, float32 [n, C], in the place of labels.

    Args:
      style: The prior of the style, which is called without labels.
      conditions: C, how many numbers a condition has.
    """

    def sample(key: Key, n: int, labels: Array | None = None) -> Array:
        if labels is None:
            raise UserError(f"a sample has a condition of {conditions} numbers: give one")
        return jnp.concatenate([labels, style(key, n)], axis=1)

    density = log_density(style)
    if density is None:
        return sample
    # Of a style given its condition, which is no matter of chance here.
    return Known(sample, lambda codes: density(codes[:, conditions:]))


def after(style: Prior, classes: int = 0, conditions: int = 0) -> Prior:
    """The prior of a code whose style stands behind a class, a condition or nothing."""
    if conditions:
        return with_condition(style, conditions)
    return with_class(style, classes) if classes else style


def check_prior(prior: Prior, latent: int, *, labelled: bool = False) -> None:
    """Checks by abstract evaluation that a prior gives codes of a size; nothing is drawn.

    Args:
      prior: The prior to check.
      latent: Z, the code size.
      labelled: Whether the prior is asked with labels.

    Raises:
      UserError: The prior can't be called so, or gives another shape.
    """
    labels = jax.ShapeDtypeStruct((2,), jnp.int32) if labelled else None
    call = f"prior(key, 2, {'labels' if labelled else None})"
    with traced(f"the prior can't be called as {call}", f"[2, {latent}]"):
        codes = jax.eval_shape(
            lambda key, labels: prior(key, 2, labels), jax.random.key(0), labels
        )
    found = getattr(codes, "shape", type(codes).__name__)
    if found != (2, latent):
        raise UserError(
            f"the prior gives {found} for 2 codes: the model's have {latent} dimensions, "
            f"so that it must give {(2, latent)}"
        )


def _uniform_slices(key: Key, n: int, labels: Array | None, classes: int) -> Array:
    """Numbers t in [0, 1), float32 [n], from the label's slice where there is a label."""
    t = jax.random.uniform(key, (n,))
    if labels is None:
        return t
    return jnp.where(labels >= 0, (labels + t) / classes, t)


def _check_sizes(latent: int, parts: int, name: str = "classes") -> None:
    check_number("latent", latent, 1, whole=True)
    check_number(name, parts, 1, whole=True)
