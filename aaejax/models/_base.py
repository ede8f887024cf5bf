"""What every model's command line is built on."""

from dataclasses import dataclass

import optax

from aaejax.components.checks import check_fields


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
        suffix = "_optimizer"
        fields = [name for name in self.__dataclass_fields__ if name.endswith(suffix)]
        by_name = {name.removesuffix(suffix): getattr(self, name) for name in fields}
        return {
            name: optimizer.with_defaults(**self.optimizer_defaults(name)).build(steps)
            for name, optimizer in by_name.items()
        }

    def optimizer_defaults(self, name: str) -> dict[str, float]:
        """What the optimizer of this name has where nothing is said, if not Adam's own."""
        return {}
