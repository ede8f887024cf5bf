"""The generative adversarial network (Goodfellow et al. 2014, arXiv 1406.2661).

Algorithm 1: k discriminator steps, each on a fresh batch, then one of the generator. MLPs,
convolutional networks, or those of DCGAN (Radford et al. 2016, arXiv 1511.06434);
conditional on the label as in Mirza & Osindero 2014. With the Wasserstein loss it is
WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components import losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.checks import check_at_least, check_number, check_optimizers
from aaejax.components.inputs import condition_input, image_input, label_input
from aaejax.components.likelihoods import Likelihood, Output
from aaejax.models._adversaries import OneAdversaryOptions
from aaejax.models._options import PriorOptions, read_in_front
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


def gan(
    generator: Any,
    discriminator: Any,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    latent: int,
    shape: tuple[int, ...],
    classes: int = 0,
    conditions: int = 0,
    output: Output = "sigmoid",
    steps: int = 1,
    generator_loss: losses.GeneratorLoss = "non-saturating",
    r1: float = 0.0,
    loss: losses.AdversaryLoss = "cross-entropy",
    slope: float = 10.0,
) -> Model:
    """Makes a GAN of `steps` discriminator phases and one generator phase.

    Args:
      generator: The network `(codes [B, K + Z]) -> [B, ...]`; it and the discriminator are
        anything that `networks.as_network` takes.
      discriminator: The network `(images [B, ...]) -> logits [B]`, with classes
        `(images, one-hot labels [B, K])`.
      prior: The prior p(z), without the class.
      optimizers: The optimizers "discriminator", which is updated `steps` times in a step
        of training, and "generator".
      latent: Z, the size of the code without the class.
      shape: The shape of one image.
      classes: K, where both networks read the label; 0 for none.
      conditions: C, where both read the condition, in place of a one-hot label; 0 for none.
      output: The function that the generator's last layer goes through.
      steps: The k of Algorithm 1, discriminator steps to one of the generator.
      generator_loss: The form of the generator's loss, as in `losses.generator_loss`.
      r1: The weight of the discriminator's gradient penalty.
      loss: The form of both networks' loss, as in `Adversary`.
      slope: The weight of the critic's penalty, where the loss is "wasserstein".

    Raises:
      UserError: The networks, prior or optimizers don't fit, a word is none of those
        allowed, or a number is out of range.
    """
    check_optimizers(optimizers, ("discriminator", "generator"))
    check_number("latent", latent, 1, whole=True)
    check_number("classes", classes, 0, whole=True)
    check_number("conditions", conditions, 0, whole=True)
    if classes and conditions:
        raise UserError("networks read classes or conditions: leave one of them out")
    check_number("steps", steps, 1, whole=True)
    priors.check_prior(prior, latent)
    front = classes or conditions
    images = Likelihood("squared-error", output).images
    maker, judge = networks.as_network(generator), networks.as_network(discriminator)
    code_shape, label_shapes = (front + latent,), [(front,)] if front else []
    networks.check_outputs(maker, "generator", [code_shape], shape)
    networks.check_outputs(judge, "discriminator", [shape, *label_shapes], ())

    def init(key: Key) -> Variables:
        generator_key, discriminator_key = jax.random.split(key)
        read = [jnp.zeros((1, *each)) for each in (shape, *label_shapes)]
        return {
            "generator": maker.init(generator_key, jnp.zeros((1, *code_shape))),
            "discriminator": judge.init(discriminator_key, *read),
        }

    def decode(variables: Variables, codes: Array) -> Array:
        return images(maker.evaluate(variables["generator"], codes))

    def adversary(prefix: str) -> Adversary:
        def told(batch: Batch) -> tuple[Array, ...]:
            if conditions:
                return (batch[f"{prefix}condition"],)
            if not classes:
                return ()
            return (jax.nn.one_hot(batch[f"{prefix}label"], classes),)

        def fake(variables: Variables, batch: Batch, draw: Draw) -> tuple[Array, States]:
            styles = draw("prior", lambda key: prior(key, 1)[0])
            codes = jnp.concatenate([*told(batch), styles], axis=1)
            outputs, state = maker.train(
                variables["generator"], codes, draw=draw, stream="generator"
            )
            return images(outputs), {"generator": state}

        inputs = (image_input(shape, output == "sigmoid", prefix),)
        if classes:
            inputs += (label_input(classes, prefix),)
        if conditions:
            inputs += (condition_input(conditions, prefix),)
        return Adversary(
            discriminator=judge,
            real=lambda batch, _: batch[f"{prefix}image"],
            fake=fake,
            inputs_of=lambda images, batch: (images, *told(batch)),
            inputs=inputs,
            generator="generator",
            names=("real", "made"),
            generator_loss=generator_loss,
            r1=r1,
            loss=loss,
            slope=slope,
        )

    prefixes = ("", *(f"step{number}_" for number in range(1, steps)))
    pairs = [adversary(prefix).phases(optimizers) for prefix in prefixes]
    return Model(
        init=init,
        phases=(
            *(replace(each, stream=number) for number, (each, _) in enumerate(pairs)),
            pairs[0][1],
        ),
        prior=priors.fixed(priors.after(prior, classes, conditions)),
        latent=front + latent,
        decode=decode,
        classes=classes,
        conditions=conditions,
    )


@dataclass(frozen=True)
class Options(PriorOptions, OneAdversaryOptions):
    """A generative adversarial network of images."""

    latent: int = 100
    """The size of the code z."""
    discriminator_steps: int = 1
    """The number of discriminator steps, on a fresh batch each, to one of the generator."""
    conditional: bool = False
    """Whether generator and discriminator read the label or condition."""
    loss: losses.AdversaryLoss = "cross-entropy"
    """The loss of both networks. With wasserstein the discriminator is a critic whose slope
    is to be 1 (WGAN-GP); --generator-loss and --r1 have then no meaning."""
    slope: float | None = None
    """The weight of the penalty of a critic's slope (wasserstein); by default 10."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "discriminator_steps", most=100)
        if self.slope is not None:
            check_at_least(self, 0, "slope")
        if self.loss == "cross-entropy":
            if self.slope is not None:
                raise UserError("slope is of --loss wasserstein: leave it out")
        elif self.generator_loss != "non-saturating":
            raise UserError("--generator-loss has no meaning for wasserstein: leave it out")
        elif self.r1:
            raise UserError("--r1 has no meaning for wasserstein: leave it out")
        elif self.norm == "batch":
            raise UserError(
                "a critic's slope is that of one image, and --norm batch mixes it with "
                "others: take layer or none"
            )

    @property
    def penalty(self) -> float:
        """The decided `r1`: a critic has the penalty of its slope in its place."""
        return super().penalty if self.loss == "cross-entropy" else 0.0

    def updates_per_step(self, name: str) -> int:
        """The discriminator is updated k times."""
        return self.discriminator_steps if name == "discriminator" else 1

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        told: dict[str, Any] = {}
        if self.conditional:
            told = read_in_front(data, "gan --conditional")
        front = sum(told.values())
        return gan(
            self.make_decoder(data, self.latent + front),
            self._make_discriminator(data, front),
            self.make_prior(data.classes or 10),
            self.optimizers(steps),
            latent=self.latent,
            shape=data.shape,
            **told,
            output=self.output,
            steps=self.discriminator_steps,
            generator_loss=self.generator_loss,
            r1=self.penalty,
            loss=self.loss,
            slope=10.0 if self.slope is None else self.slope,
        )

    def _make_discriminator(self, data: DataSpec, beside: int) -> Any:
        """Makes a new discriminator of images: the user's own, or an encoder of one output.

        It reads so many numbers beside an image.
        """
        if self.own is not None and self.own.discriminator is not None:
            inputs = math.prod(data.shape) + beside
            return self.judging(self.own.make("discriminator", data, inputs=inputs))
        encoder = self.make_encoder(data, 1, beside)
        if isinstance(encoder, networks.ConvEncoder):
            encoder = replace(encoder, leak=0.2)
        if self.loss == "wasserstein" and self.norm is None and self.network == "dcgan":
            # A slope is that of one image, which batch norm would mix with others.
            encoder = replace(encoder, norm="layer")
        return self.judging(networks.one_output(encoder))
