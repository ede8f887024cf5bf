"""Encoder, decoder and the code between them: the half that all models here share.

A code is [y, z]: K class probabilities, where a model has them, then Z style dimensions.

    classes 0             code = z                       aae, label-regularized
    y_from "labels"       code = [one-hot label, z]      supervised (figure 6)
    y_from "encoder"      code = [softmax head, z]       semi-supervised, ... (figure 8)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aaejax import networks
from aaejax.components.likelihoods import Likelihood
from aaejax.components.posteriors import Posterior
from aaejax.types import Array, Batch, Draw, Key, Metrics, Networks, Phase


@dataclass(frozen=True)
class Autoencoder:
    """The networks "encoder" and "decoder".

    Attributes:
      encoder: `(images [B, ...], noise or None) -> [B, outputs]`: K logits of y, where it
        comes from the encoder, then the posterior's `encoder_outputs`.
      decoder: `(codes [B, K + Z]) -> [B, ...]`, before any sigmoid.
      posterior: q(z|x).
      likelihood: p(x|z).
      shape: of one example.
      classes: K.
      y_from: where the K numbers come from.
      input_noise: std of Gaussian noise added to the encoder's input, in training alone
        (appendix A.2.1).
      join: `(networks, codes [B, K + Z]) -> [B, decoder's inputs]`; by default the code.
      joined: how many inputs that makes; by default K + Z.
    """

    encoder: nn.Module
    decoder: nn.Module
    posterior: Posterior
    likelihood: Likelihood
    shape: tuple[int, ...]
    classes: int = 0
    y_from: Literal["labels", "encoder"] = "labels"
    input_noise: float = 0.0
    join: Callable[[Networks, Array], Array] = lambda _, codes: codes
    joined: int | None = None

    def init(self, key: Key) -> Networks:
        """Parameters of both networks; the key is consumed."""
        encoder_key, decoder_key, noise_key = jax.random.split(key, 3)
        noise = self.posterior.input_noise(self.posterior.noise(noise_key)[None])
        inputs = (jnp.zeros((1, *self.shape)), *([] if noise is None else [noise]))
        size = self.joined or self.classes + self.posterior.latent
        return {
            "encoder": networks.init_params(self.encoder, encoder_key, *inputs),
            "decoder": networks.init_params(
                self.decoder, decoder_key, jnp.zeros((1, size))
            ),
        }

    def code(
        self, params: Networks, images: Array, noise: Array, labels: Array | None = None
    ) -> Array:
        """A sample of q(y, z|x) for each image.

        Args:
          params: of the networks.
          images: [B, ...].
          noise: [B, *posterior.noise(key).shape].
          labels: int32 [B], read by "labels" alone; where unknown (-1, or None) y is 0.

        Returns:
          float32 [B, K + Z].
        """
        return self.code_of(self.encoder_outputs(params, images, noise), noise, labels)

    def code_of(self, outputs: Array, noise: Array, labels: Array | None = None) -> Array:
        """`code` where the `encoder_outputs` are there already."""
        if not self.classes:
            return self.posterior.code(outputs, noise)
        if self.y_from == "encoder":
            logits, outputs = jnp.split(outputs, [self.classes], axis=1)
            y = jax.nn.softmax(logits)
        elif labels is None:
            y = jnp.zeros((outputs.shape[0], self.classes))
        else:
            y = jax.nn.one_hot(labels, self.classes)
        return jnp.concatenate([y, self.posterior.code(outputs, noise)], axis=1)

    def draw_code(self, params: Networks, batch: Batch, draw: Draw) -> Array:
        """`code` of a training batch, with the noise of training."""
        images = self.noisy(batch["image"], draw)
        noise = draw("posterior", self.posterior.noise)
        return self.code(params, images, noise, batch.get("label"))

    def noisy(self, images: Array, draw: Draw) -> Array:
        """Images [B, ...] as the encoder sees them in training."""
        if not self.input_noise:
            return images
        noise = draw("input", lambda key: jax.random.normal(key, self.shape))
        return images + self.input_noise * noise

    def class_logits(self, params: Networks, images: Array, noise: Array) -> Array:
        """Logits of q(y|x), [B, K], where the encoder has that head."""
        return self.encoder_outputs(params, images, noise)[:, : self.classes]

    def encode(
        self, params: Networks, images: Array, key: Key, labels: Array | None = None
    ) -> Array:
        """`Model.encode`: codes [B, K + Z] of images as they are; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        return self.code(params, images, noise, labels)

    def classify(self, params: Networks, images: Array, key: Key) -> Array:
        """`Model.classify`: q(y|x), [B, K]; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        return jax.nn.softmax(self.class_logits(params, images, noise))

    def outputs_of(self, params: Networks, codes: Array) -> Array:
        """The decoder's outputs [B, ...], before any sigmoid."""
        inputs = self.join(params, codes)
        return networks.applier(self.decoder)(params["decoder"], inputs)

    def decode(self, params: Networks, codes: Array) -> Array:
        """`Model.decode`: codes [B, K + Z] -> images [B, ...]."""
        return self.likelihood.images(self.outputs_of(params, codes))

    def error(self, params: Networks, images: Array, codes: Array) -> Array:
        """`Model.error`: the reconstruction loss of each example, [B]."""
        return self.likelihood.error(self.outputs_of(params, codes), images)

    def reconstruction_phase(self, optimizer: optax.GradientTransformation) -> Phase:
        """Trains both networks on the error's mean over the batch."""

        def loss(params: Networks, batch: Batch, draw: Draw) -> tuple[Array, Metrics]:
            codes = self.draw_code(params, batch, draw)
            return self.error(params, batch["image"], codes).mean(), {}

        return Phase("reconstruction", ("encoder", "decoder"), loss, optimizer)

    def noise(self, key: Key, n: int) -> Array:
        """The posterior's noise of n examples, [n, ...]; the key is consumed."""
        return jax.vmap(self.posterior.noise)(jax.random.split(key, n))

    def encoder_outputs(self, params: Networks, images: Array, noise: Array) -> Array:
        """The encoder's outputs [B, ...], before they are a code."""
        apply: Callable[..., Array] = networks.applier(self.encoder)
        return apply(params["encoder"], images, self.posterior.input_noise(noise))
