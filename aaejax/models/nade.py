"""NADE (Larochelle & Murray 2011) and MADE (Germain et al. 2015, arXiv 1502.03509).

Both are a product of Bernoullis, p(x) = prod_d p(x_d | those before it in an order), and
learn by its exact likelihood. With more orders than one, each step learns one of them and
the model is their mixture, as in EoNADE (Uria et al. 2014). A code is the uniform numbers
that bits are drawn by.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses, priors
from aaejax.components.checks import check_at_least, check_optimizers
from aaejax.components.inputs import (
    image_input,
    unweighted,
    weight_input,
    weighted_mean,
)
from aaejax.cpu import flat
from aaejax.models._base import BaseOptions
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import MOST_UNITS
from aaejax.networks.made import MADE
from aaejax.networks.nade import NADE, orderings
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


def nade(
    network: NADE | MADE,
    shape: tuple[int, ...],
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    weighted: bool = False,
) -> Model:
    """Makes a model of bits, one after the other.

    Args:
      network: A network of as many bits as an example has.
      shape: The shape of one example.
      optimizers: The optimizer "likelihood".
      weighted: Whether the loss is a mean by the weights of examples.

    Raises:
      UserError: The optimizers are others, or the network has another number of bits.
    """
    check_optimizers(optimizers, ("likelihood",))
    orders, size = network.orders.shape
    if size != math.prod(shape):
        raise UserError(f"the network is of {size} bits, an example has {math.prod(shape)}")

    def init(key: Key) -> Variables:
        return {"bits": network.init(key)}

    def log_density(variables: Variables, images: Array, order: Array) -> Array:
        bits = jnp.asarray(flat(images))
        return -losses.bernoulli_error(network.logits(variables["bits"], bits, order), bits)

    def log_likelihood(
        variables: Variables, images: Array, labels: Array | None = None
    ) -> Array:
        each = jax.lax.map(
            lambda order: log_density(variables, images, order), jnp.arange(orders)
        )
        return jax.nn.logsumexp(each, axis=0) - math.log(orders)

    mean = weighted_mean if weighted else unweighted

    def loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        order = jnp.zeros((), jnp.int32)
        if orders > 1:  # the same one on all devices: that of the first example
            order = draw.gather(
                draw("order", lambda key: jax.random.randint(key, (), 0, orders))
            )[0]
        each = -log_density(variables, batch["image"], order)
        return mean(each, batch, draw), {}, {}

    def complete(variables: Variables, codes: Array, images: Array, rows: int) -> Array:
        def one(code: Array, known: Array) -> Array:
            order = jnp.zeros((), jnp.int32)
            if orders > 1:
                order = jnp.minimum((code[size] * orders).astype(jnp.int32), orders - 1)
            count = rows * math.prod(shape[1:])
            return network.draw(
                variables["bits"], code[:size], known, count=count, order=order
            )

        return jax.vmap(one)(codes, flat(images)).reshape(len(codes), *shape)

    def decode(variables: Variables, codes: Array) -> Array:
        return complete(variables, codes, jnp.zeros((len(codes), *shape)), 0)

    latent = size + (orders > 1)
    return Model(
        init=init,
        phases=(
            Phase(
                "likelihood",
                ("bits",),
                loss,
                optimizer=optimizers["likelihood"],
                inputs=(image_input(shape, True), *[weight_input()] * weighted),
            ),
        ),
        prior=priors.fixed(priors.uniform(latent, 0.0, 1.0)),
        latent=latent,
        decode=decode,
        log_likelihood=log_likelihood,
        complete=complete if len(shape) == 3 and orders == 1 else None,
    )


@dataclass(frozen=True)
class Options(BaseOptions):
    """NADE, or MADE with --masked: bits one after the other, with exact likelihoods."""

    masked: bool = False
    """Whether it is MADE, an MLP with masks in place of NADE's one hidden layer."""
    width: int = 500
    """The number of units of a hidden layer."""
    depth: int = 1
    """The number of hidden layers, with --masked."""
    orderings: int = 1
    """The number of orders of the bits, of which each step learns one; likelihoods are
    those of their mixture. With 1 it is row by row, and images can be completed."""
    likelihood_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", most=MOST_UNITS)
        check_at_least(self, 1, "depth", most=100)
        check_at_least(self, 1, "orderings", most=1000)
        if self.depth > 1 and not self.masked:
            raise UserError(f"depth is {self.depth}: NADE has 1; take --masked for more")

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """A fast learning rate: biases of pixels that are always black have far to go."""
        return {**super().optimizer_defaults(name), "learning_rate": 3e-3}

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The data are no bits.
        """
        if not data.binary:
            raise UserError("nade is a model of bits: add --binarize static or dynamic")
        orders = orderings(self.orderings, math.prod(data.shape))
        made = MADE(orders, self.width, self.depth)
        network = made if self.masked else NADE(orders, self.width)
        optimizers = self.optimizers(steps)
        return nade(network, data.shape, optimizers, weighted=data.weighted)
