"""Encoders, decoders and discriminators; last layers are linear.

Any network with the same call takes the place of these, in Flax linen, in nnx (`from_nnx`)
or as two functions (`network.py` says how):

    encoder(images [B, ...], noise [B, N] where the posterior has some) -> [B, outputs]
    decoder(codes [B, Z]) -> [B, ...]: logits, or values where the output is linear
    discriminator(codes [B, Z]) -> logits [B]
"""

from aaejax.networks.bf16 import (
    Precision,
    bf16_conv_general_dilated,
    bf16_dot_general,
)
from aaejax.networks.conv import CONV_BETA2, ConvDecoder, ConvEncoder
from aaejax.networks.dcgan import DCGANDecoder, DCGANEncoder
from aaejax.networks.made import MADE
from aaejax.networks.masked_conv import GatedPixelCNN
from aaejax.networks.mlp import (
    MLP,
    Conv,
    Dense,
    MLPDecoder,
    MLPDiscriminator,
    MLPEncoder,
    Norm,
)
from aaejax.networks.nade import NADE, orderings
from aaejax.networks.network import Network, as_network, check_outputs, one_output
from aaejax.networks.nnx import from_nnx
from aaejax.networks.spectral import spectral_norm

__all__ = [
    "CONV_BETA2",
    "MADE",
    "MLP",
    "NADE",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "DCGANDecoder",
    "DCGANEncoder",
    "Dense",
    "GatedPixelCNN",
    "MLPDecoder",
    "MLPDiscriminator",
    "MLPEncoder",
    "Network",
    "Norm",
    "Precision",
    "as_network",
    "bf16_conv_general_dilated",
    "bf16_dot_general",
    "check_outputs",
    "from_nnx",
    "one_output",
    "orderings",
    "spectral_norm",
]
