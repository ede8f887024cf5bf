"""Encoders, decoders and discriminators as Flax modules; last layers are linear.

Any Flax module with the same call takes the place of these:

    encoder(images [B, ...], noise [B, N] or None) -> [B, outputs]
    decoder(codes [B, Z]) -> [B, ...]: logits, or values where the output is linear
    discriminator(codes [B, Z]) -> logits [B]

Modules have parameters only: no batch statistics, no dropout.
"""

from aaejax.networks.bf16 import bf16_dot_general
from aaejax.networks.conv import ConvDecoder, ConvEncoder, Norm
from aaejax.networks.mlp import MLP, Dense, MLPDecoder, MLPDiscriminator, MLPEncoder
from aaejax.networks.modules import applier, init_params

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Dense",
    "MLPDecoder",
    "MLPDiscriminator",
    "MLPEncoder",
    "Norm",
    "applier",
    "bf16_dot_general",
    "init_params",
]
