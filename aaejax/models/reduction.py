"""Dimensionality reduction (Makhzani et al. 2015, section 6, figures 10 and 11).

The semi-supervised AAE whose decoder reads the n-dimensional W_C y + z in place of [y, z]:
each row of W_C is a cluster head, z spreads a cluster around it. The heads are learned, and
a last phase keeps them apart; or they are the corners of a simplex (`--simplex`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aaejax.components import losses, priors
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_at_least, check_number, check_optimizers
from aaejax.components.consistency import Consistency
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import MOST_UNITS
from aaejax.models.semi_supervised import NO_CONSISTENCY, ClassOptions, semi_supervised
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


def reduction(
    autoencoder: Autoencoder,
    class_discriminator: Any,
    style_discriminator: Any,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    distance: float,
    simplex: float = 0.0,
    labelled: bool,
    joint_style: bool = False,
    stop_class_gradient: bool = False,
    consistency: Consistency = NO_CONSISTENCY,
    generator_loss: losses.GeneratorLoss = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """Makes a semi-supervised or clustering AAE with cluster heads.

    Args:
      autoencoder: An autoencoder with K classes, y from the "encoder"; its `join` is
        replaced, and the decoder reads the n numbers of W_C y + z. A decoder that can read
        no other number needs an autoencoder with `joined=n`.
      class_discriminator: The discriminator of y, as in `semi_supervised`.
      style_discriminator: The discriminator of z, as in `semi_supervised`.
      prior: The prior p(z) of the style.
      optimizers: The optimizers of `semi_supervised`, and "heads" unless these are a
        simplex.
      distance: Eta, the distance: pairs of heads nearer than this are pushed apart.
      simplex: The size of a simplex: if not 0, W_C is fixed to this times the identity,
        which needs K = Z.
      labelled: Whether there is a classification phase, as in `semi_supervised`.
      joint_style: Whether the style's adversary compares [y, z], as in `semi_supervised`.
      stop_class_gradient: Where gradients stop at y, as in `semi_supervised`.
      consistency: What q(y|x) must not depend on, as in `semi_supervised`.
      generator_loss: The form of the generators' loss, as in `losses.generator_loss`.
      r1: The weight of the discriminators' gradient penalty.

    Raises:
      UserError: As of `semi_supervised`, or the simplex has another size than the code.
    """
    classes, latent = autoencoder.classes, autoencoder.posterior.latent
    check_number("distance", distance, 0)
    check_number("simplex", simplex, 0)
    if simplex and classes != latent:
        raise UserError(f"a simplex of {classes} corners needs codes of {classes}")
    if not simplex:
        check_optimizers(optimizers, ("heads",), unused=optimizers)

    def represent(variables: Variables, codes: Array) -> Array:
        if simplex:
            heads = simplex * jnp.eye(classes)
        else:
            heads = variables["heads"]["params"]["kernel"]
        return codes[:, :classes] @ heads + codes[:, classes:]

    model = semi_supervised(
        replace(autoencoder, join=represent, joined=latent),
        class_discriminator,
        style_discriminator,
        prior,
        {name: optimizers[name] for name in optimizers if name != "heads"},
        labelled=labelled,
        joint_style=joint_style,
        stop_class_gradient=stop_class_gradient,
        consistency=consistency,
        generator_loss=generator_loss,
        r1=r1,
    )
    model = replace(model, represent=represent)
    if simplex:
        # Drawn with the corners on a circle.
        angles = 2 * np.pi * np.arange(classes) / classes
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        return replace(model, plane=lambda *code: represent(*code) @ circle)

    def init(key: Key) -> Variables:
        networks_key, heads_key = jax.random.split(key)
        heads = jax.random.normal(heads_key, (classes, latent), jnp.float32)
        return {**model.init(networks_key), "heads": {"params": {"kernel": heads}}}

    def heads_loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        heads = variables["heads"]["params"]["kernel"]
        return losses.head_distance(heads, distance), {}, {}

    first, *rest = model.phases
    first = replace(first, trains=(*first.trains, "heads"))
    heads_phase = Phase("heads", ("heads",), heads_loss, optimizer=optimizers["heads"])
    return replace(model, init=init, phases=(first, *rest, heads_phase))


@dataclass(frozen=True)
class Options(ClassOptions):
    """An AAE with codes W_C y + z to look at, with labels or without (`--labels 0`)."""

    latent: int = 2
    """The number n of dimensions of the code W_C y + z."""
    clusters: int = 0
    """The size of y; 0 for the number of classes, or 10 where the data have none. With
    labels it can be no other."""
    distance: float = 3.0
    """The distance eta: cluster heads nearer than this to one another are pushed apart."""
    simplex: float = 0.0
    """The size of a simplex: if not 0, W_C is fixed to this times the identity (n must be
    the size of y)."""
    heads_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(learning_rate=3e-3, schedule="cosine")
    )
    classification_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "clusters", most=MOST_UNITS)
        check_at_least(self, 0, "distance", "simplex")

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        clusters = self.clusters or data.classes or 10
        if data.labelled and clusters != data.classes:
            raise UserError(
                f"{clusters} clusters for {data.classes} labelled classes: "
                "leave --clusters out, or take --labels 0"
            )
        if self.simplex and clusters != self.latent:
            raise UserError(
                f"a simplex of {clusters} corners needs --latent {clusters}, "
                f"not {self.latent}"
            )
        return reduction(
            self.autoencoder(data, clusters, "encoder", joined=self.latent),
            *self.make_discriminators(data, clusters),
            priors.gaussian(self.latent, self.prior_std),
            self.optimizers(steps),
            distance=self.distance,
            simplex=self.simplex,
            labelled=data.labelled > 0,
            joint_style=self.joint_style,
            stop_class_gradient=self.stop_class_gradient,
            consistency=self.make_consistency(data),
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
