"""MADE: an MLP with masks, each output of which reads the bits before it alone.

The masked autoencoder for distribution estimation of Germain et al. 2015. A hidden unit has
a degree: it reads what comes up to that place in the order, so that one pass gives the
Bernoulli of every bit. Bits also act on later ones directly, without a hidden unit
(section 4 there).
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from aaejax.types import Array, Key, NetworkVariables


@dataclass(frozen=True)
class MADE:
    """The functions of a MADE, all of them of examples as rows of D bits.

    Attributes:
      orders: The orders, [O, D], as `nade.orderings` makes them. Each has masks of its own.
      width: H, the number of units of a hidden layer.
      depth: L, the number of hidden layers.
    """

    orders: np.ndarray
    width: int
    depth: int

    @cached_property
    def places(self) -> np.ndarray:
        """Where in each order a bit is: int32 [O, D]."""
        return np.argsort(self.orders, axis=1).astype(np.int32)

    @cached_property
    def degrees(self) -> np.ndarray:
        """The last place that each hidden unit reads: int32 [O, L, H].

        Every layer has about as many units of each degree; units take them at random but in
        the first order.
        """
        highest = max(1, self.orders.shape[1] - 1)
        even = np.arange(self.width) * highest // self.width
        found = np.tile(even, (len(self.orders), self.depth, 1))
        for number in range(1, len(found)):
            draw = np.random.RandomState(number)
            found[number] = [draw.permutation(even) for _ in range(self.depth)]
        return found.astype(np.int32)

    @cached_property
    def units(self) -> np.ndarray:
        """The units of each degree: int32 [O, L, D, m], where H stands for none."""
        size = self.orders.shape[1]
        most = -(-self.width // max(1, size - 1))
        found = np.full((*self.degrees.shape[:2], size, most), self.width, np.int32)
        for place in np.ndindex(*self.degrees.shape[:2]):
            taken = np.zeros(size, np.int32)
            for unit, degree in enumerate(self.degrees[place]):
                found[place][degree, taken[degree]] = unit
                taken[degree] += 1
        return found

    def init(self, key: Key) -> NetworkVariables:
        """Makes the network's variables; the key is consumed."""
        size = self.orders.shape[1]
        sizes = [size, *[self.width] * self.depth, size]
        start = jax.nn.initializers.lecun_normal()
        params = {
            f"layer_{layer}": {
                "kernel": start(own_key, (sizes[layer], sizes[layer + 1]), jnp.float32),
                "bias": jnp.zeros(sizes[layer + 1], jnp.float32),
            }
            for layer, own_key in enumerate(jax.random.split(key, self.depth + 1))
        }
        # From zero: at first the hidden units have their say.
        params["direct"] = {"kernel": jnp.zeros((size, size), jnp.float32)}
        return {"params": params}

    def logits(self, variables: NetworkVariables, bits: Array, order: Array) -> Array:
        """Gives the logits of each bit, with the arguments and shapes of `NADE.logits`."""
        params, x = variables["params"], bits
        places = jnp.asarray(self.places)[order]
        reads = places
        for layer, degrees in enumerate(jnp.asarray(self.degrees)[order]):
            mask = reads[:, None] <= degrees[None]
            x = jax.nn.relu(_masked(x, params[f"layer_{layer}"], mask))
            reads = degrees
        hidden = _masked(x, params[f"layer_{self.depth}"], reads[:, None] < places[None])
        later = places[:, None] < places[None]
        return hidden + bits @ jnp.where(later, params["direct"]["kernel"], 0.0)

    def draw(
        self,
        variables: NetworkVariables,
        numbers: Array,
        known: Array,
        *,
        count: int,
        order: Array,
    ) -> Array:
        """Draws one example as `NADE.draw` does, in the operations of one pass.

        Every layer's sums are kept. Once a bit is known, the units of its degree are done:
        they add their rows to the sums of the next layer, and no mask is needed.
        """
        layers = [variables["params"][f"layer_{n}"] for n in range(self.depth + 1)]
        direct = variables["params"]["direct"]["kernel"]
        pixels = jnp.asarray(self.orders)[order]

        def one(sums: tuple[Array, ...], row: tuple[Array, ...]):
            place, pixel, done = row
            p = jax.nn.sigmoid(sums[-1][pixel])
            drawn = (numbers[pixel] < p).astype(jnp.float32)
            bit = jnp.where(place < count, known[pixel], drawn)
            new = [sums[0] + bit * layers[0]["kernel"][pixel]]
            for units, later, layer in zip(done, sums[1:], layers[1:], strict=True):
                values = jax.nn.relu(new[-1].at[units].get(mode="fill", fill_value=0.0))
                rows = layer["kernel"].at[units].get(mode="fill", fill_value=0.0)
                new.append(later + values @ rows)
            new[-1] = new[-1] + bit * direct[pixel]
            return tuple(new), bit

        start = tuple(layer["bias"] for layer in layers)
        units = jnp.asarray(self.units)[order].swapaxes(0, 1)  # [D, L, m]
        _, bits = jax.lax.scan(one, start, (jnp.arange(len(pixels)), pixels, units))
        return bits[jnp.argsort(pixels)]


def _masked(x: Array, layer: dict[str, Array], mask: Array) -> Array:
    return x @ jnp.where(mask, layer["kernel"], 0.0) + layer["bias"][None]
