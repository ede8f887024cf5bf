"""Gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328), which reads the label too.

p(x) = prod_i p(x_i | pixels before i, row by row), learned by its exact likelihood. Pixels
are bits, or 256 levels in grey or colour by a mixture of logistics (PixelCNN++, Salimans et
al. 2017, arXiv 1701.05517). A code is the uniform numbers that pixels are drawn by.
"""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import optax

from aaejax.components import priors
from aaejax.components.checks import check_at_least, check_optimizers
from aaejax.components.inputs import (
    image_input,
    label_input,
    unweighted,
    weight_input,
    weighted_mean,
)
from aaejax.components.pixel_values import Bit, LogisticMixture
from aaejax.models._base import BaseOptions
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import need_labels
from aaejax.networks import Precision
from aaejax.networks.masked_conv import GatedPixelCNN
from aaejax.types import (
    Array,
    Batch,
    DataSpec,
    Draw,
    Key,
    Metrics,
    Model,
    Phase,
    States,
    UserError,
    Variables,
)


def pixelcnn(
    network: GatedPixelCNN,
    values: Bit | LogisticMixture,
    shape: tuple[int, ...],
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    weighted: bool = False,
) -> Model:
    """Makes a PixelCNN, a conditional one where its network reads classes.

    Args:
      network: A network of `values.outputs` outputs.
      values: What the outputs say of a pixel.
      shape: The shape of one image, [H, W, C].
      optimizers: The optimizer "likelihood".
      weighted: Whether the loss is a mean by the weights of examples.

    Raises:
      UserError: The optimizers are others, or the network does not fit.
    """
    check_optimizers(optimizers, ("likelihood",))
    if (network.outputs, network.colours) != (values.outputs, shape[-1]):
        raise UserError(
            f"the network gives {network.outputs} numbers for {network.colours} colours: "
            f"it must give {values.outputs} for {shape[-1]}"
        )
    classes, size = network.classes, math.prod(shape[:2]) * values.numbers

    def init(key: Key) -> Variables:
        return {"pixels": network.init(key)}

    def log_likelihood(
        variables: Variables, images: Array, labels: Array | None = None
    ) -> Array:
        y = None
        if classes:
            unknown = jnp.full(len(images), -1) if labels is None else labels
            y = jax.nn.one_hot(unknown, classes, dtype=jnp.float32)  # of -1 zeros
        outputs = network(variables["pixels"], images, y)
        return values.log_density(outputs, images).sum(axis=(1, 2))

    mean = weighted_mean if weighted else unweighted

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        found = log_likelihood(variables, batch["image"], batch.get("label"))
        return -mean(found, batch, draw), {}, {}

    def complete(variables: Variables, codes: Array, images: Array, rows: int) -> Array:
        y = codes[:, :classes] if classes else None
        numbers = codes[:, classes:].reshape(len(codes), *shape[:2], values.numbers)
        return network.draw(
            variables["pixels"],
            shape,
            numbers,
            draw_pixel=values.draw,
            known=images,
            rows=rows,
            classes=y,
        )

    def decode(variables: Variables, codes: Array) -> Array:
        return complete(variables, codes, jnp.zeros((len(codes), *shape)), 0)

    prior = priors.uniform(size, 0.0, 1.0)
    inputs = (image_input(shape, True),)
    if classes:
        inputs += (label_input(classes),)
    if weighted:
        inputs += (weight_input(),)
    return Model(
        init=init,
        phases=(
            Phase(
                "likelihood",
                ("pixels",),
                loss,
                optimizer=optimizers["likelihood"],
                inputs=inputs,
            ),
        ),
        prior=priors.fixed(priors.with_class(prior, classes) if classes else prior),
        latent=classes + size,
        decode=decode,
        log_likelihood=log_likelihood,
        complete=complete,
        classes=classes,
    )


@dataclass(frozen=True)
class Options(BaseOptions):
    """A gated PixelCNN: pixels one after the other, with exact likelihoods."""

    channels: int = 32
    """The number of channels of each of its two stacks of convolutions."""
    layers: int = 8
    """The number of gated layers after the first one, which has a 7x7 kernel."""
    reach: int = 1
    """How many rows above, and columns to the sides, a layer reads: 1 is a 3x3 kernel."""
    dilations: tuple[int, ...] = field(default=(1, 2, 4, 8), metadata={"older_runs": (1,)})
    """How far apart these rows and columns are, layer after layer, and again from the
    first: far ones see more of an image at the same cost. Begin with 1, so that no pixel
    before another is left out."""
    components: int | None = None
    """The number of logistics in the mixture of a pixel's 256 levels, by default 10; bits
    (--binarize) have none."""
    conditional: bool = False
    """Whether every layer reads the label."""
    precision: Precision = "float32"
    """The precision of the operands of matrix products; their sums, the parameters and all
    else stay float32. bf16 is for machines that have units for it."""
    likelihood_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "channels", most=4096)
        check_at_least(self, 1, "layers", most=100)
        check_at_least(self, 1, "reach", most=10)
        if self.components is not None:
            check_at_least(self, 1, "components", most=100)
        count = len(self.dilations)
        if not 1 <= count <= 100 or not all(1 <= n <= 1000 for n in self.dilations):
            raise UserError(
                f"dilations is {reprlib.repr(self.dilations)}: it must be 1 to 100 numbers "
                "from 1 to 1000, such as 1 2 4 8"
            )

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The data are no pictures or lack labels, or components are given for
            bits.
        """
        if len(data.shape) != 3 or not data.unit_range:
            raise UserError(
                "pixelcnn is of pictures: give [H, W, C], or take another model"
            )
        if self.conditional:
            need_labels(data, "pixelcnn --conditional")
        colours = data.shape[2]
        if data.binary and self.components is not None:
            raise UserError(
                "components are of 256 levels, and these are bits: leave them out"
            )
        values = Bit() if data.binary else LogisticMixture(colours, self.components or 10)
        network = GatedPixelCNN(
            colours,
            values.outputs,
            channels=self.channels,
            layers=self.layers,
            reach=self.reach,
            dilations=self.dilations,
            classes=data.classes if self.conditional else 0,
            precision=self.precision,
        )
        optimizers = self.optimizers(steps)
        return pixelcnn(network, values, data.shape, optimizers, weighted=data.weighted)
