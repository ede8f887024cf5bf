"""Encoder, decoder and the code between them: the half that all models here share.

A code is [y, z]: K class probabilities, where a model has them, then Z style dimensions.

    classes 0             code = z                       aae, label-regularized
    y_from "labels"       code = [one-hot label, z]      supervised (figure 6)
    y_from "encoder"      code = [softmax head, z]       semi-supervised, ... (figure 8)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from aaejax.components.checks import check_at_least, check_words
from aaejax.components.likelihoods import Likelihood
from aaejax.components.posteriors import Posterior
from aaejax.networks import Network, as_network, check_outputs
from aaejax.networks.dispersions import with_dispersions
from aaejax.types import (
    Array,
    Batch,
    Draw,
    Input,
    Key,
    Metrics,
    Phase,
    States,
    UserError,
    Variables,
    label_input,
)


@dataclass(frozen=True)
class Autoencoder:
    """The networks "encoder" and "decoder".

    Attributes:
      encoder: `(images [B, ...]) -> [B, outputs]`, and of the universal posterior
        `(images, noise [B, N])`: K logits of y, where it comes from the encoder, then the
        posterior's `encoder_outputs`. Anything that `networks.as_network` takes.
      decoder: `(codes [B, K + Z]) -> [B, ...]`, before any sigmoid.
      posterior: q(z|x).
      likelihood: p(x|z).
      shape: of one example.
      classes: K.
      y_from: where the K numbers come from.
      input_noise: std of Gaussian noise added to the encoder's input, in training alone
        (appendix A.2.1).
      join: `(variables, codes [B, K + Z]) -> [B, decoder's inputs]`; by default the code.
      joined: how many inputs that makes; by default K + Z.

    Raises:
      UserError: networks that don't fit each other, a word that is none, or a negative
        number.
    """

    encoder: Any
    decoder: Any
    posterior: Posterior
    likelihood: Likelihood
    shape: tuple[int, ...]
    classes: int = 0
    y_from: Literal["labels", "encoder"] = "labels"
    input_noise: float = 0.0
    join: Callable[[Variables, Array], Array] = lambda _, codes: codes
    joined: int | None = None

    def __post_init__(self) -> None:
        check_words(self)
        check_at_least(self, 0, "classes", "input_noise")
        object.__setattr__(self, "encoder", as_network(self.encoder))
        object.__setattr__(self, "decoder", as_network(self.decoder))
        outputs = self.posterior.encoder_outputs
        if self.y_from == "encoder":
            outputs += self.classes
        inputs = [self.shape]
        if self.posterior.kind == "universal":
            if not self.encoder.reads_noise:
                raise UserError(
                    f"encoder {self.encoder.name} takes no argument noise: a universal "
                    "posterior needs one; give it one, or take another posterior"
                )
            inputs.append((self.posterior.noise_inputs,))
        check_outputs(self.encoder, "encoder", inputs, (outputs,))
        check_outputs(self.decoder, "decoder", [(self.decoder_inputs,)], self.shape)
        if self.likelihood.of_counts and len(self.shape) != 1:
            raise UserError(
                f"a {self.likelihood.reconstruction} reconstruction is for vectors of "
                f"counts, not for examples of shape {list(self.shape)}"
            )

    @cached_property
    def _decoder(self) -> Network:
        """With the dispersions, where the likelihood has some."""
        if self.likelihood.reconstruction == "negative-binomial":
            return with_dispersions(self.decoder, self.shape[0])
        return self.decoder

    @property
    def decoder_inputs(self) -> int:
        """How many numbers the decoder reads of an example."""
        return self.joined or self.classes + self.posterior.latent

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What a phase reads that encodes and decodes the training batch."""
        image = self.image_input()
        if self.classes and self.y_from == "labels":
            return image, label_input(self.classes)
        return (image,)

    def image_input(self, prefix: str = "") -> Input:
        """The image of a batch, as this autoencoder takes it."""
        likelihood = self.likelihood
        return Input(
            name=f"{prefix}image",
            shape=self.shape,
            unit_range=likelihood.output == "sigmoid",
            missing=likelihood.missing,
            counts=likelihood.of_counts,
        )

    def init(self, key: Key) -> Variables:
        """Variables of both networks; the key is consumed."""
        encoder_key, decoder_key, noise_key = jax.random.split(key, 3)
        noise = self.posterior.noise(noise_key)[None]
        images, codes = jnp.zeros((1, *self.shape)), jnp.zeros((1, self.decoder_inputs))
        encoder_inputs = images, *self.posterior.encoder_noise(noise)
        return {
            "encoder": self.encoder.init(encoder_key, *encoder_inputs),
            "decoder": self._decoder.init(decoder_key, codes),
        }

    # In evaluation.

    def encoder_outputs(self, variables: Variables, images: Array, noise: Array) -> Array:
        """The encoder's outputs [B, ...], before they are a code."""
        images = self.likelihood.seen(images)
        inputs = images, *self.posterior.encoder_noise(noise)
        return self.encoder.evaluate(variables["encoder"], *inputs)

    def decoder_outputs(self, variables: Variables, codes: Array) -> Array:
        """The decoder's outputs [B, ...], before any sigmoid."""
        inputs = self.join(variables, codes)
        return self._decoder.evaluate(variables["decoder"], inputs)

    def code(
        self,
        variables: Variables,
        images: Array,
        noise: Array,
        labels: Array | None = None,
    ) -> Array:
        """A sample of q(y, z|x) for each image.

        Args:
          variables: of the networks.
          images: [B, ...].
          noise: [B, *posterior.noise(key).shape].
          labels: int32 [B], read by "labels" alone; where unknown (-1, or None) y is 0.

        Returns:
          float32 [B, K + Z].
        """
        return self.code_of(self.encoder_outputs(variables, images, noise), noise, labels)

    def encode(
        self, variables: Variables, images: Array, key: Key, labels: Array | None = None
    ) -> Array:
        """`Model.encode`: codes [B, K + Z] of images as they are; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        return self.code(variables, images, noise, labels)

    def classify(self, variables: Variables, images: Array, key: Key) -> Array:
        """`Model.classify`: q(y|x), [B, K]; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        outputs = self.encoder_outputs(variables, images, noise)
        return jax.nn.softmax(outputs[:, : self.classes])

    def decode(self, variables: Variables, codes: Array) -> Array:
        """`Model.decode`: codes [B, K + Z] -> images [B, ...]."""
        return self.likelihood.images(self.decoder_outputs(variables, codes))

    def error(self, variables: Variables, images: Array, codes: Array) -> Array:
        """`Model.error`: the reconstruction loss of each example, [B]."""
        return self.likelihood.error(self.decoder_outputs(variables, codes), images)

    def noise(self, key: Key, n: int) -> Array:
        """The posterior's noise of n examples, [n, ...]; the key is consumed."""
        return jax.vmap(self.posterior.noise)(jax.random.split(key, n))

    # In training: what is asked for, and the new state of the network.

    def train_encoder(
        self,
        variables: Variables,
        images: Array,
        noise: Array,
        draw: Draw,
        stream: str = "encoder",
    ) -> tuple[Array, States]:
        """`encoder_outputs` as in training; the stream is that of this pass's draws."""
        images = self.likelihood.seen(images)
        inputs = images, *self.posterior.encoder_noise(noise)
        outputs, state = self.encoder.train(
            variables["encoder"], *inputs, draw=draw, stream=stream
        )
        return outputs, {"encoder": state}

    def train_decoder(
        self, variables: Variables, codes: Array, draw: Draw
    ) -> tuple[Array, States]:
        """`decoder_outputs` as in training."""
        outputs, state = self._decoder.train(
            variables["decoder"], self.join(variables, codes), draw=draw, stream="decoder"
        )
        return outputs, {"decoder": state}

    def draw_code(
        self, variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, States]:
        """`code` of a training batch, with the noise of training."""
        images = self.noisy(batch["image"], draw)
        noise = draw("posterior", self.posterior.noise)
        outputs, states = self.train_encoder(variables, images, noise, draw)
        return self.code_of(outputs, noise, batch.get("label")), states

    def train_error(
        self, variables: Variables, images: Array, codes: Array, draw: Draw
    ) -> tuple[Array, States]:
        """The mean of `error` over a training batch, ()."""
        outputs, states = self.train_decoder(variables, codes, draw)
        return self.likelihood.error(outputs, images).mean(), states

    def reconstruction_phase(self, optimizer: optax.GradientTransformation) -> Phase:
        """Trains both networks on the error's mean over the batch."""

        def loss(
            variables: Variables, batch: Batch, draw: Draw
        ) -> tuple[Array, Metrics, States]:
            codes, encoded = self.draw_code(variables, batch, draw)
            error, decoded = self.train_error(variables, batch["image"], codes, draw)
            return error, {}, {**encoded, **decoded}

        networks = ("encoder", "decoder")
        return Phase("reconstruction", networks, loss, optimizer, self.inputs)

    # In both.

    def code_of(self, outputs: Array, noise: Array, labels: Array | None = None) -> Array:
        """`code` where the encoder's outputs are there already."""
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

    def noisy(self, images: Array, draw: Draw) -> Array:
        """Images [B, ...] as the encoder sees them in training."""
        if not self.input_noise:
            return images
        noise = draw("input", lambda key: jax.random.normal(key, self.shape))
        return images + self.input_noise * noise
