"""What is on the page of `sample.py RUN explore`, and where: Bokeh's widgets."""

import html
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import (
    Button,
    ColumnDataSource,
    CustomJS,
    Div,
    FileInput,
    RadioButtonGroup,
    Select,
    Slider,
    Spinner,
)

from aaejax.ask.explore.plots import bars, scatter
from aaejax.ask.explore.view import View, uri
from aaejax.runs.reports.pictures import shortened
from aaejax.types import printable

LINE = 10  # examples in the row at the bottom
MOST_SLIDERS = 64
MOST_BUTTONS = 20  # classes; more are a list
MOST_ROWS = 40  # of the table of vectors
REACH = 4.0  # of a slider, in standard deviations of the prior
WIDE, HIGH = 560, 520  # pixels of the plane
SHOWN = 260  # pixels of the image
COMPONENTS, DIMENSIONS = "principal components", "two dimensions"
HEAD: Any = {"font-size": "18px"}
LOW: Any = {"padding-top": "6px"}  # text beside a button
# The whole field takes what is dropped on it.
DROP = "input[type=file] { border: 2px dashed #bbb; padding: 14px 10px; height: auto; }"
DOWNLOAD = """
const a = document.createElement("a");
a.href = "data:application/octet-stream;base64," + source.data.content[0];
a.download = source.data.name[0];
a.click();
"""


class Widgets:
    """All widgets of a page; nothing happens yet where one is used."""

    def __init__(self, view: View, buttons: Mapping[str, Callable[[], None]]):
        """Makes the widgets.

        Args:
          view: The view that the page is about.
          buttons: The function that is called at a click, by the button's text.
        """
        self.message = Div(text="", height=22, name="message")
        self.plot, self.points, self.marks = scatter(view, WIDE, HIGH)
        numbers: Any = [str(number + 1) for number in range(view.size)]
        self.how = Select(title="Plane", options=[COMPONENTS, DIMENSIONS], width=180)
        self.how.value = COMPONENTS
        of: dict[str, Any] = {"options": numbers, "width": 80, "disabled": True}
        self.x_of = Select(title="across", value="1", **of)
        self.y_of = Select(title="up", value=numbers[:2][-1], **of)
        self.shown = Div(text="", name="shown", width=2 * SHOWN + 40)
        self.bars, self.bar_source = bars(view)
        reach = {"start": -REACH, "end": REACH, "step": 0.02, "value": 0, "width": 250}
        names = [f"z{number}" for number in numbers[:MOST_SLIDERS]]
        self.sliders = [Slider(title=name, name=name, **reach) for name in names]
        self.given = _sliders_of(view.conditions)
        self.class_of = ClassChoice(view.class_names)
        way = {"start": 0, "end": 1, "step": 0.01, "value": 0, "width": 250}
        self.between = Slider(title="from A to B", name="between", disabled=True, **way)
        self.seed = Spinner(low=0, high=2**31 - 1, value=0, step=1, width=90, name="seed")
        self.row = Div(text="", name="row", width=1100)
        self.take = RadioButtonGroup(labels=[str(n + 1) for n in range(LINE)], name="take")
        self.taking = row(Div(text="Take", styles=LOW), self.take, visible=False)
        self.upload = FileInput(accept="image/*", name="upload", width=300)
        self.upload.stylesheets = [DROP]
        self.download = ColumnDataSource({"name": [""], "content": [""]}, name="download")
        call = CustomJS(args={"source": self.download}, code=DOWNLOAD)
        self.download.js_on_change("data", call)
        self.message.tags = [self.download]  # so that it is sent to the browser
        self.buttons = {text: _button(text, do) for text, do in buttons.items()}

    def layout(self, view: View) -> Any:
        """Puts all widgets in their places."""
        press, images = self.buttons, len(view.shape) == 3
        planes = [row(self.how, self.x_of, self.y_of)] if view.size > 2 else []
        rolled = {"max-height": "250px", "overflow-y": "auto", "padding-right": "16px"}
        by_class = []
        if view.model.prior_classes:
            word = "Class" if view.classes else "A sample of"
            by_class = [Div(text=word), self.class_of.widget]
        drop: list[Any] = []
        if images and view.model.encodes:
            text = "A picture of your own: drop it on the field"
            drop = [Div(text=text), self.upload]
        saves = ["Save PNG", "Save NPZ"] if images else ["Save NPZ"]
        right = column(
            self.shown if images else self.bars,
            *by_class,
            *([Div(text="Condition")] if self.given else []),
            *self.given,
            Div(text="Code, in standard deviations of the prior"),
            column(*self.sliders, styles=rolled),
            row(*(press[each] for each in saves)),
            *drop,
        )
        below = row(
            press["Pin A"],
            press["Pin B"],
            self.between,
            Div(text="Seed", styles=LOW),
            self.seed,
            press["Samples"],
            press["Nearest training examples"],
        )
        what = html.escape(printable(repr(view.trained)[1:-1]))
        hint = "click or drag in the plane, or move a slider"
        head = f"<b>{what}</b> &nbsp; <span style='color:#666'>{hint}</span>"
        return column(
            Div(text=head, styles=HEAD),
            row(column(*planes, self.plot), right, spacing=20),
            below,
            self.row,
            self.taking,
            self.message,
            styles={"margin": "10px 16px"},
        )


