"""Strict by default: eight CPU devices, no silent rank promotion, no key used twice."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jaxlib.version

# Programs compiled once serve all tests, all workers, and the processes that they start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="aaejax-test-cache-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# `benchmarks/accelerator.sh` runs the quick ones on another device.
os.environ["JAX_PLATFORMS"] = os.environ.get("AAEJAX_TEST_PLATFORM", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # Tests compile far more than they compute: a third of the time to compile.
    + " --xla_backend_optimization_level=0"
    # One LLVM module a program, not 32: a sixth less to compile.
    + " --xla_cpu_parallel_codegen_split_count=1"
)
# Lowering need not say which line each operation is of: a tenth of what a run costs.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
if jaxlib.version.__version_info__ < (0, 11):  # newer ones end the process at this flag
    # Fusions by LLVM's older path: two fifths less of what a whole run costs.
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import dataclasses
import gc
import json

import jax
import numpy as np
import pytest

from aaejax import models
from aaejax.data import load
from aaejax.models._optimizers import Optimizer
from aaejax.phases import phase_step
from aaejax.runs.config import RunConfig
from aaejax.runs.hooks import Hook
from aaejax.runs.loop import train
from aaejax.runs.restore import restore
from aaejax.types import DataSpec

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

# What was imported stays: no collection need look through it. A twentieth of the time.
gc.collect()
gc.freeze()

ROOT = Path(__file__).parent.parent

TINY = DataSpec(shape=(6, 5, 1), classes=3, unit_range=True)


# The options of each model that make its every phase run, and its kinds beside the usual.
MODELS = {
    "autoencoder": ({}, {"manifold"}),
    "vae": (
        {
            "conditional": True,
            "two_stage": True,
            "reconstruction": "gaussian",
            "depth": 2,
        },
        {"styles", "bounds"},
    ),
    "moment-matching": ({}, {"manifold"}),
    "gan": ({"conditional": True, "discriminator_steps": 3}, {"styles"}),
    "label-regularized": ({"components": 3}, {"manifold", "walk"}),
    "supervised": ({}, {"styles"}),
    "semi-supervised": (
        {
            "input_noise": 0.3,
            "r1": 0.1,
            "consistency": 0.5,
            "information": 0.1,
            "mutual_information": 0.5,
            "unevenness": 0.1,
            "translation": 1.0,
            "distortion": 0.1,
        },
        {"styles", "clusters", "classify"},
    ),
    "clustering": ({"clusters": 4}, {"styles", "clusters", "classify"}),
    "reduction": ({}, {"styles", "clusters", "classify"}),
    "nade": ({}, {"likelihoods", "complete"}),
    "pixelcnn": (
        {"conditional": True, "components": 2},
        {"styles", "likelihoods", "complete"},
    ),
}
BITS = {"nade"}  # those that learn bits alone


def tiny_options(model: str = "aae", **changes) -> Any:
    """The options of a model small enough to compile in a second."""
    options = models.options(model)
    optimizers = {
        field: Optimizer(learning_rate=1e-2)
        for field in options.__dataclass_fields__
        if field.endswith("_optimizer")
    }
    small = {"latent": 2, "width": 8, "depth": 1, "channels": 4, "r1": 0.0, "layers": 1}
    small = {name: small[name] for name in small if name in options.__dataclass_fields__}
    return options(**{**small, **optimizers, **changes})


def each_phase(model, state, batch, key):
    """The states after each phase alone, as one program."""

    def states(state, batch, key):
        return [phase_step(phase)(state, batch, key)[0] for phase in model.phases]

    return jax.jit(states)(state, batch, key)


# Files that take long, the longest first (`python -m pytest -p tests.cpu_seconds` says
# which they are): they are begun first, so that all workers end together.
LONG = [
    *("docs", "tfds", "scripts", "model_runs", "training", "network_state", "config"),
    *("seeds", "equal_devices", "checkpoints", "phases", "own_networks", "going_on"),
    *("run_folder", "sources", "tables", "ask", "models", "export", "conv", "report"),
]


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


@pytest.fixture
def batch() -> dict[str, jax.Array]:
    """Eight images in [0, 1] and their labels."""
    rng = np.random.default_rng(0)
    return {
        "image": jax.numpy.asarray(rng.random((8, *TINY.shape), np.float32)),
        "label": jax.numpy.asarray(rng.integers(0, 3, 8), np.int32),
    }


@pytest.fixture
def getkey():
    """A function that gives a fresh key at each call."""
    keys = iter(jax.random.split(jax.random.key(7), 100))
    return lambda: next(keys)


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory) -> Path:
    """A data folder with MNIST prepared by `load`, or the one in AAEJAX_DATA_DIR."""
    if "AAEJAX_DATA_DIR" in os.environ:
        return Path(os.environ["AAEJAX_DATA_DIR"])
    cache = Path(__file__).parents[2] / "shared" / "tfds" / "downloads"
    if not cache.is_dir():
        pytest.skip(f"no MNIST downloads at {cache} and AAEJAX_DATA_DIR is not set")
    folder = tmp_path_factory.mktemp("tfds")
    (folder / "downloads").mkdir()
    for path in cache.iterdir():
        shutil.copyfile(path, folder / "downloads" / path.name)
    # what a killed preparation may leave
    for name in ("incomplete.ABCDEF_3.0.1", "3.0.1"):
        (folder / "mnist" / name).mkdir(parents=True)
        (folder / "mnist" / name / "features.json").write_text("{")
    load("mnist", folder)
    return folder


@pytest.fixture(scope="session")
def digits():
    """400 real digits to train on, 100 held out."""
    whole = load("mnist5k", "unused")
    return dataclasses.replace(
        whole,
        train_images=whole.train_images[:400],
        train_labels=whole.train_labels[:400],
        test_images=whole.test_images[:100],
        test_labels=whole.test_labels[:100],
    )


def run_config(workdir, **changes):
    """The settings of a run of forty steps on the fixture `digits`."""
    settings = {
        "epochs": 4,
        "batch_size": 40,
        "log_every": 10,
        "save_every": 20,
        "workdir": workdir,
        **changes,
    }
    return RunConfig(**settings)


def train_tiny(
    workdir, dataset, /, *, model=None, devices=None, tell=print, hooks=(), **changes
):
    """Trains a tiny AAE, or that model; on all devices or so many."""
    return train(
        model or tiny_options(),
        dataset,
        run_config(workdir, **changes),
        devices=jax.devices()[:devices],
        tell=tell,
        hooks=hooks,
    )


@pytest.fixture(scope="session")
def finished_run(digits, tmp_path_factory):
    """A run with checkpoints of steps 20 and 40, on one device: copy it to change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train_tiny(folder, digits, devices=1)
    return folder


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of it, to damage."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


class Cut(BaseException):
    """No Exception: at those a checkpoint is written."""


class CutAt(Hook):
    """Ends a run at a step as a kill does, without a checkpoint."""

    def __init__(self, step):
        self.step = step

    def on_log(self, event):
        if event.step == self.step:
            raise Cut


def environment(devices=1, **more):
    """Of a process on so many devices, which finds the programs compiled here."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={devices}")
    return {**os.environ, "XLA_FLAGS": flags, **more}


def run_python(*command, devices=1, cwd=ROOT, environ=None):
    """A process of its own: what a person sees of it."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment(devices, **(environ or {})),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def read_lines(folder):
    return [
        json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def final_params(folder):
    trained = restore(folder)
    return trained.step, jax.device_get(trained.variables)


def same(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
