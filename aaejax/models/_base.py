"""What every model's command line is built on."""

from dataclasses import dataclass
from typing import Any

import optax

from aaejax.components.checks import check_fields
from aaejax.models._optimizers import Optimizer

_OPTIMIZER = "_optimizer"


@dataclass(frozen=True)
class BaseOptions:
    """What the command line of every model needs; it has no options itself."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def network_file(self) -> str | None:
        """The user's file of networks that the model needs; None for none."""
        return None

    @property
    def networks_sha256(self) -> str | None:
        """The SHA-256 of that file, hexadecimal, once its networks are there; else None."""
        return None

    def optimizers(self, steps: int) -> dict[str, optax.GradientTransformation]:
        """Makes the optimizers of fields "<name>_optimizer", by name, for so many steps."""
        return {
            (name := field.removesuffix(_OPTIMIZER)): optimizer.build(
                steps, self.updates_per_step(name)
            )
            for field, optimizer in self._decided_optimizers().items()
        }

    def decided(self) -> dict[str, Any]:
        """The options that left something open, by name, with that decided."""
        return self._decided_optimizers()

    def _decided_optimizers(self) -> dict[str, Optimizer]:
        names = [name for name in self.__dataclass_fields__ if name.endswith(_OPTIMIZER)]
        return {
            name: getattr(self, name).with_defaults(
                **self.optimizer_defaults(name.removesuffix(_OPTIMIZER))
            )
            for name in names
        }

    def updates_per_step(self, name: str) -> int:
        """How many updates the optimizer of this name makes in one step of training."""
        return 1

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """The defaults of the optimizer of this name, where they are not Adam's own."""
        return {}
