"""The semi-supervised AAE (Makhzani et al. 2015, section 4, figure 8, table 2).

The encoder has two heads, class y and style z, and each has an adversary: y must look like
one-hot draws from a uniform categorical, z like the Gaussian prior. A last phase teaches
q(y|x) the labels of a batch of labelled images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aaejax.components import losses, priors
from aaejax.components.adversaries import Adversary
from aaejax.components.autoencoder import Autoencoder
from aaejax.components.checks import check_at_least, check_optimizers
from aaejax.components.consistency import Consistency
from aaejax.components.inputs import label_input, weight_input
from aaejax.models._adversaries import AdversarialAutoencoderOptions, adversarial_optimizer
from aaejax.models._optimizers import Optimizer
from aaejax.models._options import need_labels
from aaejax.networks import Network, as_network, check_outputs
from aaejax.types import (
    LABELLED,
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

NO_CONSISTENCY = Consistency()


def semi_supervised(
    autoencoder: Autoencoder,
    class_discriminator: Any,
    style_discriminator: Any,
    prior: Prior,
    optimizers: Mapping[str, optax.GradientTransformation],
    *,
    labelled: bool = True,
    joint_style: bool = False,
    stop_class_gradient: bool = False,
    consistency: Consistency = NO_CONSISTENCY,
    generator_loss: losses.GeneratorLoss = "non-saturating",
    r1: float = 0.0,
) -> Model:
    """Makes a semi-supervised AAE; without the last phase, a clustering one (section 5).

    The phases: reconstruction, class_discriminator, class_generator, style_discriminator,
    style_generator, where asked for consistency and, where there are labels,
    classification.

    Args:
      autoencoder: An autoencoder with K classes, y from the "encoder".
      class_discriminator: The network `(probabilities [B, K]) -> logits [B]`.
      style_discriminator: The network `(styles [B, Z]) -> logits [B]`; with `joint_style`
        of the whole codes [B, K + Z].
      prior: The prior p(z) of the style.
      optimizers: The optimizers, by the names of the phases.
      labelled: Whether there is a classification phase, on batches of labelled examples.
      joint_style: Whether the style's adversary compares [y, z] with the prior p(y) p(z),
        and not only z: then no style may know its class, as it may where each has the
        right distribution alone. Not in the paper.
      stop_class_gradient: Whether the gradients of reconstruction and of the style's
        adversary stop at y: the class is then learned by its own phases (its adversary,
        consistency, classification), and the style learns what the class leaves. Of an
        encoder of both they still move what both are read from. Not in the paper.
      consistency: What q(y|x) must not depend on.
      generator_loss: The form of both generators' loss, as in `losses.generator_loss`.
      r1: The weight of the discriminators' gradient penalty.

    Raises:
      UserError: The networks, prior or optimizers don't fit, a word is none of those
        allowed, or a number is out of range.
    """
    classes, latent = autoencoder.classes, autoencoder.posterior.latent
    if not classes or autoencoder.y_from != "encoder":
        raise UserError("the autoencoder needs classes, and y from the encoder")
    needed = ["reconstruction"]
    for head in ("class", "style"):
        needed += [f"{head}_discriminator", f"{head}_generator"]
    asked = {"consistency": consistency.asked, "classification": labelled}
    if stop_class_gradient and not any(asked.values()):
        raise UserError(
            "stop_class_gradient leaves nothing that says what a cluster is: give a "
            "--mutual-information as well, or leave it out"
        )
    needed += [name for name in asked if asked[name]]
    check_optimizers(optimizers, needed, unused=asked)
    priors.check_prior(prior, latent)
    joint_prior = priors.with_class(prior, classes)
    class_part, style_part = slice(0, classes), slice(classes, None)
    style_prior, style_size = prior, latent
    if joint_style:
        style_prior, style_part, style_size = joint_prior, slice(None), classes + latent
    class_network = as_network(class_discriminator)
    style_network = as_network(style_discriminator)
    check_outputs(class_network, "class_discriminator", [(classes,)], ())
    check_outputs(style_network, "style_discriminator", [(style_size,)], ())

    def init(key: Key) -> Variables:
        autoencoder_key, class_key, style_key = jax.random.split(key, 3)
        probabilities, styles = jnp.zeros((1, classes)), jnp.zeros((1, style_size))
        return {
            **autoencoder.init(autoencoder_key),
            "class_discriminator": class_network.init(class_key, probabilities),
            "style_discriminator": style_network.init(style_key, styles),
        }

    def real_class(_: Batch, draw: Draw) -> Array:
        drawn = draw("prior", lambda key: jax.random.randint(key, (), 0, classes))
        return jax.nn.one_hot(drawn, classes)

    def real_style(_: Batch, draw: Draw) -> Array:
        return draw("prior", lambda key: style_prior(key, 1)[0])

    def adversary(head: str, network: Network, part: slice, real) -> tuple[Phase, ...]:
        def fake(variables: Variables, batch: Batch, draw: Draw) -> tuple[Array, States]:
            codes, states = autoencoder.draw_code(variables, batch, draw)
            if stop_class_gradient and head == "style":
                codes = autoencoder.stop_at_class(codes)
            return codes[:, part], states

        return Adversary(
            discriminator=network,
            real=real,
            fake=fake,
            inputs=autoencoder.inputs,
            mean=autoencoder.mean,
            prefix=f"{head}_",
            generator_loss=generator_loss,
            r1=r1,
        ).phases(optimizers)

    def classification_loss(
        variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, Metrics, States]:
        images = consistency.distorted(batch[f"{LABELLED}image"], draw)
        images = autoencoder.seen(images, draw)
        noise = draw("posterior", autoencoder.posterior.noise)
        outputs, states = autoencoder.train_encoder_outputs(variables, images, noise, draw)
        logits, labels = outputs[:, :classes], batch[f"{LABELLED}label"]
        # Under jit nobody sees a label of -1, which would be that of the last class.
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = (logits.argmax(axis=1) == labels).astype(jnp.float32)
        loss, accuracy = (
            autoencoder.mean(x, batch, draw, LABELLED)
            for x in (jnp.where(labels >= 0, each, 0.0), right)
        )
        return loss, {"accuracy": accuracy}, states

    phases = (
        autoencoder.reconstruction_phase(
            optimizers["reconstruction"], stop_class_gradient=stop_class_gradient
        ),
        *adversary("class", class_network, class_part, real_class),
        *adversary("style", style_network, style_part, real_style),
    )
    if consistency.asked:
        phases += (consistency.phase(autoencoder, optimizers["consistency"]),)
    if labelled:
        phases += (
            Phase(
                "classification",
                ("encoder",),
                classification_loss,
                optimizer=optimizers["classification"],
                inputs=(
                    autoencoder.image_input(LABELLED),
                    label_input(classes, LABELLED),
                    *[weight_input(LABELLED)] * autoencoder.weighted,
                ),
            ),
        )
    return Model(
        init=init,
        phases=phases,
        prior=priors.fixed(joint_prior),
        latent=classes + latent,
        decode=autoencoder.decode,
        encode=autoencoder.encode,
        error=autoencoder.error,
        classify=autoencoder.classify,
        classes=classes,
    )


@dataclass(frozen=True)
class ClassOptions(AdversarialAutoencoderOptions):
    """The options of the models whose encoder has a class or cluster head."""

    class_discriminator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    class_generator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    style_discriminator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    style_generator_optimizer: Optimizer = field(default_factory=adversarial_optimizer)
    joint_style: bool = False
    """Whether the style's discriminator reads the class too, so that no style knows its
    class."""
    stop_class_gradient: bool = False
    """Whether the gradients of reconstruction and of the style's adversary stop at the
    class, which its own phases teach (clusters need mutual information or consistency).
    What class and style are both read from still learns from them."""
    consistency: float = 0.0
    """The length of the change of an image under which its class must stay; 0 for none."""
    information: float = 0.0
    """The weight of a class's information (needs consistency or mutual information); it
    keeps clusters from emptying."""
    mutual_information: float = 0.0
    """The weight of what the classes of an image and of it distorted say of each other; 0
    for none."""
    unevenness: float = 0.0
    """The nats by which the entropy of class sizes may be below that of equal ones (needs
    mutual information)."""
    translation: float = 0.0
    """How many pixels an image may move by and keep its class (needs consistency or mutual
    information)."""
    distortion: float = 0.0
    """How far an image may be turned, scaled and sheared (needs consistency or mutual
    information); 0.1 is little."""
    consistency_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(
            self,
            0,
            *("consistency", "information", "mutual_information", "unevenness"),
            *("translation", "distortion"),
        )
        if self.unevenness and not self.mutual_information:
            raise UserError("unevenness needs a --mutual-information as well")
        others = self.information or self.translation or self.distortion
        if others and not (self.consistency or self.mutual_information):
            raise UserError(
                "information, translation and distortion need a --consistency "
                "or --mutual-information as well"
            )

    def make_discriminators(self, data: DataSpec, classes: int) -> tuple[Any, Any]:
        """Makes new discriminators of so many classes, and of the style."""
        style = self.latent + (classes if self.joint_style else 0)
        return self.make_discriminator(data, classes), self.make_discriminator(data, style)

    def make_consistency(self, data: DataSpec) -> Consistency:
        """Makes the changes of an image that q(y|x) must not depend on.

        Raises:
          UserError: The data are vectors, and images are to be moved or distorted.
        """
        if (self.translation or self.distortion) and len(data.shape) != 3:
            raise UserError(
                f"vectors of {data.shape[0]} values can't be distorted: "
                "leave --translation and --distortion out"
            )
        return Consistency(
            radius=self.consistency,
            information=self.information,
            mutual_information=self.mutual_information,
            unevenness=self.unevenness,
            translation=self.translation,
            distortion=self.distortion,
        )


@dataclass(frozen=True)
class Options(ClassOptions):
    """An AAE that classifies, from `--labels N` labels and all images."""

    latent: int = 10
    """The size of the style z."""
    classification_optimizer: Optimizer = field(
        default_factory=lambda: Optimizer(schedule="cosine")
    )

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data, or these have no labels.
        """
        need_labels(data, "semi-supervised")
        return semi_supervised(
            self.autoencoder(data, data.classes, "encoder"),
            *self.make_discriminators(data, data.classes),
            priors.gaussian(self.latent, self.prior_std),
            self.optimizers(steps),
            joint_style=self.joint_style,
            stop_class_gradient=self.stop_class_gradient,
            consistency=self.make_consistency(data),
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
