"""Helpers for tests on any processor: tolerances from conditioning, and a ReLU with defined behaviour for NaN."""

import os

import numpy as np
import pytest
import tensorflow as tf

EPSILON = np.finfo("float32").eps

multiplies_half_precision = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ,
    reason="TensorFlow asks the CPU what oneDNN can multiply, and aborts where oneDNN may not use those instructions",
)


def rounding(function, x, ulps=32):
    """The first-order change of `function(x)` if each number in x is off by a few units in the last place.

        sum_j |d function / d x_j| (1 + |x_j|) ulps EPSILON

    Processors add numbers in different orders, so a computation of many steps may differ by as much. A fixed tolerance
    would be too narrow for an ill-conditioned x and too wide for others. One is added to each number because
    intermediate sums of several numbers have rounding errors even if their result is near zero.

    Args:
        function: of float32 `(B, N)`, row by row, to `(B,)` or `(B, M)`.
        x: `(B, N)`.
        ulps: float, a few for each operation that is applied to a number.

    Returns:
        NumPy array of the shape of `function(x)`.
    """
    x = tf.convert_to_tensor(x, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        out = function(x)
        columns = out[:, None] if out.shape.rank == 1 else out
    slopes = tape.batch_jacobian(columns, x, experimental_use_pfor=False)
    moved = ulps * EPSILON * tf.reduce_sum(tf.abs(slopes) * (1 + tf.abs(x))[:, None], axis=-1)
    return tf.reshape(moved, out.shape).numpy()


def relu_without_nan(x):
    """ReLU that returns 0 for NaN. With `tf.nn.relu`, some processors return 0 for NaN, others NaN."""
    return tf.where(tf.math.is_nan(x), tf.zeros_like(x), tf.nn.relu(x))
