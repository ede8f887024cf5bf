"""A network as a pair of pure functions, whatever it was written in.

    init(key, *inputs) -> variables
    apply(variables, *inputs, train, key, axis_name) -> (outputs, state)

`variables` is a dict: "params" is what an optimizer trains; every other collection, such as
batch statistics, is state. A pair is made from a Flax linen module, from a function that
makes a Flax nnx module (`from_nnx`), or from two functions of one's own.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from aaejax.components.checks import traced
from aaejax.networks.linen import is_told, linen_functions
from aaejax.types import Array, Draw, Key, NetworkState, NetworkVariables, UserError


@dataclass(frozen=True)
class Network:
    """A pair of pure functions.

    Attributes:
      init: `(key, *inputs) -> variables`; the key is consumed.
      apply: `(variables, *inputs, train, key, axis_name) -> (outputs, state)`. `train` says
        whether batch statistics and dropout are those of training. `key` is None in
        evaluation and else typed keys [B], one an example, which are the same however many
        devices share the batch. `axis_name` is the axis over which statistics of the batch
        are to be taken, None on one device. `state` is the new one, {} where there is none.
      same_in_training: Whether `apply` is the same function of each example alone in
        training as in evaluation, so that any two batches may share one pass.
      reads_noise: Whether it takes a second input.
      name: The name of what it was made from, for messages.
    """

    init: Callable[..., NetworkVariables]
    apply: Callable[..., tuple[Array, NetworkState]]
    same_in_training: bool = False
    reads_noise: bool = True
    name: str = "network"

    def train(
        self, variables: NetworkVariables, *inputs: Array, draw: Draw, stream: str
    ) -> tuple[Array, NetworkState]:
        """Runs the network as in training: outputs [B, ...] and the new state.

        Args:
          variables: The variables of this network.
          *inputs: The inputs, [B, ...] each.
          draw: The randomness of the phase.
          stream: The name of this pass's own draws.
        """
        if self.same_in_training:
            return self.evaluate(variables, *inputs), {}
        key = draw.keys(stream)
        return self.apply(variables, *inputs, train=True, key=key, axis_name=draw.axis_name)

    def evaluate(self, variables: NetworkVariables, *inputs: Array) -> Array:
        """Runs the network with running averages and without dropout: outputs [B, ...]."""
        return self.apply(variables, *inputs, train=False, key=None, axis_name=None)[0]


def as_network(given: Any) -> Network:
    """Makes a network of a Flax linen module, a pair of functions, or a network.

    Args:
      given: A `Network`; a linen module; or `(init, apply)`, where `apply` returns
        (outputs, state) and takes those of `train`, `key` and `axis_name` that it names.

    Raises:
      UserError: What is given is anything else.
    """
    if isinstance(given, Network):
        return given
    if isinstance(given, nn.Module):
        init, apply, same = linen_functions(given)
        reads_noise = "noise" in inspect.signature(type(given).__call__).parameters
        return Network(init, apply, same, reads_noise, type(given).__name__)
    if isinstance(given, nnx.Module):
        raise UserError(
            f"{type(given).__name__} is an nnx module that is made already: give "
            "networks.from_nnx(make), make(rngs) being the function that makes it"
        )
    if isinstance(given, Sequence) and len(given) == 2 and all(map(callable, given)):
        init, apply = given
        return Network(init, _tolerant(apply), name=getattr(apply, "__name__", "apply"))
    raise UserError(
        f"{type(given).__name__} is no network: give a Flax linen module, "
        "networks.from_nnx(make), or two functions (init, apply)"
    )


def one_output(given: Any) -> Network:
    """Makes a network that gives [B] of one that gives [B, 1], given as to `as_network`."""
    network = as_network(given)

    def apply(*args: Any, **kwargs: Any) -> tuple[Array, NetworkState]:
        outputs, state = network.apply(*args, **kwargs)
        return outputs[:, 0], state

    return replace(network, apply=apply)


def check_outputs(
    network: Network, role: str, inputs: Sequence[tuple[int, ...]], output: tuple[int, ...]
) -> None:
    """Checks by abstract evaluation that a network fits; nothing is computed.

    Args:
      network: The network to check.
      role: What it is called in the message.
      inputs: The shapes of one example of each input.
      output: The shape of one example of the output.

    Raises:
      UserError: The network can't be called so, or gives another shape, dtype or state.
    """
    given = [jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in inputs]
    shapes = " and ".join(f"[B{''.join(f', {n}' for n in shape)}]" for shape in inputs)
    wanted = f"[B{''.join(f', {n}' for n in output)}]"

    def both(key: Key, *inputs: Array):
        variables = network.init(key, *inputs)
        keys = jax.random.split(key, 2)
        evaluated = network.apply(variables, *inputs, train=False, key=None, axis_name=None)
        if network.same_in_training:
            return variables, evaluated, evaluated
        trained = network.apply(variables, *inputs, train=True, key=keys, axis_name=None)
        return variables, evaluated, trained

    with traced(f"{role} {network.name} can't be called on {shapes}", str(wanted)):
        variables, (outputs, _), (trained, state) = jax.eval_shape(
            both, jax.random.key(0), *given
        )
    if "params" not in variables:
        raise UserError(
            f"{role} {network.name}: init gave {sorted(variables)}: it must give a dict "
            'with "params"'
        )
    for made in (outputs, trained):
        if getattr(made, "shape", None) != (2, *output):
            found = getattr(made, "shape", type(made).__name__)
            raise UserError(
                f"{role} {network.name} gives {found} for a batch of 2 examples: "
                f"for {shapes} it must give {wanted}"
            )
        if made.dtype != jnp.float32:
            raise UserError(
                f"{role} {network.name} gives {made.dtype}: it must give float32"
            )
    kept = {name: variables[name] for name in variables if name != "params"}
    if state and jax.tree.structure(state) != jax.tree.structure(kept):
        raise UserError(
            f"{role} {network.name}: apply gave a state unlike the one of init: "
            f"it must have the collections {sorted(kept)} in the same structure"
        )


def _tolerant(apply: Callable) -> Callable[..., tuple[Array, NetworkState]]:
    """Makes a function that gives `apply` what it names of `train`, `key`, `axis_name`."""
    is_told(apply, getattr(apply, "__name__", "apply"))
    parameters = inspect.signature(apply).parameters.values()
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = {p.name for p in parameters}

    def called(variables: NetworkVariables, *inputs: Array, **how: Any):
        how = {name: how[name] for name in how if anything or name in named}
        made = apply(variables, *inputs, **how)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
            raise UserError(
                "the apply function of a network must return (outputs, state), the state "
                "a dict, {} where there is none"
            )
        return made

    return called
