"""What a run is and what it can be asked for, in words."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from aaejax.ask.kinds import KINDS, NOTHING, Kind, kinds
from aaejax.ask.labels import listed
from aaejax.runs.reports.summary import (
    command,
    planned_steps,
    scores_at,
    sizes,
    train_arguments,
)
from aaejax.runs.trained import Trained
from aaejax.types import Model, printable

# Of words that make no arrays.
OTHERS = {
    "explore": "a page in the browser: click where to decode, sliders, pins",
    "export": "a folder to take elsewhere: weights, programs, a model card",
}


def describe(
    trained: Trained,
    ask: Sequence[str] = ("python", "sample.py"),
    network: str | Path | None = None,
) -> str:
    """Says what a run is, what it reached, and the command of each thing to ask it for.

    Args:
      trained: The trained model, from `restore`.
      ask: The words of the command that asks.
      network: The file of networks that each of these commands needs, where there is one.

    Returns:
      Some lines, with nothing in them but text.

    Raises:
      UserError: The file config.json is damaged, or of another aaejax.
    """
    config, data, model = trained.config, trained.data, trained.model
    shape = "x".join(map(str, data.spec.shape))
    name = config.get("model", "a model built by hand")
    lines = [
        f"{name} on {listed([str(config['data'].get('name', 'data without a name'))])}: "
        f"{shape}, {data.train:,} training and {data.test:,} held-out examples",
        f"step {trained.step} of {planned_steps(config)}"
        + (f", best at step {trained.best} (--step best)" if trained.best else ""),
    ]
    step, scores = scores_at(trained.history, trained.step)
    if scores:
        reached = [f"{name} {value:.4g}" for name, value in [*scores.items()][:12]]
        lines.append(f"held-out scores at step {step}: {', '.join(reached)}")
    networks = [f"{name} {size:,}" for name, size in sizes(trained.variables).items()]
    lines += [f"codes of {model.latent}; parameters: {', '.join(networks)}"]
    if data.class_names:
        lines.append(f"classes: {listed(data.class_names)}")
    words = train_arguments(config)
    if words is not None:
        lines.append(f"trained by: {command(['python', 'train.py', *words])}")
    lines += ["", "It can be asked for", ""]
    asked = {}
    for kind in [*kinds(model), *OTHERS]:
        more = ["--network", network] if network is not None else []
        if kind == "arithmetic":
            names = [*data.class_names[:2], "FOLDER", "FOLDER"]
            more += ["--plus", names[1], "--minus", names[0]]
        asked[kind] = command([*ask, trained.folder.path, kind, *more])
    width = max(map(len, asked.values()))
    for kind, line in asked.items():
        lines.append(f"    {line:{width}}  {_what(kind, model)}")
    return "\n".join(map(printable, lines))


def _what(kind: str, model: Model) -> str:
    """What a kind makes, and the options by which this model narrows it."""
    if kind not in KINDS:
        return OTHERS[kind]
    of_model = {"condition": model.conditions, "label": model.prior_classes}
    return KINDS[kind].what + _narrowed(KINDS[kind], [n for n in of_model if of_model[n]])


def _narrowed(kind: Kind, by: Iterable[str]) -> str:
    """The options of these by which a kind makes fewer."""
    words = {"condition": "one condition", "label": "one class"}
    found = [f", of {words[name]} with --{name}" for name in by if name in kind.reads]
    return "".join(found)


def listing() -> str:
    """Makes a line for each word of `sample.py`, for --help."""
    lines, needs = ["Kinds:", ""], NOTHING
    for name, kind in KINDS.items():
        if kind.needs != needs:
            needs = kind.needs
            lines.append(f"  with {needs.what}")
        narrowed = _narrowed(kind, ("label", "condition"))
        lines.append(f"    {name:20}{kind.what}{narrowed}")
    others = [f"    {name:20}{what}" for name, what in OTHERS.items()]
    return "\n".join([*lines, "", *others])
