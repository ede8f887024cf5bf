"""Changes of an image that must not change its class: a phase of its own."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_at_least, check_fields
from aaejax.components.distortions import distorted
from aaejax.types import Array, Batch, Draw, Metrics, Phase, States, UserError, Variables


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Changes of an image under which q(y|x) must stay the same; not in the paper.

    Attributes:
      radius: The length of the worst change (`losses.virtual_adversarial`); 0 for none.
      information: The weight of `losses.uninformed`, without which one class for all images
        would be best.
      mutual_information: The weight of `losses.mutual_information` of images and the same
        images distorted: another way to find classes that are sure, large and stay.
      unevenness: How uneven the sizes of classes may be, in nats, as in
        `losses.mutual_information`.
      translation: The largest shift in pixels, as in `distortions.distorted`.
      distortion: The standard deviation of a distortion, as in `distortions.distorted`.
        q(y|x) of the image as it is teaches that of the distorted one, and labelled images
        are learned distorted.

    Raises:
      UserError: A number is negative or not finite, or has no meaning without another.
    """

    radius: float = 0.0
    information: float = 0.0
    mutual_information: float = 0.0
    unevenness: float = 0.0
    translation: float = 0.0
    distortion: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_at_least(self, 0, *self.__dataclass_fields__)
        if self.unevenness and not self.mutual_information:
            raise UserError("unevenness needs mutual_information as well")
        if self.information and not self.asked:
            raise UserError("information needs a radius or mutual_information as well")

    @property
    def asked(self) -> bool:
        """Whether there is anything to train for."""
        return bool(self.radius or self.mutual_information)

    def distorted(self, images: Array, draw: Draw) -> Array:
        """The images [B, ...], each distorted at random where that is asked for."""
        if not self.translation and not self.distortion:
            return images
        return draw(
            "distortion",
            lambda key, image: distorted(key, image, self.translation, self.distortion),
            images,
        )

    def phase(
        self, autoencoder: Autoencoder, optimizer: optax.GradientTransformation
    ) -> Phase:
        """Makes the phase that trains an encoder which has y of its own, without labels.

        Raises:
          UserError: The autoencoder weights its examples, or classes may be as uneven as
            they can be.
        """
        classes = autoencoder.classes
        most = math.log(max(classes, 1))
        if self.unevenness and self.unevenness >= most:
            raise UserError(
                f"unevenness is {self.unevenness}: with {classes} classes one for all has "
                f"{most:.3g}; take less"
            )
        if autoencoder.weighted:
            raise UserError(
                "consistency and mutual_information are of whole batches, whose examples "
                "have no weights: leave the weights or them out"
            )

        def loss(
            variables: Variables, batch: Batch, draw: Draw
        ) -> tuple[Array, Metrics, States]:
            noise = draw("posterior", autoencoder.posterior.noise)

            def logits_of(images: Array, stream: str = "moved") -> Array:
                # The state is that of the images as they are.
                outputs, _ = autoencoder.train_encoder_outputs(
                    variables, images, noise, draw, stream
                )
                return outputs[:, :classes]

            images = autoencoder.likelihood.seen(batch["image"])
            moved = self.distorted(images, draw)
            outputs, states = autoencoder.train_encoder_outputs(
                variables, images, noise, draw
            )
            total, of_images = jnp.zeros(()), draw.gather(outputs[:, :classes])
            if self.radius:
                start = draw("start", lambda key: jax.random.normal(key, autoencoder.shape))
                total += losses.virtual_adversarial(
                    logits_of, images, start, self.radius, moved
                ).mean()
            if self.information:
                total += self.information * losses.uninformed(of_images)
            if self.mutual_information:
                total -= self.mutual_information * losses.mutual_information(
                    of_images, draw.gather(logits_of(moved)), self.unevenness
                )
            return total, {}, states

        return Phase(
            "consistency",
            ("encoder",),
            loss,
            optimizer=optimizer,
            inputs=autoencoder.inputs,
        )
