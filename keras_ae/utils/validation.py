"""Validation of arguments; errors say what was expected, what was received and how to fix it."""

import operator
import warnings
from collections.abc import Iterable, Sequence, Set
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.utils import rows as rows_of

MAX_PEAK = 8
"""Float samples and lossy codecs often peak slightly above 1. Peaks 18 dB above it mean a different scale."""

_LOOKS_AT_MOST = 1 << 24  # values checked at a time, so that a check never copies a large array


def check_array(
    name: str, array: Any, shape: tuple[int | None, ...] | None, likelihood: Any, slack: bool = False
) -> None:
    """Raises a `ValueError` unless `array` has rows of `shape` with finite values in the likelihood's range.

    Args:
        name: the argument's name, for the error message.
        array: NumPy array, tensor or SciPy sparse matrix, with the batch on the first axis.
        shape: shape of one row, with None for axes of any size; None for any shape.
        likelihood: `Likelihood` that sets the range; None for any finite values.
        slack: bool, whether values may exceed a bounded range by up to 8 times its width, because inputs may be noisy
            even if targets are not. This still distinguishes pixels in 0..255 from pixels in 0..1.
    """
    if array.shape[0] == 0:
        raise ValueError(f"{name} is empty: expected at least one row, received shape {tuple(array.shape)}.")
    dtype = np.dtype(getattr(array.dtype, "as_numpy_dtype", array.dtype))
    if dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected numbers, received {_kind(dtype)}.{_hint_of(name, dtype)}")
    have = tuple(array.shape[1:])
    if shape is not None and not fits(have, shape):
        hint = ""
        if (*have, 1) == tuple(shape):
            hint = f" Add the channel axis: {name}[..., None]."
        elif fits(tuple(array.shape), shape):
            hint = f" This is a single row: pass {name}[None], or batch the data set, data.batch(32)."
        elif fits(have[1:], shape) and array.shape[0] <= 3:
            hint = " If these are several arrays, pass them one by one, such as fit(x, y)."
        raise ValueError(f"{name}: expected rows of shape {tuple(shape)}, received {have}.{hint}")
    low, high = _extremes(array)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} contains NaN or infinity: expected finite numbers. Drop or repair those rows.")
    if max(-low, high) > float(np.finfo("float32").max):
        raise ValueError(f"{name}: values up to {max(-low, high):.3g} exceed the range of float32, which models use.")
    if likelihood is None or likelihood.low is None:
        return
    lower, upper = bounds(likelihood, slack)
    if low < lower or high > upper:
        hint = " Divide pixels of 0..255 by 255." if (low >= 0 and 1 < high <= 255) else ""
        raise ValueError(
            f"{name}: the likelihood {likelihood.name} expects values in "
            f"[{likelihood.low}, {np.inf if likelihood.high is None else likelihood.high}], "
            f"received values in [{low:.4g}, {high:.4g}].{hint}"
        )
    if likelihood.levels and not slack and dtype.kind == "f" and not _whole(array):
        raise ValueError(
            f"{name}: the likelihood {likelihood.name} expects whole levels 0..{likelihood.levels - 1}, received "
            "fractional values. Pass the uint8 pixels unchanged."
        )


def bounds(likelihood: Any, slack: bool = False) -> tuple[float, float]:
    """Returns the lowest and the highest value in the likelihood's range; `slack` as in `check_array`."""
    lower = -np.inf if likelihood.low is None else likelihood.low
    upper = np.inf if likelihood.high is None else likelihood.high
    room = MAX_PEAK * (upper - lower) if slack and np.isfinite(upper - lower) else 0.0
    return lower - room, upper + room


