"""The strided convolutions of DCGAN (Radford et al. 2016, arXiv 1511.06434), as published.

5x5 kernels with strides of two, batch norm in every layer but the one next to the image,
ReLU in the generator and leaky ReLU of slope 0.2 in the discriminator, first weights of
standard deviation 0.02. For images of 64x64 the layers are those of the paper with 128
channels.
"""

import flax.linen as nn

from aaejax.networks.mlp import (
    Conv,
    Dense,
    Norm,
    NormAndDropout,
    append_planes,
    dropped,
    flatten,
    normalised,
)
from aaejax.types import Array

KERNEL, STRIDES = (5, 5), (2, 2)
# Of the generator's convolutions, before and behind rows and columns: with inputs spread by
# the strides they are those of `nn.ConvTranspose`.
PADS = ((3, 2), (3, 2))
COARSEST = 4  # positions along the longer side
WEIGHTS = nn.initializers.normal(0.02)
LEAK = 0.2


class DCGANEncoder(NormAndDropout, nn.Module):
    """The discriminator of DCGAN; an encoder where it has more than one output.

    Attributes:
      outputs: The number of units of the last layer.
      channels: The channels of the finest convolution; each further one has twice as many.
      scales: The number of convolutions; 0 for as many as reach a grid of at most 4x4.
      norm: The norm of a convolution's outputs, before their units; the first has none.
      dropout: The share of the inputs that are set to 0 in training.
      dense: What makes a linear layer.
      conv: What makes a convolution.
    """

    outputs: int
    channels: int = 16
    scales: int = 0
    norm: Norm = "batch"
    dropout: float = 0.0
    dense: Dense = nn.Dense
    conv: Conv = nn.Conv

    @nn.compact
    def __call__(
        self, images: Array, noise: Array | None = None, train: bool = False
    ) -> Array:
        """Encodes images [B, H, W, C] and noise, [B, N] or None, to [B, outputs]."""
        x = append_planes(dropped(images, self.dropout, train), noise)
        for layer in range(len(sizes(x.shape[1], x.shape[2], self.scales)) - 1):
            x = self.conv(
                self.channels * 2**layer,
                KERNEL,
                strides=STRIDES,
                kernel_init=WEIGHTS,
                name=f"conv_{layer}",
            )(x)
            if layer:
                x = normalised(x, self.norm, train, f"norm_{layer}")
            x = nn.leaky_relu(x, LEAK)
        return self.dense(self.outputs, kernel_init=WEIGHTS, name="output")(flatten(x))


class DCGANDecoder(NormAndDropout, nn.Module):
    """The generator of DCGAN, or a decoder.

    It has the attributes of `DCGANEncoder` but for `outputs`, and one more.

    Attributes:
      shape: The shape of one image, [H, W, C].
    """

    shape: tuple[int, ...]
    channels: int = 16
    scales: int = 0
    norm: Norm = "batch"
    dropout: float = 0.0
    dense: Dense = nn.Dense
    conv: Conv = nn.Conv

    @nn.compact
    def __call__(self, codes: Array, train: bool = False) -> Array:
        """Decodes codes [B, Z] to [B, H, W, C]."""
        height, width, colours = self.shape
        grids = sizes(height, width, self.scales)[::-1]
        layers = len(grids) - 1
        rows, columns = grids[0]
        x = dropped(codes, self.dropout, train)
        outputs = self.channels * 2 ** max(0, layers - 1)
        x = self.dense(rows * columns * outputs, kernel_init=WEIGHTS, name="input")(x)
        x = x.reshape(-1, rows, columns, outputs)
        for layer, (rows, columns) in enumerate(grids[1:]):
            x = nn.relu(normalised(x, self.norm, train, f"norm_{layer}"))
            last = layer == layers - 1
            outputs = colours if last else self.channels * 2 ** (layers - 2 - layer)
            x = self.conv(
                outputs,
                KERNEL,
                input_dilation=STRIDES,
                padding=PADS,
                kernel_init=WEIGHTS,
                name=f"conv_{layer}",
            )(x)[:, :rows, :columns]
        return x


def sizes(height: int, width: int, scales: int = 0) -> list[tuple[int, int]]:
    """Counts the positions of each grid, [rows, columns], the image's first.

    There are `scales` convolutions between them; with 0 as many as `COARSEST` needs, at
    least one.
    """
    grids = [(height, width)]
    while len(grids) <= max(scales, 1) or (not scales and max(grids[-1]) > COARSEST):
        rows, columns = grids[-1]
        grids.append((-(-rows // 2), -(-columns // 2)))
    return grids
