"""Moment matching: a distribution is met by its kernel mean, without any adversary.

    wae         reconstruction + weight * MMD(codes, prior): Tolstikhin et al. 2017, WAE-MMD
    gmmn        a generator of images, by MMD(samples, images): Li et al. 2015, section 3
    gmmn-codes  an autoencoder, and a generator of its codes: Li et al. 2015, section 4

A distance between two samples is no mean over examples: it is taken between the whole
batches, whatever the number of devices. Batches of several hundred are worth their time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import (
    check_at_least,
    check_number,
    check_optimizers,
    check_word,
)
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import AutoencoderOptions, PriorOptions
from aaejax.networks import MLP, as_network, check_outputs
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Metrics,
    Model,
    Phase,
    Prior,
    States,
    UserError,
    Variables,
)

WEIGHT = 10.0  # of the MMD


def wae(
    autoencoder: Autoencoder,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    weight: float = WEIGHT,
    kernel: losses.Kernel = "imq",
) -> Model:
    """Makes a Wasserstein autoencoder of one phase.

    Args:
      autoencoder: An autoencoder without classes or weights.
      prior: The prior p(z).
      optimizers: The optimizer "reconstruction".
      weight: Lambda, the weight of the squared MMD.
      kernel: The kernel of the MMD.

    Raises:
      UserError: The kernel is no known one, the autoencoder, prior or optimizers don't fit,
        or the weight is negative.
    """
    _check_plain("wae", autoencoder)
    check_word("kernel", kernel, losses.Kernel)
    check_number("weight", weight, 0)
    check_optimizers(optimizers, ("reconstruction",))
    priors.check_prior(prior, autoencoder.posterior.latent)

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        codes, encoded = autoencoder.draw_code(variables, batch, draw)
        reconstruction, decoded = autoencoder.train_error(variables, batch, codes, draw)
        drawn = draw("prior", lambda key: prior(key, 1)[0])
        mmd = losses.mmd(draw.gather(codes), draw.gather(drawn), kernel)
        metrics = {"reconstruction": reconstruction, "mmd": mmd}
        return reconstruction + weight * mmd, metrics, {**encoded, **decoded}

    return Model(
        init=autoencoder.init,
        phases=(
            Phase(
                "wae",
                ("encoder", "decoder"),
                loss,
                optimizer=optimizers["reconstruction"],
                inputs=autoencoder.inputs,
            ),
        ),
        prior=priors.fixed(prior),
        latent=autoencoder.posterior.latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
    )


def gmmn(
    autoencoder: Autoencoder,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    kernel: losses.Kernel = "rbf",
) -> Model:
    """Makes a generative moment matching network on images, of one phase.

    Args:
      autoencoder: An autoencoder without classes or weights, not of counts; its decoder is
        the generator.
      prior: The prior p(z), what the generator starts from.
      optimizers: The optimizer "generator".
      kernel: The kernel of the MMD.

    Raises:
      UserError: The kernel is no known one, or the autoencoder, prior or optimizers don't
        fit.
    """
    _check_plain("gmmn", autoencoder)
    if autoencoder.likelihood.of_counts:
        raise UserError(
            "gmmn compares whole examples, and counts are made per 10,000: take wae or "
            "gmmn_codes"
        )
    check_word("kernel", kernel, losses.Kernel)
    check_optimizers(optimizers, ("generator",))
    priors.check_prior(prior, autoencoder.posterior.latent)

    def init(key: Key) -> Variables:
        return {"decoder": autoencoder.init(key)["decoder"]}

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        drawn = draw("prior", lambda key: prior(key, 1)[0])
        outputs, states = autoencoder.train_decoder(variables, drawn, draw)
        made = draw.gather(autoencoder.likelihood.images(outputs))
        return _distance(made, draw.gather(batch["image"]), kernel), {}, states

    # Whole examples are compared, of which all must be known.
    inputs = tuple(replace(each, missing=False) for each in autoencoder.inputs)
    return Model(
        init=init,
        phases=(
            Phase(
                "generator",
                ("decoder",),
                loss,
                optimizer=optimizers["generator"],
                inputs=inputs,
            ),
        ),
        prior=priors.fixed(prior),
        latent=autoencoder.posterior.latent,
        decode=autoencoder.decode,
    )


def gmmn_codes(
    autoencoder: Autoencoder,
    generator: Any,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    kernel: losses.Kernel = "rbf",
) -> Model:
    """Makes a generative moment matching network on the codes of an autoencoder.

    It has two phases, reconstruction and generator.

    Args:
      autoencoder: An autoencoder without classes or weights.
      generator: The network `(noise [B, Z]) -> codes [B, Z]`.
      prior: The prior of the noise.
      optimizers: The optimizers "reconstruction" and "generator".
      kernel: The kernel of the MMD.

    Raises:
      UserError: The kernel is no known one, or the autoencoder, generator, prior or
        optimizers don't fit.
    """
    _check_plain("gmmn_codes", autoencoder)
    check_word("kernel", kernel, losses.Kernel)
    check_optimizers(optimizers, ("reconstruction", "generator"))
    priors.check_prior(prior, autoencoder.posterior.latent)
    latent = autoencoder.posterior.latent
    network = as_network(generator)
    check_outputs(network, "generator", [(latent,)], (latent,))

    def init(key: Key) -> Variables:
        autoencoder_key, generator_key = jax.random.split(key)
        return {
            **autoencoder.init(autoencoder_key),
            "generator": network.init(generator_key, jnp.zeros((1, latent))),
        }

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        noise = draw("prior", lambda key: prior(key, 1)[0])
        made, state = network.train(
            variables["generator"], noise, draw=draw, stream="generator"
        )
        # As in evaluation: they are what samples stand for.
        codes = autoencoder.draw_evaluated(variables, batch, draw)
        distance = _distance(draw.gather(made), draw.gather(codes), kernel)
        return distance, {}, {"generator": state}

    def learned(
        variables: Variables, key: Key, n: int, labels: Array | None = None
    ) -> Array:
        return network.evaluate(variables["generator"], prior(key, n))

    return Model(
        init=init,
        phases=(
            autoencoder.reconstruction_phase(optimizers["reconstruction"]),
            Phase(
                "generator",
                ("generator",),
                loss,
                optimizer=optimizers["generator"],
                inputs=autoencoder.inputs,
            ),
        ),
        prior=learned,
        latent=latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
    )


def _distance(made: Array, real: Array, kernel: losses.Kernel) -> Array:
    """The MMD itself, not squared, over flattened examples (Li et al. 2015, eq. 8)."""
    made, real = (x.reshape(x.shape[0], -1) for x in (made, real))
    # 1e-8: the gradient of a root at 0, samples that are the batch itself, is infinite.
    return jnp.sqrt(jnp.maximum(losses.mmd(made, real, kernel, biased=True), 1e-8))


def _check_plain(model: str, autoencoder: Autoencoder) -> None:
    autoencoder.check_without_class(model)
    if autoencoder.weighted:
        raise UserError(
            f"{model} compares samples, whose examples have no weights: leave the weights "
            "out, or take an aae, autoencoder or vae"
        )


@dataclass(frozen=True)
class Options(PriorOptions, AutoencoderOptions):
    """WAE-MMD, and generative moment matching networks."""

    method: Literal["wae", "gmmn", "gmmn-codes"] = "wae"
    """What is matched: codes to prior, samples to images, or generated codes to codes."""
    kernel: Literal["imq", "rbf"] = "imq"
    """The kernel: inverse multiquadratics (imq) or Gaussians (rbf), of seven scales."""
    weight: float = WEIGHT
    """The weight of the squared MMD beside the reconstruction loss (wae)."""
    generator_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "weight")

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        if self.method == "gmmn" and self.input_noise:
            raise UserError("gmmn has no encoder: leave --input-noise out")
        if self.method != "wae" and self.weight != WEIGHT:
            raise UserError(f"--weight is of --method wae, not {self.method}: leave it out")
        model, prior = self.autoencoder(data), self.make_prior(data.classes or 10)
        optimizers = self.optimizers(steps)
        if self.method == "wae":
            optimizers.pop("generator")
            return wae(model, prior, optimizers, weight=self.weight, kernel=self.kernel)
        if self.method == "gmmn":
            optimizers.pop("reconstruction")
            return gmmn(model, prior, optimizers, kernel=self.kernel)
        generator = MLP(self.latent, **self.module_options("mlp"))
        return gmmn_codes(model, generator, prior, optimizers, kernel=self.kernel)
