"""Converts users' data to rows: NumPy arrays, dense tensors, or SciPy matrices that are densified batch by batch."""

import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def to_rows(name: str, data: Any) -> Any:
    """Converts a user's data to rows.

    Accepts NumPy arrays, tensors, lists, pandas objects, SciPy sparse matrices, and anything NumPy can convert.
    `bfloat16` becomes float32, `longdouble` becomes float64, and a sparse matrix or tensor becomes a
    `scipy.sparse.csr_array`.

    Args:
        name: the argument's name, for error messages.
        data: the user's data; None stays None.

    Returns:
        a NumPy array, a `tf.Tensor` or a `scipy.sparse.csr_array`, with rows along the first axis.

    Raises:
        ValueError: for masked, ragged or dict data, tables with non-numeric columns, lists of rows with different
            shapes, single values, and paths; the message says how to fix it.
    """
    if data is None:
        return None
    if isinstance(data, str | os.PathLike):
        raise ValueError(
            f"{name}: expected rows, received {os.fspath(data)!r}. If it is a path, read it first: "
            "keras_ae.datasets.load(path) reads images."
        )
    rows = _common(_converted(name, data))
    if rows.shape.rank == 0 if tf.is_tensor(rows) else rows.ndim == 0:
        if is_source(data):
            raise ValueError(f"{name}: expected rows, received a source of batches, a {type(data).__name__}.")
        raise ValueError(f"{name}: expected rows along the first axis, received the single value {data!r}.")
    return rows


def _converted(name, data):
    if isinstance(data, tf.Tensor):
        return data
    if isinstance(data, dict):
        raise ValueError(_which_key(name, data))
    if isinstance(data, tf.RaggedTensor):
        raise ValueError(f"{name}: received ragged rows. Pad them to one size with {name}.to_tensor().")
    if any(isinstance(each, np.ma.MaskedArray) and np.ma.is_masked(each) for each in _arrays_of(data)):
        raise ValueError(
            f"{name}: received a masked array, whose masked values would be used as they are. Fill them first: "
            f"{name}.filled(value)."
        )
    if isinstance(data, np.ma.MaskedArray):
        return data.data
    if _is_pandas(data):
        return _of_pandas(name, data)
    if isinstance(data, tf.SparseTensor) or is_sparse(data):
        return _csr(data)
    if isinstance(data, tf.Variable | keras.Variable):
        return tf.convert_to_tensor(data)
    try:
        return np.asarray(data)
    except ValueError:
        if _is_pair(data):
            raise ValueError(f"{name}: received {len(data)} arrays. Pass them one by one, such as fit(x, y).") from None
        raise ValueError(f"{name}: received rows of different shapes. Pad or crop them to one shape.") from None


def is_sparse(data: Any) -> bool:
    """Whether `data` is a SciPy sparse matrix or array."""
    return hasattr(data, "tocsr") and hasattr(data, "toarray")


def dense(rows: Any) -> np.ndarray | tf.Tensor:
    """Densifies a batch of rows if it is sparse; sparse float64 becomes float32, as elsewhere in Keras."""
    if not is_sparse(rows):
        return rows
    array = rows.toarray()
    return array.astype("float32") if array.dtype == np.float64 else array


def is_single(data: Any) -> bool:
    """Whether `data` is one number or name, rather than rows or a source of them; None is neither."""
    if data is None or isinstance(data, tf.SparseTensor) or is_source(data):
        return False
    return np.ndim(data) == 0


def for_each_row(value: Any, name: str, data: Any) -> list[Any]:
    """Returns a single label as the labels of all rows of the argument `name`.

    Raises:
        ValueError: if there are no rows to count, only a source of batches, which has to yield the labels itself.
    """
    if data is None or is_source(data):
        raise ValueError(
            f"y: one label for all rows needs {name} as an array. A source of batches must yield a label for each row: "
            f"({name}, y)."
        )
    return [value] * to_rows(name, data).shape[0]


def is_source(data: Any) -> bool:
    """Whether `data` is a source of batches rather than rows: a data set, `PyDataset`, generator or loader."""
    if isinstance(data, tf.data.Dataset | keras.utils.PyDataset):
        return True
    is_array = hasattr(data, "shape") or hasattr(data, "__array__") or _is_pandas(data)
    return not is_array and not isinstance(data, list | tuple | dict | str) and hasattr(data, "__iter__")


def batches_of(source: Any) -> Iterator[Any]:
    """Iterates once over the batches of a source, as defined by `is_source`.

    Raises:
        ValueError: if a batch, or one of its parts, is a dict.
    """
    pieces = isinstance(source, keras.utils.PyDataset)
    for batch in (source[i] for i in range(source.num_batches)) if pieces else source:
        check_batch(batch)
        yield batch


def check_batch(batch: Any) -> None:
    """Raises a `ValueError` if a batch of a source, or one of its parts, is a dict."""
    for part in batch if isinstance(batch, tuple | list) else (batch,):
        if isinstance(part, dict):
            raise ValueError(
                f"x: expected batches of rows, received dicts with the keys {', '.join(map(repr, part))}. Select "
                "rows and targets: data.map(lambda batch: (batch['image'], batch['label']))."
            )


def _common(rows):
    """Rows of dtypes that few operations support, as float32 or float64."""
    # NumPy has no bfloat16; such arrays come from JAX or ml_dtypes.
    if getattr(rows.dtype, "name", "") == "bfloat16":
        return tf.cast(rows, tf.float32) if tf.is_tensor(rows) else rows.astype("float32")
    return rows.astype("float64") if rows.dtype == np.longdouble else rows


def _is_pandas(data):
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "to_numpy")


def _of_pandas(name, table):
    if not hasattr(table, "columns"):
        return _of_column(table)
    # By position, because several columns may have the same name.
    arrays = [_of_column(table.iloc[:, i]) for i in range(table.shape[1])]
    wrong = [str(key) for key, array in zip(table.columns, arrays, strict=True) if array.dtype.kind not in "fiub"]
    if wrong:
        raise ValueError(
            f"{name}: expected numeric columns; received others: {', '.join(wrong)}. Drop them, or encode them as "
            "numbers (pandas.get_dummies)."
        )
    return np.column_stack(arrays) if arrays else np.zeros((len(table), 0))


def _of_column(column):
    # Nullable pandas columns such as Int64 become arrays of Python objects unless a dtype is given.
    numeric = getattr(column.dtype, "numpy_dtype", None)
    if numeric is not None and numeric.kind in "fiub" and column.hasnans:
        return column.to_numpy(dtype="float64", na_value=np.nan)
    return column.to_numpy(dtype=numeric) if numeric is not None else column.to_numpy()


def _is_pair(data):
    """Whether `data` looks like `(x, y)` or `(x, y, sample_weight)`: a few arrays with equally many rows."""
    if not isinstance(data, list | tuple) or len(data) not in (2, 3):
        return False
    return all(hasattr(each, "shape") for each in data) and len({tuple(each.shape[:1]) for each in data}) == 1


def _arrays_of(data):
    return data if isinstance(data, list | tuple) else [data]


def _csr(data):
    import scipy.sparse

    if isinstance(data, tf.SparseTensor):
        data = scipy.sparse.coo_array((data.values.numpy(), data.indices.numpy().T), shape=tuple(data.shape))
    return scipy.sparse.csr_array(data)


def _which_key(name, data):
    keys = ", ".join(map(repr, data))
    first = next(iter(data), "image")
    return (
        f"{name}: expected rows, received a dict with the keys {keys}. Select the one with the rows: {name}[{first!r}]."
    )
