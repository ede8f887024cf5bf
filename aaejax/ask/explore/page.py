"""The page of `sample.py RUN explore`: what happens where something on it is used."""

import base64
import html
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.events import Pan, PanStart, Tap

from aaejax.ask.explore.layout import (
    COMPONENTS,
    LINE,
    REACH,
    SHOWN,
    Widgets,
    images_html,
    table_html,
    watch,
)
from aaejax.ask.explore.plots import bars_of
from aaejax.ask.explore.view import Axes, View
from aaejax.runs.reports.pictures import write_grid
from aaejax.types import UserError, printable


class Page:
    """One visit: the code that is shown, two pins, and the row of examples."""

    def __init__(self, document: Document, view: View):
        """Fills the document."""
        self.view, self.document = view, document
        self.code = view.start()
        self.original: np.ndarray | None = None  # a picture that the code is of
        self.pins: dict[str, np.ndarray] = {}
        self.row_codes: np.ndarray | None = None  # None of training examples
        self.row_examples = np.zeros((0, *view.shape), np.float32)
        self.images = len(view.shape) == 3
        self._setting = self._waiting = False
        buttons = {
            "Pin A": lambda: self._pin("A"),
            "Pin B": lambda: self._pin("B"),
            "Samples": self._samples,
            "Nearest training examples": self._nearest,
            "Save PNG": self._save_png,
            "Save NPZ": self._save_npz,
        }
        on = self.on = Widgets(
            view, {text: partial(self._try, do) for text, do in buttons.items()}
        )
        for event in (Tap, PanStart, Pan):
            on.plot.on_event(event, self._pointed)
        for select in (on.how, on.x_of, on.y_of):
            watch(select, "value", lambda _: self._draw_plane())
        for number, slider in enumerate(on.sliders):
            watch(slider, "value", partial(self._slid, number))
        for number, slider in enumerate(on.given):
            watch(slider, "value", partial(self._give, number))
        on.class_of.watch(self._choose_class)
        watch(on.between, "value", self._go_between)
        watch(on.take, "active", self._take)
        watch(on.upload, "value", self._upload)
        document.title = f"{printable(view.trained.folder.path.name)} - aaejax"
        document.add_root(on.layout(view))
        self.show()

    @property
    def axes(self) -> Axes:
        """The dimensions that the plane shows; None for principal components."""
        if self.view.size <= 2 or self.on.how.value == COMPONENTS:
            return None
        return int(self.on.x_of.value) - 1, int(self.on.y_of.value) - 1

    def show(self) -> None:
        """Decodes the code, and puts all that is about it on the page, in one message."""
        view, on = self.view, self.on
        self.document.hold("combine")
        self._setting = True
        try:
            self.example = view.decode(self.code[None])[0]
            if self.images:
                shown = [("decoded", self.example)]
                if self.original is not None:
                    shown.append(("yours", self.original))
                on.shown.text = images_html(shown, SHOWN)
            else:
                on.bar_source.data = bars_of(view, self.example, on.bars.y_range)
            style = (self.code[view.front :] - view.mean) / view.std
            for slider, value in zip(on.given, self.code, strict=False):
                slider.value = float(np.clip(value, slider.start, slider.end))
            for slider, value in zip(on.sliders, style, strict=False):
                slider.value = float(np.clip(value, -REACH, REACH))
            if view.classes:
                on.class_of.choose(self._class())
            self._mark()
        finally:
            self.document.unhold()  # now callbacks are called, of what was set here
            self._setting = False

    def _class(self) -> int | None:
        """Finds the class that the code has; None where it has none."""
        y = self.code[: self.view.classes]
        number = int(y.argmax())
        return number if y[number] > 0 else None

    def _move(self, code: np.ndarray) -> None:
        self.code, self.original = code, None
        self.show()

    def _mark(self) -> None:
        """Draws the ring at the code, and the pins."""
        marked = {"": self.code, **self.pins}
        x, y = self.view.places(np.stack([*marked.values()]), self.axes).T.tolist()
        self.on.marks.data = {"x": x, "y": y, "name": list(marked)}

    def _draw_plane(self) -> None:
        """Draws all codes in another plane."""
        on = self.on
        for source, codes in on.points:
            x, y = self.view.places(codes, self.axes).T
            source.patch({"x": [(slice(len(x)), x)], "y": [(slice(len(y)), y)]})
        # Which dimensions are across and up is asked of dimensions alone.
        on.x_of.disabled = on.y_of.disabled = on.how.value == COMPONENTS
        names = ["first component", "second component"]
        if on.how.value != COMPONENTS:
            names = [f"z{on.x_of.value}", f"z{on.y_of.value}"]
        on.plot.xaxis.axis_label, on.plot.yaxis.axis_label = names
        self._mark()

    def _pointed(self, event: Any) -> None:
        if event.x is None or event.y is None:  # beside the axes
            return
        self.code = self.view.moved(self.code, self.axes, event.x, event.y)
        if not self._waiting:  # of events that came together the last is decoded
            self._waiting = True
            self.document.add_next_tick_callback(self._after_pointing)

    def _after_pointing(self) -> None:
        self._waiting = False
        self._move(self.code)

    def _slid(self, number: int, value: float) -> None:
        """Sets a number of the style, which the slider gives in standard deviations."""
        value = self.view.mean[number] + value * self.view.std[number]
        self._give(self.view.front + number, value)

    def _give(self, at: int, value: float) -> None:
        """Sets a number of the code; the first ones are those of a condition."""
        if not self._setting:
            code = self.code.copy()
            code[at] = value
            self._move(code)

    def _choose_class(self, number: int | None) -> None:
        if self._setting:
            return
        classes = self.view.classes
        if not classes:
            self._move(self.view.samples(1, self._seed(), self.code, number)[0])
            return
        code = self.code.copy()
        code[:classes] = 0.0
        if number is not None:
            code[number] = 1.0
        self._move(code)

    def _seed(self) -> int:
        return int(self.on.seed.value or 0)

    def _pin(self, name: str) -> None:
        self.pins[name] = self.code.copy()
        self._mark()
        if len(self.pins) == 2:
            self.on.between.disabled = False
            t = np.linspace(0, 1, LINE, dtype=np.float32)
            self._set_row("from A to B", codes=self._way(t))

    def _way(self, t: np.ndarray) -> np.ndarray:
        return self.view.line(self.pins["A"], self.pins["B"], t)

    def _go_between(self, t: float) -> None:
        if len(self.pins) == 2:
            self._move(self._way(np.array([t], np.float32))[0])

    def _samples(self) -> None:
        codes = self.view.samples(LINE, self._seed(), self.code)
        self._set_row(f"samples of seed {self._seed()}", codes=codes)

    def _nearest(self) -> None:
        found = self.view.nearest(self.example, LINE)
        self._set_row("nearest training examples", examples=found)

    def _set_row(
        self,
        what: str,
        codes: np.ndarray | None = None,
        examples: np.ndarray | None = None,
    ) -> None:
        made = self.view.decode(codes) if codes is not None else examples
        assert made is not None
        self.row_codes, self.row_examples = codes, made
        self.on.take.active, self.on.taking.visible = None, codes is not None
        if self.images:
            numbered = [(str(number + 1), image) for number, image in enumerate(made)]
            found = images_html(numbered, 100)
        else:
            found = table_html([self.view.values(x) for x in made])
        self.on.row.text = f"<b>{what}</b>{found}"

    def _take(self, number: int | None) -> None:
        codes = self.row_codes
        if number is not None and codes is not None and number < len(codes):
            self._move(codes[number].copy())

    def _upload(self, content: str | list[str]) -> None:
        def encode() -> None:
            raw = base64.b64decode(str(content))
            original, code = self.view.encode_picture(raw, self.code)
            self.code, self.original = code, original
            self.show()

        if content:
            self._try(encode)

    def _try(self, do: Callable[[], None]) -> None:
        """Calls `do`; a mistake of the user's becomes a line on the page."""
        said = ""
        try:
            do()
        except UserError as error:
            said = f"<span style='color:#b00'>{html.escape(str(error))}</span>"
        self.on.message.text = said

    def _save_png(self) -> None:
        file = io.BytesIO()
        images = np.concatenate([self.example[None], self.row_examples])
        write_grid(file, images, len(images))
        self._save("explored.png", file)

    def _save_npz(self) -> None:
        arrays = {"code": self.code, "example": self.example}
        arrays |= {f"pin_{name}": code for name, code in self.pins.items()}
        if len(self.row_examples):
            arrays["row"] = self.row_examples
        if self.row_codes is not None:
            arrays["row_codes"] = self.row_codes
        if self.original is not None:
            arrays["original"] = self.original
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]
        self._save("explored.npz", file)

    def _save(self, name: str, file: io.BytesIO) -> None:
        content = base64.b64encode(file.getvalue()).decode()
        self.on.download.data = {"name": [name], "content": [content]}
