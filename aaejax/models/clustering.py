"""The clustering AAE (Makhzani et al. 2015, section 5, figure 9, table 3).

The semi-supervised AAE without labels: y is a cluster. What a cluster is called is decided
afterwards, in `aaejax.metrics.heldout`.
"""

from dataclasses import dataclass

from aaejax.components import priors
from aaejax.components.checks import check_at_least
from aaejax.models._options import MOST_UNITS
from aaejax.models.semi_supervised import ClassOptions, semi_supervised
from aaejax.types import DataSpec, Model


@dataclass(frozen=True)
class Options(ClassOptions):
    """An AAE that finds clusters without labels."""

    latent: int = 5
    """The size of the style z."""
    clusters: int = 16
    """The number of clusters, which is the size of y."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "clusters", most=MOST_UNITS)

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for these data and a run of so many steps.

        Raises:
          UserError: The options don't fit each other or the data.
        """
        return semi_supervised(
            self.autoencoder(data, self.clusters, "encoder"),
            *self.make_discriminators(data, self.clusters),
            priors.gaussian(self.latent, self.prior_std),
            self.optimizers(steps),
            labelled=False,
            joint_style=self.joint_style,
            stop_class_gradient=self.stop_class_gradient,
            consistency=self.make_consistency(data),
            generator_loss=self.generator_loss,
            r1=self.penalty,
        )
