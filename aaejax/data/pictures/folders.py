"""Folders of pictures: which are read, as which part of the data and as which class."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data.array_files.mapped_file import files_identity
from aaejax.data.cache import Expected, kept, of_rows
from aaejax.data.lazy import READ_BELOW, Images, Rows
from aaejax.data.notes import Tell, listing
from aaejax.data.parts import PARTS, part_of, parts_like
from aaejax.data.pictures.decoding import SUFFIXES, PictureFiles
from aaejax.data.reading import Reading
from aaejax.types import UserError

# What programs put beside pictures, with pictures of their own in it.
_NO_CLASSES = ("annotations", "__macosx", "@eadir")


@dataclass
class _Seen:
    """What one reading of a folder came across and does not use."""

    left: int | None = None  # how many files and folders may still be looked at
    skipped: Counter[str] = field(default_factory=Counter)  # files by suffix
    empty: list[str] = field(default_factory=list)  # folders without pictures
    unused: list[str] = field(default_factory=list)  # what lies beside the parts
    parts_in_classes: set[str] = field(default_factory=set)  # named for parts
    odd: set[Path] = field(default_factory=set)  # neither a file nor a folder
    loops: set[Path] = field(default_factory=set)  # links to a folder that they are in

    def look_at(self, path: Path) -> None:
        """Counts a file or folder; raises UserError for one too many."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise UserError(
                    f"there are more files than belong to the data, {path} among them"
                )

    def tell(self, what: str, tell: Tell) -> None:
        """One line of each kind that there is."""
        if self.unused:
            tell(f"{what}: not used: {listing(self.unused)}")
        if self.empty:
            tell(f"{what}: no class, without pictures or by name: {listing(self.empty)}")
        if self.parts_in_classes:
            names = listing(sorted(self.parts_in_classes))
            tell(f"{what}: folders inside of classes are no parts, all is read: {names}")
        if self.skipped:
            tell(f"{what}: skipped {_counts(self.skipped)}")
        if self.loops:
            names = listing(sorted(path.name for path in self.loops))
            tell(f"{what}: skipped links that lead back to where they are: {names}")


