"""Options that models share: each class is one part of a command line."""

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Self

import flax.linen as nn

from aaejax import networks
from aaejax.components import priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_at_least, check_positive
from aaejax.components.likelihoods import COUNTS, Likelihood, Output, Reconstruction
from aaejax.components.posteriors import Posterior
from aaejax.models._base import BaseOptions
from aaejax.models._optimizers import Optimizer
from aaejax.types import DataSpec, Prior, UserError

# By the word for it: encoder and decoder, their norm where none is said, and what else
# their modules take of the options.
_CONVOLUTIONS = ("channels", "scales", "dropout")
_BUILT_IN: dict[str, tuple[Any, Any, networks.Norm, tuple[str, ...]]] = {
    "mlp": (
        networks.MLPEncoder,
        networks.MLPDecoder,
        "none",
        ("width", "depth", "dropout"),
    ),
    "conv": (networks.ConvEncoder, networks.ConvDecoder, "layer", _CONVOLUTIONS),
    "dcgan": (networks.DCGANEncoder, networks.DCGANDecoder, "batch", _CONVOLUTIONS),
}
# By the word for a precision: what makes linear layers and convolutions.
_LAYERS: dict[networks.Precision, tuple[networks.Dense, networks.Conv]] = {
    "float32": (nn.Dense, nn.Conv),
    "bf16": (
        partial(nn.Dense, dot_general=networks.bf16_dot_general),
        partial(nn.Conv, conv_general_dilated=networks.bf16_conv_general_dilated),
    ),
}
# Of a layer, a code or a mixture; what a run needs in all is held against the machine's
# memory when it starts.
MOST_UNITS = 65_536


@dataclass(frozen=True)
class OwnNetworks:
    """A user's own networks.

    A function that names an argument `inputs` is also told how many numbers of an example
    its network reads, over all the network's arguments. An encoder's that names an argument
    `class_logits` is told how many of the outputs are logits of classes or clusters, which
    come first; 0 where the model reads no class from its encoder.

    Attributes:
      encoder: A function of `(data, outputs)`, where `data` is the `DataSpec`, that gives
        anything that `networks.as_network` takes, as the others do.
      decoder: A function of `(data)` that gives a decoder.
      discriminator: A function of `(data)` that gives a discriminator of codes, in a GAN of
        images; None for an MLP, in a GAN for an encoder with one output.
      sha256: The SHA-256 of the file that they are from, hexadecimal; "" for no file.
    """

    encoder: Callable[..., Any]
    decoder: Callable[..., Any]
    discriminator: Callable[..., Any] | None = None
    sha256: str = ""

    def make(self, role: str, *arguments: Any, **offered: int) -> Any:
        """Makes a new network of this role.

        Args:
          role: The attribute whose function makes it.
          *arguments: What the function is always told.
          **offered: What it is told where it names an argument so.

        Raises:
          UserError: The user's function fails.
        """
        function = getattr(self, role)
        try:
            asks = inspect.signature(function).parameters.keys()
            told = {name: value for name, value in offered.items() if name in asks}
            return function(*arguments, **told)
        except Exception as error:  # whatever the user's own code raises
            raise UserError(
                f"your function {role} fails ({type(error).__name__}: {error}): mend it"
            ) from error


def need_labels(data: DataSpec, model: str, or_what: str = "") -> None:
    """Raises UserError where no training example of the data has a label."""
    if not data.labelled:
        raise UserError(f"{model} needs labels{or_what}: give data that have some")


def read_in_front(data: DataSpec, model: str) -> dict[str, Any]:
    """What a conditional model reads: the condition of data that have one, or the label.

    Returns:
      The word "conditions" or "classes", and how many there are.

    Raises:
      UserError: The data have neither.
    """
    if data.conditions:
        return {"conditions": data.conditions}
    need_labels(data, model, " or a condition")
    return {"classes": data.classes}


