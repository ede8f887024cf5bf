"""Adversarial autoencoders in JAX and Flax, as pure functions.

The pure half (types, networks, priors, posteriors, losses, optimizers, phases, models) does
no I/O and is meant to be imported into other JAX code; the names below are its public list.
Data, training, sampling and restoring are imported by module: `from aaejax.training import
train`, `from aaejax.restoring import restore`.
"""

from aaejax.autoencoder import Autoencoder
from aaejax.likelihoods import Likelihood
from aaejax.models.aae import aae
from aaejax.phases import init_state, phase_step, scan_steps, train_step
from aaejax.posteriors import Posterior
from aaejax.types import (
    Batch,
    DataSpec,
    Metrics,
    Model,
    Phase,
    Prior,
    TrainState,
    UserError,
)

__all__ = [
    "Autoencoder",
    "Batch",
    "DataSpec",
    "Likelihood",
    "Metrics",
    "Model",
    "Phase",
    "Posterior",
    "Prior",
    "TrainState",
    "UserError",
    "aae",
    "init_state",
    "phase_step",
    "scan_steps",
    "train_step",
]
