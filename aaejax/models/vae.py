"""The variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114).

One phase: the negative ELBO, -log p(x|z) + beta KL(q(z|x) || p(z)), re-parametrised. The
KL is in closed form for a Gaussian prior, and log q(z|x) - log p(z) at the sample of z for
the others, as the AAE paper has it for figure 2 c, d.

With a second stage (Dai & Wipf 2019, arXiv 1903.05789) there is one more phase: a VAE of
the codes that q(z|x) draws, whose samples then stand in the place of p(z)'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components import densities, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import (
    check_at_least,
    check_number,
    check_optimizers,
    check_positive,
    check_positive_number,
)
from aaejax.components.importance import log_weights
from aaejax.components.likelihoods import Likelihood
from aaejax.components.posteriors import Posterior
from aaejax.models._optimizers import BETA2
from aaejax.models._options import AutoencoderOptions, PriorOptions
from aaejax.models._two_stages import two_stages
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Metrics,
    Model,
    Phase,
    Prior,
    States,
    UserError,
    Variables,
)


def vae(
    autoencoder: Autoencoder,
    prior: Prior,
    log_prior: densities.LogDensity,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    gaussian_std: float | None = None,
    beta: float = 1.0,
    second: Autoencoder | None = None,
) -> Model:
    """Makes a VAE; a conditional one, whose decoder reads y, where the code has one.

    Args:
      autoencoder: An autoencoder with a "gaussian" posterior, and no y from the encoder.
      prior: The prior p(z) of the style.
      log_prior: The log-density of that prior, `codes [n, Z] -> log p(z) [n]`.
      optimizers: The optimizers "reconstruction", and "second" where there is a second
        stage.
      gaussian_std: The std of p(z) where that is N(0, std^2 I): the KL is then in closed
        form.
      beta: The weight of the KL term (Higgins et al. 2017); 1 for the ELBO.
      second: The second stage, an autoencoder of codes [B, Z] with a "gaussian" posterior
        and likelihood; None for none.

    Raises:
      UserError: The prior, density, posterior, second stage or optimizers don't fit, or a
        number is out of range.
    """
    front, posterior = autoencoder.classes, autoencoder.posterior
    if posterior.kind != "gaussian":
        raise UserError(f"a vae with a {posterior.kind} posterior: it must be gaussian")
    autoencoder.check_given("a vae")
    phases = ("reconstruction",) if second is None else ("reconstruction", "second")
    check_optimizers(optimizers, phases)
    check_number("beta", beta, 0)
    if gaussian_std is not None:
        check_positive_number("gaussian_std", gaussian_std)
    priors.check_prior(prior, posterior.latent)
    codes = jax.ShapeDtypeStruct((2, posterior.latent), jnp.float32)
    found = jax.eval_shape(log_prior, codes)
    if found.shape != (2,):
        raise UserError(f"log_prior gives {found.shape} for 2 codes: it must give (2,)")

    def divergence(outputs: Array, noise: Array) -> Array:
        if gaussian_std is not None:
            return posterior.divergence(outputs, gaussian_std)
        styles = posterior.code(outputs, noise)
        return posterior.log_density(outputs, noise) - log_prior(styles)

    def elbo(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        images = autoencoder.seen(batch["image"], draw)
        noise = draw("posterior", posterior.noise)
        outputs, encoded = autoencoder.train_encoder_outputs(variables, images, noise, draw)
        codes = autoencoder.code_of(outputs, noise, autoencoder.told(batch))
        reconstruction, decoded = autoencoder.train_error(variables, batch, codes, draw)
        kl = autoencoder.mean(divergence(outputs, noise), batch, draw)
        metrics = {"reconstruction": reconstruction, "kl": kl}
        return reconstruction + beta * kl, metrics, {**encoded, **decoded}

    phase = Phase(
        "elbo",
        ("encoder", "decoder"),
        elbo,
        optimizer=optimizers["reconstruction"],
        inputs=autoencoder.inputs,
    )
    model = Model(
        init=autoencoder.init,
        phases=(phase,),
        prior=priors.fixed(priors.after(prior, **autoencoder.in_front)),
        latent=front + posterior.latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
        log_weights=log_weights(autoencoder, lambda _, z, *__: log_prior(z[:, front:])),
        **autoencoder.in_front,
    )
    if second is None:
        return model
    size = second.posterior.latent
    of_codes = vae(
        second,
        priors.gaussian(size),
        densities.gaussian(size),
        {"reconstruction": optimizers["second"]},
        gaussian_std=1.0,
    )
    return two_stages(model, autoencoder, of_codes, second)


@dataclass(frozen=True)
class Options(PriorOptions, AutoencoderOptions):
    """A variational autoencoder."""

    beta: float = 1.0
    """The weight of the KL term."""
    decoder_std: float = 1.0
    """The standard deviation of p(x|z) where the reconstruction is squared error."""
    conditional: bool = False
    """Whether the decoder reads the label or condition, as in supervised."""
    two_stage: bool = False
    """Whether a second VAE, of MLPs, learns the codes of the first, and samples go through
    both."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "beta")
        check_positive(self, "decoder_std")
        if self.decoder_std != 1.0 and self.reconstruction != "squared-error":
            raise UserError(
                f"decoder_std is of a squared-error reconstruction, and this is a "
                f"{self.reconstruction} one: leave it out"
            )

    def make_posterior(self) -> Posterior:
        """Makes q(z|x)."""
        return Posterior("gaussian", self.latent)

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        if self.conditional:
            model = self.told_autoencoder(data, "vae --conditional")
        else:
            model = self.autoencoder(data)
        likelihood = replace(model.likelihood, std=self.decoder_std)
        optimizers = self.optimizers(steps)
        if self.two_stage:
            # Of MLPs, whatever the networks of the first.
            beta2 = BETA2 if self.reconstruction_optimizer.algorithm == "adam" else None
            second = replace(self.reconstruction_optimizer, beta2=beta2)
            optimizers["second"] = second.build(steps)
        return vae(
            replace(model, likelihood=likelihood),
            self.make_prior(data.classes or 10),
            self.make_log_prior(),
            optimizers,
            gaussian_std=self.prior_std if self.prior == "gaussian" else None,
            beta=self.beta,
            second=self._make_second(model) if self.two_stage else None,
        )

    def _make_second(self, first: Autoencoder) -> Autoencoder:
        """Makes the second stage, of codes as large, which reads what the first reads."""
        modules = self.module_options("mlp")
        posterior = self.make_posterior()
        return Autoencoder(
            networks.MLPEncoder(posterior.encoder_outputs, **modules),
            networks.MLPDecoder((self.latent,), **modules),
            posterior=posterior,
            likelihood=Likelihood("gaussian", "linear"),
            shape=(self.latent,),
            classes=first.classes,
            y_from=first.y_from,
            weighted=first.weighted,
        )

    def make_log_prior(self) -> densities.LogDensity:
        """Makes log p(z), the log-density of the prior."""
        if self.prior == "gaussian":
            return densities.gaussian(self.latent, self.prior_std)
        if self.prior == "mixture":
            return densities.mixture(self.latent, self.components)
        if self.prior == "swiss-roll":
            return densities.swiss_roll()
        raise UserError(
            "a vae can't have a uniform prior: outside the cube its density is 0 and the "
            "KL infinite; take gaussian, mixture or swiss-roll"
        )