def read(
    folder: Path,
    reading: Reading,
    tell: Tell,
    most: int | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Reads a folder of pictures.

    Pictures of more than `lazy.READ_BELOW` bytes are decoded when their rows are asked for.

    Sub-folders are classes, or the parts of the data where they are named for them: train
    and test, or else validation, by `parts.part_of`. Hidden files and folders are left out;
    links to folders are followed.

    Args:
      folder: The folder, with pictures in it or in sub-folders.
      reading: How the pictures are read.
      tell: Takes a line about what is not read.
      most: How many files and folders are looked at, at most; None for no bound.
      cache: A folder that keeps what was decoded, see `cache.kept`; or None.

    Returns:
      The arguments of `aaejax.data.from_arrays`: images, and labels (names) and a test part
      where there are any. The order is that of the sorted paths.

    Raises:
      UserError: There are no pictures, it is not clear which folders are parts or classes,
        a picture is no regular file, or there are more files than `most`.
    """
    seen = _Seen(most)
    parts = {part: _part(path, seen) for part, path in _parts(folder, seen).items()}
    what = Path(os.path.abspath(folder)).name
    seen.tell(what, tell)
    paths = [path for pictures, _ in parts.values() for path in pictures]
    images = _images(paths, folder, reading, what, tell, cache)
    found: dict[str, Any] = {}
    start = 0
    for part, (pictures, labels) in parts.items():
        stop = start + len(pictures)
        if isinstance(images, Rows):
            found[f"{part}_images"] = images.take(np.arange(start, stop))
        else:
            found[f"{part}_images"] = images[start:stop]
        if labels:
            found[f"{part}_labels"] = np.array(labels)
        start = stop
    return found


def _images(
    paths: list[Path],
    folder: Path,
    reading: Reading,
    what: str,
    tell: Tell,
    cache: Path | None,
) -> Images:
    def decoded(tell: Tell) -> Rows:
        files = PictureFiles(paths, folder, reading, what)
        if files.several_frames:
            tell(
                f"{what}: {files.several_frames:,} of {len(paths):,} pictures have several "
                "frames; the first is used"
            )
        return Rows(files, what)

    if cache is None:
        images = decoded(tell)
    else:
        width, height = reading.size or (None, None)
        expected = Expected(
            files_identity(paths, folder, repr(reading)),
            (len(paths), height, width, 1 if reading.grey else None),
            np.dtype(np.uint8),
        )
        file = kept(cache, expected, lambda tell: of_rows(decoded(tell)), what, tell)
        images = Rows(file, what)
    return np.asarray(images) if images.nbytes <= READ_BELOW else images


def _parts(folder: Path, seen: _Seen) -> dict[str, Path]:
    """The folder of each part; where none is named for a part, the whole is "train"."""
    files, folders = _inside(folder, seen)
    roles: dict[str, list[Path]] = {role: [] for role in PARTS}
    others = []
    for path in folders:
        role = part_of(path.name)
        (roles[role] if role else others).append(path)
    _check_unlike(folder, others, any(roles.values()), seen)
    if not any(roles.values()):
        return {"train": folder}
    held_out = "test" if roles["test"] else "validation"
    for role in ("train", held_out):
        if len(roles[role]) > 1:
            raise UserError(
                f"{folder} has {listing(p.name for p in roles[role])}, and each may be the "
                f"{role} part; leave one of them there"
            )
    named = listing(path.name for paths in roles.values() for path in paths)
    if not roles["train"]:
        raise UserError(
            f"{folder} has {named} but no folder train; give the one to be read by its own "
            "path, or call one train. If they are classes, rename them"
        )
    if not roles[held_out]:
        for path in others:
            if _is_class(path) and _walk(path, _Seen(seen.left)):
                raise UserError(
                    f"{folder} has {named} beside {path.name}: if it is the training part, "
                    f"move {path.name} out or call the held-out part test; if both are "
                    f"classes, rename {named}"
                )
    chosen = {"train": roles["train"][0]}
    if roles[held_out]:
        chosen["test"] = roles[held_out][0]
    seen.unused += [path.name for path in folders if path not in chosen.values()]
    for path in files:
        _is_picture(path, seen)
    lone = sum(path.suffix.lower() in SUFFIXES for path in files)
    if lone:
        seen.unused.append(f"pictures beside the parts ({lone:,})")
    return chosen


def _part(folder: Path, seen: _Seen) -> tuple[list[Path], list[str]]:
    """Pictures of a part, sorted, and the class of each, or no classes."""
    before = seen.skipped.copy()
    files, folders = _inside(folder, seen)
    lone = [path for path in files if _is_picture(path, seen)]
    pictures: list[Path] = []
    labels: list[str] = []
    for path in folders:
        of_class = _walk(path, seen) if _is_class(path) else []
        if not of_class:
            seen.empty.append(path.name)
        pictures += of_class
        labels += [path.name] * len(of_class)
    if pictures and lone:
        raise UserError(
            f"{folder} holds images both in sub-folders, which are labels, and beside them "
            f"({lone[0].name}); move those into a sub-folder"
        )
    if not pictures and not lone:
        there = _counts(seen.skipped - before)
        raise UserError(
            f"{folder} holds no images{there and f' but {there}'}; allowed are "
            f"{' '.join(SUFFIXES)}"
        )
    return pictures or lone, labels


def _counts(kinds: Counter[str]) -> str:
    return listing(f"{count:,} {kind}" for kind, count in kinds.most_common())


def _check_unlike(folder: Path, others: list[Path], named: bool, seen: _Seen) -> None:
    """Raises UserError for folders that may be parts or classes.

    Args:
      folder: The folder that they are in.
      others: The folders in it that are not named for a part.
      named: Whether there are any that are.
      seen: What this reading came across.
    """
    like = parts_like(path.name for path in others if _is_class(path))
    parts = set().union(*like.values())
    if not named and not ("train" in parts and len(parts) > 1):
        return  # a class may be called train_station
    like = {
        path.name: like[path.name]
        for path in others
        if path.name in like and _walk(path, _Seen(seen.left))
    }
    if like:
        raise UserError(
            f"{folder} has {listing(like)}: name parts of the data train and test (or "
            "validation) and move others out; if they are classes, rename them"
        )


def _is_class(folder: Path) -> bool:
    return folder.name.lower() not in _NO_CLASSES


def _walk(folder: Path, seen: _Seen) -> list[Path]:
    """All pictures under a folder, sorted; through links too, each folder once."""
    pictures: list[Path] = []
    done: set[str] = set()
    todo = [folder]
    while todo:
        here = todo.pop()
        real = os.path.realpath(here)
        if real not in done:
            done.add(real)
            files, folders = _inside(here, seen)
            pictures += [path for path in files if _is_picture(path, seen)]
            todo += [path for path in folders if _is_class(path)]
            seen.parts_in_classes |= {path.name for path in folders if part_of(path.name)}
    return sorted(pictures)


def _inside(folder: Path, seen: _Seen) -> tuple[list[Path], list[Path]]:
    """Files (of any kind) and folders that are not hidden, sorted."""
    files, folders = [], []
    try:
        # Entries know what they are: to ask the disk for each takes as long as all else.
        with os.scandir(folder) as found:
            entries = sorted((e for e in found if e.name[0] != "."), key=lambda e: e.name)
        for entry in entries:
            path = folder / entry.name
            seen.look_at(path)
            kind = path if entry.is_symlink() else entry  # which may lead to nothing
            if kind.is_file():
                files.append(path)
            elif not kind.is_dir():
                files.append(path)
                seen.odd.add(path)
            elif entry.is_symlink() and folder.resolve().is_relative_to(path.resolve()):
                seen.loops.add(path)
            else:
                folders.append(path)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    return files, folders


def _is_picture(path: Path, seen: _Seen) -> bool:
    if path.suffix.lower() not in SUFFIXES:
        seen.skipped[path.suffix.lower() or "without a suffix"] += 1
        return False
    if path in seen.odd:
        raise UserError(
            f"{path} is no file that can be read (a pipe, a device or a link to nothing); "
            "delete it"
        )
    return True
