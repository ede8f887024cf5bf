"""Asks a trained model; needs nothing but the run folder.

python sample.py runs/aae-mnist5k --out samples.png
python sample.py runs/aae-mnist5k codes --out codes.npz --data my_images.npz
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from aaejax.kinds import sample, write
from aaejax.restoring import restore
from aaejax.types import UserError


@dataclass(frozen=True)
class Arguments:
    """Asks a trained model; needs nothing but the run folder."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder that train.py wrote."""
    kind: Annotated[str, tyro.conf.Positional] = "samples"
    """samples, reconstructions, interpolation, codes; manifold (2-D codes); styles (codes
    with a class); clusters, classify (models that classify)."""
    out: Path = Path("samples.png")
    """.png is a picture, .npy or .npz the arrays."""
    count: int = 100
    """How many images; of interpolations, the images on all lines."""
    seed: int = 0
    """The same seed gives the same file."""
    step: int | None = None
    """Of the checkpoint; by default the newest."""
    data: str | None = None
    """A dataset, or a file or folder of images, to encode in place of the run's own."""
    data_dir: Path | None = None
    """Where TFDS datasets are; by default where train.py had them."""


def main() -> int:
    """Exit status: 0 done, 2 the user's mistake."""
    arguments = tyro.cli(Arguments, prog="sample.py", description=__doc__)
    try:
        trained = restore(arguments.run, arguments.step)
        arrays = sample(
            trained,
            arguments.kind,
            count=arguments.count,
            seed=arguments.seed,
            data=arguments.data,
            data_dir=arguments.data_dir,
        )
        write(arguments.out, arguments.kind, arrays)
    except (UserError, OSError) as error:
        print(f"sample.py: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.kind} of {arguments.run} at step {trained.step}: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
