"""The rows of `compare.py`: each model's word, and its tries, as many for each.

Every try changes a base, a reconstruction that learns at 3e-3, by what its model's paper or
this project's results say may help: its own weights or rates, a faster reconstruction, and
noise on the input of its encoder. The last two were added when the first six were known, to
go on from the best of those.
"""

from dataclasses import replace
from typing import Any

from aaejax.models._optimizers import Optimizer

Settings = dict[str, Any]


def adam(rate: float, momentum: float = 0.9) -> Optimizer:
    """Adam at this rate, which falls along a cosine."""
    return Optimizer(learning_rate=rate, momentum=momentum, schedule="cosine")


def adversary(rate: float, r1: float, **more: Any) -> Settings:
    """Both networks' rate, and the discriminator's gradient penalty."""
    both = ("discriminator_optimizer", "generator_optimizer")
    return {**dict.fromkeys(both, adam(rate, 0.5)), "r1": r1, **more}


def generator(rate: float, **more: Any) -> Settings:
    """Of a generator by moment matching."""
    return {"generator_optimizer": adam(rate), **more}


def regularized(kind: str, code: float, decoder: float, **more: Any) -> Settings:
    """A regularized autoencoder's two weights."""
    return {"regularize": kind, "code_weight": code, "decoder_weight": decoder, **more}


def reconstruction(rate: float, **more: Any) -> Settings:
    """Of encoder and decoder."""
    return {"reconstruction_optimizer": adam(rate), **more}


def for_convolutions(settings: Settings) -> Settings:
    """The same with a third of the rates of encoders, decoders and generators, and R1.

    Faster ones push codes out of the prior, and a discriminator wins over the codes of
    convolutions by the R1 of MLPs: it is 100 times that one, as in the defaults of
    `train.py` (docs/results.md, "Convolutions and colour").
    """
    names = {"reconstruction_optimizer", "generator_optimizer"} & settings.keys()
    changed: Settings = {
        name: replace(settings[name], learning_rate=settings[name].learning_rate / 3)
        for name in names
    }
    if "r1" in settings:
        changed["r1"] = 100 * settings["r1"]
    return {**settings, **changed}


# So few steps want a fast autoencoder.
BASE = reconstruction(3e-3)
FASTER = reconstruction(6e-3)
NOISE = {"input_noise": 0.15}
WIDE = {"prior_std": 4.0, "input_noise": 0.3}  # what table 1's recipe has

IN_CODES: Settings = {"method": "gmmn-codes", "kernel": "rbf"}
# Of images: the distance between samples needs larger batches than the others (Li et al.
# 2015 take 1,000).
OF_IMAGES: Settings = {"method": "gmmn", "kernel": "rbf", "batch_size": 500}

AAE = [
    adversary(1e-3, 0.1),
    adversary(1e-3, 1.0),
    adversary(2e-3, 0.1),
    adversary(1e-3, 0.1, **FASTER),
    adversary(1e-3, 0.1, **NOISE),
    adversary(1e-3, 0.1, **WIDE),
    adversary(1e-3, 0.03),
    adversary(1e-3, 0.1, **FASTER, **NOISE),
]

