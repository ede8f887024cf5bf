"""NADE: a Bernoulli for each bit, of those that come before it in an order.

The neural autoregressive distribution estimator of Larochelle & Murray 2011. One hidden
layer serves all bits: its sums grow by one row of weights from bit to bit, so that D bits
and H units take O(D H) operations and not O(D^2 H).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.types import Array, Key, NetworkVariables


def orderings(count: int, size: int) -> np.ndarray:
    """Makes orders of bits, int32 [count, size]; the first is 0, 1, ..., others random.

    A row has at place p the number of the bit that comes p-th. They are the same in every
    run.
    """
    orders = [np.random.RandomState(k).permutation(size) for k in range(1, count)]
    return np.stack([np.arange(size), *orders]).astype(np.int32)


@dataclass(frozen=True)
class NADE:
    """The functions of a NADE, all of them of examples as rows of D bits.

    Attributes:
      orders: The orders, [O, D], as `orderings` makes them.
      width: H, the number of hidden units.
    """

    orders: np.ndarray
    width: int

    def init(self, key: Key) -> NetworkVariables:
        """Makes the network's variables; the key is consumed."""
        size = self.orders.shape[1]
        inward_key, outward_key = jax.random.split(key)
        start = jax.nn.initializers.lecun_normal()
        params = {
            "inward": start(inward_key, (size, self.width), jnp.float32),
            "hidden": jnp.zeros(self.width, jnp.float32),
            "outward": start(outward_key, (self.width, size), jnp.float32).T,
            "visible": jnp.zeros(size, jnp.float32),
        }
        return {"params": params}

    def logits(self, variables: NetworkVariables, bits: Array, order: Array) -> Array:
        """Gives the logits of p(bit = 1 | those before it).

        Args:
          variables: The variables of the network.
          bits: The examples, float32 [B, D].
          order: The number of a row of `orders`, int ().

        Returns:
          The logits, float32 [B, D], each where its bit is in an example.
        """
        pixels, start, rows = self._in_order(variables, order)

        def one(sums: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
            bit, inward, outward, visible = row
            logit = jax.nn.sigmoid(sums) @ outward + visible
            return sums + bit[:, None] * inward[None], logit

        sums = jnp.broadcast_to(start[None], (len(bits), self.width))
        _, found = jax.lax.scan(one, sums, (bits.T[pixels], *rows))
        return found[jnp.argsort(pixels)].T

    def draw(
        self,
        variables: NetworkVariables,
        numbers: Array,
        known: Array,
        *,
        count: int,
        order: Array,
    ) -> Array:
        """Draws one example, bit by bit.

        Args:
          variables: The variables of the network.
          numbers: Uniform numbers in [0, 1), [D]: a bit is 1 where its number is below
            p(1 | ...).
          known: An example, [D], of which the first `count` bits in the order are kept.
          count: How many bits are kept; 0 for none.
          order: The number of a row of `orders`, as in `logits`.

        Returns:
          The example, float32 [D].
        """
        pixels, start, rows = self._in_order(variables, order)

        def one(sums: Array, row: tuple[Array, ...]) -> tuple[Array, Array]:
            place, number, given, inward, outward, visible = row
            p = jax.nn.sigmoid(jax.nn.sigmoid(sums) @ outward + visible)
            bit = jnp.where(place < count, given, (number < p).astype(jnp.float32))
            return sums + bit * inward, bit

        places = jnp.arange(len(pixels)), numbers[pixels], known[pixels]
        _, bits = jax.lax.scan(one, start, (*places, *rows))
        return bits[jnp.argsort(pixels)]

    def _in_order(
        self, variables: NetworkVariables, order: Array
    ) -> tuple[Array, Array, tuple[Array, ...]]:
        params, pixels = variables["params"], jnp.asarray(self.orders)[order]
        rows = (params[name][pixels] for name in ("inward", "outward", "visible"))
        return pixels, params["hidden"], tuple(rows)
