"""The plots of `sample.py RUN explore`: codes in a plane, and vectors as named bars."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, DataRange1d, FactorRange, HoverTool
from bokeh.plotting import figure

from aaejax.ask.explore.view import COLOURS, View, uri
from aaejax.runs.reports.pictures import shortened
from aaejax.types import printable

MOST_BARS = 40
HOVERED = 56  # pixels of an example under the pointer
HOVER = """
<div style="display:flex;gap:4px;align-items:end">
<img src="@given" style="height:112px;image-rendering:pixelated" alt="example">
<img src="@made" style="height:112px;image-rendering:pixelated" alt="reconstruction">
</div><div>@number: @label</div>
"""


def scatter(
    view: View, width: int, height: int
) -> tuple[Any, list[tuple[ColumnDataSource, np.ndarray]], ColumnDataSource]:
    """Draws codes over samples of the prior.

    Args:
      view: The view whose codes are drawn.
      width: The width of the figure, in pixels.
      height: The height of the figure, in pixels.

    Returns:
      The figure; the sources that have places of codes, with these codes; and the source of
      the marks: the code that is shown, and the pins.
    """
    flat = view.size == 2
    plot = figure(
        width=width,
        height=height,
        tools="wheel_zoom,box_zoom,reset",
        active_drag=None,
        active_scroll="wheel_zoom",
        toolbar_location="above",
        match_aspect=flat,
        x_axis_label="z1" if flat else "first component",
        y_axis_label="z2" if flat else "second component",
        name="plane",
    )
    plot.toolbar.logo = None
    drawn = _source(view, view.drawn[:1000])
    plot.scatter("x", "y", source=drawn, size=3, color="#dddddd", legend_label="prior")
    points = [(drawn, view.drawn[:1000])]
    renderers = []
    for name, chosen, number in view.groups():
        source = _source(view, view.codes[chosen], **_hovered(view, chosen, name))
        points.append((source, view.codes[chosen]))
        renderers.append(
            plot.scatter(
                "x",
                "y",
                source=source,
                size=6,
                fill_color=COLOURS[number],
                line_color="white",
                line_width=0.4,
                legend_label=name,
            )
        )
    tips: Any = HOVER if len(view.shape) == 3 else [("row", "@number"), ("", "@label")]
    plot.add_tools(HoverTool(renderers=renderers, tooltips=tips, attachment="right"))
    marks = ColumnDataSource({"x": [], "y": [], "name": []}, name="marks")
    ring = {"fill_color": None, "line_color": "black", "line_width": 2.5}
    plot.scatter("x", "y", source=marks, size=16, **ring)
    beside = {"x_offset": 10, "y_offset": -8, "text_font_style": "bold"}
    plot.text("x", "y", text="name", source=marks, **beside)
    legend = plot.legend[0]
    legend.click_policy = "hide"
    plot.add_layout(legend, "right")
    return plot, points, marks


def _source(view: View, codes: np.ndarray, **more: Any) -> ColumnDataSource:
    x, y = view.places(codes, None).T
    return ColumnDataSource({"x": x, "y": y, **more})


def _hovered(view: View, chosen: np.ndarray, name: str) -> dict[str, Any]:
    """What is shown of examples under the pointer."""
    found: dict[str, Any] = {"number": chosen, "label": [name] * len(chosen)}
    if len(view.shape) == 3:
        made = view.decode(view.codes[chosen])
        found["given"] = [uri(image, HOVERED) for image in view.images[chosen]]
        found["made"] = [uri(image, HOVERED) for image in made]
    return found


def bars(view: View) -> tuple[Any, ColumnDataSource]:
    """Makes a figure of the values of a vector by name, and its source.

    A bar is as long as its feature is in the network, where standardised ones are alike;
    beside it stands the value that the user's data have.
    """
    example = view.decode(view.start()[None])[0]
    values = view.values(example) if example.ndim == 1 else {}
    names = [_named(n, name) for n, name in enumerate([*values][:MOST_BARS])]
    plot = figure(
        width=520,
        height=max(200, 60 + 16 * len(names)),
        x_range=DataRange1d(range_padding=0.3),  # for the values beside the bars
        y_range=FactorRange(factors=names[::-1]),
        tools="",
        toolbar_location=None,
        x_axis_label="decoded, standardised" if view.standardised else "decoded",
        name="bars",
    )
    empty: dict[str, Any] = {name: [] for name in ("name", "length", "end", "value")}
    source = ColumnDataSource(empty, name="shown")
    plot.hbar(y="name", right="length", source=source, height=0.7, color=COLOURS[0])
    beside: dict[str, Any] = {"x": "end", "y": "name", "x_offset": 4}
    small: dict[str, Any] = {"text_font_size": "10px", "text_baseline": "middle"}
    plot.text(text="value", source=source, **beside, **small)
    return plot, source


def bars_of(view: View, example: np.ndarray, names: Any) -> dict[str, Any]:
    """Makes the data of the bars of an example [F], whose range of names is `names`."""
    values = [f"{value:.4g}" for value in view.values(example).values()]
    lengths = example.tolist()[:MOST_BARS]
    return {
        "name": names.factors[::-1],
        "length": lengths,
        "end": [max(0.0, length) for length in lengths],
        "value": values[:MOST_BARS],
    }


def _named(number: int, name: str) -> str:
    # Two long names may be shortened to the same.
    return f"{number + 1} {shortened(printable(name))}"
