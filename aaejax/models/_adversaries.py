"""Options of the models that have discriminators."""

from dataclasses import dataclass, field
from typing import Any

from aaejax import networks
from aaejax.components import losses
from aaejax.components.checks import check_at_least
from aaejax.components.posteriors import Posterior, PosteriorKind
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import (
    MOST_UNITS,
    AutoencoderOptions,
    GaussianPriorOptions,
    NetworkOptions,
)
from aaejax.types import DataSpec


def adversarial_optimizer() -> Optimizer:
    """The optimizer that discriminators and generators have by default."""
    return Optimizer(learning_rate=3e-4, momentum=0.5, schedule="cosine")


@dataclass(frozen=True)
class AdversaryOptions(NetworkOptions):
    """The options of models with discriminators."""

    generator_loss: losses.GeneratorLoss = "non-saturating"
    """The form of the generator's loss."""
    r1: float | None = None
    """The weight of the discriminator's gradient penalty (R1); by default 0.1, and 10 with
    conv; 0 for none."""

    spectral_norm: bool = False
    """Whether discriminators' kernels are divided by their largest singular values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r1 is not None:
            check_at_least(self, 0, "r1")

    @property
    def penalty(self) -> float:
        """The decided `r1`: by 0.1 a discriminator wins over the codes of convolutions."""
        if self.r1 is None:
            return 10.0 if self.network == "conv" else 0.1
        return self.r1

    def decided(self) -> dict[str, Any]:
        return {**super().decided(), "r1": self.penalty}

    def judging(self, discriminator: Any) -> Any:
        """A discriminator with the norm that is asked for."""
        return (
            networks.spectral_norm(discriminator) if self.spectral_norm else discriminator
        )


@dataclass(frozen=True)
class OneAdversaryOptions(AdversaryOptions):
    """The options of models with one discriminator and one generator."""

    discriminator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    generator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)


@dataclass(frozen=True)
class AdversarialAutoencoderOptions(
    AutoencoderOptions, GaussianPriorOptions, AdversaryOptions
):
    """The options of adversarial autoencoders."""

    posterior: PosteriorKind = "deterministic"
    """The kind of posterior q(z|x), as in section 2.1 of the paper."""
    noise_inputs: int = 16
    """The number of noise inputs of the universal approximator posterior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "noise_inputs", most=MOST_UNITS)

    def make_posterior(self) -> Posterior:
        """Makes q(z|x)."""
        return Posterior(self.posterior, self.latent, self.noise_inputs)

    def make_discriminator(self, data: DataSpec, inputs: int) -> Any:
        """Makes a new discriminator of codes of so many numbers."""
        if self.own is not None and self.own.discriminator is not None:
            made = self.own.make("discriminator", data, inputs=inputs)
            return self.judging(made)
        return self.judging(networks.MLPDiscriminator(**self.module_options("mlp")))
