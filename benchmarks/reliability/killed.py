"""Runs train.py and kills it just before its COUNT-th file operation of one kind.

    python killed.py FOLDER KIND COUNT LOG train.py [OPTIONS]

The kind is the audit event and the path within the run folder, numbers as N and random
names as H: "os.rename checkpoints/N.orbax-checkpoint-tmp". All go into LOG, one a line.
"""

import os
import re
import runpy
import sys

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kind_of(event: str, args: tuple, folder: str) -> str | None:
    """The kind of an operation; None of one that changes nothing in the run folder."""
    if event not in EVENTS or (event == "open" and not (args[2] or 0) & WRITING):
        return None
    if not isinstance(args[0], str | bytes | os.PathLike):
        return None
    path = os.fsdecode(args[0])
    within = path.partition(f"{folder}/")[2]
    # shutil.rmtree names what it removes within a folder that it has open.
    if event in ("os.remove", "os.rmdir") and args[1] != -1:
        within = path
    if not within:
        return None
    within = re.sub(r"\b[0-9a-f]{32}\b|(?<=\.tmp-)[0-9a-f]{8}\b", "H", within)
    return f"{event} {re.sub(r'[0-9]+', 'N', within)}"


def main() -> None:
    folder, wanted, count, log, *argv = sys.argv[1:]
    left, out = int(count), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def watch(event: str, args: tuple) -> None:
        nonlocal left
        kind = kind_of(event, args, folder)
        if kind is None:
            return
        os.write(out, f"{kind}\n".encode())
        if kind == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)

    sys.path.insert(0, os.path.dirname(argv[0]))
    sys.argv = argv
    sys.addaudithook(watch)
    runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
