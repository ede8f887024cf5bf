"""`sample.py RUN explore --out PAGE.html`: codes of two dimensions as one file to send.

The file needs no server and no network: images are decoded at the places of a grid, and
lie in it as one picture. A policy in it lets it run its own script and nothing else.
"""

import base64
import hashlib
import html
import io
import json

import numpy as np
from PIL import Image

from aaejax.ask.explore.view import COLOURS, View
from aaejax.runs.reports.pictures import shortened, shown_channels
from aaejax.types import UserError, printable

SIDE = 40  # of the grid of decoded images
MOST = 48  # pixels of the longer side of one of them
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: auto;
  padding: 1rem; }
main { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: start; }
#plane { width: min(36rem, 100%); aspect-ratio: 1; border: 1px solid #8886;
  border-radius: .3rem; touch-action: none; cursor: crosshair; }
#shown { width: 16rem; image-rendering: pixelated; border: 1px solid #8886; }
h1 { font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; } p { margin: .3rem 0; }
ul { list-style: none; padding: 0; margin: .5rem 0; columns: 2; }
li { overflow-wrap: anywhere; }
li b { display: inline-block; width: .8em; height: .8em; border-radius: 50%;
  margin-right: .5em; }
"""
SCRIPT = """
const about = JSON.parse(document.getElementById("about").textContent);
const plane = document.getElementById("plane"), shown = document.getElementById("shown");
const place = document.getElementById("place"), sprite = new Image();
const [left, right, low, high] = about.range, n = about.side;
const dark = matchMedia("(prefers-color-scheme: dark)");
let at = [(left + right) / 2, (low + high) / 2];
function toX(x) { return (x - left) / (right - left) * plane.width; }
function toY(y) { return (high - y) / (high - low) * plane.height; }
function cell(value, from, to) {
  return Math.max(0, Math.min(n - 1, Math.floor((value - from) / (to - from) * n)));
}
function draw() {
  plane.width = plane.height = plane.clientWidth * devicePixelRatio;
  const pen = plane.getContext("2d"), size = devicePixelRatio * 2.5;
  for (const [x, y, group] of about.points) {
    pen.fillStyle = about.groups[group][1];
    pen.beginPath(); pen.arc(toX(x), toY(y), size, 0, 7); pen.fill();
  }
  pen.strokeStyle = dark.matches ? "white" : "black"; pen.lineWidth = size;
  pen.beginPath(); pen.arc(toX(at[0]), toY(at[1]), 3 * size, 0, 7); pen.stroke();
  const column = cell(at[0], left, right), row = n - 1 - cell(at[1], low, high);
  shown.getContext("2d").drawImage(sprite, column * shown.width, row * shown.height,
    shown.width, shown.height, 0, 0, shown.width, shown.height);
  place.textContent = "z1 " + at[0].toFixed(2) + ", z2 " + at[1].toFixed(2);
}
function look(event) {
  const box = plane.getBoundingClientRect();
  const x = (event.clientX - box.left) / box.width;
  const y = (event.clientY - box.top) / box.height;
  at = [left + x * (right - left), high - y * (high - low)];
  draw();
}
plane.addEventListener("pointermove", look);
plane.addEventListener("pointerdown", look);
addEventListener("resize", draw); dark.addEventListener("change", draw);
sprite.onload = () => { document.body.dataset.ready = "yes"; draw(); };
sprite.src = about.sprite;
"""


def page(view: View) -> str:
    """Makes the page, as HTML.

    Args:
      view: The view of a model whose codes have two dimensions, and which decodes images.

    Raises:
      UserError: The model is another one.
    """
    if view.model.latent != 2:
        raise UserError(
            f"a page without a server is of codes of 2 dimensions, these have "
            f"{view.model.latent}: leave --out out"
        )
    if len(view.shape) != 3:
        raise UserError("a page without a server shows images: leave --out out")
    low, high = _range(view)
    step = (high - low) / SIDE
    first = low[0] + (np.arange(SIDE) + 0.5) * step[0]
    second = low[1] + (np.arange(SIDE) + 0.5) * step[1]
    grid = np.stack(np.meshgrid(first, second[::-1]), axis=-1).reshape(-1, 2)
    picture, width, height = _sprite(view.decode(grid.astype(np.float32)))
    groups = [(name, COLOURS[number]) for name, _, number in view.groups()]
    points = [
        [*(round(float(v), 4) for v in view.codes[example]), group]
        for group, (_, chosen, _) in enumerate(view.groups())
        for example in chosen
    ]
    about = json.dumps(
        {
            "side": SIDE,
            "range": [float(low[0]), float(high[0]), float(low[1]), float(high[1])],
            "points": points,
            "groups": groups,
            "sprite": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        }
    ).replace("<", "\\u003c")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    # Of the folder its name alone: whom the page is sent to has no use for its place.
    name = html.escape(printable(view.trained.folder.path.resolve().name))
    model = html.escape(printable(view.trained.config.get("model", "a model")))
    legend = "".join(
        f"<li><b style='background:{colour}'></b>{html.escape(shortened(name))}</li>"
        for name, colour in groups
    )
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{name}</title><style>{STYLE}</style>"
        f"<h1>{name}: {model} at step {view.trained.step}</h1><p>Codes of held-out "
        f"examples. Move over the plane: beside it stands what the model decodes there.</p>"
        f"<main><canvas id='plane'></canvas>"
        f"<div><canvas id='shown' width='{width}' height='{height}'></canvas>"
        f"<p id='place'></p><ul>{legend}</ul></div></main>"
        f"<script type='application/json' id='about'>{about}</script>"
        f"<script>{SCRIPT}</script></html>"
    )


def _range(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a square around almost all codes and samples of the prior."""
    every = np.concatenate([view.codes, view.drawn])
    low, high = np.quantile(every, [0.002, 0.998], axis=0)
    middle, half = (low + high) / 2, 0.52 * (high - low).max()
    return middle - half, middle + half


def _sprite(images: np.ndarray) -> tuple[bytes, int, int]:
    """Images [SIDE * SIDE, H, W, C] as one PNG, and the width and height of one."""
    _, height, width, channels = images.shape
    shown = shown_channels(channels)
    pixels = np.rint(np.clip(images[..., :shown], 0, 1) * 255).astype(np.uint8)
    sheet = pixels.reshape(SIDE, SIDE, height, width, shown).transpose(0, 2, 1, 3, 4)
    sheet = sheet.reshape(SIDE * height, SIDE * width, shown)
    picture = Image.fromarray(sheet[..., 0] if shown == 1 else sheet)
    if max(height, width) > MOST:
        factor = MOST / max(height, width)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        picture = picture.resize((SIDE * width, SIDE * height), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue(), width, height
