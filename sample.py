"""Asks a trained model for samples, codes and more; needs nothing but the run folder.

    python sample.py runs/aae-mnist5k --out samples.png
    python sample.py runs/aae-mnist5k codes --out codes.npz --data my_images.npz

`python sample.py --help` lists what can be asked for.
"""

import sys

from aaejax_commands import sample

if __name__ == "__main__":
    sys.exit(sample("sample.py"))
