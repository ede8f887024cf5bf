"""A run folder -> a trained model -> the kinds of `sample.py` -> files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aaejax import data, pictures, sampling
from aaejax.batches import to_unit
from aaejax.checkpoints import Checkpoints
from aaejax.config import from_json
from aaejax.runs import RunFolder
from aaejax.types import DataSpec, Model, Networks, UserError

LINE = 10  # images on one line of an interpolation


@dataclass(frozen=True)
class Trained:
    """A model with the parameters of one checkpoint."""

    model: Model
    networks: Networks
    step: int
    folder: RunFolder
    config: dict[str, Any]  # config.json


def restore(
    run: Path,
    step: int | None = None,
    model: Model | None = None,
    tell: Callable = print,
) -> Trained:
    """The trained model of a run folder, on this machine's first device.

    Args:
      run: the folder that train.py wrote, on any number of devices.
      step: of the checkpoint; by default the newest good one.
      model: needed where the run was trained on a model passed from Python.
      tell: gets a line about each checkpoint that can't be used.

    Raises:
      UserError: no run, no checkpoint, or none that can be used.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    if model is None:
        if config.get("custom_model"):
            raise UserError(
                f"{run} was trained on a model passed from Python: "
                "call aaejax.restoring.restore(run, model=...)"
            )
        try:
            shape = tuple(config["data"]["shape"])
            spec = DataSpec(shape, config["data"]["classes"], config["data"]["unit_range"])
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{folder.config} is not one that this aaejax wrote: no {error}"
            ) from error
        built: Model = from_json(config).model.build(spec, steps=1)
    else:
        built = model
    if not folder.checkpoints.is_dir():
        raise UserError(f"{run} has no checkpoint yet: let train.py run to its first one")
    like = jax.eval_shape(built.init, jax.random.key(0))
    with Checkpoints(folder.checkpoints, tell=tell) as checkpoints:
        found, networks = checkpoints.restore_params(like, step)
    return Trained(built, jax.device_put(networks), found, folder, config)


def sample(
    trained: Trained,
    kind: str = "samples",
    *,
    count: int = 100,
    seed: int = 0,
    data: str | None = None,
    data_dir: Path | None = None,
) -> dict[str, np.ndarray]:
    """What `sample.py RUN KIND` writes.

    Args:
      trained: from `restore`.
      kind: one of `sampling.kinds(trained.model)`.
      count: how many images.
      seed: of all noise and of the choice of held-out examples.
      data: a dataset, file or folder to take images from, in place of the run's held-out
        examples; for codes in place of the run's dataset.
      data_dir: where TFDS datasets are.

    Returns:
      For codes "codes" [N, Z], of the training part and then the test part, each in its own
      order (a file or folder without parts is one), "labels" [N] where there are any, and
      "split" [N], 0 for training, 1 for test. For samples "images" [count, ...], for
      reconstructions [count, 2, ...] (original, reconstruction), for interpolations
      [lines, LINE, ...], for the manifold [side, side, ...].

    Raises:
      UserError: a kind that the model doesn't have, or data of another shape.
    """
    model, networks = trained.model, trained.networks
    possible = sampling.kinds(model)
    if kind not in possible:
        raise UserError(f"this run has no kind {kind}: it has {', '.join(possible)}")
    if count < 1:
        raise UserError(f"a count of {count}: it must be at least 1")
    if data is not None and kind in ("samples", "manifold"):
        raise UserError(f"--data has no meaning for {kind}: leave it out")
    key, choice_key = jax.random.split(jax.random.key(seed))
    if kind == "samples":
        made = jax.jit(lambda n, k: sampling.samples(model, n, k, count))(networks, key)
        return {"images": np.asarray(made)}
    if kind == "manifold":
        side = sampling.square(count)
        made = jax.jit(lambda n, k: sampling.manifold(model, n, k, side))(networks, key)
        return {"images": np.asarray(made)}
    if kind == "codes":
        return _codes(trained, data, data_dir, key)
    images = _images(trained, data, data_dir)
    order = np.asarray(jax.random.permutation(choice_key, len(images)))
    if kind == "reconstructions":
        chosen = np.asarray(to_unit(images[order[:count]]))
        made = jax.jit(lambda *x: sampling.reconstructions(model, *x))(
            networks, chosen, key
        )
        return {"images": np.stack([chosen, np.asarray(made)], axis=1)}
    lines = max(1, min(count // LINE, len(images) // 2))
    ends = np.asarray(to_unit(images[order[: 2 * lines]]))
    if len(ends) < 2:
        raise UserError("an interpolation needs two images: give more data")
    made = jax.jit(lambda n, a, b, k: sampling.interpolation(model, n, a, b, LINE, k))(
        networks, ends[::2], ends[1::2], key
    )
    return {"images": np.asarray(made)}


def write(out: Path, kind: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a picture or arrays, as the file's suffix says.

    Raises:
      UserError: a suffix that is none of .png, .npy, .npz, or that the kind can't have.
    """
    suffix = out.suffix.lower()
    if suffix not in (".png", ".npy", ".npz"):
        raise UserError(f"--out {out}: the name must end in .png, .npy or .npz")
    if suffix == ".png":
        images = arrays.get("images")
        if images is None:
            raise UserError(f"{kind} make no picture: --out must end in .npy or .npz")
        if kind == "samples":
            images = images[:, None]
        if images.ndim != 5:
            raise UserError("vectors make no picture: --out must end in .npy or .npz")
    out.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".npz":
        np.savez(out, **arrays)  # type: ignore[arg-type]
    elif suffix == ".npy":
        np.save(out, arrays["codes" if kind == "codes" else "images"])
    elif kind == "reconstructions":
        pictures.write_pairs(out, images[:, 0], images[:, 1])
    else:
        columns = None if kind == "samples" else images.shape[1]
        pictures.write_grid(out, images.reshape(-1, *images.shape[2:]), columns)


def _images(trained: Trained, name: str | None, data_dir: Path | None) -> np.ndarray:
    """The run's held-out examples, or all images of a dataset, file or folder."""
    if name is None:
        return trained.folder.read_heldout()["images"]
    dataset = _load(trained, name, data_dir)
    return np.concatenate([dataset.train_images, dataset.test_images])


def _codes(
    trained: Trained, name: str | None, data_dir: Path | None, key: jax.Array
) -> dict[str, np.ndarray]:
    dataset = _load(trained, name or trained.config["run"]["dataset"], data_dir)
    found = {"codes": [], "labels": [], "split": []}
    parts = (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    )
    for split, (images, labels) in enumerate(parts):
        if not len(images):
            continue
        part_key = jax.random.fold_in(key, split)
        codes = sampling.codes(trained.model, trained.networks, images, part_key)
        found["codes"].append(codes)
        found["split"].append(np.full(len(codes), split, np.int32))
        if labels is not None:
            found["labels"].append(labels)
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _load(trained: Trained, name: str, data_dir: Path | None) -> data.Dataset:
    where = data_dir or Path(trained.config["where"]["data_dir"])
    dataset = data.load(name, where, hold_out=False)
    expected = tuple(trained.config["data"]["shape"])
    if dataset.example_shape != expected:
        raise UserError(
            f"{name} has examples of shape {list(dataset.example_shape)}, the model was "
            f"trained on {list(expected)}: give data of that shape"
        )
    return dataset
