"""Roles of y in a model: its target, its condition, a label for some rows, or another row. A model class declares one.

A role validates y, converts it to the form used in training, and returns the mask of rows that a step can learn from.
It also decides whether `encode` and the other methods take y, how labels are one-hot encoded, and whether exported
models have the input `condition`.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.typing import Rows
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation


class Role:
    """Base class for roles, and the role of models that do not use y.

    Attributes:
        conditional: bool, whether the model's methods take y in addition to x or z.
        num_classes: int if y holds labels, else None.
    """

    conditional: bool = False
    num_classes: int | Any = None

    def standard(self, y: Rows | None) -> Rows:
        """Converts y, an array or a tensor of a data set, to the form used in training; None stays None."""
        return y

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        """Raises a `ValueError` if y is invalid for x and the model, in `fit` (`training`) or `evaluate`."""
        if y is not None:
            raise ValueError(f"y: {type(model).__name__} does not use y. Leave it out.")

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        """Returns the mask of rows that a step can learn from: bool `(B,)`, or one bool for all rows.

        Any other row makes the logged loss NaN, which stops training. This is needed because only the first batch of a
        data set is validated, and a ReLU may turn NaN into a finite number before it reaches a term.
        """
        return tf.constant(True)

    def class_weights(self, y: Rows | None, class_weight: Mapping[int, float]) -> np.ndarray | tf.Tensor:
        """Returns the weight of each row from its label, `(B,)` float32."""
        raise ValueError(
            "class_weight: this model has no integer labels. Use sample_weight instead, one number per row."
        )

    # Of conditions, which only conditional roles have

    def check_given(self, model: keras.Model, rows: int, y: Rows | None) -> None:
        """Raises a `ValueError` unless y has a valid condition for each row passed to a public method."""
        raise ValueError(_NOT_CONDITIONAL)

    def valid(self, y: tf.Tensor) -> tf.Tensor:
        """Row mask of valid conditions in y: bool `(B,)`."""
        raise ValueError(_NOT_CONDITIONAL)

    def for_networks(self, y: tf.Tensor) -> tf.Tensor:
        """Converts y to the networks' input: float32 `(B, ...)`."""
        raise ValueError(_NOT_CONDITIONAL)


class Target(Role):
    """y is the reconstruction target, with the decoder's output shape; defaults to x."""

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        shape = model.target_shape
        if y is None:
            if shape is not None and not validation.fits(tuple(x.shape[1:]), shape):
                raise ValueError(
                    f"y: {type(model).__name__} maps x of shape {tuple(x.shape[1:])} to rows of shape {shape}, so x "
                    "cannot be its own target. Pass y, or use a decoder whose output has x's shape."
                )
            model.check_target(x)
            return
        if y.shape[0] != x.shape[0]:
            raise ValueError(f"y: expected a row for each of the {x.shape[0]} rows of x; received {y.shape[0]}.")
        if model.event_shape == shape and tuple(y.shape) != tuple(x.shape):
            shape = tuple(x.shape[1:])  # variable length, but the same for x and y
        if shape is not None and not validation.fits(tuple(y.shape[1:]), shape):
            raise ValueError(
                f"y: {type(model).__name__} takes no labels. Expected the target, rows of shape {shape}; received "
                f"{tuple(y.shape[1:])}. Leave y out to reconstruct x itself."
            )
        validation.check_array("y", y, shape, None)
        model.check_target(y, name="y")

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        if y is None:  # x is the target, so NaN in x already shows in the terms
            return _in_range(model, x)
        return finite(x) & _in_range(model, x, slack=True) & model.valid_target(y)


