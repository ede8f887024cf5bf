"""Losses: arrays in, arrays out; no keys, no state.

Reconstruction losses are summed over the pixels of an example and left per example;
whoever trains on them takes the mean over the batch. All cross-entropies are from logits,
so that they and their gradients stay finite however sure a network is. Units are nats.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from aaejax.components.checks import check_word
from aaejax.cpu import flat
from aaejax.types import Array, Metrics, UserError

GeneratorLoss = Literal["non-saturating", "minimax"]
AdversaryLoss = Literal["cross-entropy", "wasserstein"]
Kernel = Literal["imq", "rbf"]


def bernoulli_error(logits: Array, images: Array) -> Array:
    """The -log p(x|z) of a Bernoulli decoder: the cross-entropy, summed over pixels.

    Args:
      logits: The decoder's outputs before the sigmoid, [B, ...].
      images: The images, in [0, 1], [B, ...].

    Returns:
      The error of each example, float32 [B], in nats.
    """
    logits, images = flat(logits), flat(images)
    # As optax.sigmoid_binary_cross_entropy, in a third of its time on a CPU: one logarithm.
    log_one_plus = jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return (jnp.maximum(logits, 0.0) - logits * images + log_one_plus).sum(axis=1)


def squared_error(reconstructions: Array, images: Array) -> Array:
    """Half the squared Euclidean distance (Makhzani et al. 2015, appendix A.2.1).

    It is -log p(x|z) of a Gaussian decoder with std 1, but for a constant.

    Args:
      reconstructions: The reconstructions, [B, ...].
      images: The images, [B, ...].

    Returns:
      The error of each example, float32 [B].
    """
    return 0.5 * jnp.square(flat(reconstructions) - flat(images)).sum(axis=1)


def gaussian_error(means: Array, log_stds: Array, values: Array) -> Array:
    """The -log p(x|z) of a Gaussian decoder, the constant included.

    Args:
      means: The means, [B, ...].
      log_stds: The logarithms of the standard deviations, [B, ...].
      values: The values, [B, ...]; NaN for one that is not known, which costs nothing.

    Returns:
      The error of each example, float32 [B], in nats of a density.
    """
    means, log_stds, values = flat(means), flat(log_stds), flat(values)
    known = ~jnp.isnan(values)
    # The difference is 0, not NaN, where nothing is known: so is its gradient.
    scaled = jnp.where(known, values - means, 0.0) * jnp.exp(-log_stds)
    each = 0.5 * (jnp.square(scaled) + math.log(2 * math.pi)) + log_stds
    return jnp.where(known, each, 0.0).sum(axis=1)


def discriminator_loss(
    real_logits: Array,
    fake_logits: Array,
    names: tuple[str, str] = ("prior", "codes"),
    mean: Callable[[Array], Array] = jnp.mean,
    real_mean: Callable[[Array], Array] = jnp.mean,
) -> tuple[Array, Metrics]:
    """Teaches a discriminator to say 1 to the prior and 0 to codes (section 2).

    It is the sum of two means, so that a discriminator that knows nothing (logits 0) scores
    2 ln 2.

    Args:
      real_logits: The logits of samples of p(z), in a GAN of images, [B].
      fake_logits: The logits of samples of q(z), in a GAN of made images, [B].
      names: What the two are called in the metrics.
      mean: The mean of numbers [B] of the fake ones, which may have weights.
      real_mean: The mean of numbers [B] of the real ones.

    Returns:
      The loss, (), and the fractions that it gets right: "accuracy_prior" and
      "accuracy_codes". Both go to 0.5 as q(z) meets p(z).
    """
    loss = real_mean(jax.nn.softplus(-real_logits)) + mean(jax.nn.softplus(fake_logits))
    return loss, {
        f"accuracy_{names[0]}": real_mean((real_logits > 0).astype(jnp.float32)),
        f"accuracy_{names[1]}": mean((fake_logits <= 0).astype(jnp.float32)),
    }


def generator_loss(
    code_logits: Array,
    form: GeneratorLoss = "non-saturating",
    mean: Callable[[Array], Array] = jnp.mean,
) -> Array:
    """Teaches the encoder to make codes that the discriminator takes for the prior.

    Args:
      code_logits: The discriminator's logits of samples of q(z), [B].
      form: The form: "non-saturating" minimises -log D(z); "minimax" minimises
        log(1 - D(z)), whose gradient fades where the discriminator is sure (Goodfellow et
        al. 2014, section 3).
      mean: The mean of numbers [B], as in `discriminator_loss`.

    Returns:
      The loss, ().

    Raises:
      UserError: The form is neither of the two.
    """
    check_word("form of the generator's loss", form, GeneratorLoss)
    if form == "minimax":
        return -mean(jax.nn.softplus(code_logits))
    return mean(jax.nn.softplus(-code_logits))


def critic_loss(real: Array, fake: Array) -> tuple[Array, Metrics]:
    """Teaches a critic to tell samples apart by a slope of 1 (Arjovsky et al. 2017).

    Args:
      real: What the critic gives to samples of the data or the prior, [B].
      fake: What it gives to made ones, [B].

    Returns:
      The loss, (), and its negative, the "wasserstein" distance as far as the critic sees
      it.
    """
    distance = real.mean() - fake.mean()
    return -distance, {"wasserstein": distance}


def slope_penalty(critic: Callable[[Array], Array], points: Array) -> Array:
    """The mean of (norm of the gradient - 1)^2 (WGAN-GP, Gulrajani et al. 2017, eq. 3).

    Args:
      critic: The critic, `points [B, ...] -> [B]`, each number of its own point alone.
      points: Points between real and made samples, [B, ...].

    Returns:
      The penalty, float32 ().
    """
    gradients = flat(jax.grad(lambda x: critic(x).sum())(points))
    # 1e-12: the gradient of a root at 0, of a critic that is constant, is infinite.
    norms = jnp.sqrt(jnp.square(gradients).sum(axis=1) + 1e-12)
    return jnp.square(norms - 1).mean()


def gradient_penalty(
    discriminate: Callable[[Array], Array],
    codes: Array,
    mean: Callable[[Array], Array] = jnp.mean,
) -> Array:
    """R1, half the mean squared norm of the gradient (Mescheder et al. 2018, section 4.1).

    It keeps a discriminator from growing ever steeper where prior and codes hardly overlap.

    Args:
      discriminate: The discriminator, `codes [B, ...] -> logits [B]`, each logit of its own
        code alone.
      codes: Samples of the prior, in a GAN images, [B, ...].
      mean: The mean of numbers [B] of these, which may have weights.

    Returns:
      The penalty, float32 ().
    """
    gradients = jax.grad(lambda z: discriminate(z).sum())(codes)
    return 0.5 * mean(jnp.square(flat(gradients)).sum(axis=1))


def jacobian_norm(decode: Callable[[Array], Array], codes: Array, probes: Array) -> Array:
    """An unbiased estimate of a decoder's squared slope (RAE-GP, Ghosh et al. 2020).

    That is the sum of the squares of all derivatives of an image by its code; for random
    signs v it is the mean of |J v|^2 (Hutchinson 1990), whatever the size of a code.

    Args:
      decode: The decoder, `codes [B, Z] -> images [B, ...]`.
      codes: The codes, [B, Z].
      probes: The random signs v, [B, Z], each 1 or -1.

    Returns:
      The estimate for each code, float32 [B].
    """
    slopes = jax.jvp(decode, (codes,), (probes,))[1]
    return jnp.square(flat(slopes)).sum(axis=1)


def mmd(x: Array, y: Array, kernel: Kernel = "imq", *, biased: bool = False) -> Array:
    """The squared maximum mean discrepancy of two samples (Gretton et al. 2012, eq. 3).

    The kernel is a sum over seven scales c s, s = 2 Z var(y), of inverse multiquadratics
    c s / (c s + d^2) (Tolstikhin et al. 2017, section 4) or of Gaussians exp(-d^2 / (c s))
    (Li et al. 2015, section 2).

    Args:
      x: The first sample, [N, Z].
      y: A sample of the reference, [M, Z], whose variance sets the scale; where it has
        none, that of both samples does.
      kernel: The kernel, "imq" or "rbf".
      biased: Whether each point's kernel with itself counts, so that the result is not
        negative; else it is about 0, of either sign, where both are from one distribution.

    Returns:
      The squared discrepancy, float32 ().

    Raises:
      UserError: The kernel is neither of the two, or a sample has fewer than two points
        where both must have pairs.
    """
    check_word("kernel", kernel, Kernel)
    if not biased and min(len(x), len(y)) < 2:
        raise UserError(
            "the distance between two samples needs two examples of each: take a larger "
            "batch"
        )
    spread = y.var(axis=0).mean()
    # A reference that is one point, as far as float32 can tell (constant images), has no
    # scale: that of both samples stands in, or of both being that point any.
    least = 1e-6 * jnp.square(y).mean() + 1e-12
    both = jax.lax.stop_gradient(jnp.concatenate([x, y]).var(axis=0).mean())
    scale = 2 * x.shape[1] * jnp.where(spread > least, spread, jnp.maximum(both, least))

    def values(a: Array, b: Array) -> Array:
        # Not through a[:, None] - b: images would not fit into memory.
        squares = jnp.square(a).sum(axis=1)[:, None] + jnp.square(b).sum(axis=1)[None]
        # Differences of large squares: float32 on every device, never a tensor core's.
        products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
        distance = jnp.maximum(squares - 2 * products, 0.0)
        scales = [c * scale for c in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
        if kernel == "imq":
            each = [s / (s + distance) for s in scales]
        else:
            each = [jnp.exp(-distance / s) for s in scales]
        return sum(each, start=jnp.zeros(()))

    def within(a: Array) -> Array:
        n, found = a.shape[0], values(a, a)
        if biased:
            return found.mean()
        return (found.sum() - jnp.trace(found)) / (n * (n - 1))

    return within(x) + within(y) - 2 * values(x, y).mean()


def head_distance(heads: Array, least: float) -> Array:
    """Pushes cluster heads apart: the sum of max(0, least - distance) over pairs (sec. 6).

    Args:
      heads: The heads, [K, n].
      least: Eta, the least distance; pairs this far apart or further cost nothing.

    Returns:
      The loss, float32 ().
    """
    first, second = jnp.triu_indices(heads.shape[0], 1)
    squared = jnp.square(heads[first] - heads[second]).sum(axis=1)
    # 1e-12: the gradient of a root at 0, two heads in one place, is infinite.
    return jnp.maximum(0.0, least - jnp.sqrt(squared + 1e-12)).sum()


def virtual_adversarial(
    logits_of: Callable[[Array], Array],
    images: Array,
    noise: Array,
    radius: float,
    moved: Array | None = None,
) -> Array:
    """How far q(y|x) moves under the worst small change of the image (Miyato et al. 2018).

    KL(q(y|x) || q(y|x + r)), r of length `radius` along the direction in which a first
    step of power iteration finds the divergence to grow fastest. Its gradient reaches the
    networks through q(y|x + r) alone.

    Args:
      logits_of: The classifier, `images [B, ...] -> logits [B, K]`, each row of its own
        image alone.
      images: The images, [B, ...].
      noise: Standard normal noise, [B, ...], where the search for r starts.
      radius: The Euclidean length of r, in pixels of [0, 1].
      moved: The images changed in another way that leaves their class, [B, ...]: r is added
        to these, in place of the images themselves. None for no such change.

    Returns:
      The divergence of each image, float32 [B], in nats.
    """
    moved = images if moved is None else moved
    clean = jax.lax.stop_gradient(jax.nn.log_softmax(logits_of(images)))

    def divergence(change: Array) -> Array:
        changed = jax.nn.log_softmax(logits_of(moved + change))
        return (jnp.exp(clean) * (clean - changed)).sum(axis=1)

    def unit(x: Array) -> Array:
        pixels = flat(x)
        # 1e-12: a saturated softmax gives a gradient of 0.
        norms = jnp.sqrt(jnp.square(pixels).sum(axis=1, keepdims=True) + 1e-12)
        return (pixels / norms).reshape(x.shape)

    gradient = jax.grad(lambda change: divergence(change).sum())(unit(noise))
    return divergence(radius * jax.lax.stop_gradient(unit(gradient)))


def uninformed(logits: Array) -> Array:
    """How little y says about an image (RIM, Krause et al. 2010; IMSAT, Hu et al. 2017).

    It is H(y|x) - 4 H(y), least where q(y|x) is sure and all classes are equally large; the
    4 is IMSAT's. H(y) is that of the mean of these q(y|x): no mean over examples.

    Args:
      logits: The logits of q(y|x), [B, K].

    Returns:
      The loss, float32 (), in nats.
    """
    log_y = jax.nn.log_softmax(logits)
    y = jnp.exp(log_y)
    mean = y.mean(axis=0)
    of_each = -(y * log_y).sum(axis=1).mean()
    # 1e-12: a class that nobody is in.
    of_all = -(mean * jnp.log(mean + 1e-12)).sum()
    return of_each - 4 * of_all


def mutual_information(logits: Array, moved: Array, unevenness: float = 0.0) -> Array:
    """What the classes of an image and of the image moved tell of each other.

    I(y; y') = 2 H(y) - H(y, y') of their joint distribution, the mean of q(y|x) q(y'|x')
    over examples and over both orders (invariant information clustering, Ji et al. 2019,
    eq. 3). H(y) counts 1.2 times, so that no class empties, and only up to
    ln K - unevenness: sizes need not be more equal than that (IMSAT, Hu et al. 2017, bounds
    their divergence from equal ones).

    Args:
      logits: The logits of q(y|x), [B, K].
      moved: The logits of q(y|x'), [B, K], with x' the same image changed in a way that
        leaves its class.
      unevenness: How far H(y) may be below that of equally large classes, in nats.

    Returns:
      The information, float32 (), in nats; at most 1.4 ln K.
    """
    joint = jax.nn.softmax(logits).T @ jax.nn.softmax(moved) / logits.shape[0]
    joint = jnp.maximum((joint + joint.T) / 2, 1e-9)  # no logarithm of 0
    each = joint.sum(axis=0)
    of_each = -(each * jnp.log(each)).sum()
    of_both = -(joint * jnp.log(joint)).sum()
    enough = math.log(logits.shape[1]) - unevenness
    return 2.4 * jnp.minimum(of_each, enough) - of_both
