"""`sample.py RUN explore`: a page in the browser, or one in a file."""

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aaejax.ask.explore.file import page
from aaejax.ask.explore.server import PageServer, check_extra
from aaejax.ask.explore.view import View, sampled
from aaejax.ask.question import Question
from aaejax.runs.on_disk.files import write_atomically
from aaejax.types import UserError


def check(out: Path | None, port: int, browser: bool) -> None:
    """Raises UserError where no page can be made, before a model is read."""
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: give 1 to 65535, or leave it out")
    if out is None:
        check_extra()
    elif out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: explore makes a page, the name must end in .html")
    elif out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file")
    elif port or not browser:
        raise UserError(
            "--port and --no-browser are of the server, which --out needs not: leave them "
            "out"
        )


def server(question: Question, port: int = 0) -> PageServer:
    """Makes the server of a page about a model, which waits for `run`.

    Args:
      question: The model, and the examples whose codes are drawn.
      port: The port that it takes; 0 for any that is free.

    Raises:
      UserError: Bokeh is not installed, there are no examples, or the port can't be had.
    """
    check_extra()
    view = View(sampled(question))

    def make_page(document: Any) -> None:
        from aaejax.ask.explore.page import Page

        Page(document, view)

    return PageServer(make_page, port)


def explore(question: Question, port: int = 0, browser: bool = True) -> None:
    """Serves the page until Ctrl-C.

    Args:
      question: The model, and the examples whose codes are drawn.
      port: The port that the page is served at; 0 for any that is free.
      browser: Whether the page is opened in the browser.
    """
    served, tell = server(question, port), question.tell
    tell(f"explore at {served.address}  (Ctrl-C ends it)")
    if browser:
        served.loop.call_later(0.2, _open, served.address, tell)
    served.run()
    tell("explore ended")


def write_page(question: Question, out: Path) -> None:
    """Writes a page that needs no server.

    Raises:
      UserError: The model's codes have not two dimensions, or it makes no images.
      OSError: The page can't be written.
    """
    text = page(View(sampled(question)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, text.encode())


def _open(address: str, tell: Callable[[str], None]) -> None:
    if not webbrowser.open(address):
        tell("no browser is to be opened here: open that address yourself")
