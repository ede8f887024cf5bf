"""One file a system. Each has `Options`: the fields of its command line, with `build`.

A file put here is a model: `models/my_model.py` is `python train.py my-model`. Files with a
leading underscore are what the models' command lines share.
"""

import importlib
import pkgutil
from typing import Any

NAMES = tuple(
    sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )
)


def options(name: str) -> Any:
    """The `Options` dataclass of the model of this name."""
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return module.Options
