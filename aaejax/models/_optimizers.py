"""An optimizer's options, and the Optax transformation that they stand for."""

import reprlib
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import optax

from aaejax import cpu
from aaejax.components.checks import check_at_least, check_fields, check_positive
from aaejax.types import UserError

RATE, BETA2 = 1e-3, 0.999  # Adam's own defaults


@dataclass(frozen=True)
class Optimizer:
    """How one phase turns gradients into updates: options of a command line.

    From Python any `optax.GradientTransformation` can stand in its place, in the
    `optimizers` of a model function and in a `Phase`.
    """

    algorithm: Literal["adam", "sgd"] = "adam"
    """The algorithm: Adam (Kingma & Ba 2015), or SGD with momentum, as in the paper."""
    learning_rate: float | None = None
    """The learning rate where no schedule has lowered it; by default 1e-3, and in nade
    3e-3. In an aae the reconstruction has 3e-3 with MLPs and a Gaussian prior, the
    generator 3e-4 with conv, and the discriminator and generator 3e-4 with dcgan or
    networks of one's own."""
    momentum: float = 0.9
    """The momentum of SGD; for Adam, beta1."""
    schedule: Literal["constant", "cosine", "exponential", "piecewise"] = "constant"
    """How the learning rate changes: cosine falls to zero at the last step; exponential is
    multiplied by decay_rate in every transition_steps, piecewise at each of the drops."""
    drops: tuple[int, ...] = ()
    """The steps at which the learning rate falls to a tenth, as in the paper's appendix, or
    to decay_rate of itself; in a constant and a cosine schedule too."""
    clip: float = 0.0
    """The largest norm of a gradient; 0 leaves gradients as they are."""
    beta2: float | None = None
    """The beta2 of Adam; by default 0.999, and 0.95 for reconstruction by conv, whose first
    gradients, those of the mean image, would slow down the learning of colours for long."""
    weight_decay: float = 0.0
    """Decoupled weight decay (Loshchilov & Hutter 2019): all parameters, biases too, lose
    this share times the learning rate at each step, as in optax.adamw."""
    warmup_steps: int = 0
    """The number of steps in which the learning rate rises from 0, before the schedule
    begins."""
    decay_rate: float | None = None
    """What the exponential and piecewise schedules and drops multiply the learning rate by;
    by default 0.1."""
    transition_steps: int = 0
    """The steps in which the exponential schedule multiplies the learning rate once; 0 for
    all steps after the warm-up."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.learning_rate is not None:
            check_positive(self, "learning_rate")
        for name in ("momentum", "beta2"):
            value = getattr(self, name)
            if value is not None and not 0 <= np.float32(value) < 1:
                raise UserError(f"{name} is {value}: it must be in [0, 1)")
        if len(self.drops) > 100 or not all(1 <= step < 2**31 for step in self.drops):
            raise UserError(
                f"drops is {reprlib.repr(self.drops)}: it must be at most 100 steps, "
                "each from 1 on"
            )
        if self.clip < 0:
            raise UserError(f"clip is {self.clip}: it must be a norm, or 0 for none")
        check_at_least(self, 0, "weight_decay")
        check_at_least(self, 0, "warmup_steps", "transition_steps", most=2**31 - 1)
        if self.decay_rate is not None and not 0 < np.float32(self.decay_rate) < 1:
            raise UserError(f"decay_rate is {self.decay_rate}: it must be in (0, 1)")
        self._check_together()

    def _check_together(self) -> None:
        """Raises UserError for options of which one would not be read."""
        exponential = self.schedule == "exponential"
        if self.algorithm != "adam" and self.beta2 is not None:
            raise UserError(f"beta2 is Adam's: leave it out with {self.algorithm}")
        if self.schedule == "piecewise" and not self.drops:
            raise UserError("the piecewise schedule needs drops: give the steps")
        if exponential and self.drops:
            raise UserError("drops do not go with the exponential schedule: take piecewise")
        if self.decay_rate is not None and not (exponential or self.drops):
            raise UserError(
                f"decay_rate has no meaning for the {self.schedule} schedule: take "
                "exponential or piecewise"
            )
        if self.transition_steps and not exponential:
            raise UserError(
                f"transition_steps have no meaning for the {self.schedule} schedule: take "
                "exponential"
            )

    def with_defaults(self, learning_rate: float = RATE, beta2: float = BETA2) -> Self:
        """These options with what they leave open decided."""
        decided: dict[str, float] = {}
        if self.learning_rate is None:
            decided["learning_rate"] = learning_rate
        if self.beta2 is None and self.algorithm == "adam":
            decided["beta2"] = beta2
        return replace(self, **decided)  # type: ignore[arg-type]

    def build(self, steps: int, updates_per_step: int = 1) -> optax.GradientTransformation:
        """Makes the transformation for a run of so many steps.

        Args:
          steps: The steps of training, in which all that the options say of steps is.
          updates_per_step: How many updates it makes in each of them.

        Raises:
          UserError: The run would end before its warm-up.
        """
        if self.algorithm == "adam":
            beta2 = BETA2 if self.beta2 is None else self.beta2
            direction = optax.scale_by_adam(cpu.beta1(self.momentum), beta2)
        else:
            direction = optax.trace(self.momentum)
        rate = self.learning_rate_in(steps)
        several = updates_per_step > 1
        of_update = (lambda update: rate(update // updates_per_step)) if several else rate
        parts = [direction, optax.scale_by_learning_rate(of_update)]
        if self.weight_decay:
            parts.insert(1, optax.add_decayed_weights(self.weight_decay))
        update = optax.chain(*parts)
        if self.clip:
            return optax.chain(optax.clip_by_global_norm(self.clip), update)
        return update

    def learning_rate_in(self, steps: int) -> optax.Schedule:
        """Makes `(step) -> learning rate` for a run of so many steps; raises as `build`."""
        if self.warmup_steps and self.warmup_steps >= steps:
            raise UserError(
                f"warmup_steps is {self.warmup_steps}: the run has {steps} steps; take "
                "fewer, or more epochs"
            )
        rate = RATE if self.learning_rate is None else self.learning_rate
        rest = max(steps - self.warmup_steps, 1)
        decay = 0.1 if self.decay_rate is None else self.decay_rate
        if self.schedule == "cosine":
            base = optax.cosine_decay_schedule(rate, rest)
        elif self.schedule == "exponential":
            base = optax.exponential_decay(rate, self.transition_steps or rest, decay)
        else:
            base = optax.constant_schedule(rate)
        if self.warmup_steps:
            rise = optax.linear_schedule(0.0, rate, self.warmup_steps)
            base = optax.join_schedules([rise, base], [self.warmup_steps])
        drop = optax.piecewise_constant_schedule(1.0, dict.fromkeys(self.drops, decay))

        def learning_rate(step):
            return base(step) * drop(step)

        return learning_rate
