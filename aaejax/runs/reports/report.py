"""report.html: a run on one page that opens from disk, made anew at each evaluation.

The page needs no network and runs no script; a policy in it forbids both, so that whatever
is in a run folder, such as the name of a class, stays text.
"""

import base64
import html
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from typing import Any

import aaejax
from aaejax.runs.best import Best, best_metrics, best_score
from aaejax.runs.hooks import Event, Hook
from aaejax.runs.on_disk.config_json import saved_run
from aaejax.runs.on_disk.files import read_bytes, write_atomically
from aaejax.runs.on_disk.folder import PICTURES, RunFolder
from aaejax.runs.reports.curves import curve
from aaejax.runs.reports.pictures import shortened
from aaejax.runs.reports.summary import (
    HELD_OUT,
    command,
    is_number,
    planned_steps,
    train_arguments,
)
from aaejax.types import printable

STYLE = """
:root { color-scheme: light dark; --line: #2563eb; --faint: #8886; --box: #8881; }
@media (prefers-color-scheme: dark) { :root { --line: #7aa2ff; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: auto;
  padding: 1rem; }
h1 { margin: 0 0 .2rem; font-size: 1.6rem; } h2 { margin: 2rem 0 .6rem; font-size: 1.2rem; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
figure { margin: 0; padding: .6rem; background: var(--box); border-radius: .5rem; }
figcaption { display: flex; justify-content: space-between; gap: .5rem;
  overflow-wrap: anywhere; font-size: .9rem; }
figcaption span { white-space: nowrap; } .rows figure { margin-bottom: .5rem; }
svg { width: 100%; height: auto; display: block; overflow: visible; }
svg text { font-size: 10px; fill: currentColor; opacity: .65; } .end { text-anchor: end; }
.line, .beside { fill: none; stroke: var(--line); stroke-width: 1.5;
  stroke-linejoin: round; }
.beside { stroke: currentColor; opacity: .5; stroke-dasharray: 3 3; }
.dot { fill: var(--line); } .frame { fill: none; stroke: var(--faint); stroke-width: .5; }
img { max-width: 100%; height: auto; display: block; image-rendering: pixelated; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }
pre { background: var(--box); padding: .6rem; border-radius: .5rem; overflow-x: auto; }
summary { cursor: pointer; margin: .6rem 0; }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STRIPS = 12  # rows of samples over time
MOST_CLASSES = 40  # whose names are shown
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Report(Hook):
    """Writes report.html at each checkpoint, after the pictures."""

    def __init__(self, folder: RunFolder):
        self._folder = folder

    def on_checkpoint(self, event: Event) -> None:
        """Writes the report."""
        write_atomically(self._folder.report, report(self._folder).encode())


def report(folder: RunFolder) -> str:
    """The page of a run folder, as HTML.

    Raises:
      UserError: The folder is no run, or config.json or metrics.jsonl is damaged.
    """
    config, lines = folder.read_config(), folder.history()
    data = config["data"]
    title = f"{config.get('model', 'a model built by hand')} on {data['name']}"
    steps, step = planned_steps(config), lines[-1]["step"] if lines else 0
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found = {name: _line(lines, name) for name in names}
    found = {name: line for name, line in found.items() if line[0]}
    groups = {
        "Scores of held-out examples": [n for n in found if n.startswith(HELD_OUT)],
        "Losses": [n for n in found if n.endswith("/loss")],
    }
    shown = {name for group in groups.values() for name in group} | {"epoch"}
    more = [name for name in found if name not in shown]
    best = _best(config, lines, steps)
    body = [
        f"<h1>{_text(title)}</h1>",
        f"<p>Step {step:,} of {steps:,}"
        + (f"; the best evaluation is that of step {best.step:,}." if best.step else ".")
        + "</p>",
    ]
    for heading, group in groups.items():
        body += [f"<h2>{heading}</h2>", _curves(group, found)] if group else []
    if more:
        body.append("<details><summary>More curves</summary>")
        body += [_curves(more, found), "</details>"]
    body += _pictures(folder)
    body += ["<h2>What next</h2>", *_next(folder, config, step < steps)]
    body += ["<h2>Data</h2>", _table(_data(data))]
    body += ["<h2>Options</h2>", *_options(config)]
    body += ["<h2>Versions</h2>", _table(_versions())]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _text(value: object, most: int = 300) -> str:
    text = printable(value)
    return html.escape(text if len(text) <= most else f"{text[:most]}\u2026")


def _line(lines: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    points = [(x["step"], float(x[name])) for x in lines if is_number(x.get(name))]
    return [step for step, _ in points], [value for _, value in points]


def _curves(names: Iterable[str], found: dict[str, Any]) -> str:
    figures = []
    for name in names:
        if name.removesuffix("_chance") in found and name.endswith("_chance"):
            continue  # it stands beside the other
        shown = printable(name).removeprefix(HELD_OUT).removesuffix("/loss")
        beside = found.get(f"{name}_chance")
        shown += ", chance dashed" if beside else ""
        figures.append(curve(shown, found[name], beside))
    return f'<div class="grid">{"".join(figures)}</div>'


def _best(config: dict[str, Any], lines: list[dict[str, Any]], steps: int) -> Best:
    """The best of the planned evaluations, as the run itself finds it."""
    run = saved_run(config)
    scored = [line for line in lines if any(name.startswith(HELD_OUT) for name in line)]
    names = dict.fromkeys(name for line in scored for name in line if HELD_OUT in name)
    if not names or (run.best and run.best not in names):
        return Best()
    metrics, best = best_metrics(run.best, tuple(names), False), Best()
    for line in scored:
        planned = line["step"] == steps or line["step"] % run.save_every == 0
        if planned and metrics and all(is_number(line.get(each)) for each in metrics):
            best = best.after(line["step"], best_score(line, metrics))
    return best


def _pictures(folder: RunFolder) -> list[str]:
    paths = [folder.pictures / name for name in PICTURES]
    figures = [_picture(path.stem, path) for path in paths if path.exists()]
    made = ["<h2>Pictures</h2>", f'<div class="grid">{"".join(figures)}</div>']
    made = made if figures else []
    strips = sorted(folder.strips().items())
    if len(strips) > 1:
        # Evenly over time, the last one in any case.
        last = len(strips) - 1
        count = min(STRIPS, len(strips))
        chosen = [strips[round(last * i / (count - 1))] for i in range(count)]
        rows = [_picture(f"step {step:,}", path) for step, path in chosen]
        made.append("<h2>Samples of the same codes over time</h2>")
        made.append(f'<div class="rows">{"".join(rows)}</div>')
    return made


def _picture(name: str, path: Any) -> str:
    png = base64.b64encode(read_bytes(path)).decode()
    return (
        f"<figure><figcaption>{_text(name)}</figcaption>"
        f'<img alt="{_text(name)}" src="data:image/png;base64,{png}"></figure>'
    )


def _next(folder: RunFolder, config: dict[str, Any], unfinished: bool) -> list[str]:
    run, words = folder.path, train_arguments(config)
    network = str(config.get("options", {}).get("network", ""))
    more = ["--network", network] if network.endswith(".py") else []
    lines = [
        ("what it can be asked for, and samples", ["python", "sample.py", run, *more]),
        (
            "a folder to take elsewhere",
            ["python", "sample.py", run, "export", *more, "--out", f"{run}-export"],
        ),
    ]
    if words is not None:
        what = "train on" if unfinished else "train it again, elsewhere"
        place = run if unfinished else f"{run}-again"
        train = ["python", "train.py", *words, "--workdir", place]
        lines.append((what, train))
    text = "\n\n".join(f"# {what}\n{command(each)}" for what, each in lines)
    return [f"<pre>{html.escape(text)}</pre>"]


def _data(data: dict[str, Any]) -> dict[str, object]:
    named = [shortened(str(name)) for name in data["class_names"]]
    more = f", ... ({len(named)})" if len(named) > MOST_CLASSES else ""
    classes = ", ".join(named[:MOST_CLASSES]) + more
    return {
        "name": data["name"],
        "training examples": f"{data['train']:,}, {data['labelled']:,} of them labelled",
        "held-out examples": f"{data['test']:,}",
        "shape": "x".join(map(str, data["shape"])),
        "classes": classes or "none",
        "fingerprint": data["fingerprint"],
    }


def _options(config: dict[str, Any]) -> list[str]:
    words = train_arguments(config)
    changed = "Of a model built by hand." if words is None else ""
    if words is not None:
        changed = f"What is not by default: <code>{_text(command(words), 3000)}</code>"
    chosen = {n: config[n] for n in ("model", "options", "networks", "run") if n in config}
    text = html.escape(json.dumps(chosen, indent=2))
    return [f"<p>{changed}</p><details><summary>All</summary><pre>{text}</pre></details>"]


def _versions() -> dict[str, object]:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"aaejax": aaejax.__version__, "Python": platform.python_version(), **found}


def _table(rows: dict[str, object]) -> str:
    lines = [
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(value, 2000)}</td></tr>'
        for name, value in rows.items()
    ]
    return f"<table>{''.join(lines)}</table>"