class ClassChoice:
    """The choice of a class by its number: buttons, or a list where they are too many."""

    def __init__(self, names: list[str]):
        """Makes the choice of these classes, none of them chosen."""
        shown = [shortened(name) for name in names]
        self.widget: Any = RadioButtonGroup(labels=shown, name="classes")
        self._many = len(names) > MOST_BUTTONS
        if self._many:
            options: Any = [("", "-"), *((str(n), name) for n, name in enumerate(shown))]
            self.widget = Select(options=options, value="", width=250, name="classes")

    def watch(self, do: Callable[[int | None], None]) -> None:
        """Calls `do(number)` when another class, or none, is chosen."""
        if self._many:
            watch(self.widget, "value", lambda text: do(int(text) if text else None))
        else:
            watch(self.widget, "active", do)

    def choose(self, number: int | None) -> None:
        """Shows that this class is chosen, or none."""
        if self._many:
            self.widget.value = "" if number is None else str(number)
        else:
            self.widget.active = number


def _sliders_of(conditions: np.ndarray | None) -> list[Slider]:
    """Makes a slider for each number of a condition, over the examples' values [N, C]."""
    if conditions is None:
        return []
    made = []
    for number, values in enumerate(conditions.T[:MOST_SLIDERS].astype(float)):
        low, high = values.min(), values.max()
        high = max(high, low + 1e-6)  # of one value too there is a slider
        title = f"condition {number + 1}"
        reach = {"start": low, "end": high, "step": (high - low) / 200, "width": 250}
        made.append(Slider(title=title, name=title, value=values.mean(), **reach))
    return made


def _button(text: str, do: Callable[[], None]) -> Button:
    button = Button(label=text, name=text, width=max(80, 8 * len(text)))
    button.on_event("button_click", lambda event: do())
    return button


def watch(widget: Any, name: str, do: Callable[[Any], None]) -> None:
    """Calls `do(value)` when a property of a widget has another value."""
    # Bokeh looks at the names of a callback's arguments.
    widget.on_change(name, lambda attr, old, new: do(new))


def images_html(shown: list[tuple[str, np.ndarray]], side: int) -> str:
    """Makes HTML of images [H, W, C] beside each other, each with a word under it."""
    style = f"width:{side}px;image-rendering:pixelated;border:1px solid #ddd;display:block"
    parts = [
        f"<figure style='margin:0 6px 0 0'><img style='{style}' alt='{what}' "
        f"src='{uri(image)}'><figcaption>{what}</figcaption></figure>"
        for what, image in shown
    ]
    return f"<div style='display:flex'>{''.join(parts)}</div>"


def table_html(tables: list[dict[str, float]]) -> str:
    """Makes HTML of vectors as the columns of a table, of the first of their values."""
    head = "".join(f"<th>{number + 1}</th>" for number in range(len(tables)))
    rows = "".join(
        f"<tr><td>{html.escape(printable(name))}</td>"
        + "".join(f"<td>{table[name]:.4g}</td>" for table in tables)
        + "</tr>"
        for name in [*tables[0]][:MOST_ROWS]
    )
    return f"<table cellpadding='3'><tr><th></th>{head}</tr>{rows}</table>"
