"""Errors at the door: what was expected, what came, and what to do."""

import numpy as np

_LOOKS_AT_MOST = 1 << 24  # values looked at in one go, so that a check never copies a large array


def check_array(name, array, shape, likelihood):
    """Raises a `ValueError` unless `array` holds finite numbers of `shape` in the likelihood's range.

    Args:
        name: the argument's name, for the message.
        array: NumPy array or tensor, first axis the batch.
        shape: shape of one row; None where any size will do.
        likelihood: `Likelihood`, for the range; None where any finite number will do.
    """
    if array.shape[0] == 0:
        raise ValueError(f"{name} is empty: expected at least one row, received shape {tuple(array.shape)}.")
    dtype = np.dtype(getattr(array.dtype, "as_numpy_dtype", array.dtype))
    if dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers, received dtype {dtype}.")
    have = tuple(array.shape[1:])
    if shape is not None and not fits(have, shape):
        hint = ""
        if (*have, 1) == tuple(shape):
            hint = f" Add the channel axis: {name}[..., None]."
        raise ValueError(f"{name}: expected rows of shape {tuple(shape)}, received {have}.{hint}")
    low, high = _extremes(array)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} holds NaN or infinity: expected finite numbers. Drop or repair those rows.")
    if likelihood is None or likelihood.low is None:
        return
    upper = np.inf if likelihood.high is None else likelihood.high
    if low < likelihood.low or high > upper:
        hint = " Divide pixels of 0..255 by 255." if (low >= 0 and 1 < high <= 255) else ""
        raise ValueError(
            f"{name}: the likelihood {likelihood.name} expects values in [{likelihood.low}, {upper}], "
            f"received values in [{low:.4g}, {high:.4g}].{hint}"
        )
    if likelihood.levels and dtype.kind == "f" and not _whole(array):
        raise ValueError(
            f"{name}: the likelihood {likelihood.name} expects whole levels 0..{likelihood.levels - 1}, received "
            "fractions. Give it the uint8 pixels themselves."
        )


def check_weights(sample_weight, rows):
    """The weights as `(rows,)`; raises a `ValueError` unless they are that many finite numbers."""
    if not hasattr(sample_weight, "shape"):
        sample_weight = np.asarray(sample_weight)
    shape = tuple(sample_weight.shape)
    if shape not in ((rows,), (rows, 1)):
        raise ValueError(f"sample_weight: expected one number a row, shape ({rows},); received shape {shape}.")
    if not np.isfinite(np.asarray(sample_weight)).all():
        raise ValueError("sample_weight holds NaN or infinity: expected finite numbers.")
    return sample_weight[:, 0] if len(shape) == 2 else sample_weight


def fits(have, want):
    """Whether a static shape is the wanted one; None fits, and is fitted by, any size."""
    return len(have) == len(want) and all(h is None or w is None or h == w for h, w in zip(have, want, strict=True))


def _parts(array):
    rows = max(1, _LOOKS_AT_MOST // max(1, int(np.prod(array.shape[1:]))))
    return (np.asarray(array[start : start + rows]) for start in range(0, array.shape[0], rows))


def _extremes(array):
    # min and max pass NaN on, so these two numbers tell of NaN and infinity as well.
    lows, highs = zip(*((part.min(), part.max()) for part in _parts(array)), strict=True)
    return np.min(lows), np.max(highs)


def _whole(array):
    return all(np.all(part == np.floor(part)) for part in _parts(array))
