"""Options that the models share: networks, likelihood, adversary and optimizers."""

from dataclasses import dataclass, field
from typing import Literal

import flax.linen as nn
import optax

from aaejax import losses, networks
from aaejax.autoencoder import Autoencoder
from aaejax.likelihoods import Likelihood
from aaejax.optimizers import Optimizer
from aaejax.posteriors import Posterior, PosteriorKind
from aaejax.types import DataSpec, UserError


def _adversarial_optimizer() -> Optimizer:
    return Optimizer(learning_rate=3e-4, momentum=0.5, schedule="cosine")


def need_labels(data: DataSpec, model: str) -> None:
    """Raises UserError where no training example of the data has a label."""
    if not data.labelled:
        raise UserError(f"{model} needs labels: give data that have some")


@dataclass(frozen=True)
class AutoencoderOptions:
    """The fields of the command line that every model here has."""

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
    input_noise: float = 0.0
    """Standard deviation of noise added to the encoder's input while training."""
    prior_std: float = 1.0
    """Standard deviation of the Gaussian prior."""
    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    """Reconstruction loss: cross-entropy, or half the squared error."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Last layer of the decoder; data outside [0, 1] need a linear one."""
    generator: losses.GeneratorForm = "non-saturating"
    """Form of the generator's loss."""
    r1: float = 0.1
    """Weight of the discriminator's gradient penalty (R1); 0 for none."""
    reconstruction_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )
    discriminator_optimizer: Optimizer = field(default_factory=_adversarial_optimizer)
    generator_optimizer: Optimizer = field(default_factory=_adversarial_optimizer)

    def __post_init__(self) -> None:
        for name in ("latent", "width", "channels", "scales", "noise_inputs"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("depth", "r1", "input_noise"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: it must not be negative")

    def autoencoder(
        self,
        data: DataSpec,
        classes: int = 0,
        y_from: Literal["labels", "encoder"] = "labels",
    ) -> Autoencoder:
        """Encoder, decoder and code for these data; arguments as of `Autoencoder`.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        if self.output == "sigmoid" and not data.unit_range:
            raise UserError(
                "the data have values outside [0, 1]: scale them, or take "
                "--output linear --reconstruction squared-error"
            )
        posterior = Posterior(self.posterior, self.latent, self.noise_inputs)
        outputs = posterior.encoder_outputs + (classes if y_from == "encoder" else 0)
        encoder: nn.Module
        decoder: nn.Module
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
        return Autoencoder(
            encoder,
            decoder,
            posterior,
            Likelihood(self.reconstruction, self.output),
            data.shape,
            classes,
            y_from,
            self.input_noise,
        )

    def make_discriminator(self) -> nn.Module:
        """A new discriminator."""
        return networks.MLPDiscriminator(self.width, self.depth)

    def optimizers(self, steps: int) -> dict[str, optax.GradientTransformation]:
        """By the name of the option, for a run of so many steps."""
        suffix = "_optimizer"
        return {
            name.removesuffix(suffix): getattr(self, name).build(steps)
            for name in self.__dataclass_fields__
            if name.endswith(suffix)
        }
