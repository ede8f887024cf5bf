"""The tables of all options, from the dataclasses that `train.py` reads and their texts.

    python docs/make_options.py        # prints the page that the site has as "Options"

The text of an option is the string under its field, its values are those of its type.
"""

import ast
import dataclasses
import inspect
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from aaejax import models
from aaejax.models._optimizers import Optimizer
from aaejax.runs.compile_cache import CompileCache
from aaejax.runs.config import RunConfig
from aaejax.runs.hosts import HostOptions

INTRODUCTION = """\
# Options

This page is made from the code: `python train.py MODEL --help` prints the same texts, with
the defaults of that model. An option of an optimizer is written with the optimizer's name
before it: `--generator-optimizer.learning-rate 1e-4`. Which idea or paper an option comes
from stands in [recipes](recipes.md#where-the-options-come-from).
"""


def field_texts(cls: type) -> dict[str, str]:
    """The string under each field that a class itself defines."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    texts, name = {}, None
    for line in body.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            name = line.target.id
            texts[name] = ""
        elif isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and name:
            texts[name], name = inspect.cleandoc(line.value.value), None
        else:
            name = None
    return texts


def bases(cls: type) -> list[type]:
    """Its classes of options, the most general first, itself last."""
    return [base for base in reversed(cls.__mro__) if dataclasses.is_dataclass(base)]


def flag(hint: Any, name: str) -> str:
    """The option of a field: its own name unless tyro is told another."""
    told = [each.name for each in getattr(hint, "__metadata__", ()) if each.name]
    return told[0] if told else name.replace("_", "-")


def values(hint: Any) -> str:
    """The values that an option takes."""
    if typing.get_origin(hint) is typing.Annotated:
        return values(typing.get_args(hint)[0])
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{word}`" for word in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        each = typing.get_args(hint)[0]
        named = values(each) if typing.get_args(each) else f"`{each.__name__}`"
        return f"any number of {named}"
    if typing.get_args(hint):  # `X | None`
        return " or ".join(values(each) for each in typing.get_args(hint))
    if hint is type(None):
        return "none"
    return {bool: "on or off", Path: "a path", str: "text"}.get(hint, f"`{hint.__name__}`")


def default(field: dataclasses.Field) -> str:
    """The default as a table shows it."""
    made = field.default
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
    if isinstance(made, Optimizer):
        changed = [
            f"{each.name.replace('_', '-')} {getattr(made, each.name)}"
            for each in dataclasses.fields(made)
            if getattr(made, each.name) != each.default
        ]
        return ", ".join(changed) or "as below"
    if made is None or made == ():
        return "none"
    if isinstance(made, bool):
        return "on" if made else "off"
    return f"`{made}`" if made is not dataclasses.MISSING else ""


def table(cls: type) -> str:
    """One row for each field that a class itself defines."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    own = [name for name in field_texts(cls) if fields[name].init]
    if not own:
        return ""
    rows = ["| option | default | values | meaning |", "|---|---|---|---|"]
    for name in own:
        option = f"`--{flag(hints[name], name)}`"
        text = " ".join(inherited_text(cls, name).split()).replace("<", "&lt;")
        kind = values(hints[name])
        if hints[name] is Optimizer:
            option = f"`--{name.replace('_', '-')}.*`"
            kind = "[an optimizer](#an-optimizer)"
            text = text or f"Of the phase `{name.removesuffix('_optimizer')}`."
        cells = (option, default(fields[name]), kind, text)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def inherited_text(cls: type, name: str) -> str:
    """The text of a field: where a class only changes the default, that of its base."""
    for base in reversed(bases(cls)):
        text = field_texts(base).get(name)
        if text:
            return text
    return ""


def section(title: str, cls: type, note: str = "") -> str:
    """A heading, the docstring of the class, where it stands, and its table."""
    file = f"{cls.__module__.replace('.', '/')}.py"
    where = f"Defined in `{file}`, class `{cls.__name__}`."
    texts = " ".join(part for part in (inspect.getdoc(cls) or "", note, where) if part)
    return f"## {title}\n\n{texts}\n\n{table(cls)}"


def page() -> str:
    """The whole page, Markdown."""
    chosen = {name: models.options(name) for name in models.NAMES}
    own = set(chosen.values())
    shared: dict[type, list[str]] = {}
    for name, cls in chosen.items():
        for base in bases(cls):
            if base not in own:
                shared.setdefault(base, []).append(name)
    parts = [
        INTRODUCTION,
        section("A run", RunConfig),
        section("Several hosts", HostOptions),
        section("Compiled programs", CompileCache),
        section("An optimizer", Optimizer),
    ]
    for cls, names in sorted(shared.items(), key=lambda item: -len(item[1])):
        listed = ", ".join(f"`{name}`" for name in names)
        who = "all" if len(names) == len(chosen) else listed
        if field_texts(cls):
            title = cls.__name__.removesuffix("Options")
            parts.append(section(f"Shared: {title}", cls, f"Models: {who}."))
    for name, cls in chosen.items():
        inherits = [
            base.__name__.removesuffix("Options")
            for base in bases(cls)[:-1]
            if base not in own and field_texts(base)
        ]
        parents = [f"`{n}`" for n, c in chosen.items() if c in bases(cls)[:-1]]
        note = f"With the shared options {', '.join(inherits)}" if inherits else ""
        note += f" and those of {', '.join(parents)}" if parents else ""
        note += "." if note else ""
        parts.append(section(f"`{name}`", cls, note))
    return "\n".join(parts)


if __name__ == "__main__":
    print(page())
