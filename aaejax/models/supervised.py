"""The supervised AAE (Makhzani et al. 2015, section 3, figures 6 and 7).

The decoder reads the label beside the code, so that the code keeps what the label does not
say: the style. An image whose label is unknown is decoded with no label at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import optax

from aaejax import losses, networks, priors
from aaejax.adversaries import Adversary
from aaejax.autoencoder import Autoencoder
from aaejax.options import AutoencoderOptions
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Model,
    Networks,
    Phase,
    Prior,
    UserError,
)


def supervised(
    autoencoder: Autoencoder,
    discriminator: nn.Module,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    generator: losses.GeneratorForm = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """A supervised AAE: reconstruction, discriminator, generator.

    Args:
      autoencoder: with K classes, y from "labels".
      discriminator: `(styles [B, Z]) -> logits [B]`.
      prior: p(z) of the style.
      optimizers: "reconstruction", "discriminator", "generator".
      generator: the generator's loss.
      r1: weight of the discriminator's gradient penalty.
    """
    classes, latent = autoencoder.classes, autoencoder.posterior.latent

    def init(key: Key) -> Networks:
        autoencoder_key, discriminator_key = jax.random.split(key)
        styles = jax.numpy.zeros((1, latent))
        return {
            **autoencoder.init(autoencoder_key),
            "discriminator": networks.init_params(discriminator, discriminator_key, styles),
        }

    def fake(params: Networks, batch: Batch, draw: Draw) -> Array:
        return autoencoder.draw_code(params, batch, draw)[:, classes:]

    adversary = Adversary(
        lambda params, styles, _: networks.applier(discriminator)(
            params["discriminator"], styles
        ),
        lambda _, draw: draw("prior", lambda key: prior(key, 1)[0]),
        fake,
        form=generator,
        r1=r1,
    )
    phases = (
        Phase(
            "reconstruction",
            ("encoder", "decoder"),
            autoencoder.reconstruction_loss,
            optimizers["reconstruction"],
        ),
        *adversary.phases(optimizers),
    )
    return Model(
        init,
        phases,
        priors.with_class(prior, classes),
        classes + latent,
        autoencoder.encode,
        autoencoder.decode,
        autoencoder.error,
        classes=classes,
    )


@dataclass(frozen=True)
class Options(AutoencoderOptions):
    """An AAE whose decoder reads the label, and whose code keeps the style."""

    latent: int = 15
    """Size of the style z."""

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data, or data without labels.
        """
        if not data.labelled:
            raise UserError("supervised needs labels: give data that have some")
        return supervised(
            self.autoencoder(data, data.classes, "labels"),
            self.make_discriminator(),
            priors.gaussian(self.latent, self.prior_std),
            self.optimizers(steps),
            generator=self.generator,
            r1=self.r1,
        )
