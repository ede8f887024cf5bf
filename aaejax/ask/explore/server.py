"""Bokeh's server for one page, for this machine alone.

It listens on 127.0.0.1. The address has a token, without which nothing but Bokeh's own
scripts is served; a request under another host's name, as of a page elsewhere whose name
was turned to this machine, is not answered; and what a browser sends is bounded.
"""

import asyncio
import secrets
import signal
import socket
from collections.abc import Callable
from typing import Any

from aaejax.types import UserError, missing

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
MOST_MESSAGE = 16 * 2**20  # bytes that a page sends at once: a picture, in base64
MOST_BODY = 2**20  # of a request


def check_extra() -> None:
    """Raises UserError where Bokeh is not installed."""
    try:
        import bokeh.server.server  # noqa: F401
    except ImportError as error:
        otherwise = "write a page by --out PAGE.html"
        raise missing("explore", "explore", "bokeh", otherwise) from error


class PageServer:
    """A page at an address of its own."""

    def __init__(self, make_page: Callable[[Any], None], port: int = 0):
        """Takes a port.

        Args:
          make_page: A function that fills a `bokeh.document.Document`; it is called for
            each visit.
          port: The port that is taken; 0 for any that is free.

        Raises:
          UserError: The port is in use, or is not this user's to take.
        """
        from bokeh.application import Application
        from bokeh.application.handlers.function import FunctionHandler
        from bokeh.server.server import BaseServer
        from bokeh.server.tornado import BokehTornado
        from tornado.httpserver import HTTPServer
        from tornado.ioloop import IOLoop
        from tornado.routing import HostMatches, Rule, RuleRouter

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.set_event_loop(asyncio.new_event_loop())
        try:
            listening = socket.create_server((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} can't be had ({error.strerror}): give another --port, or "
                "leave it out"
            ) from error
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        path = f"/{secrets.token_urlsafe(16)}"
        self.address = f"http://{HOST}:{self.port}{path}"
        tornado = BokehTornado(
            {path: Application(FunctionHandler(make_page))},
            extra_websocket_origins=[f"{name}:{self.port}" for name in NAMES],
            use_index=False,  # it would say the token, as would a redirection
            redirect_root=False,
            websocket_max_message_size_bytes=MOST_MESSAGE,
        )
        names = "|".join(name.replace(".", r"\.") for name in NAMES)
        router = RuleRouter([Rule(HostMatches(f"^({names})$"), tornado)])
        http = HTTPServer(router, max_body_size=MOST_BODY)
        http.add_sockets([listening])
        self.loop = IOLoop.current()
        self._server = BaseServer(self.loop, tornado, http)
        self._server.start()

    def run(self) -> None:
        """Serves until Ctrl-C, SIGTERM or `stop`."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop())
        self.serve()

    def serve(self) -> None:
        """Serves until `stop`."""
        self.loop.start()
        self.end()

    def end(self) -> None:
        """Lets go of the port."""
        self._server.stop(wait=False)

    def stop(self) -> None:
        """Ends `serve`; may be called from a signal and from another thread."""
        self.loop.add_callback(self.loop.stop)
