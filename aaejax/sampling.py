"""What a trained decoder and encoder can be asked for.

Pure functions of (model, variables, ...): usable on any restored parameters, under jit.
The words of `sample.py` that ask for them are in `ask/kinds.py`.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import clone

from aaejax.components.checks import check_word
from aaejax.components.pixels import to_unit
from aaejax.types import Array, Key, Model, UserError, Variables

Path = Literal["linear", "spherical"]


def samples(
    model: Model, variables: Variables, key: Key, n: int, labels: Array | None = None
) -> Array:
    """Decodes n samples of the prior, of these labels [n] where given, to [n, ...].

    Of a model with conditions these, [n, C], stand in the place of labels.

    Raises:
      UserError: There are labels, and the prior can't be asked for a class.
    """
    if labels is not None:
        _require(
            model.prior_classes or model.conditions,
            "the prior of this model can't be asked for a class: leave labels out",
        )
    return model.decode(variables, model.prior(variables, key, n, labels))


def reconstructions(
    model: Model, variables: Variables, images: Array, key: Key, labels: Array | None = None
) -> Array:
    """Encodes and decodes images [n, ...], of these labels [n], to [n, ...].

    Images are float32 in [0, 1], or uint8 in 0 ... 255; vectors and counts are as they are.
    Of counts a reconstruction has the sum that its example has.

    Raises:
      UserError: The model has no encoder.
    """
    images = as_read(model, images)
    made = model.decode(variables, model.encode(variables, images, key, labels))
    if not model.counts:
        return made
    return made * (images.sum(axis=1) / made.sum(axis=1))[:, None]


def styles(model: Model, variables: Variables, key: Key, rows: int) -> Array:
    """Decodes a grid of styles (figure 7): a row keeps the style z, a column the class.

    Returns:
      The images, [rows, K, ...].

    Raises:
      UserError: The codes have no class.
    """
    _require(model.classes, "styles need a model whose codes have a class")
    labels = jnp.arange(model.classes)

    def row(key: Key) -> Array:
        # One key for all classes: the style doesn't depend on the label.
        return jax.vmap(lambda y: model.prior(variables, key, 1, y[None])[0])(labels)

    codes = jax.vmap(row)(jax.random.split(key, rows))
    images = model.decode(variables, codes.reshape(-1, model.latent))
    return images.reshape(rows, model.classes, *images.shape[1:])


def heads(model: Model, variables: Variables) -> Array:
    """Decodes the cluster heads (figure 9): each class with the style z = 0, [K, ...].

    Raises:
      UserError: The codes have no class.
    """
    _require(model.classes, "heads need a model whose codes have a class")
    style = jnp.zeros((model.classes, model.latent - model.classes))
    return model.decode(variables, jnp.concatenate([jnp.eye(model.classes), style], axis=1))


def interpolation(
    model: Model,
    variables: Variables,
    *,
    first: Array,
    last: Array,
    steps: int,
    key: Key,
    labels: Array | None = None,
    path: Path = "linear",
) -> Array:
    """Decodes points on the way between pairs of codes.

    Args:
      model: A model that has an encoder.
      variables: The variables of its networks.
      first: The images where the lines start, [n, ...], float32 in [0, 1] or uint8.
      last: The images where they end, [n, ...], likewise.
      steps: How many points each line has, both ends included.
      key: The key of the posterior's noise.
      labels: The classes of `first` and then of `last`, int32 [2 n], or None.
      path: The way: "linear", or "spherical" along the great circle (White 2016, section
        2.1), which keeps the length that samples of a Gaussian prior have.

    Returns:
      The images, [n, steps, ...].

    Raises:
      UserError: The model has no encoder, or the path is neither of the two.
    """
    ends = jnp.concatenate([as_read(model, each) for each in (first, last)])
    codes = model.encode(variables, ends, key, labels)
    start, end = jnp.split(codes[:, None], 2)  # [n, 1, Z]
    t = jnp.linspace(0, 1, steps)[None, :, None]
    line = between(start, end, t, path)  # [n, steps, Z]
    images = model.decode(variables, line.reshape(-1, line.shape[-1]))
    return images.reshape(len(first), steps, *images.shape[1:])


def between(start: Array, end: Array, t: Array, path: Path) -> Array:
    """The point at t in [0, 1] of the way from code to code, of shapes that broadcast.

    Raises:
      UserError: The path is neither "linear" nor "spherical".
    """
    check_word("path", path, Path)
    if path == "linear":
        return start * (1 - t) + end * t
    lengths = [jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (start, end)]
    # 1e-8: a code of length 0 has no direction.
    product = (start * end).sum(axis=-1, keepdims=True)
    cosine = product / jnp.maximum(lengths[0] * lengths[1], 1e-8)
    # 1e-4: for parallel codes the formula is 0 / 0; near that it is the straight line.
    angle = jnp.maximum(jnp.arccos(jnp.clip(cosine, -1 + 1e-4, 1.0)), 1e-4)
    first, last = jnp.sin((1 - t) * angle), jnp.sin(t * angle)
    return (start * first + end * last) / jnp.sin(angle)


def arithmetic(
    model: Model,
    variables: Variables,
    images: Array,
    *,
    direction: Array,
    steps: int,
    key: Key,
    labels: Array | None = None,
) -> Array:
    """Moves the codes of images along a direction (Radford et al. 2015, section 6.3.2).

    Args:
      model: A model that has an encoder.
      variables: The variables of its networks.
      images: The images, [n, ...], float32 in [0, 1] or uint8.
      direction: A vector [Z], such as the mean code of one set of images less that of
        another.
      steps: How many points there are from the code itself to the code plus the direction,
        both included.
      key: The key of the posterior's noise.
      labels: The classes of the images, int32 [n], or None.

    Returns:
      The images, [n, steps, ...].

    Raises:
      UserError: The model has no encoder.
    """
    codes = model.encode(variables, as_read(model, images), key, labels)
    t = jnp.linspace(0, 1, steps)[None, :, None]
    line = codes[:, None] + t * direction[None, None]
    made = model.decode(variables, line.reshape(-1, line.shape[-1]))
    return made.reshape(len(images), steps, *made.shape[1:])


def manifold(model: Model, variables: Variables, key: Key, side: int) -> Array:
    """Decodes a grid over a 2-D prior, at evenly spaced percentiles of each dimension.

    It is figure 2e of Makhzani et al. 2015. The percentiles are those of 10,000 samples, so
    that any prior has them. z1 grows to the right, z2 upwards.

    Returns:
      The images, [side, side, ...].

    Raises:
      UserError: Codes don't have two dimensions.
    """
    _require(
        model.latent == 2,
        f"a manifold needs codes of two dimensions: this model's have {model.latent}",
    )
    drawn = model.prior(variables, key, 10_000)
    levels = (jnp.arange(side) + 0.5) / side
    z1 = jnp.quantile(drawn[:, 0], levels)
    z2 = jnp.quantile(drawn[:, 1], levels)[::-1]
    grid = jnp.stack(jnp.meshgrid(z1, z2), axis=-1).reshape(-1, 2)
    images = model.decode(variables, grid)
    return images.reshape(side, side, *images.shape[1:])


def walk(model: Model, variables: Variables, key: Key, steps: int) -> Array:
    """Walks through each class's part of the prior, lengthwise (figure 4).

    A part's samples are sorted along their principal axis, outwards, and cut into `steps`
    equal heaps; the mean of a heap is a point of the walk.

    Returns:
      The images, [K, steps, ...].

    Raises:
      UserError: The prior has no classes.
    """
    _require(model.prior_classes, "a walk needs a model whose prior has classes")

    def points(label: Array) -> Array:
        n = 200 * steps
        codes = model.prior(variables, key, n, jnp.full(n, label))
        mean = codes.mean(axis=0, keepdims=True)
        axis = jnp.linalg.eigh(jnp.atleast_2d(jnp.cov(codes.T)))[1][:, -1]
        axis *= jnp.where(mean[0] @ axis < 0, -1.0, 1.0)
        order = jnp.argsort(codes @ axis)
        return codes[order].reshape(steps, -1, codes.shape[1]).mean(axis=1)

    # One key for all classes: their walks differ by the class alone.
    codes = jax.vmap(points)(jnp.arange(model.prior_classes))
    images = model.decode(variables, codes.reshape(-1, model.latent))
    return images.reshape(model.prior_classes, steps, *images.shape[1:])


def in_batches(
    function: Callable[[Variables, Array, Key, Array | None], dict[str, Array]],
    batch: int = 500,
    filled: bool = False,
) -> Callable[..., dict[str, np.ndarray]]:
    """Makes a function of a whole dataset on the host, in its order, of one of a batch.

    It is jitted once. A batch that is not full is filled up, alone to the next power of two
    and behind others to their size, so that arrays of any length need few programs.

    Args:
      function: A function of `(variables, images [B, ...] in [0, 1], key, labels [B] or
        None)` that gives arrays [B, ...] by name, of each example by itself.
      batch: How many images are asked about at once, at most.
      filled: Whether every batch is filled up to that size and all have the same key. What
        a function makes of each example alone (`each_alone`) is then the same to the last
        bit whatever it is asked together with.

    Returns:
      A function of `(variables, images, labels, key)` that gives arrays [N, ...] by name.
      Images are uint8 or float32, or what gives such where it is sliced, as
      `aaejax.data.lazy.Rows` does. Each batch has a key of its own, unless they are filled.
    """
    jitted = jax.jit(
        lambda variables, images, key, labels: function(
            variables, to_unit(images), key, labels
        )
    )

    def over_all(
        variables: Variables, images: Any, labels: np.ndarray | None, key: Key
    ) -> dict[str, np.ndarray]:
        n = len(images)
        size = batch if filled else min(batch, 1 << max(0, n - 1).bit_length())
        found = []
        for number in range(max(1, -(-n // size))):
            part = slice(number * size, (number + 1) * size)
            given = (
                _filled(images[part], size),
                clone(key) if filled else jax.random.fold_in(key, number),
                None if labels is None else _filled(labels[part], size, -1),
            )
            found.append(jitted(variables, *given))
        found = jax.device_get(found)
        return {name: np.concatenate([f[name] for f in found])[:n] for name in found[0]}

    return over_all


def each_alone(encode: Callable[..., Array]) -> Callable[..., Array]:
    """Makes of `Model.encode` one that draws the same noise for every example.

    So a code does not depend on what stands beside or before its example.

    Args:
      encode: A function of `(variables, images [B, ...], key, labels [B] or None)` that
        gives codes [B, Z].
    """

    def alone(variables: Variables, images: Array, key: Key, labels: Array | None) -> Array:
        def one(image: Array, label: Array | None) -> Array:
            label = None if label is None else label[None]
            return encode(variables, image[None], key, label)[0]

        return jax.vmap(one, (0, None if labels is None else 0))(images, labels)

    return alone


def _filled(x: np.ndarray, size: int, value: int = 0) -> np.ndarray:
    """Fills x [n, ...] up to [size, ...], with the value behind it."""
    missing = size - len(x)
    if not missing:
        return x
    return np.concatenate([x, np.full((missing, *x.shape[1:]), value, x.dtype)])


def probabilities(model: Model, variables: Variables, images: Any, key: Key) -> np.ndarray:
    """Gives q(y|x) of a dataset on the host, [N, K]; images are as in `in_batches`.

    Raises:
      UserError: The encoder has no head that gives classes.
    """
    classify = model.classify
    if classify is None:
        raise UserError("probabilities need a model whose encoder classifies")
    # A method of what may have no hash: it is told apart by identity.
    return _compiled_classify(classify.__call__)(variables, images, None, key)["y"]


@lru_cache(maxsize=8)
def _compiled_classify(
    classify: Callable[..., Array],
) -> Callable[..., dict[str, np.ndarray]]:
    """`Model.classify` of a dataset, kept for the last models: asked again it is there."""
    return in_batches(lambda variables, x, key, _: {"y": classify(variables, x, key)})


def square(n: int) -> int:
    """The side of the largest square of at most n: how n images become a manifold."""
    return max(1, math.isqrt(n))


def _require(there: object, message: str) -> None:
    """Raises UserError where a model does not have what it is asked for."""
    if not there:
        raise UserError(message)


def as_read(model: Model, images: Array) -> Array:
    """Images as the model reads them: bytes are 255ths, but where examples are counts."""
    return images.astype(jnp.float32) if model.counts else to_unit(images)
