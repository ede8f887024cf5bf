"""The adversarial autoencoder (Makhzani et al. 2015, section 2, figure 1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components import losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.autoencoder import Autoencoder
from aaejax.models._options import AdversarialOptions, OneAdversaryOptions, PriorOptions
from aaejax.types import Array, Batch, DataSpec, Draw, Key, Model, Networks, Prior


def aae(
    autoencoder: Autoencoder,
    discriminator: nn.Module,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    labels: int = 0,
    generator: losses.GeneratorForm = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """An AAE: reconstruction, discriminator, generator.

    Args:
      autoencoder: encoder, decoder, q(z|x) and p(x|z). Where its code has a class in front
        (y from "labels"), the adversary sees the style z alone (section 3).
      discriminator: `(codes [B, Z]) -> logits [B]`; with labels `(codes [B, Z + K + 1])`.
      prior: p(z), of the style.
      optimizers: Optax transformations "reconstruction", "discriminator", "generator". The
        encoder is trained by two of them, each with a state of its own.
      labels: K, to let the discriminator read labels (section 2.3): it gets a one-hot
        vector of K + 1 classes, the last for "unknown", and a labelled image's prior sample
        comes from its class's part of the prior. A style has the same prior in each class,
        and such a discriminator leaves none that knows its class (not in the paper).
      generator: the generator's loss.
      r1: weight of the discriminator's gradient penalty.
    """
    classes = autoencoder.classes

    def inputs(codes: Array, batch: Batch) -> Array:
        if not labels:
            return codes
        given = jnp.where(batch["label"] < 0, labels, batch["label"])
        return jnp.concatenate([codes, jax.nn.one_hot(given, labels + 1)], axis=1)

    def init(key: Key) -> Networks:
        autoencoder_key, discriminator_key = jax.random.split(key)
        codes = jnp.zeros((1, autoencoder.posterior.latent))
        example = inputs(codes, {"label": jnp.zeros(1, jnp.int32)})
        return {
            **autoencoder.init(autoencoder_key),
            "discriminator": networks.init_params(
                discriminator, discriminator_key, example
            ),
        }

    def discriminate(params: Networks, codes: Array, batch: Batch) -> Array:
        apply = networks.applier(discriminator)
        return apply(params["discriminator"], inputs(codes, batch))

    def real(batch: Batch, draw: Draw) -> Array:
        if classes or not labels:
            return draw("prior", lambda key: prior(key, 1)[0])
        return draw("prior", lambda key, y: prior(key, 1, y[None])[0], batch["label"])

    def fake(params: Networks, batch: Batch, draw: Draw) -> Array:
        return autoencoder.draw_code(params, batch, draw)[:, classes:]

    adversary = Adversary(discriminate, real, fake, form=generator, r1=r1)
    phases = (
        autoencoder.reconstruction_phase(optimizers["reconstruction"]),
        *adversary.phases(optimizers),
    )
    return Model(
        init,
        phases,
        priors.fixed(priors.with_class(prior, classes) if classes else prior),
        classes + autoencoder.posterior.latent,
        autoencoder.decode,
        autoencoder.encode,
        autoencoder.error,
        classes=classes,
        labels=labels or classes,
    )


@dataclass(frozen=True)
class Options(PriorOptions, AdversarialOptions, OneAdversaryOptions):
    """An adversarial autoencoder."""

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        return aae(
            self.autoencoder(data),
            self.make_discriminator(),
            self.make_prior(data.classes or 10),
            self.optimizers(steps),
            generator=self.generator,
            r1=self.r1,
        )
