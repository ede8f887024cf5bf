"""The variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114).

One phase: the negative ELBO, -log p(x|z) + beta KL(q(z|x) || p(z)), re-parametrised. The
KL is in closed form for a Gaussian prior, and log q(z|x) - log p(z) at the sample of z for
the others, as the AAE paper has it for figure 2 c, d.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import optax

from aaejax.components import densities, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import (
    check_at_least,
    check_number,
    check_optimizers,
    check_positive,
    check_positive_number,
)
from aaejax.components.posteriors import Posterior
from aaejax.models._options import AutoencoderOptions, PriorOptions
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


def vae(
    autoencoder: Autoencoder,
    prior: Prior,
    log_prior: densities.LogDensity,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    gaussian_std: float | None = None,
    beta: float = 1.0,
) -> Model:
    """Makes a VAE; a conditional one, whose decoder reads y, where the code has one.

    Args:
      autoencoder: with a "gaussian" posterior.
      prior: p(z), of the style.
      log_prior: its density.
      optimizers: "reconstruction".
      gaussian_std: where p(z) is N(0, std^2 I), its std: the KL is then in closed form.
      beta: weight of the KL term (Higgins et al. 2017); 1 for the ELBO.

    Raises:
      UserError: a prior, density, posterior or optimizers that don't fit, or a number that
        can't be.
    """
    front, posterior = autoencoder.classes, autoencoder.posterior
    if posterior.kind != "gaussian":
        raise UserError(f"a vae with a {posterior.kind} posterior: it must be gaussian")
    check_optimizers(optimizers, ("reconstruction",))
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
        images = autoencoder.noisy(batch["image"], draw)
        noise = draw("posterior", posterior.noise)
        outputs, encoded = autoencoder.train_encoder(variables, images, noise, draw)
        codes = autoencoder.code_of(outputs, noise, autoencoder.told(batch))
        reconstruction, decoded = autoencoder.train_error(variables, batch, codes, draw)
        kl = autoencoder.mean(divergence(outputs, noise), batch, draw)
        metrics = {"reconstruction": reconstruction, "kl": kl}
        return reconstruction + beta * kl, metrics, {**encoded, **decoded}

    def log_weights(
        variables: Variables, images: Array, key: Key, labels: Array | None = None
    ) -> Array:
        noise = autoencoder.noise(key, images.shape[0])
        outputs = autoencoder.encoder_outputs(variables, images, noise)
        codes = autoencoder.code_of(outputs, noise, labels)
        decoded = autoencoder.decoder_outputs(variables, codes)
        return (
            autoencoder.likelihood.log_density(decoded, images)
            + log_prior(codes[:, front:])
            - posterior.log_density(outputs, noise)
        )

    phase = Phase(
        "elbo",
        ("encoder", "decoder"),
        elbo,
        optimizer=optimizers["reconstruction"],
        inputs=autoencoder.inputs,
    )
    return Model(
        init=autoencoder.init,
        phases=(phase,),
        prior=priors.fixed(priors.after(prior, **autoencoder.in_front)),
        latent=front + posterior.latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
        log_weights=log_weights,
        **autoencoder.in_front,
    )


@dataclass(frozen=True)
class Options(PriorOptions, AutoencoderOptions):
    """A variational autoencoder."""

    beta: float = 1.0
    """Weight of the KL term."""
    decoder_std: float = 1.0
    """Standard deviation of p(x|z) where reconstruction is squared error."""
    conditional: bool = False
    """The decoder reads the label or condition, as in supervised."""

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
          UserError: options that don't fit each other or the data.
        """
        if self.conditional:
            model = self.told_autoencoder(data, "vae --conditional")
        else:
            model = self.autoencoder(data)
        likelihood = replace(model.likelihood, std=self.decoder_std)
        return vae(
            replace(model, likelihood=likelihood),
            self.make_prior(data.classes or 10),
            self.make_log_prior(),
            self.optimizers(steps),
            gaussian_std=self.prior_std if self.prior == "gaussian" else None,
            beta=self.beta,
        )

    def make_log_prior(self) -> densities.LogDensity:
        """Makes log p(z)."""
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
