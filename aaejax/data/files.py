"""Users' own data: .npz and .npy files, and folders of images."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.types import UserError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_TEST_FOLDERS = ("test", "val", "valid", "validation")
# Keys of an .npz file, the first that is there counts.
_KEYS = {
    "train_images": ("x_train", "train_images", "images", "x", "data"),
    "train_labels": ("y_train", "train_labels", "labels", "y"),
    "test_images": ("x_test", "test_images"),
    "test_labels": ("y_test", "test_labels"),
}


def read(path: Path) -> dict[str, Any]:
    """Reads a file or a folder of images, told apart by what is there, not by suffix.

    Returns:
      Arguments of `aaejax.data.from_arrays`: images, and labels and a test part where
      there are any. An .npy file is memory-mapped.

    Raises:
      UserError: nothing there, no images in it, or it cannot be read; pickles are not.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {str(path)!r}; check the path")
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_file(path: Path) -> dict[str, Any]:
    """Arguments of `from_arrays` from an .npz or .npy file, whatever its suffix."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
        # No pickles: they run code.
        if not packed:
            return {"train_images": np.load(path, mmap_mode="r", allow_pickle=False)}
        # Opened here, since np.load leaves a broken file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = {
                part: next((content[key] for key in keys if key in content), None)
                for part, keys in _KEYS.items()
            }
            there = ", ".join(content)
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        hint = "save it anew with np.savez or np.save"
        if "Object arrays" in str(error) or "Python objects" in str(error):
            hint = "it holds Python objects (pickles), which may run code and are not read"
        raise UserError(
            f"{path} cannot be read as .npz or .npy ({type(error).__name__}): {hint}"
        ) from error
    if found["train_images"] is None:
        raise UserError(
            f"{path} holds the arrays {there or '(none)'}; images must be called "
            f"{', '.join(_KEYS['train_images'])}"
        )
    return {part: array for part, array in found.items() if array is not None}


def _read_folder(folder: Path) -> dict[str, Any]:
    """Arguments of `from_arrays` from a folder of images."""
    subs = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    splits = {"train": folder}
    test = next((subs[key] for key in _TEST_FOLDERS if key in subs), None)
    if "train" in subs and (test is not None or len(subs) == 1):
        splits = {"train": subs["train"]} | ({"test": test} if test else {})
    paths = {part: _image_paths(split) for part, split in splits.items()}
    images = _decode([path for part in paths.values() for path in part])
    cut = len(paths["train"])
    found: dict[str, Any] = {"train_images": images[:cut]}
    if "test" in paths:
        found["test_images"] = images[cut:]
    for part, split in splits.items():
        parents = [path.relative_to(split).parts[:-1] for path in paths[part]]
        if any(parents):
            if not all(parents):
                lone = next(
                    p for p, parent in zip(paths[part], parents, strict=True) if not parent
                )
                raise UserError(
                    f"{split} holds images both in sub-folders, which are labels, and "
                    f"beside them ({lone.name}); move those into a sub-folder"
                )
            found[f"{part}_labels"] = np.array([parent[0] for parent in parents])
    return found


def _image_paths(folder: Path) -> list[Path]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not paths:
        raise UserError(f"{folder} holds no images; allowed are {' '.join(_SUFFIXES)}")
    return paths


def _decode(paths: list[Path]) -> np.ndarray:
    """uint8 [N, H, W, C]: RGB if any image is in colour, else grey."""
    from PIL import Image

    def open_image(path: Path, mode: str | None) -> Any:
        """Size and mode from the file's head, or its pixels converted to `mode`."""
        try:
            with Image.open(path) as image:
                if mode is None:
                    return image.size, image.mode
                if "transparency" in image.info:
                    return np.asarray(image.convert("RGBA").convert(mode))
                return np.asarray(image.convert(mode))
        except Exception as error:  # each format's decoder raises its own kinds
            raise UserError(
                f"{path} cannot be decoded as an image; mend or delete it"
            ) from error

    with ThreadPoolExecutor() as pool:
        heads = list(pool.map(lambda path: open_image(path, None), paths))
        for path, (size, mode) in zip(paths, heads, strict=True):
            if size != heads[0][0]:
                raise UserError(
                    f"{paths[0]} is {heads[0][0][0]}x{heads[0][0][1]} but {path} is "
                    f"{size[0]}x{size[1]}; resize all images to one size"
                )
            if mode[0] in "IF":  # PIL would clip such values at 255
                raise UserError(f"{path} has over 8 bits a pixel; save it with 8")
        grey = all(mode in ("1", "L", "LA") for _, mode in heads)
        (width, height), _ = heads[0]
        images = np.empty((len(paths), height, width, 1 if grey else 3), np.uint8)
        pixels = pool.map(lambda path: open_image(path, "L" if grey else "RGB"), paths)
        for i, image in enumerate(pixels):
            images[i] = image.reshape(images.shape[1:])
    return images
