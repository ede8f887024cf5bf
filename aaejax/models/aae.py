"""The adversarial autoencoder (Makhzani et al. 2015, section 2, figure 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_number, check_optimizers
from aaejax.components.inputs import label_input, unweighted
from aaejax.models._adversaries import AdversarialAutoencoderOptions, OneAdversaryOptions
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import PriorOptions
from aaejax.networks import as_network, check_outputs
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Model,
    Prior,
    States,
    UserError,
    Variables,
)


def aae(
    autoencoder: Autoencoder,
    discriminator: Any,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    discriminator_classes: int = 0,
    generator_loss: losses.GeneratorLoss = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """Makes an AAE of three phases: reconstruction, discriminator, generator.

    Args:
      autoencoder: The encoder, decoder, q(z|x) and p(x|z). Where its code has a class in
        front (y from "labels"; not from the encoder), the adversary sees the style z alone
        (section 3).
      discriminator: The network `(codes [B, Z]) -> logits [B]`; with K discriminator
        classes `(codes [B, Z + K + 1])`. Anything that `networks.as_network` takes.
      prior: The prior p(z) of the style.
      optimizers: The Optax transformations "reconstruction", "discriminator", "generator".
        The encoder is trained by two of them, each with a state of its own.
      discriminator_classes: K, to let the discriminator read labels (section 2.3): it gets
        a one-hot vector of K + 1 classes, the last for "unknown", and a labelled image's
        prior sample comes from its class's part of the prior. A style has the same prior in
        each class, and such a discriminator leaves none that knows its class (not in the
        paper); it reads the K classes that are in front of the code.
      generator_loss: The form of the generator's loss, as in `losses.generator_loss`.
      r1: The weight of the discriminator's gradient penalty.

    Raises:
      UserError: The networks, prior or optimizers don't fit, a word is none of those
        allowed, or a number is out of range.
    """
    check_optimizers(optimizers, ("reconstruction", "discriminator", "generator"))
    check_number("discriminator_classes", discriminator_classes, 0, whole=True)
    autoencoder.check_given("an aae")
    front, read = autoencoder.classes, discriminator_classes
    if read and front and (autoencoder.conditions or read != front):
        raise UserError(
            f"the discriminator reads {read} classes, and the code has {front} "
            f"{'conditions' if autoencoder.conditions else 'classes'} in front: give "
            "discriminator_classes=0, or both the same classes"
        )
    network = as_network(discriminator)
    latent = autoencoder.posterior.latent
    priors.check_prior(prior, latent, labelled=bool(read and not front))
    size = latent + (read + 1 if read else 0)
    check_outputs(network, "discriminator", [(size,)], ())

    def init(key: Key) -> Variables:
        autoencoder_key, discriminator_key = jax.random.split(key)
        return {
            **autoencoder.init(autoencoder_key),
            "discriminator": network.init(discriminator_key, jnp.zeros((1, size))),
        }

    def inputs_of(codes: Array, batch: Batch) -> tuple[Array, ...]:
        if not read:
            return (codes,)
        label = jnp.where(batch["label"] < 0, read, batch["label"])
        return (jnp.concatenate([codes, jax.nn.one_hot(label, read + 1)], axis=1),)

    def real(batch: Batch, draw: Draw) -> Array:
        if front or not read:
            return draw("prior", lambda key: prior(key, 1)[0])
        return draw("prior", lambda key, y: prior(key, 1, y[None])[0], batch["label"])

    def fake(variables: Variables, batch: Batch, draw: Draw) -> tuple[Array, States]:
        codes, states = autoencoder.draw_code(variables, batch, draw)
        return codes[:, front:], states

    inputs = autoencoder.inputs
    if read and not front:
        inputs += (label_input(read),)
    adversary = Adversary(
        discriminator=network,
        real=real,
        fake=fake,
        inputs_of=inputs_of,
        inputs=inputs,
        mean=autoencoder.mean,
        # Where it reads labels both sides are to have the same share of each.
        real_mean=autoencoder.mean if read else unweighted,
        generator_loss=generator_loss,
        r1=r1,
    )
    return Model(
        init=init,
        phases=(
            autoencoder.reconstruction_phase(optimizers["reconstruction"]),
            *adversary.phases(optimizers),
        ),
        prior=priors.fixed(priors.after(prior, **autoencoder.in_front)),
        latent=front + latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
        **autoencoder.in_front,
        prior_classes=read,
    )


def _adversarial_optimizer() -> Optimizer:
    return Optimizer(momentum=0.5, schedule="cosine")


@dataclass(frozen=True)
class Options(PriorOptions, AdversarialAutoencoderOptions, OneAdversaryOptions):
    """An adversarial autoencoder."""

    width: int = 400
    depth: int = 3
    discriminator_optimizer: Optimizer = field(default_factory=_adversarial_optimizer)
    generator_optimizer: Optimizer = field(default_factory=_adversarial_optimizer)

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """The learning rates that go with the networks (docs/results.md)."""
        if self.network == "mlp":
            # By a fast reconstruction codes leave a narrow prior.
            rates = {"reconstruction": 3e-3} if self.prior == "gaussian" else {}
        elif self.network == "conv":
            rates = {"generator": 3e-4}
        else:
            rates = {"discriminator": 3e-4, "generator": 3e-4}
        rate = {"learning_rate": rates[name]} if name in rates else {}
        return {**super().optimizer_defaults(name), **rate}

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        return aae(
            self.autoencoder(data),
            self.make_discriminator(data, self.latent),
            self.make_prior(data.classes or 10),
            self.optimizers(steps),
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
