"""One host of several: trains what it is told, run after run, and says what came of it.

python -m tests.hosts_worker HOST:PORT COUNT INDEX FOLDER WORD...
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np

from aaejax import data, models
from aaejax.models._optimizers import Optimizer
from aaejax.runs import examples
from aaejax.runs.config import RunConfig
from aaejax.runs.hosts import HostOptions, start
from aaejax.runs.hosts.watch import joined
from aaejax.runs.loop import train
from aaejax.types import UserError

# Convolutions and batch norm; labelled batches, several updates and consistency; a distance
# between whole batches.
MODELS = {
    "conv": ("aae", {"network": "conv", "channels": 2, "norm": "batch"}),
    "semi-supervised": ("semi-supervised", {"consistency": 0.5, "translation": 1.0}),
    "moment-matching": ("moment-matching", {"method": "gmmn-codes"}),
}
CLI = [
    *("--width", "8", "--depth", "1", "--latent", "2", "--epochs", "6"),
    *("--batch-size", "100", "--log-every", "20", "--save-every", "20"),
]


def options(name):
    word, changes = MODELS[name]
    cls = models.options(word)
    fields = cls.__dataclass_fields__
    made = {field: Optimizer("sgd", 1e-2) for field in fields if "_optimizer" in field}
    small = {"latent": 2, "width": 8, "depth": 1, "r1": 0.0}
    made |= {name: small[name] for name in small if name in fields}
    return cls(**{**made, **changes})


def dataset(seed=0):
    """A hundred pictures of three classes; of half of them the class is known."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (100, 6, 6, 1), np.uint8)
    labels = np.where(np.arange(100) % 2, np.arange(100) % 3, -1)
    return data.from_arrays(images[:80], labels[:80], images[80:], labels[80:] % 3)


def config(workdir, **changes):
    """Of a run of twenty steps."""
    settings = {"epochs": 4, "batch_size": 16, "log_every": 5, "save_every": 10}
    return RunConfig(**{**settings, "workdir": workdir, **changes})


def signalled(folder):
    """A run that gets SIGTERM on the last host alone, once it has written a line."""

    def send():
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    if jax.process_index() == jax.process_count() - 1:
        threading.Thread(target=send, daemon=True).start()
    settings = config(folder, epochs=2000, log_every=10, save_every=10_000)
    result = train(options("moment-matching"), dataset(), settings)
    return [result.stopped_by, result.step]


def refused(folder):
    """What is said where this host has another option, and where it has other data."""
    said = []
    for changes, seed in (
        ({"epochs": 4 + jax.process_index()}, 0),
        ({}, jax.process_index()),
    ):
        try:
            train(options("conv"), dataset(seed), config(folder, **changes))
        except UserError as error:
            said.append(str(error))
    return said


def own_data(folder):
    """A run of hosts with their own examples; what is said of parts that do not fit."""
    whole, index = dataset(), jax.process_index()
    own = dataclasses.replace(
        whole,
        train_images=whole.train_images[40 * index :][:40],
        train_labels=whole.train_labels[40 * index :][:40],
    )
    own = dataclasses.replace(own, name=f"part {index}")
    step = train(options("moment-matching"), own, config(folder, own_data=True)).step
    floats = (own.train_images / 255).astype(np.float32)
    unlabelled = np.full(len(own.train_images), -1)
    said = []
    for changes, settings in (
        ({"train_labels": unlabelled}, {}),
        ({"train_images": floats, "test_images": floats}, {}),
        ({}, {"own_data": not index}),
        ({}, {"batch_size": 1}),
    ):
        other = dataclasses.replace(own, **changes) if index else own
        try:
            train(
                options("semi-supervised"),
                other,
                config(f"{folder}-2", **{"own_data": True, **settings}),
            )
        except UserError as error:
            said.append(str(error))
    return step, said


def unbroken(folder):
    """The run of `train.py` with `CLI`."""
    made = models.options("aae")(width=8, depth=1, latent=2)
    settings = RunConfig(
        epochs=6, batch_size=100, log_every=20, save_every=20, workdir=folder
    )
    return train(made, data.load("mnist5k", "unused"), settings).step


restarted = unbroken  # in a folder that has a run of `train.py` which was killed


def main():
    address, count, index, folder, *words = sys.argv[1:]
    start(HostOptions(address, int(count), int(index), hosts_timeout=120))
    answers = {}
    with joined() as hosts:
        for word in words:
            own = Path(folder) / word
            if word in MODELS:
                whole = examples.batches.fits_on
                if word == "conv":  # as if the data were too large for a device
                    examples.batches.fits_on = lambda *_: not hosts.first
                answers[word] = train(options(word), dataset(), config(own)).step
                examples.batches.fits_on = whole
            else:
                answers[word] = globals()[word](own)
    Path(f"{folder}/said-{index}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