@dataclass(frozen=True)
class NetworkOptions(BaseOptions):
    """The options of models with encoders, decoders and discriminators: their networks."""

    latent: int = 8
    """The size of the code z."""
    network: str = "mlp"
    """The kind of networks: mlp, the paper's; conv, convolutional networks for images;
    dcgan, the strided convolutions of DCGAN; or a Python file of your own with
    encoder(data, outputs) and decoder(data)."""
    width: int = 1000
    """The number of units of a hidden layer (of MLPs and discriminators of codes)."""
    depth: int = 2
    """The number of hidden layers (of MLPs and discriminators of codes)."""
    initial_std: float = 0.0
    """The standard deviation of the first weights of MLPs, 0.01 in the paper; 0 takes
    LeCun's, one over the root of a layer's inputs."""
    channels: int = 16
    """The number of channels of the finest convolution; it doubles at each coarser one, in
    conv up to four times."""
    scales: int = 0
    """The number of scales of convolutions, each of half the height and width of the one
    before; 0 for as many as fit."""
    precision: networks.Precision = "float32"
    """The precision of the operands of matrix products and convolutions; their sums, the
    parameters and all else stay float32. bf16 is for machines that have units for it."""
    output: Output = "sigmoid"
    """The last layer of the decoder: sigmoid for values in [0, 1], softmax for counts, and
    linear for all other data."""
    norm: networks.Norm | None = None
    """What stands before the units of hidden layers: none, layer norm or batch norm; by
    default none in MLPs, layer norm in conv and batch norm in dcgan."""
    dropout: float = 0.0
    """The share of inputs and hidden units (in dcgan of inputs alone) that are set to 0
    while training."""
    own: OwnNetworks | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network not in _BUILT_IN and not self.network.endswith(".py"):
            raise UserError(
                f"network is {self.network!r}: it must be {', '.join(_BUILT_IN)} or a file "
                "of your own that ends in .py"
            )
        check_at_least(self, 0, "dropout")
        if self.dropout >= 1:
            raise UserError(f"dropout is {self.dropout}: it must be in [0, 1)")
        if self.network.endswith(".py") and (self.norm is not None or self.dropout):
            raise UserError(
                f"norm and dropout are those of --network {', '.join(_BUILT_IN)}: leave "
                "them out"
            )
        check_at_least(self, 1, "latent", "width", most=MOST_UNITS)
        check_at_least(self, 1, "channels", most=4096)
        check_at_least(self, 0, "scales", most=12)
        check_at_least(self, 0, "depth", most=100)
        check_at_least(self, 0, "initial_std")

    def with_networks(self, own: OwnNetworks) -> Self:
        """These options with the networks of the file that `network` names."""
        changed = copy.copy(self)
        object.__setattr__(changed, "own", own)
        return changed

    def make_encoder(
        self, data: DataSpec, outputs: int, beside: int, classes: int = 0
    ) -> Any:
        """Makes a new encoder.

        Args:
          data: What the data are.
          outputs: The number of units of the last layer.
          beside: How many numbers it reads beside those of an example.
          classes: How many of the outputs, the first, are logits of classes or clusters.

        Raises:
          UserError: Convolutions are to read vectors, or a sigmoid output is to give data
            outside [0, 1].
        """
        self._check(data)
        if self.own is not None:
            inputs = math.prod(data.shape) + beside
            return self.own.make(
                "encoder", data, outputs, inputs=inputs, class_logits=classes
            )
        return _BUILT_IN[self.network][0](outputs, **self.module_options(self.network))

    def make_decoder(self, data: DataSpec, inputs: int) -> Any:
        """Makes a new decoder of codes of so many numbers; raises as `make_encoder`."""
        self._check(data)
        if self.own is not None:
            return self.own.make("decoder", data, inputs=inputs)
        return _BUILT_IN[self.network][1](data.shape, **self.module_options(self.network))

    def module_options(self, network: str) -> dict[str, Any]:
        """The options that all modules of the networks of this word take, by name."""
        _, _, norm, names = _BUILT_IN[network]
        dense, conv = _LAYERS[self.precision]
        layers = {"dense": dense, "conv": conv}
        if network == "mlp":
            del layers["conv"]
            if self.initial_std:
                start = nn.initializers.normal(self.initial_std)
                layers["dense"] = partial(dense, kernel_init=start)
        chosen = {name: getattr(self, name) for name in names}
        return {"norm": self.norm or norm, **layers, **chosen}

    @property
    def network_file(self) -> str | None:
        """The user's file of networks that the model needs; None for none."""
        return self.network if self.network.endswith(".py") else None

    @property
    def networks_sha256(self) -> str | None:
        """The SHA-256 of that file, hexadecimal, once its networks are there; else None."""
        return None if self.own is None else self.own.sha256

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """The defaults of convolutions, which are for their reconstruction."""
        conv = self.network == "conv" and name == "reconstruction"
        return {"beta2": networks.CONV_BETA2} if conv else {}

    def _check(self, data: DataSpec) -> None:
        if self.own is None and self.network not in _BUILT_IN:
            raise UserError(
                f"the networks are those of {self.network}: say --network {self.network}"
            )
        if self.output == "sigmoid" and not data.unit_range:
            counts = (
                ", or for counts --output softmax --reconstruction negative-binomial"
                * data.counts
            )
            raise UserError(
                "the data have values outside [0, 1]: scale them, or take "
                f"--output linear --reconstruction squared-error{counts}"
            )
        if self.network in ("conv", "dcgan") and len(data.shape) != 3:
            raise UserError(
                f"--network {self.network} on vectors of {data.shape[0]} values: "
                "convolutions need images; take --network mlp"
            )


