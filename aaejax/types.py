"""The records that every other file speaks in.

Letters used for shapes everywhere: `B` examples of a batch, `Z` code size, `K` classes,
`...` the shape of one example (`[H, W, C]` for an image, `[F]` for a vector).
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol

import flax.struct
import jax
import numpy as np
import optax

Array = jax.Array | np.ndarray
Device = Any  # a `jax.Device`, which type checkers don't take for a type
Key = jax.Array  # a typed key, shape (), made by `jax.random.key`
Keys = jax.Array  # typed keys [B], one for each example of a batch
Params = Any  # a pytree of float32 arrays: what an optimizer trains of one network
# What one network is made of: "params", and beside them its state, such as batch
# statistics, in collections of any other name.
NetworkVariables = dict[str, Any]
Variables = Mapping[str, NetworkVariables]  # by network name
NetworkState = dict[str, Any]  # the collections of one network without its "params"
States = dict[str, NetworkState]  # by network name
Metrics = dict[str, Array]  # float32 scalars by name

# One minibatch: "image" float32 [B, ...] in [0, 1] (vectors: any finite values, and NaN for
# one that is not known where a model says that it reads such) and,
# where the data have labels, "label" int32 [B] with -1 for "unknown"; where they have such,
# "condition" float32 [B, C] and "weight" float32 [B], 0 or more. Phases that read further
# batches find them under a prefix: "labelled_image", ...
Batch = Mapping[str, Array]
LABELLED = "labelled_"  # prefix of a batch of labelled examples


def printable(text: object) -> str:
    r"""Makes one line of text from outside, which does nothing to a terminal.

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


def missing(what: str, extra: str, package: str, otherwise: str = "") -> UserError:
    """The error of what needs a package that is not installed.

    Args:
      what: needs it, such as "Parquet".
      extra: of aaejax, which brings it where aaejax is installed.
      package: which does so in a clone too.
      otherwise: what else can be done, such as "write a .csv".
    """
    return UserError(
        f"{what} needs {package}: pip install 'aaejax[{extra}]', or pip install {package}"
        f"{f', or {otherwise}' if otherwise else ''}"
    )


class Prior(Protocol):
    """p(z), a plain function; any function of this shape can take its place."""

    def __call__(self, key: Key, n: int, labels: Array | None = None, /) -> Array:
        """Draws codes.

        Args:
          key: A key, which is consumed.
          n: How many codes.
          labels: Classes, int32 [n]; where a label is 0 or more the code comes from that
            class's part of the prior, where it is -1 (or without labels) from all of it.

        Returns:
          The codes, float32 [n, Z].
        """
        ...


class Source(Protocol):
    """Examples that are read when they are asked for.

    It is asked by several threads at once. It may also have

    - `labels` [N], `conditions` [N, C] and `weights` [N], as of `aaejax.data.from_arrays`;
      those that it has not are read of every row once, at the start;
    - `identity`: a string that changes with the data; by default some rows stand for all;
    - `name_of(row) -> str`: of a row, in messages;
    - `workers`: how many threads it is asked by at most.
    """

    def __len__(self) -> int:
        """How many examples, N."""
        ...

    def __getitem__(self, rows: np.ndarray, /) -> Mapping[str, np.ndarray]:
        """Those of some row numbers.

        Args:
          rows: int [n], each in 0 ... N - 1.

        Returns:
          "image" [n, ...], as of `aaejax.data.from_arrays`, the same shape and dtype for
          every row; and perhaps "label" [n], "condition" [n, C] and "weight" [n].
        """
        ...


class Loss(Protocol):
    """What a phase minimises, as a function of the variables of all networks."""

    def __call__(
        self, variables: Variables, batch: Batch, draw: "Draw", /
    ) -> tuple[Array, Metrics, States]:
        """Computes the loss, and what else is found on the way.

        Returns:
          The mean loss over the batch, shape (); named float32 scalars; and the new states
          of networks that have one, by name ({} where none has).
        """
        ...


