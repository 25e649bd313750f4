"""What tests share to hold on every processor: tolerances from conditioning, and a ReLU of which NaN is known."""

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
    """How far `function(x)` moves, to first order, where each number in x is off by some units in the last place.

        sum_j |d function / d x_j| (1 + |x_j|) ulps EPSILON

    Processors differ in the order of their sums, and a computation that goes through many steps may be off by as much:
    a fixed tolerance is too narrow for a badly conditioned x and too wide for others. One is added to each number as
    the steps between see sums of several numbers, whose rounding does not vanish with their result.

    Args:
        function: of float32 `(B, N)`, row by row, to `(B,)` or `(B, M)`.
        x: `(B, N)`.
        ulps: float, a few for each operation that a number passes through.

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
    """ReLU with 0 for NaN. Of `tf.nn.relu` some processors make 0 of NaN, and others NaN."""
    return tf.where(tf.math.is_nan(x), tf.zeros_like(x), tf.nn.relu(x))
