"""An adversary: the two phases that push codes onto a prior (Makhzani et al. 2015, sec. 2).

One discriminator learns to tell samples of a prior from codes, then the encoder, as the
generator, learns to fool it. A model with two heads has two adversaries; a GAN has one on
images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import optax

from aaejax.components import losses
from aaejax.types import Array, Batch, Draw, Metrics, Networks, Phase


@dataclass(frozen=True)
class Adversary:
    """One discriminator and what it compares.

    Attributes:
      discriminate: `(networks, codes [B, ...], batch) -> logits [B]`.
      real: `(batch, draw) -> codes [B, ...]`, samples of the prior.
      fake: `(networks, batch, draw) -> codes [B, ...]`, the generator's.
      prefix: of the names of phases and network: "style_" gives "style_discriminator" and
        "style_generator".
      generator: the network that makes the fake ones.
      names: of real and fake in the metrics.
      form: of the generator's loss.
      r1: weight of the discriminator's gradient penalty (`losses.gradient_penalty`).
    """

    discriminate: Callable[[Networks, Array, Batch], Array]
    real: Callable[[Batch, Draw], Array]
    fake: Callable[[Networks, Batch, Draw], Array]
    prefix: str = ""
    generator: str = "encoder"
    names: tuple[str, str] = ("prior", "codes")
    form: losses.GeneratorForm = "non-saturating"
    r1: float = 0.0

    def phases(
        self, optimizers: Mapping[str, optax.GradientTransformation]
    ) -> tuple[Phase, Phase]:
        """The discriminator's phase, then the generator's.

        Args:
          optimizers: by the names of the phases.
        """
        network, phase = f"{self.prefix}discriminator", f"{self.prefix}generator"
        return (
            Phase(network, (network,), self._discriminator_loss, optimizers[network]),
            Phase(phase, (self.generator,), self._generator_loss, optimizers[phase]),
        )

    def _discriminator_loss(
        self, networks: Networks, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics]:
        real = self.real(batch, draw)
        both = jnp.concatenate([real, self.fake(networks, batch, draw)])
        # One pass for both: a network's kernels are read once.
        twice = {name: jnp.concatenate([x, x]) for name, x in batch.items()}
        to_real, to_fake = jnp.split(self.discriminate(networks, both, twice), 2)
        loss, metrics = losses.discriminator_loss(to_real, to_fake, self.names)
        if self.r1:
            penalty = losses.gradient_penalty(
                lambda codes: self.discriminate(networks, codes, batch), real
            )
            loss += self.r1 * penalty
            metrics = {**metrics, "gradient_penalty": penalty}
        return loss, metrics

    def _generator_loss(
        self, networks: Networks, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics]:
        codes = self.fake(networks, batch, draw)
        logits = self.discriminate(networks, codes, batch)
        return losses.generator_loss(logits, self.form), {}
