"""Maximum mean discrepancy: a distance between two distributions from samples of both, without a critic."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The bandwidths of the kernels, as multiples of `bandwidth` (Tolstikhin 2018)."""

# Functions of r = |a - b|^2 / (s C). The first also works on NumPy arrays.
KERNELS = {"inverse_multiquadric": lambda r: 1.0 / (1.0 + r), "rbf": lambda r: tf.exp(-r)}


def mmd(
    x: tf.Tensor,
    y: tf.Tensor,
    kernel: str = "inverse_multiquadric",
    scales: Sequence[float] = SCALES,
    bandwidth: float | tf.Tensor | None = None,
) -> tf.Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy between the distributions of x and of y: a scalar.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)
        inverse multiquadric: k(a, b) = sum_s s C / (s C + |a - b|^2)
        rbf:                  k(a, b) = sum_s exp(-|a - b|^2 / (s C))

    The sums run over the scales s, and C is the bandwidth. If both distributions are equal, the estimate averages 0, so
    it can be negative. It has no unit and is at most twice the number of scales.

    Args:
        x: float32 `(N, D)`; with a single row there are no pairs, and their mean counts as 0.
        y: float32 `(M, D)`, likewise.
        kernel: str, one of `KERNELS`.
        scales: floats above 0.
        bandwidth: float above 0, in squared units of x; None is the median of |a - b|^2 over all pairs of x and y,
            without its gradient.

    Raises:
        ValueError: if the kernel is unknown, there are no scales or one is not positive.

    Example: `mmd(tf.random.normal([64, 2]), tf.random.normal([64, 2]))    # near 0`

    Source: Gretton 2012, equation 3 and section 8 for the median; Tolstikhin 2018, section 4, for the kernel. See also:
    `evaluation.two_sample.mmd_test`, with a p-value; `WAE`, which minimises it.
    """
    check_kernel(kernel, scales)
    within_x, within_y, across = (squared_distances(*pair) for pair in ((x, x), (y, y), (x, y)))
    if bandwidth is None:
        bandwidth = tf.stop_gradient(median(tf.concat([tf.reshape(d, [-1]) for d in (within_x, within_y, across)], 0)))
    # The diagonals are removed as numbers, because their distances can be off zero by rounding.
    k_x, k_y, k = (_kernel(d, kernel, scales, bandwidth) for d in (within_x, within_y, across))
    return _mean_of_pairs(k_x) + _mean_of_pairs(k_y) - 2 * tf.reduce_mean(k)


def check_kernel(kernel: str, scales: Sequence[float]) -> None:
    """Raises a `ValueError` unless the kernel is known and the scales are positive.

    Example: `check_kernel("rbf", (1.0,))`
    """
    if kernel not in KERNELS:
        raise ValueError(f"Unknown kernel {kernel!r}: expected one of {', '.join(KERNELS)}.")
    if not len(scales) or not all(scale > 0 for scale in scales):
        raise ValueError(f"scales: expected one or more numbers above 0; received {tuple(scales)}.")


def squared_distances(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """|x_i - y_j|^2 for each pair of rows, `(N, M)`, 0 or more.

    Example: `squared_distances(tf.zeros([3, 2]), tf.ones([4, 2]))    # (3, 4), 2 each`
    """
    squares = (tf.reduce_sum(each**2, axis=1) for each in (x, y))
    # A matrix product instead of differences (N, M, D), which take D times the memory.
    distances = next(squares)[:, None] - 2 * tf.matmul(x, y, transpose_b=True) + next(squares)
    return tf.maximum(distances, 0.0)


def median(values: tf.Tensor) -> tf.Tensor:
    """The upper median of a tensor `(N,)`: a scalar.

    Example: `median(tf.constant([3.0, 1.0, 2.0]))    # 2.0`
    """
    return tf.sort(values)[tf.size(values) // 2]


def _kernel(distances: tf.Tensor, kernel: str, scales: Sequence[float], bandwidth: Any) -> tf.Tensor:
    return tf.add_n([KERNELS[kernel](distances / (scale * bandwidth)) for scale in scales])


def _mean_of_pairs(k):
    n = tf.cast(tf.shape(k)[0], k.dtype)
    off = k - tf.linalg.diag(tf.linalg.diag_part(k))
    return tf.math.divide_no_nan(tf.reduce_sum(off), n * (n - 1.0))