@dataclass(frozen=True)
class GaussianPriorOptions(NetworkOptions):
    """The options of models with a prior that may be Gaussian."""

    prior_std: float = 1.0
    """The standard deviation of the Gaussian prior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "prior_std")


@dataclass(frozen=True)
class PriorOptions(GaussianPriorOptions):
    """The options of models with any prior."""

    prior: Literal["gaussian", "mixture", "swiss-roll", "uniform"] = "gaussian"
    """The prior p(z), the distribution of codes."""
    components: int = 10
    """The number of components of the mixture prior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "components", most=MOST_UNITS)

    def make_prior(self, classes: int) -> Prior:
        """Makes p(z), with so many classes."""
        if self.prior == "gaussian":
            return priors.gaussian(self.latent, self.prior_std, classes)
        if self.prior == "mixture":
            return priors.mixture(self.latent, self.components)
        if self.prior == "swiss-roll":
            return priors.swiss_roll(self.latent, classes=classes)
        return priors.uniform(self.latent, classes=classes)


@dataclass(frozen=True)
class AutoencoderOptions(NetworkOptions):
    """The options of models with an encoder and a decoder."""

    input_noise: float = 0.0
    """The standard deviation of noise added to the encoder's input while training."""
    reconstruction: Reconstruction = "bernoulli"
    """The reconstruction loss: cross-entropy (bernoulli), half the squared error, or the
    negative log-likelihood of a Gaussian whose one variance is trained, or for tables of
    counts of a Poisson or negative binomial."""
    reconstruction_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "input_noise")

    def make_posterior(self) -> Posterior:
        """Makes q(z|x)."""
        return Posterior("deterministic", self.latent)

    def autoencoder(
        self,
        data: DataSpec,
        classes: int = 0,
        y_from: Literal["labels", "encoder", "condition"] = "labels",
        *,
        joined: int | None = None,
    ) -> Autoencoder:
        """Makes encoder, decoder and code for these data; arguments as of `Autoencoder`.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        if self.reconstruction in COUNTS and not data.counts:
            raise UserError(
                f"a {self.reconstruction} reconstruction is for tables of counts, whole "
                "numbers from 0 on, and these data are none: take squared-error"
            )
        posterior = self.make_posterior()
        logits = classes if y_from == "encoder" else 0
        outputs = logits + posterior.encoder_outputs
        noise = posterior.noise_inputs if posterior.kind == "universal" else 0
        return Autoencoder(
            self.make_encoder(data, outputs, noise, logits),
            self.make_decoder(data, joined or classes + posterior.latent),
            posterior=posterior,
            likelihood=Likelihood(self.reconstruction, self.output, missing=data.missing),
            shape=data.shape,
            classes=classes,
            y_from=y_from,
            weighted=data.weighted,
            input_noise=self.input_noise,
            joined=joined,
        )

    def told_autoencoder(self, data: DataSpec, model: str) -> Autoencoder:
        """Makes one whose decoder reads the condition of an example or else its label.

        Raises:
          UserError: As of `autoencoder`, or the data have neither; the message names the
            model.
        """
        ((word, size),) = read_in_front(data, model).items()
        return self.autoencoder(
            data, size, "condition" if word == "conditions" else "labels"
        )
