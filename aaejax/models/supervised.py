"""The supervised AAE (Makhzani et al. 2015, section 3, figures 6 and 7).

The decoder reads the label beside the code, so that the code keeps what the label does not
say: the style. An image whose label is unknown is decoded with no label at all. Data that
have a condition, real numbers, give that in the place of the label.
"""

from dataclasses import dataclass

from aaejax.components import priors
from aaejax.models._adversaries import AdversarialAutoencoderOptions, OneAdversaryOptions
from aaejax.models.aae import aae
from aaejax.types import DataSpec, Model, UserError


@dataclass(frozen=True)
class Options(AdversarialAutoencoderOptions, OneAdversaryOptions):
    """An AAE whose decoder reads the label or condition, and whose code keeps the style."""

    latent: int = 4
    """The size of the style z. The paper's figure has 15; in a short run so many dimensions
    say the class as well, and the decoder doesn't listen to the label."""
    joint_style: bool = False
    """Whether the discriminator reads the label too, so that no style knows its class."""

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data, or the data have neither
            labels nor a condition.
        """
        told = self.told_autoencoder(data, "supervised")
        if self.joint_style and told.conditions:
            raise UserError(
                "--joint-style is of labels, and the decoder reads a condition: leave one "
                "of them out"
            )
        read = data.classes if self.joint_style else 0
        return aae(
            told,
            self.make_discriminator(data, self.latent + (read + 1 if read else 0)),
            priors.gaussian(self.latent, self.prior_std),
            self.optimizers(steps),
            discriminator_classes=read,
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
