"""The figures of the AAE paper (Makhzani et al. 2015), each as the commands that make it.

    python benchmarks/figures.py                     # all of them, on the embedded digits
    python benchmarks/figures.py figure4 --dataset mnist --epochs 5

A figure is one or more runs of train.py, and what sample.py, or the run itself, draws of
them. The pictures go to --out as <figure>-<run>-<what>.png; finished runs are not trained
again. Figures 9 and 11 have numbers, and are made with them: benchmarks/paper.py.
"""

import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

ROOT = Path(__file__).parent.parent

FAST = (
    "--discriminator-optimizer.learning-rate 1e-3 --generator-optimizer.learning-rate 1e-3"
)
FAST_HEADS = " ".join(
    f"--{head}-{role}-optimizer.learning-rate 1e-3"
    for head in ("class", "style")
    for role in ("discriminator", "generator")
)
PLANE = "--latent 2"
# As these pictures were made; the defaults are others since.
SIZES = "--width 1000 --depth 2 --reconstruction-optimizer.learning-rate 1e-3"
SLOW = FAST.replace("1e-3", "3e-4")
RUN = "run:"  # a picture that training leaves in the run folder

# figure: run: (arguments of train.py, kinds of sample.py with their arguments)
FIGURES: dict[str, dict[str, tuple[str, list[str]]]] = {
    "figure2": {
        "aae-gaussian": (
            f"aae {PLANE} {SIZES} {FAST}",
            [f"{RUN}codes", "manifold --count 400"],
        ),
        "aae-mixture": (
            f"aae {PLANE} {SIZES} {FAST} --prior mixture --r1 0",
            [f"{RUN}codes"],
        ),
        "vae-gaussian": (f"vae {PLANE}", [f"{RUN}codes", "manifold --count 400"]),
        "vae-mixture": (f"vae {PLANE} --prior mixture", [f"{RUN}codes"]),
    },
    "figure4": {
        "mixture": (f"label-regularized {SIZES}", [f"{RUN}codes", "walk"]),
        "swiss-roll": (
            f"label-regularized --prior swiss-roll {SIZES}",
            [f"{RUN}codes", "walk"],
        ),
    },
    "figure5": {"samples": (f"aae {SIZES} {SLOW}", ["samples", "nearest --count 10"])},
    # 4-D styles; of the paper's 15 dimensions so few steps leave most unmatched: smears.
    "figure7": {"styles": (f"supervised --joint-style {FAST}", ["styles"])},
    "figure10": {
        "heads": (
            "reduction --labels 1000 --width 400 --consistency 1.5 --information 0.2 "
            "--translation 2 --distortion 0.2 --distance 6 "
            f"--heads-optimizer.learning-rate 2e-2 {FAST_HEADS}",
            [f"{RUN}codes", "clusters"],
        )
    },
}


@dataclass(frozen=True)
class Arguments:
    """Trains what a figure needs and draws it."""

    figures: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(FIGURES)
    """Which of them."""
    dataset: str = "mnist5k"
    """mnist5k, or mnist through TFDS."""
    epochs: int = 20
    """Of each run."""
    data_dir: Path = Path("data")
    """Where TFDS has or prepares MNIST."""
    workdir: Path = Path("runs/figures")
    """The run folders."""
    out: Path = ROOT / "benchmarks" / "results" / "pictures"
    """The pictures."""


def call(*command: str) -> None:
    """Shows a command and runs it; ends with its status where it fails."""
    print("$ python", shlex.join(command), flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Runs the commands."""
    arguments = tyro.cli(Arguments, description=__doc__)
    unknown = set(arguments.figures) - set(FIGURES)
    if unknown:
        sys.exit(f"no figure {sorted(unknown)}: there are {list(FIGURES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for figure in arguments.figures:
        for name, (training, kinds) in FIGURES[figure].items():
            folder = arguments.workdir.absolute() / arguments.dataset / f"{figure}-{name}"
            call(
                *("train.py", *shlex.split(training), "--workdir", str(folder)),
                *("--dataset", arguments.dataset, "--epochs", str(arguments.epochs)),
                *("--data-dir", str(arguments.data_dir.absolute())),
            )
            for kind in kinds:
                what = shlex.split(kind.removeprefix(RUN))
                out = arguments.out.absolute() / f"{figure}-{name}-{what[0]}.png"
                if kind.startswith(RUN):
                    shutil.copyfile(folder / "pictures" / f"{what[0]}.png", out)
                else:
                    call("sample.py", str(folder), *what, "--out", str(out))


if __name__ == "__main__":
    main()
