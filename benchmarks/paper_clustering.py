"""The networks of the paper's clustering recipe (Makhzani et al. 2015, appendix A.3).

    python train.py clustering --network benchmarks/paper_clustering.py

Two layers of 3000 ReLU units. The encoder alone has batch norm, in its hidden layers and in
its last one too, from which class and style come; and of its inputs 20 % are dropped out.
`benchmarks/paper.py table3 --setting paper` has the rest of the recipe.
"""

import flax.linen as nn
import jax

from aaejax import DataSpec, networks

WIDTH = 3000
WEIGHTS = nn.initializers.normal(0.01)


def dense(units: int, name: str | None = None) -> nn.Dense:
    """A linear layer with the paper's first weights."""
    return nn.Dense(units, kernel_init=WEIGHTS, name=name)


class Encoder(nn.Module):
    """Dropout of inputs, then batch norm after every linear layer, the last too."""

    outputs: int
    width: int = WIDTH

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Images [B, ...] -> [B, outputs]."""
        x = images.reshape(images.shape[0], -1)
        x = nn.Dropout(0.2, deterministic=not train)(x)
        for units in (self.width, self.width):
            x = nn.relu(self.normalised(x, units, train))
        return self.normalised(x, self.outputs, train)

    def normalised(self, x: jax.Array, units: int, train: bool) -> jax.Array:
        """A linear layer's sums [B, units], normalised over the batch."""
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.9)
        return norm(dense(units)(x))


def encoder(data: DataSpec, outputs: int) -> Encoder:
    """For class and style together."""
    return Encoder(outputs)


def decoder(data: DataSpec) -> networks.MLPDecoder:
    """Without batch norm."""
    return networks.MLPDecoder(data.shape, width=WIDTH, dense=dense)


def discriminator(data: DataSpec) -> networks.MLPDiscriminator:
    """Without batch norm; of class and of style."""
    return networks.MLPDiscriminator(width=WIDTH, dense=dense)
