"""The names that people give to the parts of their data: training, test, validation."""

import re
from collections.abc import Iterable

# Of each part; arrays and folders may be called so.
PARTS = {
    "train": ("train", "training", "trn"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
    "validation": ("val", "valid", "validation", "vld", "dev", "eval", "evaluation"),
}
# What may stand before or behind such a word, in the name of a folder.
_OF_WHAT = "(set|split|part|data|dataset|images?|imgs?|pictures?|pics?|photos?|examples)*"
_YEAR = "((19|20)[0-9]{2})?"
_FOLDERS = {
    part: re.compile(f"{_OF_WHAT}({'|'.join(words)}){_OF_WHAT}{_YEAR}")
    for part, words in PARTS.items()
}
# Between the words of a name: signs, and where small letters, capitals and digits meet.
_BETWEEN = re.compile(
    r"[\s_.-]+|(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
)


def part_of(name: str) -> str | None:
    """Returns the part of the data that a folder is by its name; None where it is none.

    "train", "Test Set", "val_images" and "train2017" are parts, whatever the case and the
    signs between words; "test2" and "trains" are none.
    """
    plain = "".join(_words(name))
    return next((part for part, p in _FOLDERS.items() if p.fullmatch(plain)), None)


def parts_like(names: Iterable[str]) -> dict[str, set[str]]:
    """Finds names that have the word of a part in them but say more: "test2", "trainA".

    Returns:
      For each such name, the parts that its words are of.
    """
    found = {}
    for name in names:
        words = set(_words(name))
        like = {part for part in PARTS if words & set(PARTS[part])}
        if like and part_of(name) is None:
            found[name] = like
    return found


def _words(name: str) -> list[str]:
    return [word.casefold() for word in _BETWEEN.split(name.strip()) if word]
