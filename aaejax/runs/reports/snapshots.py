"""The pictures of a run folder, made at each evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.random import clone

from aaejax import sampling
from aaejax.components.pixels import to_unit
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.on_disk.files import atomic
from aaejax.runs.on_disk.folder import STRIP, RunFolder
from aaejax.runs.reports import pictures
from aaejax.types import Array, Key, Model, Variables

MOST_STRIPS = 24  # rows of samples, of as many evaluations, that are kept


class RunPictures(Hook):
    """Writes pictures of what `picture_arrays` makes of networks, and of held-out codes."""

    def __init__(
        self,
        model: Model,
        images: np.ndarray,
        labels: np.ndarray | None,
        class_names: tuple[str, ...],
        folder: RunFolder,
        key: Key,
    ):
        """Takes the first forty examples.

        Args:
          model: The model.
          images: The held-out examples [N, ...], uint8 or float32; there may be none.
          labels: The labels of these [N], or None; of a model with conditions these,
            [N, C].
          class_names: The names of the classes.
          folder: The folder of the run.
          key: The key of the noise, the same at each call, so that steps can be compared.
        """
        self._originals = np.asarray(to_unit(images[:40]))
        self._labels, self._class_names = labels, class_names
        self._folder, self._key = folder, key
        self._arrays = jax.jit(lambda *arguments: picture_arrays(model, *arguments))

    def on_checkpoint(self, event: Event) -> None:
        """Writes the pictures; keeps a row of samples to be seen beside later ones."""
        made = self.write(event.state.variables, event.plane)
        if self._originals.ndim == 4:
            name = STRIP.format(step=event.step)
            with atomic(self._folder.pictures / name) as file:
                pictures.write_grid(file, made["samples"][:10], 10)
            self._thin_out(event.step)

    def _thin_out(self, step: int) -> None:
        """Removes rows of later steps, and of too many those closest to others."""
        rows = self._folder.strips()
        steps = sorted(rows)
        while steps and steps[-1] > step:  # of a run before this one went on
            rows[steps.pop()].unlink()
        while len(steps) > MOST_STRIPS:
            middle = range(1, len(steps) - 1)
            closest = min(middle, key=lambda i: steps[i + 1] - steps[i - 1])
            rows[steps.pop(closest)].unlink()

    def write(
        self, variables: Variables, codes: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Writes the pictures.

        Args:
          variables: The variables of the networks.
          codes: The codes of the examples as they are drawn, [N, 2]; or None.

        Returns:
          What `picture_arrays` made.
        """
        originals, labels = self._originals, self._labels
        original_labels = None if labels is None else labels[: len(originals)]
        key = clone(self._key)
        made = jax.device_get(self._arrays(variables, originals, original_labels, key))
        if originals.ndim == 4:
            for name in ("samples", "manifold"):
                if name in made:
                    with atomic(self._folder.pictures / f"{name}.png") as file:
                        pictures.write_grid(file, made[name])
            if "reconstructions" in made:
                with atomic(self._folder.pictures / "reconstructions.png") as file:
                    pictures.write_pairs(file, originals, made["reconstructions"])
            if "styles" in made:
                with atomic(self._folder.pictures / "styles.png") as file:
                    pictures.write_rows(file, made["styles"])
        if codes is not None:
            with atomic(self._folder.pictures / "codes.png") as file:
                pictures.write_scatter(
                    file, codes, labels, made["prior"], self._class_names
                )
        return made


def picture_arrays(
    model: Model, variables: Variables, originals: Array, labels: Array | None, key: Key
) -> dict[str, Array]:
    """Makes what the pictures of an evaluation show; it is one program under jit.

    Args:
      model: The model.
      variables: The variables of its networks.
      originals: The examples to reconstruct, [n, ...], in [0, 1].
      labels: The labels of these [n], or None; of a model with conditions these, [n, C].
      key: A key, which is consumed.

    Returns:
      The arrays by name: "samples" [100, ...] and, of a model that encodes,
      "reconstructions" [n, ...] where there are any; where codes have a class also "styles"
      [10, K, ...], where they have two dimensions "manifold" [400, ...], and where they are
      drawn in a plane "prior" [2000, 2].
    """
    reconstruct_key, sample_key, manifold_key, prior_key, style_key = jax.random.split(
        key, 5
    )

    def asked(count: int) -> Array | None:
        """Conditions of the examples, in turn; with no example there is none."""
        if not model.conditions:
            return None
        zeros = jnp.zeros((1, model.conditions))
        given = labels if labels is not None and len(labels) else zeros
        return given[jnp.arange(count) % len(given)]

    made = {"samples": sampling.samples(model, variables, sample_key, 100, asked(100))}
    if model.encodes and len(originals):
        made["reconstructions"] = sampling.reconstructions(
            model, variables, originals, reconstruct_key, labels
        )
    if model.latent == 2 and not model.conditions:
        manifold = sampling.manifold(model, variables, manifold_key, 20)
        made["manifold"] = manifold.reshape(-1, *manifold.shape[2:])
    codes = model.prior(variables, prior_key, 2000, asked(2000))
    prior = model.in_plane(variables, codes)
    if prior is not None:
        made["prior"] = prior
    if model.classes:
        made["styles"] = sampling.styles(model, variables, style_key, 10)
    return made
