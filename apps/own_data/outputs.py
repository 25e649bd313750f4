"""Tables of results that are written while they are made: CSV, Parquet or .npz, by the name of the file."""

import contextlib
import csv
import pathlib
import tempfile

import numpy as np

from keras_ae.utils import files

from .. import common

SUFFIXES = (".csv", ".parquet", ".npz")


def check(path):
    """Raises a `UserError` now if the file could not be written after the work."""
    path = pathlib.Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise common.UserError(f"--output: expected a name that ends in {', '.join(SUFFIXES)}; received {str(path)!r}.")
    if path.suffix.lower() == ".parquet":
        common.require("pyarrow")
    common.writable(path.parent)


@contextlib.contextmanager
def writer(path):
    """Context manager with a function of columns, `{name: (B,) or (B, ...)}`, that appends rows to a new file.

    In CSV and Parquet, an array `(B, ...)` becomes a column for each number: `z1`, `z2`, ... In `.npz`, it stays whole.
    The file appears when all rows are written.
    """
    path = pathlib.Path(path)
    with common.user_input(), files.replacing(path) as beside:
        kind = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}[path.suffix.lower()]
        with kind(beside) as append:
            yield append


@contextlib.contextmanager
def _csv(path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows, header = csv.writer(file), []

        def append(columns):
            flat = _flat(columns)
            if not header:
                header.extend(flat)
                rows.writerow(header)
            rows.writerows(zip(*(each.tolist() for each in flat.values()), strict=True))

        yield append


@contextlib.contextmanager
def _parquet(path):
    import pyarrow
    import pyarrow.parquet

    with contextlib.ExitStack() as stack:
        made = []

        def append(columns):
            table = pyarrow.table({name: pyarrow.array(each.tolist()) for name, each in _flat(columns).items()})
            if not made:
                made.append(stack.enter_context(pyarrow.parquet.ParquetWriter(path, table.schema)))
            made[0].write_table(table)

        yield append


@contextlib.contextmanager
def _npz(path):
    with contextlib.ExitStack() as stack:
        parts, ids = {}, {}

        def append(columns):
            for name, each in columns.items():
                each = np.asarray(each)
                if each.dtype.kind in "OUS":
                    ids.setdefault(name, []).extend(map(str, each))
                    continue
                if name not in parts:
                    file = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                    parts[name] = [file, each.dtype, each.shape[1:], 0]
                parts[name][0].write(np.ascontiguousarray(each).tobytes())
                parts[name][3] += len(each)

        yield append
        arrays = {name: np.array(each) for name, each in ids.items()}
        for name, (file, dtype, shape, count) in parts.items():
            file.flush()
            arrays[name] = np.memmap(file, dtype, "r", shape=(count, *shape))  # on disk until it is in the archive
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)


def _flat(columns):
    """Returns the columns with a column for each number of an array."""
    made = {}
    for name, each in columns.items():
        each = np.asarray(each)
        if each.ndim == 1:
            made[name] = each
        else:
            flat = each.reshape(len(each), -1)
            made |= {f"{name}{i + 1}": flat[:, i] for i in range(flat.shape[1])}
    return made
