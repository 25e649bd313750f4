"""What models with a condition share: labels, attributes or the part of an image that is seen, beside x and z."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_ae.distributions import likelihoods
from keras_ae.utils import validation

_MISSING = "y: {} is conditional. Give a condition for each row."


def one_hot(labels, num_classes, unknown=None):
    """A row of 0 and a single 1 for each label, `(B, num_classes)` float32; of an `unknown` one zeros.

    A label that does not exist makes NaN, as no row of numbers would be right; training stops at it by `row_mask`.
    """
    rows = tf.one_hot(tf.cast(labels, tf.int64), num_classes)
    return tf.where(exists(labels, num_classes, unknown)[:, None], rows, math.nan)


def exists(labels, num_classes, unknown=None):
    """Which of the labels are 0 to `num_classes - 1`, or `unknown`: bool `(B,)`."""
    labels = tf.cast(labels, tf.int64)
    found = (labels >= 0) & (labels < num_classes)
    return found if unknown is None else found | (labels == unknown)


class Conditional:
    """Mixin of models whose encoder and decoder receive lists, `[x, condition]` and `[z, condition]`.

    The methods take y after x or z: integer labels `(B,)` where the model knows `num_classes`, which become one-hot
    rows, or else floats of the networks' second input. The model itself is called on a pair `(x, y)`.
    """

    conditional = True
    num_classes = None
    _built_condition = None

    def condition(self, y):
        """What the networks receive for y: float32 `(B, ...)`."""
        if y is None:
            raise ValueError(_MISSING.format(type(self).__name__))
        if self.num_classes:
            return one_hot(y, self.num_classes)
        return tf.cast(y, tf.float32)

    @property
    def condition_shape(self):
        """Shape of one y: `()` for labels; None while the encoder was never built."""
        if self.num_classes:
            return ()
        shapes = getattr(self.encoder, "input_shape", None)
        return tuple(shapes[1][1:]) if isinstance(shapes, list) else self._built_condition

    @property
    def condition_dtype(self):
        """Dtype of y at the door, "int64" for labels or "float32"."""
        return "int64" if self.num_classes else "float32"

    def valid_condition(self, y):
        """Which rows of y are a condition: bool `(B,)`."""
        if self.num_classes:
            return exists(y, self.num_classes)
        return likelihoods.finite_rows(y)

    def row_mask(self, x, y):
        return self.valid_condition(y)  # NaN in x shows in the terms, whose target it is

    def call_on(self, x, y):
        for objective in self.objectives().values():
            objective.terms(x, y, training=False)  # a prior's network or a classifier takes no part in a call
        return self((x, y))

    def predict(self, x, y=None, *args, **kwargs):
        """`self((x, y))` in batches, of arrays x and y, or of a pair, a data set or a generator of both.

        What follows y, or x where it holds both, are the arguments of `keras.Model.predict`. Rows whose y is no
        condition are NaN.
        """
        if not hasattr(x, "shape"):
            args = args if y is None else (y, *args)
        elif y is None:
            raise ValueError(_MISSING.format(type(self).__name__))
        else:
            x = (x, y)
        if isinstance(x, tuple | list):
            if len(x) != 2:
                raise ValueError(f"x: expected a pair (x, y), received {len(x)} arrays.")
            x = tuple(each if hasattr(each, "shape") else np.asarray(each) for each in x)
            self.check_inputs(x=x[0], y=x[1])
        return super().predict(x, *args, **kwargs)

    def predict_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        x, y = x if isinstance(x, tuple | list) else (x, y)
        means = super().predict_step(((x, y),))
        valid = tf.reshape(self.valid_condition(y), [-1] + [1] * (means.shape.rank - 1))
        return tf.where(valid, means, math.nan)

    def build(self, input_shape=None):
        if input_shape is None:
            return super().build()
        if not all(isinstance(shape, tuple | list) for shape in input_shape):
            raise ValueError(_MISSING.format(type(self).__name__))
        x, y = (tuple(shape) for shape in input_shape)
        if not self._networks_built():
            self.call((tf.zeros([1, *x[1:]]), tf.zeros([1, *y[1:]], self.condition_dtype)))
        self._built_condition = y[1:]
        return super().build(x)

    def check_conditions(self, **others):
        """Raises a `ValueError` where networks of known shapes take no condition, or one of another shape.

        `others` are the shapes of a condition for further networks, by name; None where not known.
        """
        found = {name: shape for name, shape in others.items() if shape is not None}
        found |= {"num_classes": (self.num_classes,)} if self.num_classes else {}
        for name in ("encoder", "decoder"):
            try:
                shapes = getattr(self, name).input_shape
            except (AttributeError, ValueError):  # not known before the network is built
                continue
            if not isinstance(shapes, list) or len(shapes) != 2:
                raise ValueError(f"{name}: expected a network of two inputs, the second one the condition.")
            found[name] = tuple(shapes[1][1:])
        if len(set(found.values())) > 1:
            raise ValueError(f"networks: expected conditions of one shape; received {found}.")

    def check_data(self, x, y):
        validation.check_array("x", x, self.event_shape, self._likelihood)
        self._check_condition(x, y)

    def check_inputs(self, x=None, z=None, seeds=None, y=None):
        super().check_inputs(x=x, z=z, seeds=seeds)
        if y is not None:
            self._check_condition(next(each for each in (x, z, seeds) if each is not None), y)

    def _check_condition(self, x, y):
        if y is None:
            raise ValueError(_MISSING.format(type(self).__name__))
        y = y if hasattr(y, "shape") else np.asarray(y)
        if not y.shape or y.shape[0] != x.shape[0]:
            raise ValueError(f"y: expected a condition for each of the {x.shape[0]} rows, received shape {y.shape}.")
        if self.num_classes:
            validation.check_labels("y", y, self.num_classes)
            return
        validation.check_array("y", y, self.condition_shape, None)
        if y.dtype == "uint8" and np.max(y) > 1:
            raise ValueError(
                f"y: received uint8 up to {np.max(y)}, which the networks would see as it is. Divide pixels by 255; "
                "give other numbers as floats."
            )

    def _given(self, values, y):
        condition = self.condition(y)
        # Several samples of z for each row of y lie one after the other.
        repeats = tf.shape(values)[0] // tf.shape(condition)[0]
        ones = tf.ones(condition.shape.rank - 1, tf.int32)
        tiled = tf.tile(condition, tf.concat([[repeats], ones], axis=0))
        return [values, tf.ensure_shape(tiled, [None, *condition.shape[1:]])]


class PartlyLabelled(Conditional):
    """Mixin of conditional models that learn from labels of some rows; y is -1 where it is unknown."""

    def check_data(self, x, y):
        validation.check_array("x", x, self.event_shape, self._likelihood)
        validation.check_some_labels(y, x.shape[0], self.num_classes)

    def row_mask(self, x, y):
        return likelihoods.finite_rows(x) & exists(y, self.num_classes, unknown=-1)

    def check_measured(self, x, y):
        validation.check_array("x", x, self.event_shape, self._likelihood)
        validation.check_partial_labels(y, x.shape[0], self.num_classes)
