"""Options that models share: each class is one part of a command line."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import optax

from aaejax import networks
from aaejax.components import losses, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.likelihoods import Likelihood
from aaejax.components.posteriors import Posterior, PosteriorKind
from aaejax.models._optimizers import Optimizer
from aaejax.types import DataSpec, Prior, UserError, check_choices


def check_at_least(options: Any, least: int, *names: str) -> None:
    """Raises UserError where one of these fields is smaller."""
    for name in names:
        if getattr(options, name) < least:
            bound = f"at least {least}" if least else "0 or more"
            raise UserError(f"{name} is {getattr(options, name)}: it must be {bound}")


def need_labels(data: DataSpec, model: str) -> None:
    """Raises UserError where no training example of the data has a label."""
    if not data.labelled:
        raise UserError(f"{model} needs labels: give data that have some")


@dataclass(frozen=True)
class NetworkOptions:
    """Of every model: the sizes of its networks."""

    latent: int = 8
    """Size of the code z."""
    network: Literal["mlp", "conv"] = "mlp"
    """The paper's MLPs, or convolutional networks for images."""
    width: int = 1000
    """Units of a hidden layer (MLP, and a discriminator of codes)."""
    depth: int = 2
    """Hidden layers (MLP, and a discriminator of codes)."""
    initial_std: float = 0.0
    """Standard deviation of the first weights of MLPs, 0.01 in the paper; 0: LeCun's, one
    over the root of a layer's inputs."""
    channels: int = 16
    """Channels of the finest convolution; doubled at each coarser one, to eight times."""
    scales: int = 0
    """Convolutions; each halves height and width. 0: until the longer side is at most 7."""
    norm: networks.Norm = "layer"
    """What convolutions normalise: the features of a pixel, or groups of features of an
    image."""
    precision: Literal["float32", "bf16"] = "float32"
    """Operands of the MLPs' matrix products; their sums, parameters and all else stay
    float32. bf16 is for machines that have units for it."""
    output: Literal["sigmoid", "linear"] = "sigmoid"
    """Last layer of the decoder; data outside [0, 1] need a linear one."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_at_least(self, 1, "latent", "width", "channels")
        check_at_least(self, 0, "scales", "depth", "initial_std")

    def make_encoder(self, data: DataSpec, outputs: int) -> nn.Module:
        """A new encoder with so many outputs.

        Raises:
          UserError: convolutions on vectors, or sigmoid output for data outside [0, 1].
        """
        self._check(data)
        if self.network == "conv":
            return networks.ConvEncoder(outputs, self.channels, self.scales, norm=self.norm)
        return networks.MLPEncoder(outputs, self.width, self.depth, self.dense)

    def make_decoder(self, data: DataSpec) -> nn.Module:
        """A new decoder; raises as `make_encoder`."""
        self._check(data)
        if self.network == "conv":
            return networks.ConvDecoder(data.shape, self.channels, self.scales, self.norm)
        return networks.MLPDecoder(data.shape, self.width, self.depth, self.dense)

    @property
    def dense(self) -> networks.Dense:
        """A layer of the MLPs."""
        made: networks.Dense = nn.Dense
        if self.precision == "bf16":
            made = partial(made, dot_general=networks.bf16_dot_general)
        if self.initial_std:
            made = partial(made, kernel_init=nn.initializers.normal(self.initial_std))
        return made

    def optimizers(self, steps: int) -> dict[str, optax.GradientTransformation]:
        """Of the fields "<name>_optimizer", by name, for a run of so many steps."""
        suffix = "_optimizer"
        return {
            name.removesuffix(suffix): getattr(self, name).build(steps)
            for name in self.__dataclass_fields__
            if name.endswith(suffix)
        }

    def _check(self, data: DataSpec) -> None:
        if self.output == "sigmoid" and not data.unit_range:
            raise UserError(
                "the data have values outside [0, 1]: scale them, or take "
                "--output linear --reconstruction squared-error"
            )
        if self.network == "conv" and len(data.shape) != 3:
            raise UserError(
                f"--network conv on vectors of {data.shape[0]} values: "
                "convolutions need images; take --network mlp"
            )


@dataclass(frozen=True)
class GaussianPriorOptions(NetworkOptions):
    """Of models with a prior that may be Gaussian."""

    prior_std: float = 1.0
    """Standard deviation of the Gaussian prior."""


@dataclass(frozen=True)
class PriorOptions(GaussianPriorOptions):
    """Of models with any prior."""

    prior: Literal["gaussian", "mixture", "swiss-roll", "uniform"] = "gaussian"
    """p(z)."""
    components: int = 10
    """Components of the mixture prior."""

    def make_prior(self, classes: int) -> Prior:
        """P(z), in so many slices."""
        if self.prior == "gaussian":
            return priors.gaussian(self.latent, self.prior_std, classes)
        if self.prior == "mixture":
            return priors.mixture(self.latent, self.components)
        if self.prior == "swiss-roll":
            return priors.swiss_roll(self.latent, classes=classes)
        return priors.uniform(self.latent, classes=classes)


@dataclass(frozen=True)
class AutoencoderOptions(NetworkOptions):
    """Of models with an encoder and a decoder."""

    input_noise: float = 0.0
    """Standard deviation of noise added to the encoder's input while training."""
    reconstruction: Literal["bernoulli", "squared-error"] = "bernoulli"
    """Reconstruction loss: cross-entropy, or half the squared error."""
    reconstruction_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "input_noise")

    def make_posterior(self) -> Posterior:
        """q(z|x)."""
        return Posterior("deterministic", self.latent)

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
        posterior = self.make_posterior()
        outputs = posterior.encoder_outputs + (classes if y_from == "encoder" else 0)
        return Autoencoder(
            self.make_encoder(data, outputs),
            self.make_decoder(data),
            posterior,
            Likelihood(self.reconstruction, self.output),
            data.shape,
            classes,
            y_from,
            self.input_noise,
        )


def adversarial_optimizer() -> Optimizer:
    """What discriminators and generators have by default."""
    return Optimizer(learning_rate=3e-4, momentum=0.5, schedule="cosine")


@dataclass(frozen=True)
class AdversaryOptions(NetworkOptions):
    """Of models with discriminators."""

    generator: losses.GeneratorForm = "non-saturating"
    """Form of the generator's loss."""
    r1: float = 0.1
    """Weight of the discriminator's gradient penalty (R1); 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "r1")


@dataclass(frozen=True)
class OneAdversaryOptions(AdversaryOptions):
    """Of models with one discriminator and one generator."""

    discriminator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    generator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)


@dataclass(frozen=True)
class AdversarialOptions(AutoencoderOptions, GaussianPriorOptions, AdversaryOptions):
    """Of adversarial autoencoders."""

    posterior: PosteriorKind = "deterministic"
    """q(z|x), section 2.1 of the paper."""
    noise_inputs: int = 16
    """Noise inputs of the universal approximator posterior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "noise_inputs")

    def make_posterior(self) -> Posterior:
        """q(z|x)."""
        return Posterior(self.posterior, self.latent, self.noise_inputs)

    def make_discriminator(self) -> nn.Module:
        """A new discriminator of codes."""
        return networks.MLPDiscriminator(self.width, self.depth, self.dense)