class Draw(Protocol):
    """The randomness of one phase of one step, and the devices that take part in it.

    Attributes:
      axis_name: the axis over devices, None on one device.
    """

    axis_name: str | None

    def __call__(self, name: str, sampler: Callable[..., Array], *args: Array) -> Array:
        """Calls `sampler(key, *one_example_of_each_arg)` for every example of the batch.

        Each name is a stream of its own. The key of an example depends on its position in
        the global batch alone, so the noise is the same on one device and on eight.

        Returns:
          The samplers' results, stacked, [B, ...].
        """
        ...

    def keys(self, name: str) -> Keys:
        """The keys of that stream, [B]."""
        ...

    def gather(self, x: Array) -> Array:
        """Gathers [B, ...] of a device's examples to those of the global batch, on each.

        It is for losses that are no mean over examples, as a distance between samples is.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Input:
    """An array that a phase reads from its batch.

    Attributes:
      name: The key of the array in the batch.
      shape: The shape of one example.
      classes: K of a label, an integer in 0 ... K - 1; None where the array is float32.
      unknown: Whether a label may be -1, for "unknown", too.
      unit_range: Whether all values lie in [0, 1].
      missing: Whether a value may be NaN, which is one that is not known.
      counts: Whether all values are counts, whole numbers from 0 on.
      weights: Whether they are weights of examples, 0 or more.
    """

    name: str
    shape: tuple[int, ...] = ()
    classes: int | None = None
    unknown: bool = True
    unit_range: bool = False
    missing: bool = False
    counts: bool = False
    weights: bool = False


@dataclass(frozen=True)
class Phase:
    """A loss, the networks that it trains, and an optimizer.

    Phases of one name (a discriminator's k steps) share the state of the optimizer, so they
    train the same networks with the same optimizer.

    Attributes:
      name: The name of the phase, which its metrics and its optimizer's state bear.
      trains: The names of the networks that it trains; it touches no other network's
        parameters or state.
      loss: What it minimises.
      optimizer: What turns gradients into updates.
      inputs: The arrays of a batch that the loss reads, checked when a step is traced.
      stream: Which stream of noise it draws from: 0, 1, ... of phases of one name.
    """

    name: str
    trains: tuple[str, ...]
    loss: Loss
    _: KW_ONLY
    optimizer: optax.GradientTransformation
    inputs: tuple[Input, ...] = ()
    stream: int = 0

    def __repr__(self) -> str:
        """One line, without its functions."""
        trains = ", ".join(self.trains)
        reads = ", ".join(each.name for each in self.inputs) or "nothing by name"
        return f"<phase {self.name}: trains {trains}, reads {reads}>"


def no_encoder(*_: object) -> Array:
    """Stands for `Model.encode` and `Model.error` of a model that can't encode."""
    raise UserError("this model has no encoder")


@dataclass(frozen=True, kw_only=True)
class Model:
    """Networks, a prior and an ordered list of phases, and what the result can do.

    Functions whose first argument is `variables` read those of all networks, and run them
    as in evaluation: with running averages, without dropout. The first five fields are
    needed; the others say what else the model can be asked for, and what it can't is
    refused.

    Attributes:
      init: `(key) -> variables` makes the variables of all networks; the key is consumed.
      phases: The phases of a step, in order.
      prior: `(variables, key, n, labels [n] or None) -> codes [n, Z]` draws codes, as
        `Prior`; the variables are read where p(z) is learned.
      latent: Z, the size of the whole code: a class's one-hot part is in it.
      decode: `(variables, codes [B, Z]) -> images [B, ...]`, in [0, 1] unless the output is
        linear; counts per 10,000 where examples are counts.
      encode: `(variables, images [B, ...], key, labels [B] or None) -> codes [B, Z]`; the
        key is consumed, or unused where q(z|x) is deterministic; labels are read where the
        code has them in it (supervised). By default the model has no encoder. Here and
        below, where the model has conditions these stand in the place of labels:
        float32 [B, C], none of them unknown.
      error: `(variables, images [B, ...], codes [B, Z]) -> errors [B]` gives the
        reconstruction loss of each example, in nats.
      log_weights: `(variables, images [B, ...], key, labels [B] or None) -> weights [B]`
        gives log p(x, z) - log q(z|x) of one z for each image, in nats; None where the
        model has no such densities.
      log_likelihood: `(variables, images [B, ...], labels [B] or None) -> densities [B]`
        gives log p(x) itself, in nats; None where it can't be computed.
      complete: `(variables, codes [B, Z], images [B, ...], rows) -> images [B, H, W, C]`
        decodes, but keeps the first rows of the images; None where the model does not make
        an image row by row.
      classify: `(variables, images [B, ...], key) -> probabilities [B, K]` gives q(y|x);
        None where the encoder has no such head.
      classes: K where a code is [one-hot class, style]; 0 where it is a style alone.
      prior_classes: K where the prior can be asked for a class; 0 for as many as `classes`.
      conditions: C where a code is [condition, style], of real numbers that are given, to
        the prior too; 0 for none.
      represent: `(variables, codes [B, Z]) -> [B, n]` gives what stands for a code where it
        is looked at; None where that is the code itself.
      plane: `(variables, codes [B, Z]) -> [B, 2]` gives where codes are drawn; None for
        what stands for them, where that has two dimensions.
    """

    init: Callable[[Key], Variables]
    phases: tuple[Phase, ...]
    prior: Callable[..., Array]
    latent: int
    decode: Callable[[Variables, Array], Array]
    encode: Callable[..., Array] = no_encoder
    error: Callable[[Variables, Array, Array], Array] = no_encoder
    log_weights: Callable[..., Array] | None = None
    log_likelihood: Callable[..., Array] | None = None
    complete: Callable[[Variables, Array, Array, int], Array] | None = None
    classify: Callable[[Variables, Array, Key], Array] | None = None
    classes: int = 0
    prior_classes: int = 0
    conditions: int = 0
    represent: Callable[[Variables, Array], Array] | None = None
    plane: Callable[[Variables, Array], Array] | None = None

    def __post_init__(self) -> None:
        if not self.prior_classes:
            object.__setattr__(self, "prior_classes", self.classes)

    @property
    def front(self) -> int:
        """How many numbers of a code stand in front of its style."""
        return self.classes or self.conditions

    def told(self, labels: Any, condition: Any) -> Any:
        """Which of the two it is told of examples: their condition where it has one."""
        return condition if self.conditions else labels

    @property
    def encodes(self) -> bool:
        """Whether it has an encoder."""
        return self.encode is not no_encoder

    @property
    def counts(self) -> bool:
        """Whether its examples are counts, whole numbers from 0 on."""
        return any(each.counts for phase in self.phases for each in phase.inputs)

    @property
    def reads(self) -> tuple[str, ...]:
        """The prefixes of the batches of a step, from what its phases read.

        "" is the training batch, `LABELLED` one of labelled examples, any other a further
        training batch in an order of its own.
        """
        names = [each.name for phase in self.phases for each in phase.inputs]
        prefixes = [
            name.removesuffix(word)
            for name in names
            for word in ("image", "label")
            if name.endswith(word)
        ]
        return tuple(dict.fromkeys(["", *prefixes]))

    def __repr__(self) -> str:
        """One line, without its functions."""
        phases = ", ".join(dict.fromkeys(phase.name for phase in self.phases))
        return f"<model with codes of {self.latent}, phases {phases}>"

    def in_plane(self, variables: Variables, codes: Array) -> Array | None:
        """Codes [B, Z] as they are drawn, [B, 2]; None where there is no plane for them."""
        if self.plane is not None:
            return self.plane(variables, codes)
        if self.conditions:
            return None
        shown = codes if self.represent is None else self.represent(variables, codes)
        return shown if shown.shape[1] == 2 else None


@flax.struct.dataclass
class TrainState:
    """All that changes while training: no functions and no key.

    Attributes:
      step: How many steps are done, int32 ().
      params: The parameters, by network name.
      network_state: Batch statistics and the like, by network name; {} of a network that
        has parameters only.
      opt_state: The states of the optimizers, by phase name.
      ema: The exponential moving average of the parameters (an `optax.EmaState`), or None.
    """

    step: Array
    params: dict[str, Params]
    network_state: States
    opt_state: dict[str, Any]
    ema: Any = None

    def __repr__(self) -> str:
        """One line, without its arrays."""
        sizes = [
            f"{name} of {sum(x.size for x in jax.tree.leaves(params))} parameters"
            for name, params in self.params.items()
        ]
        return f"<state at step {self.step}: {', '.join(sizes)}>"

    @property
    def variables(self) -> Variables:
        """The parameters and the state of each network, by name."""
        return {
            name: {"params": params, **self.network_state[name]}
            for name, params in self.params.items()
        }


# (state, batch, key) -> (state, metrics); the key is the run's, the same at every step
Step = Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know of its data."""

    shape: tuple[int, ...]  # of one example: [H, W, C], or [F] for vectors
    classes: int  # K; 0 without labels
    unit_range: bool  # all values in [0, 1], as in every image
    labelled: int = 0  # training examples whose label is known
    missing: bool = False  # whether values may be NaN, which is one that is not known
    binary: bool = False  # whether each value is a bit, as by --binarize
    counts: bool = False  # of vectors: whether all are counts, whole numbers from 0 on
    conditions: int = 0  # C, numbers of the condition of an example; 0 for none
    weighted: bool = False  # whether each example has a weight
