"""`plain_convolutions.py` with half its channels, for table 2's row of all labels.

    python train.py semi-supervised --network benchmarks/narrow_convolutions.py

A run's config.json has the hash of this file alone; what it imports is watched by nobody.
"""

from plain_convolutions import Decoder, Encoder

from aaejax import DataSpec

CHANNELS = 16


def encoder(data: DataSpec, outputs: int) -> Encoder:
    """For class and style together."""
    return Encoder(outputs, CHANNELS)


def decoder(data: DataSpec) -> Decoder:
    """For images of this shape."""
    return Decoder(data.shape, CHANNELS)
