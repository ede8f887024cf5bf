"""Encoder, decoder and the code between them: the half that all models here share.

A code is [y, z]: K class probabilities, where a model has them, then Z style dimensions.

    classes 0             code = z                       aae, label-regularized
    y_from "labels"       code = [one-hot label, z]      supervised (figure 6)
    y_from "condition"    code = [condition, z]          the same, of real numbers
    y_from "encoder"      code = [softmax head, z]       semi-supervised, ... (figure 8)
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from aaejax.components.checks import check_at_least, check_words
from aaejax.components.inputs import (
    condition_input,
    label_input,
    unweighted,
    weight_input,
    weighted_mean,
)
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
)


@dataclass(frozen=True)
class Autoencoder:
    """The networks "encoder" and "decoder", and how they encode and decode.

    Attributes:
      encoder: The network `(images [B, ...]) -> [B, outputs]`, with the universal posterior
        `(images, noise [B, N])`. Its outputs are K logits of y, where y comes from the
        encoder, then the posterior's `encoder_outputs`. It may be anything that
        `networks.as_network` takes, as may the decoder.
      decoder: The network `(codes [B, K + Z]) -> [B, ...]`, before any sigmoid.
      posterior: The posterior q(z|x).
      likelihood: The likelihood p(x|z).
      shape: The shape of one example.
      classes: K, the number of classes, or of a condition's numbers, in front of a code; 0
        for none.
      y_from: Where the K numbers come from: the "labels", the "encoder", or the "condition"
        of the batch, which then stands wherever labels are spoken of.
      weighted: Whether means over a training batch are taken by the weights of its
        examples.
      input_noise: The standard deviation of Gaussian noise that is added to the encoder's
        input, in training alone (appendix A.2.1).
      join: `(variables, codes [B, K + Z]) -> [B, joined]` makes what the decoder reads of a
        code; by default it reads the code.
      joined: How many numbers `join` makes; None for K + Z.

    Raises:
      UserError: The networks don't fit, a word is none of those allowed, or a number is
        negative.
    """

    encoder: Any
    decoder: Any
    _: KW_ONLY
    posterior: Posterior
    likelihood: Likelihood
    shape: tuple[int, ...]
    classes: int = 0
    y_from: Literal["labels", "encoder", "condition"] = "labels"
    weighted: bool = False
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
        """The decoder, with dispersions where the likelihood has some."""
        shape = self.likelihood.dispersions(self.shape)
        return self.decoder if shape is None else with_dispersions(self.decoder, shape)

    @property
    def decoder_inputs(self) -> int:
        """How many numbers of an example the decoder reads."""
        return self.joined or self.classes + self.posterior.latent

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The arrays of a batch that a phase reads which encodes and decodes it."""
        read = [self.image_input()]
        if self.classes and self.y_from == "labels":
            read.append(label_input(self.classes))
        if self.conditions:
            read.append(condition_input(self.conditions))
        return (*read, *[weight_input()] * self.weighted)

    @property
    def conditions(self) -> int:
        """How many numbers in front of a code are those of a condition."""
        return self.classes if self.y_from == "condition" else 0

    @property
    def in_front(self) -> dict[str, Any]:
        """What is in front of a code: {"classes": K} or {"conditions": C}, for `Model`."""
        word = "conditions" if self.conditions else "classes"
        return {word: self.classes}

    def image_input(self, prefix: str = "") -> Input:
        """The image of a batch, as this autoencoder reads it, under a prefix."""
        likelihood = self.likelihood
        return Input(
            name=f"{prefix}image",
            shape=self.shape,
            unit_range=likelihood.output == "sigmoid",
            missing=likelihood.missing,
            counts=likelihood.of_counts,
        )

    def init(self, key: Key) -> Variables:
        """Makes the variables of both networks, by name; the key is consumed."""
        encoder_key, decoder_key, noise_key = jax.random.split(key, 3)
        noise = self.posterior.noise(noise_key)[None]
        images, codes = jnp.zeros((1, *self.shape)), jnp.zeros((1, self.decoder_inputs))
        encoder_inputs = images, *self.posterior.encoder_noise(noise)
        return {
            "encoder": self.encoder.init(encoder_key, *encoder_inputs),
            "decoder": self._decoder.init(decoder_key, codes),
        }

    def check_given(self, model: str) -> None:
        """Raises UserError where y comes from the encoder, which nothing teaches it."""
        if self.classes and self.y_from == "encoder":
            raise UserError(
                f"{model} has nothing that teaches its encoder a class: take y from the "
                "labels or the condition, or a semi_supervised"
            )

    def check_without_class(self, model: str) -> None:
        """Raises UserError where a class or condition stands beside the code."""
        if self.classes:
            raise UserError(
                f"{model} has no class beside its code, and the autoencoder has "
                f"{self.classes}: give one with classes=0"
            )

    # In evaluation.

    def encoder_outputs(self, variables: Variables, images: Array, noise: Array) -> Array:
        """The encoder's outputs [B, outputs] for images and noise, both as in `code`."""
        images = self.likelihood.seen(images)
        inputs = images, *self.posterior.encoder_noise(noise)
        return self.encoder.evaluate(variables["encoder"], *inputs)

    def decoder_outputs(self, variables: Variables, codes: Array) -> Array:
        """The decoder's outputs [B, ...] for codes [B, K + Z], before any sigmoid."""
        inputs = self.join(variables, codes)
        return self._decoder.evaluate(variables["decoder"], inputs)

    def code(
        self,
        variables: Variables,
        images: Array,
        noise: Array,
        labels: Array | None = None,
    ) -> Array:
        """Draws a code from q(y, z|x) for each image.

        Args:
          variables: The variables of the networks, by name.
          images: The images, float32 [B, ...].
          noise: Standard normal noise, [B, *posterior.noise(key).shape].
          labels: The classes, int32 [B], which are read where y comes from "labels"; where
            one is unknown (-1, or None) y is 0.

        Returns:
          The codes, float32 [B, K + Z].
        """
        return self.code_of(self.encoder_outputs(variables, images, noise), noise, labels)

    def encode(
        self, variables: Variables, images: Array, key: Key, labels: Array | None = None
    ) -> Array:
        """Encodes images [B, ...] to [B, K + Z], as `Model.encode`; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        return self.code(variables, images, noise, labels)

    def classify(self, variables: Variables, images: Array, key: Key) -> Array:
        """Gives q(y|x) [B, K] of images, as `Model.classify`; the key is consumed."""
        noise = self.noise(key, images.shape[0])
        outputs = self.encoder_outputs(variables, images, noise)
        return jax.nn.softmax(outputs[:, : self.classes])

    def decode(self, variables: Variables, codes: Array) -> Array:
        """Decodes codes [B, K + Z] to images [B, ...], as `Model.decode`."""
        return self.likelihood.images(self.decoder_outputs(variables, codes))

    def error(self, variables: Variables, images: Array, codes: Array) -> Array:
        """The reconstruction loss of each example, [B], in nats, as `Model.error`."""
        return self.likelihood.error(self.decoder_outputs(variables, codes), images)

    def noise(self, key: Key, n: int) -> Array:
        """Draws the posterior's noise of n examples, [n, ...]; the key is consumed."""
        return jax.vmap(self.posterior.noise)(jax.random.split(key, n))

    # In training: what is asked for, and the new state of the network.

    def train_encoder_outputs(
        self,
        variables: Variables,
        images: Array,
        noise: Array,
        draw: Draw,
        stream: str = "encoder",
    ) -> tuple[Array, States]:
        """Gives `encoder_outputs` as in training, and the encoder's new state.

        Args:
          variables: The variables of the networks, by name.
          images: What the encoder reads of images, float32 [B, ...], as `seen` makes it.
          noise: Standard normal noise, as in `code`.
          draw: The randomness of the step.
          stream: The name of this pass, whose dropout is then unlike that of others.
        """
        inputs = images, *self.posterior.encoder_noise(noise)
        outputs, state = self.encoder.train(
            variables["encoder"], *inputs, draw=draw, stream=stream
        )
        return outputs, {"encoder": state}

    def train_decoder(
        self, variables: Variables, codes: Array, draw: Draw
    ) -> tuple[Array, States]:
        """Gives `decoder_outputs` as in training, and the decoder's new state."""
        outputs, state = self._decoder.train(
            variables["decoder"], self.join(variables, codes), draw=draw, stream="decoder"
        )
        return outputs, {"decoder": state}

    def draw_code(
        self, variables: Variables, batch: Batch, draw: Draw
    ) -> tuple[Array, States]:
        """Draws codes [B, K + Z] of a training batch, and gives the encoder's new state."""
        images = self.seen(batch["image"], draw)
        noise = draw("posterior", self.posterior.noise)
        outputs, states = self.train_encoder_outputs(variables, images, noise, draw)
        return self.code_of(outputs, noise, self.told(batch)), states

    def draw_evaluated(
        self, variables: Variables, batch: Batch, draw: Draw, stream: str = "posterior"
    ) -> Array:
        """Draws codes [B, K + Z] of a training batch as in evaluation, by `code`.

        The stream is the name of the draw of their noise.
        """
        noise = draw(stream, self.posterior.noise)
        return self.code(variables, batch["image"], noise, self.told(batch))

    def told(self, batch: Batch) -> Array | None:
        """What `code` takes as labels of a training batch: its labels or its conditions."""
        return batch["condition"] if self.conditions else batch.get("label")

    def mean(self, each: Array, batch: Batch, draw: Draw, prefix: str = "") -> Array:
        """The mean over a training batch, (), of one number for each example, [B]."""
        mean = weighted_mean if self.weighted else unweighted
        return mean(each, batch, draw, prefix)

    def train_error(
        self, variables: Variables, batch: Batch, codes: Array, draw: Draw
    ) -> tuple[Array, States]:
        """The mean of `error` over a training batch, (), and the decoder's new state."""
        outputs, states = self.train_decoder(variables, codes, draw)
        each = self.likelihood.error(outputs, batch["image"])
        return self.mean(each, batch, draw), states

    def stop_at_class(self, codes: Array) -> Array:
        """The same codes [B, K + Z], with no gradient through y."""
        y = jax.lax.stop_gradient(codes[:, : self.classes])
        return jnp.concatenate([y, codes[:, self.classes :]], axis=1)

    def reconstruction_phase(
        self,
        optimizer: optax.GradientTransformation,
        *,
        stop_class_gradient: bool = False,
    ) -> Phase:
        """Makes the phase that trains both networks on the mean error of a batch.

        Args:
          optimizer: The optimizer of both.
          stop_class_gradient: Whether no gradient goes through y, but through z alone.
        """

        def loss(
            variables: Variables, batch: Batch, draw: Draw
        ) -> tuple[Array, Metrics, States]:
            codes, encoded = self.draw_code(variables, batch, draw)
            if stop_class_gradient:
                codes = self.stop_at_class(codes)
            error, decoded = self.train_error(variables, batch, codes, draw)
            return error, {}, {**encoded, **decoded}

        networks = ("encoder", "decoder")
        return Phase(
            "reconstruction", networks, loss, optimizer=optimizer, inputs=self.inputs
        )

    # In both.

    def code_of(self, outputs: Array, noise: Array, labels: Array | None = None) -> Array:
        """Draws codes as `code` does, from encoder outputs that are there already."""
        if not self.classes:
            return self.posterior.code(outputs, noise)
        if self.y_from == "encoder":
            logits, outputs = jnp.split(outputs, [self.classes], axis=1)
            y = jax.nn.softmax(logits)
        elif self.conditions:
            if labels is None:
                raise UserError(f"a code has a condition of {self.conditions}: give one")
            y = labels
        elif labels is None:
            y = jnp.zeros((outputs.shape[0], self.classes))
        else:
            y = jax.nn.one_hot(labels, self.classes)
        return jnp.concatenate([y, self.posterior.code(outputs, noise)], axis=1)

    def seen(self, images: Array, draw: Draw) -> Array:
        """What the encoder reads of images [B, ...] in training, with the input noise.

        It is added to what `Likelihood.seen` makes of them, and to no missing value.
        """
        read = self.likelihood.seen(images)
        if not self.input_noise:
            return read
        noise = draw("input", lambda key: jax.random.normal(key, self.shape))
        if self.likelihood.missing:
            noise = jnp.where(jnp.isnan(images), 0.0, noise)
        return read + self.input_noise * noise
