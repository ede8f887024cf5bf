"""The records that every other file speaks in.

Letters used for shapes everywhere: `B` examples of a batch, `Z` code size, `K` classes,
`...` the shape of one example (`[H, W, C]` for an image, `[F]` for a vector).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, get_args, get_origin

import flax.struct
import jax
import numpy as np
import optax

Array = jax.Array | np.ndarray
Device = Any  # a `jax.Device`, which type checkers don't take for a type
Key = jax.Array  # a typed key, shape (), made by `jax.random.key`
Params = Any  # a pytree of float32 arrays: the parameters of one network
Networks = dict[str, Params]  # parameters by network name
Metrics = dict[str, Array]  # float32 scalars by name

# One minibatch: "image" float32 [B, ...] in [0, 1] (vectors: any finite values) and,
# where the data have labels, "label" int32 [B] with -1 for "unknown". Models that ask for
# further batches (`Model.reads`) find them under a prefix: "labelled_image", ...
Batch = Mapping[str, Array]


def printable(text: object) -> str:
    r"""Text from outside as one line that does nothing to a terminal.

    Line breaks become spaces; other characters that are not seen (control characters,
    marks that turn the direction of writing, bytes that are no text) become escapes such
    as `\x1b`.
    """
    line = " ".join(str(text).splitlines())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class UserError(ValueError):
    """A mistake that the user can mend; its message is one line that says how."""

    def __init__(self, message: str):
        super().__init__(printable(message))


def check_choices(options: Any) -> None:
    """Raises UserError where a field of a dataclass has none of its Literal's values."""
    for each in fields(options):
        known, value = get_args(each.type), getattr(options, each.name)
        if get_origin(each.type) is Literal and value not in known:
            raise UserError(f"{each.name} is {value!r}: it must be one of {known}")


class Prior(Protocol):
    """p(z), a plain function; any function of this shape can take its place."""

    def __call__(self, key: Key, n: int, labels: Array | None = None, /) -> Array:
        """Draws codes.

        Args:
          key: consumed.
          n: how many codes.
          labels: int32 [n]; where a label is 0 or more the code comes from that class's
            part of the prior, where it is -1 (or without labels) from all of it.

        Returns:
          float32 [n, Z].
        """
        ...


class Loss(Protocol):
    """What a phase minimises, as a function of the parameters of all networks."""

    def __call__(
        self, networks: Networks, batch: Batch, draw: "Draw", /
    ) -> tuple[Array, Metrics]:
        """Returns the mean loss over the batch, shape (), and named float32 scalars."""
        ...


class Draw(Protocol):
    """The randomness of one phase of one step."""

    def __call__(self, name: str, sampler: Callable[..., Array], *args: Array) -> Array:
        """`sampler(key, *one_example_of_each_arg)` for every example of the batch.

        Each name is a stream of its own. The key of an example depends on its position in
        the global batch alone, so the noise is the same on one device and on eight.

        Returns:
          [B, ...]: the samplers' results, stacked.
        """
        ...

    def gather(self, x: Array) -> Array:
        """[B, ...] of one device's examples -> those of the global batch, on every device.

        For losses that are no mean over examples, as a distance between two samples is.
        """
        ...


@dataclass(frozen=True)
class Phase:
    """A loss, the networks that it trains, and an optimizer.

    Phases of one name (a discriminator's k steps) share the state of the optimizer.
    """

    name: str
    trains: tuple[str, ...]  # no other network is touched
    loss: Loss
    optimizer: optax.GradientTransformation


def no_encoder(*_: object) -> Array:
    """`Model.encode` and `Model.error` of a model that can't encode."""
    raise UserError("this model has no encoder")


LABELLED = "labelled_"  # prefix of a batch of labelled examples


@dataclass(frozen=True)
class Model:
    """Networks, a prior and an ordered list of phases, and what the result can do."""

    # (key) -> the parameters of all networks; the key is consumed
    init: Callable[[Key], Networks]
    phases: tuple[Phase, ...]
    # (networks, key, n, labels [n] or None) -> codes [n, Z], as `Prior`; the networks are
    # read where p(z) is learned
    prior: Callable[..., Array]
    latent: int  # Z, of the whole code: a class's one-hot part is in it
    # (networks, codes [B, Z]) -> images [B, ...], in [0, 1] unless the output is linear
    decode: Callable[[Networks, Array], Array]
    # (networks, images [B, ...], key, labels [B] or None) -> codes [B, Z]; the key is
    # consumed, or unused where q(z|x) is deterministic; labels are read where the code has
    # them in it (supervised)
    encode: Callable[..., Array] = no_encoder
    # (networks, images [B, ...], codes [B, Z]) -> reconstruction loss of each example [B]
    error: Callable[[Networks, Array, Array], Array] = no_encoder
    # (networks, images [B, ...], key, labels [B] or None) -> log p(x, z) - log q(z|x) of
    # one z for each image, [B], nats, where the model has these densities
    log_weights: Callable[..., Array] | None = None
    # K where a code is [one-hot class, style]; 0 where it is a style alone
    classes: int = 0
    # K where a label given to `prior` is seen in the image
    labels: int = 0
    # (networks, images [B, ...], key) -> q(y|x) [B, K], where the encoder has that head
    classify: Callable[[Networks, Array, Key], Array] | None = None
    # prefixes of the batches of a step: "" the training batch, LABELLED one of labelled
    # examples, any other a further training batch in an order of its own
    reads: tuple[str, ...] = ("",)
    # (networks, codes [B, Z]) -> [B, represented]: what to look at, where not the code
    represent: Callable[[Networks, Array], Array] = lambda _, codes: codes
    represented: int | None = None  # by default Z
    # [represented, 2]: how that is drawn, where it has not two dimensions of its own
    projection: np.ndarray | None = None

    @property
    def encodes(self) -> bool:
        """Whether it has an encoder."""
        return self.encode is not no_encoder

    def in_plane(self, networks: Networks, codes: Array) -> Array | None:
        """Codes [B, Z] as they are drawn, [B, 2]; None where there is no plane for them."""
        represented = self.represent(networks, codes)
        if self.projection is not None:
            return represented @ self.projection
        return represented if represented.shape[1] == 2 else None


@flax.struct.dataclass
class TrainState:
    """All that changes while training: no functions and no key."""

    step: Array  # int32 (): steps done
    params: Networks  # by network name
    opt_state: dict[str, Any]  # by phase name


# (state, batch, key) -> (state, metrics); the key is the run's, the same at every step
Step = Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know of its data."""

    shape: tuple[int, ...]  # of one example: [H, W, C], or [F] for vectors
    classes: int  # K; 0 without labels
    unit_range: bool  # all values in [0, 1], as in every image
    labelled: int = 0  # training examples whose label is known
