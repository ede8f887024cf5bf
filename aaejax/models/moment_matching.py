"""Moment matching: a distribution is met by its kernel mean, without any adversary.

    wae         reconstruction + weight * MMD(codes, prior): Tolstikhin et al. 2017, WAE-MMD
    gmmn        a generator of images, by MMD(samples, images): Li et al. 2015, section 3
    gmmn-codes  an autoencoder, and a generator of its codes: Li et al. 2015, section 4

A distance between two samples is no mean over examples: it is taken between the whole
batches, whatever the number of devices. Batches of several hundred are worth their time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components import losses, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.models._fields import check_at_least
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import AutoencoderOptions, PriorOptions
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


def wae(
    autoencoder: Autoencoder,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    weight: float = 10.0,
    kernel: losses.Kernel = "imq",
) -> Model:
    """A Wasserstein autoencoder: one phase.

    Args:
      autoencoder: without classes.
      prior: p(z).
      optimizers: "reconstruction".
      weight: lambda, of the squared MMD.
      kernel: of the MMD.
    """

    def loss(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
        codes = autoencoder.draw_code(params, batch, draw)
        reconstruction = autoencoder.error(params, batch["image"], codes).mean()
        drawn = draw("prior", lambda key: prior(key, 1)[0])
        mmd = losses.mmd(draw.gather(codes), draw.gather(drawn), kernel)
        metrics = {"reconstruction": reconstruction, "mmd": mmd}
        return reconstruction + weight * mmd, metrics

    return Model(
        autoencoder.init,
        (Phase("wae", ("encoder", "decoder"), loss, optimizers["reconstruction"]),),
        priors.fixed(prior),
        autoencoder.posterior.latent,
        autoencoder.decode,
        autoencoder.encode,
        autoencoder.error,
    )


def gmmn(
    autoencoder: Autoencoder,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    kernel: losses.Kernel = "rbf",
) -> Model:
    """A generative moment matching network on images: one phase.

    Args:
      autoencoder: whose decoder is the generator.
      prior: p(z), what the generator starts from.
      optimizers: "generator".
      kernel: of the MMD.
    """

    def init(key: Key) -> Networks:
        return {"decoder": autoencoder.init(key)["decoder"]}

    def loss(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
        drawn = draw("prior", lambda key: prior(key, 1)[0])
        made = draw.gather(autoencoder.decode(params, drawn))
        images = draw.gather(batch["image"])
        return _distance(made, images, kernel), {}

    latent = autoencoder.posterior.latent
    return Model(
        init,
        (Phase("generator", ("decoder",), loss, optimizers["generator"]),),
        priors.fixed(prior),
        latent,
        autoencoder.decode,
    )


def gmmn_codes(
    autoencoder: Autoencoder,
    generator: nn.Module,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    kernel: losses.Kernel = "rbf",
) -> Model:
    """A generative moment matching network on the codes of an autoencoder: two phases.

    Args:
      autoencoder: without classes.
      generator: `(noise [B, Z]) -> codes [B, Z]`.
      prior: of the noise.
      optimizers: "reconstruction" and "generator".
      kernel: of the MMD.
    """
    latent = autoencoder.posterior.latent

    def init(key: Key) -> Networks:
        autoencoder_key, generator_key = jax.random.split(key)
        noise = jnp.zeros((1, latent))
        generator_params = networks.init_params(generator, generator_key, noise)
        return {**autoencoder.init(autoencoder_key), "generator": generator_params}

    def generate(params: Networks, noise: Array) -> Array:
        return networks.applier(generator)(params["generator"], noise)

    def loss(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
        made = generate(params, draw("prior", lambda key: prior(key, 1)[0]))
        codes = autoencoder.draw_code(params, batch, draw)
        return _distance(draw.gather(made), draw.gather(codes), kernel), {}

    def learned(params: Networks, key: Key, n: int, labels: Array | None = None) -> Array:
        return generate(params, prior(key, n))

    return Model(
        init,
        (
            autoencoder.reconstruction_phase(optimizers["reconstruction"]),
            Phase("generator", ("generator",), loss, optimizers["generator"]),
        ),
        learned,
        latent,
        autoencoder.decode,
        autoencoder.encode,
        autoencoder.error,
    )


def _distance(made: Array, real: Array, kernel: losses.Kernel) -> Array:
    """The MMD itself, not squared, over flattened examples (Li et al. 2015, eq. 8)."""
    made, real = (x.reshape(x.shape[0], -1) for x in (made, real))
    # 1e-8: the gradient of a root at 0, samples that are the batch itself, is infinite.
    return jnp.sqrt(jnp.maximum(losses.mmd(made, real, kernel, biased=True), 1e-8))


@dataclass(frozen=True)
class Options(PriorOptions, AutoencoderOptions):
    """WAE-MMD, and generative moment matching networks."""

    method: Literal["wae", "gmmn", "gmmn-codes"] = "wae"
    """What is matched: codes to prior, samples to images, or generated codes to codes."""
    kernel: Literal["imq", "rbf"] = "imq"
    """Inverse multiquadratics or Gaussians, of seven scales."""
    weight: float = 10.0
    """Of the squared MMD beside the reconstruction loss (wae)."""
    generator_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "weight")

    def build(self, data: DataSpec, steps: int) -> Model:
        """The model for these data and a run of so many steps.

        Raises:
          UserError: options that don't fit each other or the data.
        """
        if self.method == "gmmn" and self.input_noise:
            raise UserError("gmmn has no encoder: leave --input-noise out")
        model, prior = self.autoencoder(data), self.make_prior(data.classes or 10)
        optimizers = self.optimizers(steps)
        if self.method == "wae":
            return wae(model, prior, optimizers, weight=self.weight, kernel=self.kernel)
        if self.method == "gmmn":
            return gmmn(model, prior, optimizers, kernel=self.kernel)
        generator = networks.MLP(self.latent, self.width, self.depth, self.dense)
        return gmmn_codes(model, generator, prior, optimizers, kernel=self.kernel)
