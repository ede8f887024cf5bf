"""What every model's command line is built on."""

from dataclasses import dataclass
from typing import Any

import optax

from aaejax.components.checks import check_fields
from aaejax.models._optimizers import Optimizer

_OPTIMIZER = "_optimizer"


@dataclass(frozen=True)
class BaseOptions:
    """Of every model: what its command line needs, and none of its options."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def network_file(self) -> str | None:
        """The user's file of networks that the model needs; None for none."""
        return None

    @property
    def networks_sha256(self) -> str | None:
        """Of that file, once its networks are there."""
        return None

    def optimizers(self, steps: int) -> dict[str, optax.GradientTransformation]:
        """Of the fields "<name>_optimizer", by name, for a run of so many steps."""
        return {
            field.removesuffix(_OPTIMIZER): optimizer.build(steps)
            for field, optimizer in self._decided_optimizers().items()
        }

    def decided(self) -> dict[str, Any]:
        """The options of which something was left open, by name, with that decided."""
        return self._decided_optimizers()

    def _decided_optimizers(self) -> dict[str, Optimizer]:
        names = [name for name in self.__dataclass_fields__ if name.endswith(_OPTIMIZER)]
        return {
            name: getattr(self, name).with_defaults(
                **self.optimizer_defaults(name.removesuffix(_OPTIMIZER))
            )
            for name in names
        }

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """What the optimizer of this name has where nothing is said, if not Adam's own."""
        return {}
