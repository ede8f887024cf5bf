"""What a trained model scores on held-out examples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import clone

from aaejax.components import losses
from aaejax.components.pixels import to_unit
from aaejax.metrics import clusters
from aaejax.sampling import as_read, in_batches
from aaejax.types import LABELLED, Array, Key, Model, UserError, Variables


class HeldOut:
    """Evaluates a model on the same held-out examples again and again."""

    def __init__(
        self,
        model: Model,
        images: np.ndarray,
        labels: np.ndarray | None,
        key: Key,
    ):
        """Takes what is evaluated; compiles nothing yet.

        Args:
          model: The model to evaluate.
          images: The held-out examples, [N, ...], uint8 or float32, in any order.
          labels: The labels, [N], int, -1 where unknown, or None; for a model with
            conditions these, [N, C], float32.
          key: The key of the posterior's noise and the prior's samples, the same each time.
        """
        self._model, self._images, self._labels = model, images, labels
        self._encode_key, self._match_key = jax.random.split(key)
        some = mixed_order(len(images))
        # What is made is told the same as codes and images: their condition or class.
        given = model.conditions or (model.classes and not model.classify)
        told = labels if given else None
        if told is not None and not model.conditions:
            some = some[told[some] >= 0]
        self._some = some[:1000]  # that the match is measured on
        n = len(self._some)
        if told is not None:
            told = told[self._some]

        def match_codes(variables: Variables, codes: Array, key: Key) -> dict[str, Array]:
            key, other_key = jax.random.split(key)
            prior = model.prior(variables, key, n, told)
            other = model.prior(variables, other_key, n, told)
            return {
                "heldout/prior_mmd": losses.mmd(codes, prior),
                "heldout/prior_mmd_chance": losses.mmd(other, prior),
            }

        def match_images(variables: Variables, images: Array, key: Key) -> dict[str, Array]:
            images = to_unit(images).reshape(n, -1)
            made = model.decode(variables, model.prior(variables, key, n, told))
            made = made.reshape(n, -1)
            scores = {"heldout/sample_mmd": losses.mmd(made, images)}
            if n >= 4:  # two in each half
                chance = losses.mmd(images[::2], images[1::2])
                scores["heldout/sample_mmd_chance"] = chance
            return scores

        def ask(variables: Variables, images: Array, key: Key, labels: Array | None):
            codes = model.encode(variables, images, key, labels)
            found = {"codes": codes, "error": model.error(variables, images, codes)}
            plane = model.in_plane(variables, codes)
            if plane is not None:
                found["plane"] = plane
            # By the codes' own noise.
            if model.classify:
                found["probabilities"] = model.classify(variables, images, clone(key))
            if model.log_weights:
                found["elbo"] = model.log_weights(variables, images, clone(key), labels)
            return found

        def likelihoods(variables: Variables, images: Array, _: Key, labels: Array | None):
            return {"nll": -model.log_likelihood(variables, images, labels)}  # type: ignore[misc]

        self._ask = in_batches(likelihoods if model.log_likelihood else ask)
        self._match = jax.jit(match_codes if model.encodes else match_images)

    @property
    def _all_known(self) -> bool:
        """Whether all examples have a label, which a conditional likelihood is given."""
        return self._labels is not None and bool((self._labels >= 0).all())

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that a call gives where all are finite."""
        n, model, asked = len(self._some), self._model, len(self._images)
        if model.log_likelihood:
            given = not model.classes or self._all_known
            return ("heldout/nll", "heldout/bits_per_dimension") if n and given else ()
        if not model.encodes:
            chance = ("heldout/sample_mmd_chance",) * (n >= 4)
            return ("heldout/sample_mmd", *chance) if n >= 2 else ()
        found = ["heldout/reconstruction"] * bool(asked)
        if n >= 2:
            found += ["heldout/prior_mmd", "heldout/prior_mmd_chance"]
        if asked and model.log_weights:
            found.append("heldout/elbo")
        if asked and model.classify and self._labels is not None:
            known, unnamed = (self._labels >= 0).sum() >= 2, LABELLED not in model.reads
            found += ["heldout/error_percent"] * bool(known)
            found += ["heldout/majority_error_percent"] * bool(known and unnamed)
        return tuple(found)

    def __call__(self, variables: Variables) -> tuple[dict[str, float], np.ndarray | None]:
        """Computes the scores, and where codes are drawn.

        Args:
          variables: The variables of the model's networks.

        Returns:
          The scores by name, and the codes as they are drawn, [N, 2], float32, or None.

          "heldout/reconstruction" is the training loss of the reconstruction, the mean over
          examples. "heldout/prior_mmd" is the squared MMD between codes and the prior,
          "heldout/prior_mmd_chance" the same between two samples of the prior. A model
          without an encoder has "heldout/sample_mmd" and "..._chance" in their place:
          between samples and held-out images, and between two halves of those. A model
          whose likelihood is known has "heldout/nll", -log p(x) in nats (-log p(x|y) of a
          conditional model), and the same as "heldout/bits_per_dimension", and no others.
          Where there are densities, "heldout/elbo" is in nats, with one sample of z an
          image. Where the encoder has classes, there is "heldout/error_percent"; where it
          has clusters, they are named by one half of the held-out examples and scored on
          the other, by the paper's rule ("heldout/error_percent") and by majority
          ("heldout/majority_error_percent"). A score that too few examples have, or that is
          not finite, is left out.
        """
        scores, plane = self._scores(variables)
        return {name: x for name, x in scores.items() if np.isfinite(x)}, plane

    def _scores(self, variables: Variables) -> tuple[dict[str, float], np.ndarray | None]:
        matched = len(self._some) >= 2  # the distance needs pairs
        if self._model.log_likelihood:
            if not self.names:
                return {}, None
            # The key is not read.
            whole = self._ask(variables, self._images, self._labels, self._encode_key)
            nll = float(whole["nll"].mean(dtype=np.float64))
            size = math.prod(self._images.shape[1:])
            bits = nll / size / math.log(2)
            return {"heldout/nll": nll, "heldout/bits_per_dimension": bits}, None
        if not self._model.encodes:
            # Images as an argument: of constants XLA would compute the distances itself.
            some = self._images[self._some]
            match = self._match(variables, some, clone(self._match_key)) if matched else {}
            return _floats(match), None
        if not len(self._images):
            return {}, None
        whole = self._ask(variables, self._images, self._labels, self._encode_key)
        scores = {"heldout/reconstruction": float(whole["error"].mean())}
        if matched:
            codes = whole["codes"][self._some]
            scores |= _floats(self._match(variables, codes, clone(self._match_key)))
        if "elbo" in whole:
            scores["heldout/elbo"] = float(whole["elbo"].mean())
        if "probabilities" in whole and self._labels is not None:
            scores |= self._classification(whole["probabilities"], self._labels)
        return scores, whole.get("plane")

    def _classification(
        self, probabilities: np.ndarray, labels: np.ndarray
    ) -> dict[str, float]:
        known = mixed_order(len(labels))
        known = known[labels[known] >= 0]
        probabilities, labels = probabilities[known], labels[known]
        if len(labels) < 2:
            return {}
        if LABELLED in self._model.reads:
            names = np.arange(probabilities.shape[1])
            error = clusters.error(probabilities, labels, names)
            return {"heldout/error_percent": error}
        naming, scored = slice(0, None, 2), slice(1, None, 2)
        rules = {
            "heldout/error_percent": clusters.names_by_confidence,
            "heldout/majority_error_percent": clusters.names_by_majority,
        }
        return {
            name: clusters.error(
                probabilities[scored],
                labels[scored],
                rule(probabilities[naming], labels[naming]),
            )
            for name, rule in rules.items()
        }


