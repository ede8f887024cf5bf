"""Which training examples are whose, where each host has data of its own (`--own-data`)."""

import dataclasses
import zlib
from dataclasses import dataclass
from functools import cached_property

from aaejax.data import Dataset
from aaejax.data.notes import listing
from aaejax.runs.config import RunConfig
from aaejax.runs.examples import data_spec
from aaejax.runs.hosts.agreement import Hosts
from aaejax.types import LABELLED, DataSpec, Model, UserError


@dataclass(frozen=True)
class Shares:
    """The facts that hosts say of their training data; the same on all but for `index`.

    Each block of a batch, B / S examples of S shares, is drawn from one share alone, so
    that no host needs what another has. Where all have the same data there is one share.

    Attributes:
      examples: The number of examples of each share.
      labelled: The number of these that have a label, of each share.
      index: The number of this host's share: 0, 1, ...
      spec: What a model has to know of all data.
      unseen: The classes of which no host has an example.
      test: The number of held-out examples of the first host, which scores.
      fingerprints: The fingerprint of the data of each share.
    """

    examples: tuple[int, ...]
    labelled: tuple[int, ...]
    index: int
    spec: DataSpec
    unseen: tuple[str, ...]
    test: int
    fingerprints: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig, dataset: Dataset, hosts: Hosts) -> "Shares":
        """Hears from the other hosts what data they have, where these are not the same.

        Raises:
          UserError: Hosts have data of their own, but not all of them, or data unlike each
            other's; or there is one host, or an option would need the data of all.
        """
        asked = hosts.agree(config.own_data)
        if any(asked) and not all(asked):
            raise UserError("--own-data is given on some hosts alone: give it on all")
        spec = data_spec(dataset)
        arrays = {"image": dataset.train_images, **dataset.train_beside.arrays}
        own = {
            "kinds": {name: f"{x.dtype} {list(x.shape[1:])}" for name, x in arrays.items()},
            "spec": dataclasses.asdict(spec),
            "examples": len(dataset.train_images),
            "unseen": dataset.unseen_classes(),
            "test": len(dataset.test_images),
            "fingerprint": dataset.fingerprint,
        }
        each = [own]
        if config.own_data:
            _check(config, hosts)
            each = hosts.agree(own)
            _check_kinds([said["kinds"] for said in each])
        specs = [said["spec"] for said in each]
        labelled = tuple(said["labelled"] for said in specs)
        # Classes that differ are refused by name, with the rest of config.json.
        whole = {
            "labelled": sum(labelled),
            "missing": any(said["missing"] for said in specs),
            **{
                name: all(said[name] for said in specs)
                for name in ("unit_range", "binary", "counts")
            },
        }
        return cls(
            examples=tuple(said["examples"] for said in each),
            labelled=labelled,
            index=hosts.index if config.own_data else 0,
            spec=dataclasses.replace(spec, **whole),
            unseen=tuple(
                name for name in own["unseen"] if all(name in x["unseen"] for x in each)
            ),
            test=each[0]["test"],
            fingerprints=tuple(said["fingerprint"] for said in each),
        )

    @cached_property
    def fingerprint(self) -> str:
        """8 hex digits that stand for the data of all shares, in their order."""
        if len(self.fingerprints) == 1:
            return self.fingerprints[0]
        return f"{zlib.crc32(' '.join(self.fingerprints).encode()):08x}"

    def steps_per_epoch(self, batch_size: int) -> int:
        """The number of steps in which the smallest share is seen once.

        Raises:
          UserError: A batch does not divide over the shares, or a share is smaller than its
            part of one.
        """
        smallest, shares = min(self.examples), len(self.examples)
        if batch_size % shares:
            raise UserError(
                f"a batch of {batch_size} does not divide over {shares} hosts: take a "
                f"--batch-size that is a multiple of {shares}"
            )
        if batch_size > smallest * shares:
            of = "training set" if shares == 1 else f"smallest of {shares} hosts' shares"
            raise UserError(
                f"a batch of {batch_size} is larger than the {of} of {smallest}"
                f"{' allows' * (shares > 1)}: take a --batch-size of at most "
                f"{smallest * shares}"
            )
        return smallest // (batch_size // shares)

    def check(self, model: Model, name: str) -> None:
        """Raises UserError where a model learns from labels that are not there.

        Args:
          model: The model that is to be trained.
          name: The name of the data, for messages.
        """
        if self.unseen and any(x.classes for phase in model.phases for x in phase.inputs):
            raise UserError(
                f"{name}: no training example has the class {listing(self.unseen)}, and "
                "the model learns from labels: add such examples, or leave that class out"
            )
        without = [str(index) for index, count in enumerate(self.labelled) if not count]
        if without and LABELLED in model.reads:
            raise UserError(
                f"--own-data: host {listing(without)} has no label, and the model reads "
                "labelled examples of each host: give some labels there too"
            )


def _check(config: RunConfig, hosts: Hosts) -> None:
    if hosts.count == 1:
        raise UserError("--own-data: there is one host, whose data are all: leave it out")
    for name in ("labels", "standardise"):
        if getattr(config, name) not in (None, False):
            raise UserError(
                f"--{name} with --own-data: it needs the data of all hosts at once; "
                "prepare the data so, and leave it out"
            )


def _check_kinds(each: list[dict[str, str]]) -> None:
    """Raises UserError where a host's arrays are of another shape or dtype."""
    for index, kinds in enumerate(each):
        if kinds != each[0]:
            raise UserError(
                f"--own-data: examples of host {index} are {_words(kinds)}, and of host 0 "
                f"{_words(each[0])}: make them alike"
            )


def _words(kinds: dict[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in kinds.items())
