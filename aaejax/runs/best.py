"""Which evaluation of a run was the best, and how many have come since."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aaejax.types import UserError

LARGER_IS_BETTER = ("heldout/elbo",)


@dataclass(frozen=True)
class Best:
    """The best evaluation so far, as a checkpoint keeps it.

    Attributes:
      step: The step of that evaluation; 0 before the first.
      score: The score of that evaluation, the less the better; None before the first.
      since: The number of evaluations after it.
    """

    step: int = 0
    score: float | None = None
    since: int = 0

    def after(self, step: int, score: float) -> "Best":
        """The best evaluation when one more has come, at this step with this score."""
        if math.isfinite(score) and (self.score is None or score < self.score):
            return Best(step, score)
        return Best(self.step, self.score, self.since + 1)


def best_metrics(chosen: str, scores: Sequence[str], needed: bool) -> tuple[str, ...]:
    """The names of the held-out scores whose sum is to be small.

    Args:
      chosen: The score of `RunConfig.best`; "" for reconstruction and match, or without an
        encoder for nll or sample_mmd.
      scores: The scores that an evaluation of the run has, as of `HeldOut.names`.
      needed: Whether there must be any.

    Raises:
      UserError: There is no such score.
    """
    scores = [name for name in scores if not name.endswith("_chance")]
    if chosen and chosen not in scores:
        have = ", ".join(scores) or "no scores, as nothing, or too little, is held out"
        raise UserError(f"--best {chosen}: this run has {have}")
    if chosen:
        return (chosen,)
    names = (
        *("heldout/reconstruction", "heldout/prior_mmd"),
        *("heldout/sample_mmd", "heldout/nll"),
    )
    found = tuple(name for name in names if name in scores)
    if needed and not found:
        raise UserError(
            "--stop-early has no score to go by, as nothing, or too little, is held out: "
            "leave it out, or hold examples out"
        )
    return found


def best_score(line: dict[str, Any], metrics: Sequence[str]) -> float:
    """The sum of these scores of an evaluation, the less the better."""
    signs = [-1.0 if name in LARGER_IS_BETTER else 1.0 for name in metrics]
    values = [line.get(name, math.nan) for name in metrics]
    return sum(sign * value for sign, value in zip(signs, values, strict=True))