def importance_bound(
    model: Model,
    variables: Variables,
    images: Array,
    *,
    key: Key,
    samples: int,
    labels: Array | None = None,
) -> Array:
    """Computes the importance-weighted bound of log p(x) (Burda et al. 2015, eq. 8).

    With one sample it is the ELBO; it grows towards log p(x) with the number of samples.

    Args:
      model: The model, which must have `log_weights`.
      variables: The variables of its networks.
      images: The images, [B, ...], float32 in [0, 1] or uint8; counts are as they are.
      key: A PRNG key, which is consumed.
      samples: The number of samples of z for each image.
      labels: The labels, [B], or None; for a model with conditions these, [B, C].

    Returns:
      The bound for each image, [B], float32, in nats.

    Raises:
      UserError: The model has no densities.
    """
    log_weights = model.log_weights
    if log_weights is None:
        raise UserError("this model has no densities p(x, z) and q(z|x): ask a vae")
    images = as_read(model, images)

    def one(total: Array, key: Key) -> tuple[Array, None]:
        return jnp.logaddexp(total, log_weights(variables, images, key, labels)), None

    start = jnp.full(images.shape[0], -jnp.inf)
    total, _ = jax.lax.scan(one, start, jax.random.split(key, samples))
    return total - jnp.log(samples)


def mixed_order(n: int) -> np.ndarray:
    """Puts 0 ... n - 1 in a random order that is always the same: [n], int.

    Data come sorted, by class more often than not; a part of them that stands for all is
    taken from this order.
    """
    return np.random.RandomState(0).permutation(n)  # its stream never changes


def _floats(scores: dict[str, Array]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}
