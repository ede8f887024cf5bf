"""Labels in the discriminator (Makhzani et al. 2015, section 2.3, figures 3 and 4).

The encoder never sees a label; the discriminator does, so that each class's codes go to its
own part of the prior: a component of the mixture, a segment of the swiss roll.
"""

from dataclasses import dataclass
from typing import Literal

from aaejax.models import aae
from aaejax.models._optimizers import RATE
from aaejax.models._options import need_labels
from aaejax.types import DataSpec, Model, UserError


@dataclass(frozen=True)
class Options(aae.Options):
    """An AAE whose discriminator reads labels; `--labels N` to have but N of them."""

    latent: int = 2
    """The size of the code z."""
    prior: Literal["gaussian", "mixture", "swiss-roll", "uniform"] = "mixture"
    """The prior p(z), the distribution of codes."""

    # Narrow components need a steep discriminator: no penalty.
    r1: float = 0.0
    """The weight of the discriminator's gradient penalty (R1); 0 for none."""

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """One learning rate: codes by a faster reconstruction leave narrow components."""
        return {**super().optimizer_defaults(name), "learning_rate": RATE}

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data, or these have no labels.
        """
        need_labels(data, "label-regularized")
        if self.prior == "mixture" and self.components != data.classes:
            raise UserError(
                f"{self.components} components for {data.classes} classes: "
                f"take --components {data.classes}"
            )
        return aae.aae(
            self.autoencoder(data),
            self.make_discriminator(data, self.latent + data.classes + 1),
            self.make_prior(data.classes),
            self.optimizers(steps),
            discriminator_classes=data.classes,
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
