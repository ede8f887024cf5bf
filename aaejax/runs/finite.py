"""Losses and states that are no longer numbers: found before anything of them is kept."""

import jax
import numpy as np

from aaejax.types import TrainState


class NonFiniteLoss(ArithmeticError):
    """A loss, gradient or parameter became NaN or infinite; the message says which."""


def check_finite(metrics: dict[str, np.ndarray], first: int) -> None:
    """Raises NonFiniteLoss for the first step, and there the first phase, gone wrong.

    Args:
      metrics: The metrics by "<phase>/<name>", in the order of the phases: [steps], or
        [steps, seeds], of which none may go wrong.
      first: The number of steps done before these.
    """
    good = {
        name: np.logical_and.reduce(np.isfinite(values).reshape(len(values), -1), axis=1)
        for name, values in metrics.items()
    }
    all_good = np.logical_and.reduce(list(good.values()))
    if all_good.all():
        return
    step = int(all_good.argmin())
    name = next(name for name in good if not good[name][step])
    raise NonFiniteLoss(
        f"{name} became {metrics[name][step]} in the {name.split('/')[0]} phase of step "
        f"{first + step + 1}"
    )


def finite_copy(state: TrainState) -> TrainState:
    """The state as NumPy arrays of its own: what a checkpoint is written from.

    A step's losses are those before its updates, so that the last update of a chunk is
    seen here alone.

    Args:
      state: The state, on one device or on many.

    Raises:
      NonFiniteLoss: An array of the state, as of the parameters or of an optimizer, is not
        finite.
    """
    # A copy: on a CPU it would be a view of what the next step overwrites.
    host = jax.tree.map(lambda x: np.array(x), jax.device_get(state))
    for path, array in jax.tree_util.tree_leaves_with_path(host):
        if np.issubdtype(array.dtype, np.integer) or np.isfinite(array).all():
            continue
        raise NonFiniteLoss(f"{name_of(path)} is not finite after step {int(host.step)}")
    return host


def name_of(path: tuple) -> str:
    """The place of a leaf in a pytree, such as params/encoder/layer0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
