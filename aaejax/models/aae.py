"""The adversarial autoencoder (Makhzani et al. 2015, section 2, figure 1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aaejax import losses, networks, priors
from aaejax.optimizers import Optimizer
from aaejax.posteriors import Posterior, PosteriorKind
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Metrics,
    Model,
    Networks,
    Phase,
    Prior,
    UserError,
)


def aae(
    encoder: nn.Module,
    decoder: nn.Module,
    discriminator: nn.Module,
    prior: Prior,
    posterior: Posterior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    shape: tuple[int, ...],
    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli",
    output: Literal["sigmoid", "linear"] = "sigmoid",
    generator: losses.GeneratorForm = "non-saturating",
) -> Model:
    """An AAE from any Flax modules: reconstruction, discriminator, generator.

    Args:
      encoder: `(images [B, ...], noise or None) -> [B, posterior.encoder_outputs]`.
      decoder: `(codes [B, Z]) -> [B, ...]`, before the sigmoid.
      discriminator: `(codes [B, Z]) -> logits [B]`.
      prior: p(z).
      posterior: q(z|x), section 2.1.
      optimizers: Optax transformations "reconstruction", "discriminator", "generator". The
        encoder is trained by two of them, each with a state of its own.
      shape: of one example.
      reconstruction: cross-entropy from logits, or half the squared error; summed over
        pixels, averaged over the batch.
      output: what the decoder's last layer goes through.
      generator: the generator's loss.

    Raises:
      UserError: a Bernoulli decoder with linear output.
    """
    if reconstruction == "bernoulli" and output == "linear":
        raise UserError(
            "a bernoulli reconstruction needs sigmoid output: "
            "take squared-error for a linear one"
        )
    encoder_apply = networks.applier(encoder)
    decoder_apply = networks.applier(decoder)
    discriminator_apply = networks.applier(discriminator)

    def init(key: Key) -> Networks:
        encoder_key, decoder_key, discriminator_key, noise_key = jax.random.split(key, 4)
        images = jnp.zeros((1, *shape))
        codes = jnp.zeros((1, posterior.latent))
        noise = posterior.noise(noise_key)[None]
        inputs = (images, noise) if posterior.kind == "universal" else (images,)
        return {
            "encoder": networks.init_params(encoder, encoder_key, *inputs),
            "decoder": networks.init_params(decoder, decoder_key, codes),
            "discriminator": networks.init_params(discriminator, discriminator_key, codes),
        }

    def codes_of(params: Networks, batch: Batch, draw: Draw) -> Array:
        noise = draw("posterior", posterior.noise)
        return posterior.code(encoder_apply, params["encoder"], batch["image"], noise)

    def encode(params: Networks, images: Array, key: Key) -> Array:
        noise = jax.vmap(posterior.noise)(jax.random.split(key, images.shape[0]))
        return posterior.code(encoder_apply, params["encoder"], images, noise)

    def decode(params: Networks, codes: Array) -> Array:
        values = decoder_apply(params["decoder"], codes)
        return jax.nn.sigmoid(values) if output == "sigmoid" else values

    def error(params: Networks, images: Array, codes: Array) -> Array:
        if reconstruction == "bernoulli":
            logits = decoder_apply(params["decoder"], codes)
            return losses.bernoulli_error(logits, images)
        return losses.squared_error(decode(params, codes), images)

    def reconstruction_loss(params: Networks, batch: Batch, draw: Draw):
        codes = codes_of(params, batch, draw)
        return error(params, batch["image"], codes).mean(), {}

    def discriminator_loss(
        params: Networks, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics]:
        real = draw("prior", lambda key: prior(key, 1)[0])
        fake = codes_of(params, batch, draw)
        return losses.discriminator_loss(
            discriminator_apply(params["discriminator"], real),
            discriminator_apply(params["discriminator"], fake),
        )

    def generator_loss(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
        codes = codes_of(params, batch, draw)
        logits = discriminator_apply(params["discriminator"], codes)
        return losses.generator_loss(logits, generator), {}

    phases = (
        Phase(
            "reconstruction",
            ("encoder", "decoder"),
            reconstruction_loss,
            optimizers["reconstruction"],
        ),
        Phase(
            "discriminator",
            ("discriminator",),
            discriminator_loss,
            optimizers["discriminator"],
        ),
        Phase("generator", ("encoder",), generator_loss, optimizers["generator"]),
    )
    return Model(init, phases, prior, posterior.latent, encode, decode, error)


@dataclass(frozen=True)
class Options:
    """An adversarial autoencoder."""

    latent: int = 8
    """Size of the code z."""
    network: Literal["mlp", "conv"] = "mlp"
    """Encoder and decoder: the paper's MLPs, or convolutional ones for images."""
    width: int = 1000
    """Units of a hidden layer (MLP, and the discriminator)."""
    depth: int = 2
    """Hidden layers (MLP, and the discriminator)."""
    channels: int = 32
    """Channels of the finest convolution; doubled at each coarser one."""
    scales: int = 2
    """Convolutions; each halves height and width."""
    posterior: PosteriorKind = "deterministic"
    """q(z|x), section 2.1 of the paper."""
    noise_inputs: int = 16
    """Noise inputs of the universal approximator posterior."""
    prior: Literal["gaussian", "mixture", "swiss-roll", "uniform"] = "gaussian"
    """p(z)."""
    prior_std: float = 1.0
    """Standard deviation of the Gaussian prior."""
    components: int = 10
    """Components of the mixture prior."""
    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    """Reconstruction loss: cross-entropy, or half the squared error."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Last layer of the decoder; data outside [0, 1] need a linear one."""
    generator: losses.GeneratorForm = "non-saturating"
    """Form of the generator's loss."""
    reconstruction_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )
    discriminator_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            learning_rate=3e-4, momentum=0.5, schedule="cosine"
        )
    )
    generator_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(
            learning_rate=3e-4, momentum=0.5, schedule="cosine"
        )
    )

    def __post_init__(self) -> None:
        for name in ("latent", "width", "channels", "scales", "noise_inputs", "components"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.depth < 0:
            raise UserError(f"depth is {self.depth}: it must not be negative")

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        if self.output == "sigmoid" and not data.unit_range:
            raise UserError(
                "the data have values outside [0, 1]: scale them, or take "
                "--output linear --reconstruction squared-error"
            )
        posterior = Posterior(self.posterior, self.latent, self.noise_inputs)
        outputs = posterior.encoder_outputs
        if self.network == "conv":
            if len(data.shape) != 3:
                raise UserError(
                    f"--network conv on vectors of {data.shape[0]} values: "
                    "convolutions need images; take --network mlp"
                )
            encoder = networks.ConvEncoder(outputs, self.channels, self.scales)
            decoder = networks.ConvDecoder(data.shape, self.channels, self.scales)
        else:
            encoder = networks.MLPEncoder(outputs, self.width, self.depth)
            decoder = networks.MLPDecoder(data.shape, self.width, self.depth)
        return aae(
            encoder,
            decoder,
            networks.MLPDiscriminator(self.width, self.depth),
            self._prior(data.classes or 10),
            posterior,
            {
                "reconstruction": self.reconstruction_optimizer.build(steps),
                "discriminator": self.discriminator_optimizer.build(steps),
                "generator": self.generator_optimizer.build(steps),
            },
            shape=data.shape,
            reconstruction=self.reconstruction,
            output=self.output,
            generator=self.generator,
        )

    def _prior(self, classes: int) -> Prior:
        if self.prior == "gaussian":
            return priors.gaussian(self.latent, self.prior_std, classes)
        if self.prior == "mixture":
            return priors.mixture(self.latent, self.components)
        if self.prior == "swiss-roll":
            return priors.swiss_roll(self.latent, classes=classes)
        return priors.uniform(self.latent, classes=classes)
