"""One file a system. Each has `Options`: the fields of its command line, with `build`.

A file put here is a model: `models/my_model.py` is `python train.py my-model`. Files with a
leading underscore are what the models' command lines share.
"""

import importlib
import pkgutil
from typing import Any, Protocol

from aaejax.types import DataSpec, Model, UserError

NAMES = tuple(
    sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )
)


class ModelOptions(Protocol):
    """A recipe for a model, which can be built for any data: the `Options` of a model."""

    def build(self, data: DataSpec, steps: int) -> Model:
        """Builds the model for such data and a run of so many steps.

        Raises:
          UserError: The options don't fit the data.
        """
        ...


def options(name: str) -> Any:
    """The `Options` dataclass of the model of this name.

    Raises:
      UserError: There is no such model.
    """
    if name not in NAMES:
        raise UserError(f"there is no model {name!r}: there are {', '.join(NAMES)}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return module.Options