def in_range(rows: tf.Tensor, lower: float, upper: float) -> tf.Tensor:
    """Whether all values of a tensor are from `lower` to `upper`: one bool, which a training step computes cheaply."""
    dtype = tf.as_dtype(rows.dtype)
    unbounded = np.isinf(lower) and np.isinf(upper)
    if unbounded or (dtype.is_integer and lower <= dtype.min and dtype.max <= upper):
        return tf.constant(True)
    rows = rows if dtype.is_integer or dtype.is_floating else tf.cast(rows, tf.float32)
    low, high = (tf.cast(reduce(rows), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    return (low >= lower) & (high <= upper)


def check_waveforms(name: str, array: np.ndarray | tf.Tensor) -> None:
    """Raises a `ValueError` unless `array` has finite float samples `(B, T)`, roughly in [-1, 1] (peaks up to 8)."""
    check_array(name, array, (None,), None)
    dtype = np.dtype(getattr(array.dtype, "as_numpy_dtype", array.dtype))
    low, high = _extremes(array)
    if dtype.kind != "f" or max(-low, high) > MAX_PEAK:
        raise ValueError(
            f"{name}: expected float samples in [-1, 1], received {dtype} in [{low:.4g}, {high:.4g}]. Divide by their "
            "full scale: 32,768 for 16 bits."
        )


def positive_int(name: str, value: Any, at_least: int = 1, at_most: int | None = None) -> int:
    """Returns `value` as an int; raises a `ValueError` unless it is a whole number, from `at_least` to `at_most`."""
    in_range = _is_number(value) and at_least <= value and (at_most is None or value <= at_most)
    if not in_range or value != int(value):
        allowed = f"{at_least} or more" if at_most is None else f"{at_least} to {at_most}"
        raise ValueError(f"{name}: expected a whole number, {allowed}; received {value!r}.")
    return int(value)


def int_or_none(name: str, value: Any) -> int | None:
    """Returns `value` as an int, or None; raises as `positive_int` does."""
    return None if value is None else positive_int(name, value)


def seed(value: Any) -> int:
    """Returns a method's `seed` as an int; raises a `ValueError` unless it is a whole number of 64 bits."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(f"seed: expected a whole number of 64 bits, such as 0; received {value!r}.")
    return number


def finite(name: str, value: Any) -> float:
    """Returns `value` as a float; raises a `ValueError` unless it is a finite number."""
    if not _is_number(value):
        raise ValueError(f"{name}: expected a finite number; received {value!r}.")
    return float(value)


def non_negative(name: str, value: Any) -> float:
    """Returns `value` as a float; raises a `ValueError` unless it is finite and non-negative."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"{name}: expected a finite number, 0 or more; received {value!r}.")
    return float(value)


def fraction(name: str, value: Any, ends: bool = True) -> float:
    """Returns `value` as a float; raises a `ValueError` unless it is from 0 to 1, or between them without `ends`."""
    if not _is_number(value) or not 0 <= value <= 1 or (value in (0, 1) and not ends):
        allowed = "from 0 to 1" if ends else "between 0 and 1"
        raise ValueError(f"{name}: expected a number {allowed}; received {value!r}.")
    return float(value)


def _is_number(value):
    if isinstance(value, int | np.integer):  # of any size, which `isfinite` does not take: seeds may have 128 bits
        return not isinstance(value, bool)
    return isinstance(value, float | np.floating) and bool(np.isfinite(value))


def check_labels(name: str, labels: np.ndarray | tf.Tensor, num_classes: float, unknown: int | None = None) -> None:
    """Raises a `ValueError` unless `labels` are integers `(B,)` in 0 to `num_classes - 1`, or equal to `unknown`."""
    dtype = np.dtype(getattr(labels.dtype, "as_numpy_dtype", labels.dtype))
    if len(labels.shape) != 1 or dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected integer labels, shape (B,); received {dtype} of shape {tuple(labels.shape)}."
        )
    values = np.asarray(labels)
    wrong = values[(values >= num_classes) | ((values < 0) & (values != unknown))]
    if len(wrong):
        or_unknown = "" if unknown is None else f", or {unknown} where unknown"
        up_to = "or more" if np.isinf(num_classes) else f"to {num_classes - 1}"
        raise ValueError(f"{name}: expected labels 0 {up_to}{or_unknown}; received {wrong[0]}.")


def check_partial_labels(y: np.ndarray | tf.Tensor | None, rows: int, num_classes: int) -> None:
    """Raises a `ValueError` unless y has a label for each of `rows` rows, -1 if unknown."""
    if y is None:
        raise ValueError("y: expected integer labels, -1 where unknown; received none.")
    check_labels("y", y, num_classes, unknown=-1)
    if y.shape[0] != rows:
        raise ValueError(f"y: expected a label for each of the {rows} rows, received shape {tuple(y.shape)}.")


def check_some_labels(y: np.ndarray | tf.Tensor | None, rows: int, num_classes: int) -> None:
    """Raises a `ValueError` as in `check_partial_labels`, and if all labels are unknown.

    Warns about classes without labels if y is an array. A tensor is one batch of a data set, which need not contain
    every class.
    """
    check_partial_labels(y, rows, num_classes)
    counts = np.bincount(np.asarray(y)[np.asarray(y) >= 0], minlength=num_classes)
    if not counts.any():
        which = "all rows" if isinstance(y, np.ndarray) else "all rows of the first batch"
        raise ValueError(
            f"y: {which} are unlabelled (-1), so classes cannot be learned. Label some, and include some of them in "
            "each batch, as keras_ae.datasets.semi_supervised does."
        )
    if not counts.all() and isinstance(y, np.ndarray):
        missing = ", ".join(map(str, np.flatnonzero(counts == 0)))
        warnings.warn(f"y: no row is labelled with class {missing}: the model cannot learn it.", stacklevel=2)


def refuse(options: Iterable[str], others: Set[str], model: str, reason: str) -> None:
    """Raises a `ValueError` if `options` contains any of `others`, which only related models accept."""
    given = sorted(others & set(options))
    if given:
        raise ValueError(f"{model} takes no {', '.join(given)}: {reason}.")


def check_width(name: str, shape: Sequence[int | None] | None, width: int, what: str) -> None:
    """Raises a `ValueError` unless `shape`, a network's output shape, ends in `width`; None passes."""
    if shape is not None and shape[-1] != width:
        raise ValueError(f"{name}: expected {width} {what}; received {shape[-1]}.")


def check_weights(sample_weight: Any, rows: int) -> np.ndarray | tf.Tensor:
    """Returns the weights as `(rows,)`; raises a `ValueError` unless there is one finite number per row."""
    if np.dtype(getattr(sample_weight.dtype, "as_numpy_dtype", sample_weight.dtype)).kind not in "fiub":
        raise ValueError(f"sample_weight: expected numbers; received {sample_weight.dtype}.")
    shape = tuple(sample_weight.shape)
    if shape not in ((rows,), (rows, 1)):
        raise ValueError(f"sample_weight: expected one number per row, shape ({rows},); received shape {shape}.")
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(sample_weight).astype("float32")).all()
    if not finite:
        raise ValueError("sample_weight: expected finite numbers; received NaN, infinity, or more than float32 holds.")
    return sample_weight[:, 0] if len(shape) == 2 else sample_weight