class AnotherRow(Role):
    """y is another row of the data with x's shape, such as the previous row or a neighbour; defaults to x.

    Args:
        name: what the row is called in error messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        model.check_target(x)
        if y is None:
            return
        if tuple(y.shape) != tuple(x.shape):
            raise ValueError(
                f"y: {type(model).__name__} takes no labels. Expected the {self.name} of each row, shape "
                f"{tuple(x.shape)}; received {tuple(y.shape)}."
            )
        model.check_target(y, name="y")

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        return _in_range(model, x) if y is None else finite(x) & _in_range(model, x) & model.valid(y)


class Condition(Role):
    """y is a condition for every row: labels, attributes, or the visible part of an image.

    Args:
        num_classes: int for integer labels, 0 to num_classes - 1, which the networks receive one-hot encoded; None for
            numeric conditions, which they receive unchanged.
        classes: list of str, class names, which y may then hold instead of integers; None for integer labels only.

    Raises:
        ValueError: if there are not `num_classes` distinct names, or they are not strings.
    """

    conditional = True
    unknown: int | None = None  # the label that means "no label"

    def __init__(self, num_classes: int | None = None, classes: Sequence[str] | None = None) -> None:
        if num_classes is None and classes is not None:
            num_classes = len(classes)
        if num_classes is not None:
            num_classes = validation.positive_int("num_classes", num_classes)
        if classes is not None and (isinstance(classes, str) or not all(isinstance(each, str) for each in classes)):
            raise ValueError(
                f"classes: expected a list of names, which are strings; received {classes!r}. For integer labels, "
                "number them from 0, and pass num_classes instead."
            )
        if classes is not None and len(set(classes)) != num_classes:
            raise ValueError(f"classes: expected {num_classes} different names; received {list(classes)}.")
        self.num_classes, self.classes = num_classes, None if classes is None else [*map(str, classes)]

    def standard(self, y: Rows | None) -> Rows:
        """Converts class names or one-hot rows to integer labels `(B,)`; integer labels and numbers stay unchanged."""
        if y is None or not self.num_classes:
            return y
        y = rows_of.dense(y)
        if tf.is_tensor(y):
            return self._standard_tensor(y)
        y = _of_python_ints(y)
        if y.dtype.kind in "OUS":
            return self._numbers_of_names(y)
        # Rows with several ones are not labels: they stay as they are, and are refused.
        one_hot = y.ndim == 2 and y.shape[1] == self.num_classes > 1 and np.isin(y, (0, 1)).all()
        if one_hot and (y.sum(axis=1) <= 1).all():
            return np.where(y.any(axis=1), y.argmax(axis=1), -1)
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        whole = y.dtype.kind == "f" and np.isfinite(y).all() and np.all(y == np.floor(y))
        return y.astype("int64") if whole else y

    def _standard_tensor(self, y):
        # A graph cannot raise an error, so an invalid label becomes one that is out of range, which stops training.
        no_class = tf.constant(self.num_classes, tf.int64)
        no_label = no_class if self.unknown is None else tf.constant(self.unknown, tf.int64)
        if y.dtype == tf.string:
            if self.classes is None:
                raise ValueError(_NO_NAMES)
            y = tf.reshape(y, [-1, 1])
            same = y == tf.constant(self.classes)
            other = tf.where(y[:, 0] == "", no_label, no_class)
            return tf.where(tf.reduce_any(same, 1), tf.argmax(tf.cast(same, tf.int32), 1), other)
        if y.shape.rank == 2 and y.shape[1] == self.num_classes > 1:
            ones, zeros = (tf.reduce_sum(tf.cast(y == value, tf.int64), axis=1) for value in (1, 0))
            fine = (ones <= 1) & (ones + zeros == self.num_classes)
            return tf.where(fine, tf.where(ones == 1, tf.argmax(y, 1), -1), no_class)
        if y.shape.rank == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if not y.dtype.is_floating:
            return y
        return tf.where(y == tf.floor(y), tf.cast(y, tf.int64), no_class)

    def _numbers_of_names(self, y):
        if self.classes is None:
            if not any(isinstance(each, str | bytes) for each in y.flat):
                return y  # `check` says which dtype it expects
            raise ValueError(_NO_NAMES)
        numbers = {name: number for number, name in enumerate(self.classes)}
        if self.unknown is not None:
            numbers |= dict.fromkeys(_MISSING, self.unknown)
        names = [each.decode() if isinstance(each, bytes) else str(each) for each in np.ravel(y)]
        wrong = next((name for name in names if name not in numbers), None)
        if wrong is not None:
            raise ValueError(f"y: {wrong!r} is not one of the classes {', '.join(self.classes)}.")
        return np.array([numbers[name] for name in names])

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        model.check_target(x)
        self.check_given(model, x.shape[0], y)

    def check_given(self, model: keras.Model, rows: int, y: Rows | None) -> None:
        """Raises a `ValueError` unless y has a valid condition for each row passed to a public method."""
        if y is None:
            raise ValueError(f"y: {type(model).__name__} is conditional. Pass one condition per row.")
        if not y.shape or y.shape[0] != rows:
            raise ValueError(f"y: expected a condition for each of the {rows} rows, received shape {tuple(y.shape)}.")
        if self.num_classes:
            validation.check_labels("y", y, self.num_classes)
            return
        validation.check_array("y", y, model.condition_shape, None)
        if y.dtype == "uint8" and np.max(y) > 1:
            raise ValueError(
                f"y: received uint8 up to {np.max(y)}, which the networks would get unscaled. Divide pixels by 255; "
                "pass other numbers as floats."
            )

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        return _in_range(model, x) & self.valid(y)  # x is the target, so NaN in x shows in the terms

    def valid(self, y: tf.Tensor) -> tf.Tensor:
        """Row mask of valid conditions in y: bool `(B,)`."""
        return exists(y, self.num_classes, self.unknown) if self.num_classes else finite(y)

    def for_networks(self, y: tf.Tensor) -> tf.Tensor:
        """Converts y to the networks' input: float32 `(B, ...)`."""
        return one_hot(y, self.num_classes) if self.num_classes else tf.cast(y, tf.float32)

    def class_weights(self, y: Rows | None, class_weight: Mapping[int, float]) -> np.ndarray | tf.Tensor:
        if not self.num_classes:
            return super().class_weights(y, class_weight)
        if y is None:
            raise ValueError("class_weight: expected y, the label of each row; received none.")
        if not hasattr(class_weight, "items"):
            raise ValueError(
                f"class_weight: expected a dict {{label: weight}}; received {class_weight!r}. "
                "sklearn.utils.class_weight.compute_class_weight computes balanced weights."
            )
        numbers: dict[Any, int] = {name: number for number, name in enumerate(self.classes or ())}
        class_weight = {
            numbers.get(label, label): validation.non_negative(f"class_weight of {label!r}", weight)
            for label, weight in class_weight.items()
        }
        wrong = set(class_weight) - set(range(self.num_classes))
        if wrong:
            raise ValueError(
                f"class_weight: expected labels 0 to {self.num_classes - 1}; received {sorted(wrong, key=str)}."
            )
        # Rows without a label, -1, index the last entry.
        table = np.array([class_weight.get(label, 1.0) for label in range(self.num_classes)] + [1.0], "float32")
        if tf.is_tensor(y):
            y = tf.cast(y, tf.int64)
            return tf.gather(table, tf.where(exists(y, self.num_classes), y, tf.cast(self.num_classes, tf.int64)))
        validation.check_labels("y", y, self.num_classes, unknown=-1)
        return table[y]


