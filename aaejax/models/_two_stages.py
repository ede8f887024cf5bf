"""A model of codes in the place of a prior (Dai & Wipf 2019, arXiv 1903.05789).

Where codes do not follow p(z), samples of p(z) decode to what no data look like. A second
VAE, which learns the codes that q(z|x) draws, has nearly their distribution.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp

from aaejax.components.autoencoder import Autoencoder
from aaejax.components.importance import log_weights
from aaejax.types import (
    Array,
    Batch,
    Draw,
    Key,
    Metrics,
    Model,
    Phase,
    States,
    UserError,
    Variables,
)

NAMES = {name: f"second_{name}" for name in ("encoder", "decoder")}


def two_stages(
    first: Model, autoencoder: Autoencoder, of_codes: Model, second: Autoencoder
) -> Model:
    """Makes the first model with the second as its prior, trained in a phase of its own.

    The second sees codes as they are in evaluation, and the first nothing of the second:
    its parameters are bit for bit those of a run without a second stage.

    Args:
      first: The first model, made of `autoencoder`.
      autoencoder: An autoencoder with a "gaussian" posterior.
      of_codes: The second model, made of `second`, with one phase and `log_weights`.
      second: An autoencoder of codes [B, Z] with a "gaussian" likelihood.

    Raises:
      UserError: The autoencoders don't fit each other.
    """
    front, latent = autoencoder.classes, autoencoder.posterior.latent
    said = (second.shape, second.classes, second.y_from, second.likelihood.reconstruction)
    wanted = ((latent,), front, autoencoder.y_from, "gaussian")
    if said != wanted:
        raise UserError(
            "the second stage has the shape, classes, y_from and reconstruction "
            f"{said}: to learn the codes of the first they must be {wanted}"
        )
    (phase,), weigh = of_codes.phases, of_codes.log_weights
    assert weigh is not None

    def own(variables: Variables) -> Variables:
        return {name: variables[whole] for name, whole in NAMES.items()}

    def init(key: Key) -> Variables:
        # None of those that the first splits the key into.
        made = of_codes.init(jax.random.fold_in(key, 100))
        return {**first.init(key), **{NAMES[name]: made[name] for name in made}}

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        codes = autoencoder.draw_evaluated(variables, batch, draw, "first_posterior")
        batch = {**batch, "image": codes[:, front:]}
        value, metrics, states = phase.loss(own(variables), batch, draw)
        return value, metrics, {NAMES[name]: states[name] for name in states}

    def prior(variables: Variables, key: Key, n: int, labels: Array | None = None) -> Array:
        code_key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (n, latent))
        codes = of_codes.prior(own(variables), code_key, n, labels)
        outputs = second.decoder_outputs(own(variables), codes)
        styles = second.likelihood.draw(outputs, noise)
        return jnp.concatenate([codes[:, :front], styles], axis=1)

    def log_prior(
        variables: Variables, codes: Array, key: Key, labels: Array | None
    ) -> Array:
        return weigh(own(variables), codes[:, front:], key, labels)

    trained = Phase(
        "second",
        tuple(NAMES.values()),
        loss,
        optimizer=phase.optimizer,
        inputs=autoencoder.inputs,
    )
    return replace(
        first,
        init=init,
        phases=(*first.phases, trained),
        prior=prior,
        log_weights=log_weights(autoencoder, log_prior),
    )
