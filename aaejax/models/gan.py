"""The generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661).

Algorithm 1: k discriminator steps, each on a fresh batch, then one of the generator. MLPs,
or convolutional networks as in DCGAN (Radford et al. 2015) with layer norm in place of
batch norm; conditional on the label as in Mirza & Osindero 2014.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components import losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.likelihoods import Likelihood
from aaejax.models._options import (
    OneAdversaryOptions,
    PriorOptions,
    check_at_least,
    need_labels,
)
from aaejax.types import Array, Batch, DataSpec, Draw, Key, Model, Networks, Prior


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    prior: Prior,
    latent: int,
    shape: tuple[int, ...],
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    classes: int = 0,
    images: Callable[[Array], Array] = jax.nn.sigmoid,
    steps: int = 1,
    form: losses.GeneratorForm = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """A GAN: `steps` discriminator phases and one generator phase.

    Args:
      generator: `(codes [B, K + Z]) -> [B, ...]`.
      discriminator: `(images [B, ...], one-hot labels [B, K] or None) -> logits [B, 1]`.
      prior: p(z), without the class.
      latent: Z.
      shape: of one image.
      optimizers: "discriminator" and "generator".
      classes: K, where both networks read the label; 0 for none.
      images: from the generator's outputs to images.
      steps: k of Algorithm 1.
      form: of the generator's loss.
      r1: weight of the discriminator's gradient penalty.
    """
    drawn = priors.with_class(prior, classes) if classes else prior
    reads = ("", *(f"step{number}_" for number in range(1, steps)))

    def init(key: Key) -> Networks:
        generator_key, discriminator_key = jax.random.split(key)
        image = jnp.zeros((1, *shape))
        labels = (jnp.zeros((1, classes)),) if classes else ()
        return {
            "generator": networks.init_params(
                generator, generator_key, jnp.zeros((1, classes + latent))
            ),
            "discriminator": networks.init_params(
                discriminator, discriminator_key, image, *labels
            ),
        }

    def decode(params: Networks, codes: Array) -> Array:
        return images(networks.applier(generator)(params["generator"], codes))

    def adversary(prefix: str) -> Adversary:
        def one_hot(batch: Batch) -> tuple[Array, ...]:
            if not classes:
                return ()
            return (jax.nn.one_hot(batch[f"{prefix}label"], classes),)

        def discriminate(params: Networks, images: Array, batch: Batch) -> Array:
            apply = networks.applier(discriminator)
            return apply(params["discriminator"], images, *one_hot(batch))[:, 0]

        def fake(params: Networks, batch: Batch, draw: Draw) -> Array:
            styles = draw(f"{prefix}prior", lambda key: prior(key, 1)[0])
            return decode(params, jnp.concatenate([*one_hot(batch), styles], axis=1))

        return Adversary(
            discriminate,
            lambda batch, _: batch[f"{prefix}image"],
            fake,
            generator="generator",
            names=("real", "made"),
            form=form,
            r1=r1,
        )

    pairs = [adversary(prefix).phases(optimizers) for prefix in reads]
    return Model(
        init,
        (*(discriminate for discriminate, _ in pairs), pairs[0][1]),
        priors.fixed(drawn),
        classes + latent,
        decode,
        classes=classes,
        labels=classes,
        reads=reads,
    )


@dataclass(frozen=True)
class Options(PriorOptions, OneAdversaryOptions):
    """A generative adversarial network of images."""

    latent: int = 100
    """Size of the code z."""
    discriminator_steps: int = 1
    """Discriminator steps, on a fresh batch each, to one of the generator."""
    conditional: bool = False
    """Generator and discriminator read the label."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "discriminator_steps")

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        if self.conditional:
            need_labels(data, "gan --conditional")
        discriminator, generator = self.make_encoder(data, 1), self.make_decoder(data)
        if isinstance(discriminator, networks.ConvEncoder):
            discriminator = replace(discriminator, leak=0.2)
        return gan(
            generator,
            discriminator,
            self.make_prior(data.classes or 10),
            self.latent,
            data.shape,
            self.optimizers(steps),
            classes=data.classes if self.conditional else 0,
            images=Likelihood("squared-error", self.output).images,
            steps=self.discriminator_steps,
            form=self.generator,
            r1=self.r1,
        )