class PartialLabel(Condition):
    """y is the label of a row, or -1 if unknown; among class names, None, NaN or "" if unknown.

    `fit` and `evaluate` accept unknown labels; the model's other methods require known ones.
    """

    unknown = -1

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        model.check_target(x)
        check = validation.check_some_labels if training else validation.check_partial_labels
        check(y, x.shape[0], self.num_classes)

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        return finite(x) & _in_range(model, x) & self.valid(y)


def _of_python_ints(y):
    """Integer labels of dtype object, such as a column of a mixed table, with an integer dtype; others unchanged."""
    if y.dtype != object or not y.size or not all(isinstance(each, int | np.integer) for each in y.flat):
        return y
    return np.array(y.tolist())


class OptionalLabel(PartialLabel):
    """y is the label of a row, or -1 if unknown, that only `fit` and `evaluate` take; other methods need x alone.

    Args:
        num_classes, classes: as in `Condition`.
        required: bool, whether `fit` needs y; if not, no y means that no label is known.
    """

    conditional = False

    def __init__(
        self, num_classes: int | None = None, classes: Sequence[str] | None = None, required: bool = False
    ) -> None:
        super().__init__(num_classes, classes)
        self.required = required

    def check(self, model: keras.Model, x: Rows, y: Rows | None, training: bool = False) -> None:
        model.check_target(x)
        if y is not None or (training and self.required):
            validation.check_partial_labels(y, x.shape[0], self.num_classes)

    def row_mask(self, model: keras.Model, x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
        return finite(x) if y is None else super().row_mask(model, x, y)


_MISSING = ("", "None", "nan", "<NA>")  # how names that are missing in NumPy and pandas read as text
_NOT_CONDITIONAL = "y: this model is not conditional. Leave y out."
_NO_NAMES = "y: received class names, which this model does not know. Pass classes=[...] to the constructor."


_validated = contextvars.ContextVar("validated", default=False)


@contextlib.contextmanager
def validated(in_full: bool) -> Iterator[None]:
    """Context of tracing a step whose rows need no check of their range, if they come from data validated in full."""
    outside = _validated.set(in_full)
    try:
        yield
    finally:
        _validated.reset(outside)


def _in_range(model, x, slack=False):
    """Whether all values of x are valid: one bool. The check takes a fiftieth of a small VAE's step."""
    return tf.constant(True) if _validated.get() else model.in_range(x, slack)


def finite(rows: tf.Tensor) -> tf.Tensor:
    """Row mask of rows with only finite values: bool `(B,)`."""
    rows = tf.cast(rows, tf.float32)
    return tf.reduce_all(tf.math.is_finite(rows), axis=tf.range(1, tf.rank(rows)))


def labels_or_unknown(x: tf.Tensor, y: tf.Tensor | None) -> tf.Tensor:
    """Returns the label of each row of x, -1 where unknown, which is everywhere without y: int64 `(B,)`."""
    return tf.fill(tf.shape(x)[:1], tf.constant(-1, tf.int64)) if y is None else tf.cast(y, tf.int64)


def one_hot(labels: tf.Tensor, num_classes: int, unknown: int | None = None) -> tf.Tensor:
    """One-hot encodes labels, `(B, num_classes)` float32; an `unknown` label gives zeros.

    A label out of range gives NaN, because no row of numbers would be correct.
    """
    rows = tf.one_hot(tf.cast(labels, tf.int64), num_classes)
    return tf.where(exists(labels, num_classes, unknown)[:, None], rows, math.nan)


def exists(labels: tf.Tensor, num_classes: int, unknown: int | None = None) -> tf.Tensor:
    """Mask of labels in 0 to `num_classes - 1`, or equal to `unknown`: bool `(B,)`."""
    labels = tf.cast(labels, tf.int64)
    found = (labels >= 0) & (labels < num_classes)
    return found if unknown is None else found | (labels == unknown)
