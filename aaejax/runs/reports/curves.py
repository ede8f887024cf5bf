"""Curves of a run's metrics as SVG, a part of a page that has the style."""

import html
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 300, 110  # of the drawing, in its own units
TOP, BOTTOM = 14, 97  # of its lines
MOST = 200  # points of a line

Line = tuple[Sequence[float], Sequence[float]]  # steps and values, as many of each


def curve(name: str, line: Line, beside: Line | None = None) -> str:
    """A `<figure>`: a curve over the steps, with its last value and its range in words.

    A dot is at the end of the curve: of a single point it is all that is seen.

    Args:
      name: The name of the metric.
      line: The steps and values of the curve, at least one point, all finite.
      beside: A curve that is drawn dashed on the same scale, such as what chance gives;
        None for none.
    """
    drawn = [line] if beside is None else [line, beside]
    steps = np.concatenate([np.asarray(each[0], float) for each in drawn])
    values = np.concatenate([np.asarray(each[1], float) for each in drawn])
    box = (steps.min(), steps.max(), values.min(), values.max())
    points = [_points(each, box) for each in drawn]
    paths = [
        f'<polyline class="{kind}" points="{each}"/>'
        for each, kind in zip(points, ("line", "beside"), strict=False)
    ]
    x, y = points[0].split()[-1].split(",")
    paths.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2.5"/>')
    title, last = html.escape(name), f"{line[1][-1]:.4g}"
    low, high = min(line[1]), max(line[1])
    said = f"{title}: {last} at step {line[0][-1]:.0f}, from {low:.4g} to {high:.4g}"
    return (
        f"<figure><figcaption><b>{title}</b> <span>{last}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f"<title>{said}</title>"
        f'<path class="frame" d="M0 {TOP}H{WIDTH}M0 {BOTTOM}H{WIDTH}"/>{"".join(paths)}'
        f'<text x="0" y="{TOP - 3}">{box[3]:.4g}</text>'
        f'<text x="0" y="{HEIGHT - 2}">{box[2]:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 2}" class="end">step {box[1]:.0f}</text>'
        "</svg></figure>"
    )


def _points(line: Line, box: tuple[float, float, float, float]) -> str:
    """The points of a line in the drawing's units; of many the means of neighbours."""
    left, right, low, high = box
    x, y = (np.asarray(each, float) for each in line)
    if len(x) > MOST:
        x, y = (
            np.array([part.mean() for part in np.array_split(each, MOST)])
            for each in (x, y)
        )
    # Where all are the same, the middle.
    across = (x - left) / (right - left) if right > left else np.full(len(x), 0.5)
    up = (y - low) / (high - low) if high > low else np.full(len(y), 0.5)
    pixels = zip(across * WIDTH, BOTTOM - up * (BOTTOM - TOP), strict=True)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in pixels)