def check_network(name: str, network: Any) -> None:
    """Raises a `ValueError` unless `network` is a Keras layer with one output and at most two inputs, where known."""
    if not isinstance(network, keras.layers.Layer):
        raise ValueError(f"{name}: expected a Keras model; received {type(network).__name__}.")
    outputs = getattr(network, "outputs", None)
    if isinstance(outputs, list) and len(outputs) != 1:
        raise ValueError(
            f"{name}: expected a network with one output; {network.name} has {len(outputs)}. Convert an encoder that "
            "returns [mean, log_var] with keras_ae.networks.from_mean_log_var(encoder)."
        )
    inputs = getattr(network, "inputs", None)
    if isinstance(inputs, list) and len(inputs) > 2:
        raise ValueError(
            f"{name}: expected a network with one input, or two if there is a condition; {network.name} has "
            f"{len(inputs)}. Concatenate them inside the network."
        )


def input_shapes(network: keras.layers.Layer) -> list[tuple[int | None, ...]] | None:
    """Returns the shapes of a network's inputs without the batch axis, as a list; None if not known yet."""
    try:
        shapes = getattr(network, "input_shape", None)
    except (AttributeError, ValueError):  # Keras raises either, depending on the kind of model
        return None
    if shapes is None:
        return None
    return [tuple(shape[1:]) for shape in (shapes if isinstance(shapes, list) else [shapes])]


def static_shape(network: keras.layers.Layer, attribute: str) -> tuple[int | None, ...] | None:
    """Returns a network's `input_shape` or `output_shape` without the batch axis; None if not known yet."""
    try:
        shape = getattr(network, attribute, None)
    except (AttributeError, ValueError):
        return None
    if isinstance(shape, list):
        shape = shape[0]
    return None if shape is None else tuple(shape[1:])


def fits(have: Sequence[int | None], want: Sequence[int | None]) -> bool:
    """Whether two static shapes match; None matches any size, on either side."""
    return len(have) == len(want) and all(h is None or w is None or h == w for h, w in zip(have, want, strict=True))


def _parts(array):
    rows = max(1, _LOOKS_AT_MOST // max(1, int(np.prod(array.shape[1:]))))
    return (np.asarray(rows_of.dense(array[start : start + rows])) for start in range(0, array.shape[0], rows))


def _kind(dtype):
    return {"O": "Python objects", "U": "strings", "S": "strings", "c": "complex numbers"}.get(
        dtype.kind, f"dtype {dtype}"
    )


def _hint_of(name, dtype):
    if dtype.kind in "US":
        return " Encode text first: keras_ae.layers.TfIdf."
    return f" Convert them: {name}.astype('float32')." if dtype.kind in "Oc" else ""


def _extremes(array):
    # min and max propagate NaN, so these two numbers also reveal NaN and infinity.
    lows, highs = zip(*((part.min(), part.max()) for part in _parts(array)), strict=True)
    return float(np.min(lows)), float(np.max(highs))


def _whole(array):
    return all(np.all(part == np.floor(part)) for part in _parts(array))
