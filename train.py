"""Trains a model. The model comes first: it has options of its own.

    python train.py                              an AAE on 5,000 real MNIST digits
    python train.py aae --latent 2 --dataset mnist
    python train.py semi-supervised --help       the options of that model

Started again on the same run folder, it goes on where it stopped.
"""

import sys

from aaejax_commands import train

if __name__ == "__main__":
    sys.exit(train("train.py"))
