"""What the hosts of a run agree on, by the key-value store of JAX's coordinator.

No device takes part: a host may be late by any time, as one that scores and writes, and no
collective operation runs into a time-out for that.
"""

import itertools
import json
from typing import Any, Protocol

import jax
from jax._src.distributed import global_state

FOREVER = 2**31 - 1  # milliseconds; `watch.py` ends the waiting where a host is gone

_numbers = itertools.count()  # of what was agreed on; all hosts count alike


class Hosts(Protocol):
    """The processes that train together; `index` is this one, of `count`."""

    count: int
    index: int

    @property
    def first(self) -> bool:
        """Whether this is the host that writes."""
        return self.index == 0

    def agree(self, said: Any) -> list[Any]:
        """Gathers what each host says, as JSON, in the order of the hosts: the same on all.

        It returns when all have said theirs.
        """
        ...


class Alone(Hosts):
    """One process, which trains alone."""

    count, index = 1, 0

    def agree(self, said: Any) -> list[Any]:
        """A list of what this process says itself."""
        return [said]


class Agreement(Hosts):
    """The processes that `jax.distributed` knows."""

    def __init__(self) -> None:
        self.count, self.index = jax.process_count(), jax.process_index()
        self._client = global_state.client

    def agree(self, said: Any) -> list[Any]:
        """Gathers it by way of the first host, which hears all and tells all."""
        client, number = self._client, next(_numbers)
        assert client is not None, "jax.distributed is not initialised"

        def key(who: int | str, number: int = number) -> str:
            return f"aaejax/{number}/{who}"

        client.key_value_set(key(self.index), json.dumps(said))
        if self.first:
            whole = [
                client.blocking_key_value_get(key(i), FOREVER) for i in range(self.count)
            ]
            client.key_value_set(key("all"), f"[{','.join(whole)}]")
            # Who said something now has read what was agreed on before.
            client.key_value_delete(f"aaejax/{number - 1}/")
        return json.loads(client.blocking_key_value_get(key("all"), FOREVER))
