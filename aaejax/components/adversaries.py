"""An adversary: the two phases that push codes onto a prior (Makhzani et al. 2015, sec. 2).

One discriminator learns to tell samples of a prior from codes, then the encoder, as the
generator, learns to fool it. A model with two heads has two adversaries; a GAN has one on
images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses
from aaejax.components.checks import check_at_least, check_words
from aaejax.components.inputs import unweighted
from aaejax.networks import Network
from aaejax.types import (
    Array,
    Batch,
    Draw,
    Input,
    Metrics,
    NetworkState,
    NetworkVariables,
    Phase,
    States,
    UserError,
    Variables,
)


def _alone(codes: Array, _: Batch) -> tuple[Array, ...]:
    return (codes,)


@dataclass(frozen=True, kw_only=True)
class Adversary:
    """One discriminator, and the real and fake codes that it learns to tell apart.

    Attributes:
      discriminator: The network `(*inputs of B codes) -> logits`, [B] or [B, 1].
      real: `(batch, draw) -> codes [B, ...]` draws samples of the prior.
      fake: `(variables, batch, draw) -> (codes [B, ...], states)` makes the generator's
        codes, and gives the new states of the networks that it ran.
      inputs_of: `(codes [B, ...], batch) -> inputs`, a tuple of arrays [B, ...], says what
        the discriminator reads; by default it reads the codes alone.
      inputs: The arrays of a batch that the two phases read.
      mean: `(numbers [B], batch, draw) -> ()` takes the mean over the fake codes, as
        `Autoencoder.mean`; by default all count alike.
      real_mean: The same for the real codes. Where the discriminator reads the labels of
        the batch beside both, it is to be `mean`, so that both have the same share of each
        label.
      prefix: What the names of phases and network begin with: "style_" gives
        "style_discriminator" and "style_generator".
      generator: The name of the network that makes the fake codes.
      names: What the real and the fake codes are called in the metrics.
      generator_loss: The form of the generator's loss, as in `losses.generator_loss`.
      r1: The weight of the discriminator's gradient penalty (`losses.gradient_penalty`).
      loss: The form of both losses: cross-entropy, or wasserstein, where the discriminator
        is a critic whose slope between real and fake codes is to be 1 (WGAN-GP), and
        `generator_loss` is not read.
      slope: The weight of that penalty (`losses.slope_penalty`).

    Raises:
      UserError: A word is none of those allowed, a weight is negative or not finite, or
        something is given that wasserstein does not read.
    """

    discriminator: Network
    real: Callable[[Batch, Draw], Array]
    fake: Callable[[Variables, Batch, Draw], tuple[Array, States]]
    inputs_of: Callable[[Array, Batch], tuple[Array, ...]] = _alone
    inputs: tuple[Input, ...] = ()
    mean: Callable[[Array, Batch, Draw], Array] = unweighted
    real_mean: Callable[[Array, Batch, Draw], Array] = unweighted
    prefix: str = ""
    generator: str = "encoder"
    names: tuple[str, str] = ("prior", "codes")
    generator_loss: losses.GeneratorLoss = "non-saturating"
    r1: float = 0.0
    loss: losses.AdversaryLoss = "cross-entropy"
    slope: float = 10.0

    def __post_init__(self) -> None:
        check_words(self)
        check_at_least(self, 0, "r1", "slope")
        if self.loss == "wasserstein" and self.generator_loss != "non-saturating":
            raise UserError(
                f"the {self.generator_loss} form is of cross-entropy: leave it out for "
                "wasserstein"
            )
        if self.loss == "wasserstein" and self.r1:
            raise UserError("wasserstein has a penalty of its own: leave r1 out, or 0")
        means = self.mean, self.real_mean
        if self.loss == "wasserstein" and means != (unweighted, unweighted):
            raise UserError(
                "wasserstein is of all codes alike: leave mean and real_mean out"
            )

    def phases(
        self, optimizers: Mapping[str, optax.GradientTransformation]
    ) -> tuple[Phase, Phase]:
        """Makes the discriminator's phase, then the generator's.

        Args:
          optimizers: The optimizers, by the names of the phases.
        """
        network, phase = f"{self.prefix}discriminator", f"{self.prefix}generator"
        return (
            Phase(
                network,
                (network,),
                self._discriminator_loss,
                optimizer=optimizers[network],
                inputs=self.inputs,
            ),
            Phase(
                phase,
                (self.generator,),
                self._generator_loss,
                optimizer=optimizers[phase],
                inputs=self.inputs,
            ),
        )

    def _discriminator_loss(
        self, variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        name = f"{self.prefix}discriminator"
        own = variables[name]
        real = self.real(batch, draw)
        fake, _ = self.fake(variables, batch, draw)
        if self.discriminator.same_in_training:
            # One pass for both: a network's kernels are read once.
            twice = {key: jnp.concatenate([x, x]) for key, x in batch.items()}
            both = jnp.concatenate([real, fake])
            both, state = self._train(own, both, twice, draw, name)
            to_real, to_fake = jnp.split(both, 2)
        else:
            # Batch statistics are those of one kind alone.
            to_real, state = self._train(own, real, batch, draw, f"{name} of real")
            own = {**own, **state}
            to_fake, state = self._train(own, fake, batch, draw, f"{name} of fake")

        def judge(codes: Array) -> Array:
            # As in evaluation, where each logit is that of its own code alone.
            inputs = self.inputs_of(codes, batch)
            return self.discriminator.evaluate(own, *inputs).reshape(len(codes))

        def mean(each: Array) -> Array:
            return self.mean(each, batch, draw)

        def real_mean(each: Array) -> Array:
            return self.real_mean(each, batch, draw)

        if self.loss == "wasserstein":
            loss, metrics = losses.critic_loss(to_real, to_fake)
            ones = (1,) * (real.ndim - 1)
            share = draw("between", lambda key: jax.random.uniform(key, ones))
            penalty = losses.slope_penalty(judge, fake + share * (real - fake))
            loss += self.slope * penalty
            metrics = {**metrics, "slope_penalty": penalty}
        else:
            loss, metrics = losses.discriminator_loss(
                to_real, to_fake, self.names, mean, real_mean
            )
        if self.r1:
            penalty = losses.gradient_penalty(judge, real, real_mean)
            loss += self.r1 * penalty
            metrics = {**metrics, "gradient_penalty": penalty}
        return loss, metrics, {name: state}

    def _generator_loss(
        self, variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        name = f"{self.prefix}discriminator"
        codes, states = self.fake(variables, batch, draw)
        logits, _ = self._train(variables[name], codes, batch, draw, name)
        if self.loss == "wasserstein":
            return -logits.mean(), {}, states

        def mean(each: Array) -> Array:
            return self.mean(each, batch, draw)

        return losses.generator_loss(logits, self.generator_loss, mean), {}, states

    def _train(
        self, own: NetworkVariables, codes: Array, batch: Batch, draw: Draw, stream: str
    ) -> tuple[Array, NetworkState]:
        inputs = self.inputs_of(codes, batch)
        logits, state = self.discriminator.train(own, *inputs, draw=draw, stream=stream)
        return logits.reshape(len(codes)), state
