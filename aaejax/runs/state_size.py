"""Whether a model's state fits into the memory that is free, before it is built."""

from collections.abc import Sequence
from typing import Any

import jax

from aaejax.data import memory
from aaejax.types import Device, UserError


def check_model(shapes: Any, devices: Sequence[Device], copies: int) -> None:
    """Raises UserError where a model's arrays are larger than the memory that is free.

    Args:
      shapes: The arrays, or what `jax.eval_shape` says of them.
      devices: The devices that each have the copies; those of a CPU share the machine's
        memory.
      copies: The number of copies of all arrays that are there at the same time.
    """
    size = copies * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    stats = devices[0].memory_stats()
    if stats and "bytes_limit" in stats:
        room = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    else:
        size, room = size * len(devices), memory.free()
    if size > room:
        raise UserError(
            f"the networks need {size / 2**30:,.1f} GiB and {room / 2**30:,.1f} GiB are "
            "free: take a smaller --width, --depth, --channels or --latent"
        )
