"""What the scripts share: every mistake is one line and a status, never a traceback."""

import contextlib
import functools
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import jax
import tyro

import aaejax
from aaejax.runs.command_line.help import grouping
from aaejax.types import UserError, printable

T = TypeVar("T")


def script(name: str) -> Callable[[Callable[[], int]], Callable[[], int]]:
    """Decorates a script's main, which returns its exit status.

    A mistake of the user's, or a file that can't be read or written, is one line on stderr
    and status 2. Where nobody reads stdout any more (`| head`) the script ends without a
    word, with the status of SIGPIPE.

    Args:
      name: The name of the script, which stands before each message.
    """

    def decorate(main: Callable[[], int]) -> Callable[[], int]:
        @functools.wraps(main)
        def run() -> int:
            # What they log of a failed write, a page of it, is said in one line below.
            for logger in ("absl", "asyncio", "matplotlib"):
                logging.getLogger(logger).setLevel(logging.CRITICAL)
            _open_closed()
            for stream in (sys.stdout, sys.stderr):
                # A name may have letters that the terminal's encoding has not.
                if isinstance(stream, io.TextIOWrapper):
                    stream.reconfigure(errors="backslashreplace")
            sys.excepthook, sys.unraisablehook = _uncaught, _unraisable
            try:
                try:
                    return main()
                finally:
                    sys.stdout.flush()
            except BrokenPipeError:
                # What is still in the buffer would fail again as Python ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 128 + signal.SIGPIPE
            except (UserError, OSError) as error:
                with contextlib.suppress(OSError):
                    print(f"{name}: {printable(error)}", file=sys.stderr)
                return 2

        return run

    return decorate


def say_version() -> int:
    """Prints the version; returns the exit status."""
    print(aaejax.__version__)
    return 0


def parse(
    options: type[T],
    args: Sequence[str],
    prog: str,
    description: str | None,
    groups: Sequence[str],
    group_of: Callable[[str], str],
) -> T:
    """Makes a dataclass of a command line, by tyro, which exits where that can't be read.

    Args:
      options: The dataclass.
      args: The words of the command line.
      prog: The name of the command in messages.
      description: The text over the options in --help.
      groups: The titles of the boxes that the options stand in there.
      group_of: A function from an option, such as "batch-size", to the title of its box.

    Raises:
      UserError: The dataclass, or one in it, refuses a value; or a value is empty, as of a
        shell's variable that is not set: as a path that would be the folder one is in.
    """
    for before, word in zip(["", *args], args, strict=False):
        name, sign, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and sign and not value.strip()):
            given = before if not word.strip() else name
            raise UserError(f"the value after {given or prog} is empty: give one")
    said = io.StringIO()
    asks_help = "--help" in args or "-h" in args
    shown = grouping(groups, group_of) if asks_help else contextlib.nullcontext()
    try:
        with contextlib.redirect_stderr(said), shown:
            return tyro.cli(options, prog=prog, description=description, args=args)
    except SystemExit as end:
        # tyro would put a box around the message.
        error: BaseException | None = end
        while error is not None and not isinstance(error, UserError):
            error = error.__context__
        if error is not None:
            raise error from None
        print(said.getvalue(), end="", file=sys.stderr)
        raise


def tell(text: str) -> None:
    """Prints lines for the user, at once, with nothing in them but text."""
    print("\n".join(map(printable, text.split("\n"))), flush=True)


def start_jax() -> None:
    """Starts JAX's devices.

    Raises:
      UserError: The variable JAX_PLATFORMS asks for a device that is not there.
    """
    log = logging.getLogger("jax")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # an assertion where none is left
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"JAX finds no device for JAX_PLATFORMS={jax.config.jax_platforms}"  # type: ignore[attr-defined]
            f"{f' ({reason})' if reason else ''}: unset it, or install JAX for that device"
        ) from error
    finally:
        log.setLevel(level)


def _uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Prints an uncaught error, but for those of `_is_late`."""
    if not _is_late(error):
        sys.__excepthook__(kind, error, trace)


def _unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Prints an error that nobody can catch, but for those of `_is_late`."""
    if not _is_late(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)


def _is_late(error: BaseException | None) -> bool:
    """Whether it is TensorStore's, of a write that comes to an end late.

    At the first write that fails Orbax closes the event loop, which the others on their way
    then miss; the failure itself is said elsewhere. TensorStore hands such an error to one
    hook or the other, by where it notices it.
    """
    return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


def _open_closed() -> None:
    """Gives the standard streams that the caller closed (`>&-`) to the null device.

    Else the next file opened would be in their place, and get what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
