"""Adversarial autoencoders in JAX and Flax, as pure functions.

The names below are the library: networks, components, models and the step functions. They
do no I/O and are meant to be imported into other JAX code. The application around them is
imported by module: `from aaejax.runs.loop import train`, `from aaejax.runs.restore import
restore`, `from aaejax import data`.
"""

from aaejax import networks, sampling
from aaejax.components import densities, distortions, losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.consistency import Consistency
from aaejax.components.likelihoods import Likelihood
from aaejax.components.posteriors import Posterior
from aaejax.models.aae import aae
from aaejax.models.autoencoder import autoencoder
from aaejax.models.gan import gan
from aaejax.models.moment_matching import gmmn, gmmn_codes, wae
from aaejax.models.nade import nade
from aaejax.models.pixelcnn import pixelcnn
from aaejax.models.reduction import reduction
from aaejax.models.semi_supervised import semi_supervised
from aaejax.models.vae import vae
from aaejax.phases import averaged_params, init_state, phase_step, scan_steps, train_step
from aaejax.types import (
    Batch,
    DataSpec,
    Draw,
    Input,
    Loss,
    Metrics,
    Model,
    Phase,
    Prior,
    Step,
    TrainState,
    UserError,
)

__all__ = [
    "Adversary",
    "Autoencoder",
    "Batch",
    "Consistency",
    "DataSpec",
    "Draw",
    "Input",
    "Likelihood",
    "Loss",
    "Metrics",
    "Model",
    "Phase",
    "Posterior",
    "Prior",
    "Step",
    "TrainState",
    "UserError",
    "aae",
    "autoencoder",
    "averaged_params",
    "densities",
    "distortions",
    "gan",
    "gmmn",
    "gmmn_codes",
    "init_state",
    "losses",
    "nade",
    "networks",
    "phase_step",
    "pixelcnn",
    "priors",
    "reduction",
    "sampling",
    "scan_steps",
    "semi_supervised",
    "train_step",
    "vae",
    "wae",
]


def __getattr__(name: str) -> str:
    """`aaejax.__version__`, which pyproject.toml alone says, installed or not."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib.metadata
    import tomllib
    from pathlib import Path

    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():  # a clone, whatever is installed beside it
        return tomllib.loads(project.read_text())["project"]["version"]
    return importlib.metadata.version("aaejax")
