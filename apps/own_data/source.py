"""Finds out what data are, and reads them: pictures, a table, or series."""

import pathlib
from collections import Counter, namedtuple

import numpy as np

from keras_ae.utils import digests

from .. import common

PICTURE_SUFFIXES = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
KINDS = ("pictures", "table", "series")

Rows = namedtuple("Rows", "ids x labels classes test left_out schema")
Rows.__doc__ = """Rows of data, and where they are from.

Attributes:
    ids: list of str, a name for each row: the path of a picture, the number of a row.
    x: `(N, ...)` array, which may be on disk: uint8 pictures, or float32 rows.
    labels: `(N,)` int64, -1 where unknown, or None if there are none.
    classes: list of str, the names of the labels; empty if there are none.
    test: `(N,)` bool, the rows that no model sees in training.
    left_out: `{reason: [names]}`, what could not be used.
    schema: dict of JSON values, with which `read` gives new data the same form.
"""


def is_test(name):
    """Whether the row of this name is one of the tenth that no model sees: the first 8 hex digits of its sha1 are
    divisible by 10."""
    return digests.of_name(name) % 10 == 0


def validation(ids, numbers, every, most):
    """Returns the numbers of the rows that choose the weights that are kept: one in `every` of them, at most `most`.

    A hash of the names decides, so that they are spread over classes and do not change when rows are added.
    """
    ranked = sorted((digests.of_name(f"validation {ids[number]}"), number) for number in numbers)
    return sorted(number for digest, number in ranked[:most] if digest < 2**32 // every)


def kind_of(data, size=None):
    """Returns which of `KINDS` the data are, from a folder's contents or a file's name and columns.

    A CSV file is a series if a size is given, the steps of a window, and else a table.

    Raises:
        UserError: if the data are of no known kind.
    """
    path = pathlib.Path(data)
    if not path.exists() or path.is_dir() or path.name.lower().endswith(TAR_SUFFIXES):
        return "pictures"  # a name that does not exist is one of TFDS
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return "series"
    if suffix == ".parquet":
        return "table"
    if suffix == ".npz":
        with common.user_input(), np.load(path, allow_pickle=False) as file:
            return "pictures" if "x_train" in file.files and file["x_train"].ndim >= 3 else "table"
    if suffix in (".csv", ".tsv"):
        from . import tables

        if tables.picture_column(path) is not None:
            return "pictures"
        return "table" if size is None else "series"
    raise common.UserError(
        f"--data: expected a folder or tar of pictures, a .csv, .tsv, .parquet, .npz or .npy file, or the name of a "
        f"TFDS data set; received {str(data)!r}."
    )


def read(data, folder, *, size=None, labels=None, schema=None, kind=None):
    """Reads data; returns `Rows`.

    Args:
        data: path, or the name of a TFDS data set.
        folder: path of a folder for what does not fit into memory.
        size: int, side of pictures in pixels, or steps of a window; None for the default.
        labels: str, name of the column of labels; None for sub-folders, if there are any.
        schema: of earlier rows, so that the new ones have the same form; None for the first.
        kind: one of `KINDS`; None to find out.

    Raises:
        UserError: if nothing can be read.
    """
    from . import pictures, series, tables

    kind = kind or (schema or {}).get("kind") or kind_of(data, size)
    reader = {"pictures": pictures.read, "table": tables.read, "series": series.read}[kind]
    with common.user_input():
        rows = reader(data, folder, size=size, labels=labels, schema=schema)
    if not len(rows.x):
        raise common.UserError(f"--data: nothing in {str(data)!r} can be used: {described(rows.left_out) or 'empty'}.")
    return rows


def described(left_out):
    """Returns one line on what was left out, such as "2 not an image, or damaged (a.jpg, b.jpg)"; "" for nothing."""
    parts = []
    for reason, names in left_out.items():
        shown = ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")
        parts.append(f"{len(names)} {reason} ({shown})")
    return "; ".join(parts)


def split(test, ids):
    """Returns the test rows as `test` has them, but with one of them at least, and one training row."""
    test = np.asarray(test, bool)
    if len(test) > 1 and (test.all() or not test.any()):
        order = sorted(range(len(ids)), key=lambda i: digests.of_name(ids[i]))
        test = np.isin(np.arange(len(ids)), order[: max(1, len(ids) // 10)])
    return test


def class_counts(rows):
    """Returns `{class: number of rows}`; empty without labels."""
    if rows.labels is None:
        return {}
    counts = Counter(rows.labels.tolist())
    return {name: counts.get(number, 0) for number, name in enumerate(rows.classes)}
