"""An optimizer's options, and the Optax transformation that they stand for."""

import reprlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import optax

from aaejax.components.checks import check_fields, check_positive
from aaejax.types import UserError


@dataclass(frozen=True)
class Optimizer:
    """How one phase turns gradients into updates."""

    algorithm: Literal["adam", "sgd"] = "adam"
    """Adam (Kingma & Ba 2015) or SGD with momentum, as in the paper."""
    learning_rate: float = 1e-3
    """At the first step."""
    momentum: float = 0.9
    """Of SGD; for Adam, beta1."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Cosine falls to zero at the last step."""
    drops: tuple[int, ...] = ()
    """Steps at which the learning rate falls to a tenth, as in the paper's appendix."""
    clip: float = 0.0
    """Largest norm of a gradient; 0 leaves gradients as they are."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "learning_rate")
        if not 0 <= np.float32(self.momentum) < 1:
            raise UserError(f"momentum is {self.momentum}: it must be in [0, 1)")
        if len(self.drops) > 100 or not all(1 <= step < 2**31 for step in self.drops):
            raise UserError(
                f"drops is {reprlib.repr(self.drops)}: it must be at most 100 steps, "
                "each from 1 on"
            )
        if self.clip < 0:
            raise UserError(f"clip is {self.clip}: it must be a norm, or 0 for none")

    def build(self, steps: int) -> optax.GradientTransformation:
        """The transformation for a run of so many steps."""
        if self.schedule == "cosine":
            base = optax.cosine_decay_schedule(self.learning_rate, max(steps, 1))
        else:
            base = optax.constant_schedule(self.learning_rate)
        drop = optax.piecewise_constant_schedule(1.0, dict.fromkeys(self.drops, 0.1))

        def learning_rate(step):
            return base(step) * drop(step)

        if self.algorithm == "adam":
            # 0.5 m + 0.5 g becomes 0.5 (m + g), which XLA:CPU computes twice, from a copy
            # of m: 5 % of a step. The next float32 is as good a momentum.
            beta1 = 0.5 + 2**-24 if self.momentum == 0.5 else self.momentum
            update = optax.adam(learning_rate, b1=beta1)
        else:
            update = optax.sgd(learning_rate, momentum=self.momentum)
        if self.clip:
            return optax.chain(optax.clip_by_global_norm(self.clip), update)
        return update
