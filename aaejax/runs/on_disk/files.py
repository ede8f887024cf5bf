"""Files of a run folder, written whole or not at all and never through a link.

A folder may come from a stranger: a link in it must not lead a write elsewhere, and what
is no plain file (a pipe, a device) must not be waited for.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aaejax.types import UserError

TEMPORARY = ".tmp-"


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file open for writing bytes, which takes the place of `path` when all went well.

    A reader sees the old file or the new, never a part. A link that stands at `path` is
    replaced, not followed.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with naming(path), open(os.open(temporary, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names the file in an error of a write, where the system's own names none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(
            f"{path} can't be written ({error.strerror}): make room on its disk, or raise "
            "the limit on files (ulimit -f, quota), and run the same command again"
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file by `atomic`."""
    with atomic(path) as file:
        file.write(content)


def remove_temporary(folder: Path, names: tuple[str, ...]) -> None:
    """Removes what killed writes of files of these names left in the folder."""
    for name in names:
        for path in folder.glob(f"{TEMPORARY}{'[0-9a-f]' * 8}-{name}"):
            path.unlink()


def append(path: Path, text: str) -> None:
    """Adds text to a file, which is made if need be.

    Raises:
      UserError: The file is a link, or no plain file.
    """
    with naming(path), open(open_own(path, os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(text.encode())


def open_own(path: Path, flags: int) -> int:
    """Opens a plain file for writing, made if need be; gives its descriptor as `os.open`.

    Raises:
      UserError: The file is a link, or no plain file.
    """
    check_no_link(path)
    more = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(path, flags | more, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no plain file: remove it, a run makes its own")
    return descriptor


def check_no_link(path: Path) -> None:
    """Raises UserError where a run would write through a link."""
    if path.is_symlink():
        raise UserError(
            f"{path} is a link to {os.readlink(path)!r}, and a run writes through none: "
            "remove the link"
        )


def read_bytes(path: Path) -> bytes:
    """Reads the bytes of a plain file.

    Raises:
      OSError: The file can't be read, or is a folder, pipe or device.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no plain file")
    return path.read_bytes()