MODELS: dict[str, tuple[str, list[Settings]]] = {
    "autoencoder": (
        "autoencoder",
        [
            *(reconstruction(rate) for rate in (1e-3, 3e-3, 6e-3, 1e-2)),
            NOISE,
            {**FASTER, **NOISE},
            reconstruction(1e-2, **NOISE),
            {**FASTER, "input_noise": 0.3},
        ],
    ),
    "rae-l2": (
        "autoencoder",
        [
            *(
                regularized("l2", code, decoder)
                for code, decoder in ((0.1, 1e-3), (0.1, 1e-2), (0.01, 1e-3), (1.0, 1e-3))
            ),
            regularized("l2", 0.1, 1e-3, **FASTER),
            regularized("l2", 0.1, 1e-3, **NOISE),
            regularized("l2", 0.1, 1e-2, **FASTER),
            regularized("l2", 0.1, 1e-3, **FASTER, **NOISE),
        ],
    ),
    "rae-gp": (
        "autoencoder",
        [
            *(
                regularized("gradient-penalty", code, decoder)
                for code, decoder in ((0.1, 1e-2), (0.1, 0.1), (0.01, 1e-2), (1.0, 1e-2))
            ),
            regularized("gradient-penalty", 0.1, 1e-2, **FASTER),
            regularized("gradient-penalty", 0.1, 1e-2, **NOISE),
            regularized("gradient-penalty", 0.01, 1e-2, **FASTER),
            regularized("gradient-penalty", 0.1, 1e-2, **FASTER, **NOISE),
        ],
    ),
    "aae": ("aae", AAE),
    # The same with a moving average of the parameters, over some 500 steps.
    "aae-ema": ("aae", [{**settings, "ema": 0.998} for settings in AAE]),
    "aae-gaussian": (
        "aae",
        [
            adversary(rate, r1, posterior="gaussian", **more)
            for rate, r1, more in (
                (1e-3, 0.1, {}),
                (1e-3, 1.0, {}),
                (2e-3, 0.1, {}),
                (1e-3, 0.1, FASTER),
                (1e-3, 0.1, NOISE),
                (1e-3, 0.1, WIDE),
                (1e-3, 1.0, FASTER),
                (1e-3, 0.1, {**FASTER, **NOISE}),
            )
        ],
    ),
    "wae-mmd": (
        "moment-matching",
        [
            *({"weight": weight} for weight in (10.0, 100.0, 300.0, 1000.0)),
            {"weight": 300.0, **FASTER},
            {"weight": 300.0, **NOISE},
            {"weight": 100.0, **FASTER},
            {"weight": 100.0, **NOISE},
        ],
    ),
    "gmmn-codes": (
        "moment-matching",
        [
            *(generator(rate, **IN_CODES) for rate in (3e-4, 1e-3, 3e-3, 1e-2)),
            generator(3e-3, **IN_CODES, **FASTER),
            generator(3e-3, **IN_CODES, **NOISE),
            generator(1e-2, **IN_CODES, **FASTER),
            generator(1e-2, **IN_CODES, **NOISE),
        ],
    ),
    "vae": (
        "vae",
        [
            *({"beta": beta} for beta in (0.25, 0.5, 1.0, 2.0)),
            {"beta": 1.0, **FASTER},
            {"beta": 2.0, **FASTER},
            {"beta": 1.0, **NOISE},
            {"beta": 1.0, **reconstruction(1e-3)},
        ],
    ),
    "vae-gaussian": (
        "vae",
        [
            {"reconstruction": "gaussian", "beta": beta, **more}
            for beta, more in (
                *((0.5, {}), (1.0, {}), (2.0, {}), (4.0, {})),
                *((1.0, FASTER), (2.0, FASTER), (8.0, {}), (4.0, NOISE)),
            )
        ],
    ),
    "vae-two-stage": (
        "vae",
        [
            *({"two_stage": True, "beta": beta} for beta in (0.1, 0.25, 0.5, 1.0)),
            {"two_stage": True, "reconstruction": "gaussian"},
            {"two_stage": True, "beta": 0.25, **FASTER},
            {"two_stage": True, "beta": 0.05},
            {"two_stage": True, "beta": 0.1, **NOISE},
        ],
    ),
    "gan": (
        "gan",
        [
            adversary(rate, r1)
            for rate, r1 in (
                *((3e-4, 0.1), (3e-4, 1.0), (1e-3, 0.1)),
                *((1e-3, 1.0), (1e-3, 3.0), (2e-3, 1.0)),
                *((4e-3, 1.0), (2e-3, 3.0)),
            )
        ],
    ),
    "gmmn": (
        "moment-matching",
        [
            *(generator(rate, **OF_IMAGES) for rate in (3e-4, 1e-3, 3e-3, 6e-3)),
            generator(1e-3, **{**OF_IMAGES, "batch_size": 1000}),
            generator(3e-3, **{**OF_IMAGES, "batch_size": 250}),
            generator(1e-2, **{**OF_IMAGES, "batch_size": 250}),
            generator(6e-3, **{**OF_IMAGES, "batch_size": 250}),
        ],
    ),
}
