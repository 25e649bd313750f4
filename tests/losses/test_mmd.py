"""The maximum mean discrepancy: against double sums, without bias, with kernels of any scale."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.losses import mmd


def by_double_sum(x, y, kernel, scales, c):
    def k(a, b):
        r = np.sum((a - b) ** 2) / c
        each = (1 / (1 + r / s) if kernel == "inverse_multiquadric" else np.exp(-r / s) for s in scales)
        return sum(each)

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("kernel", mmd.KERNELS)
def test_it_is_the_double_sum(kernel, rng):
    x, y = rng.normal(size=(7, 3)), rng.normal(1.0, 2.0, size=(9, 3))
    tensors = [tf.constant(each, tf.float32) for each in (x, y)]
    for scales, c in ((mmd.SCALES, 3.0), ((1.0,), 0.5)):
        expected = by_double_sum(x, y, kernel, scales, c)
        assert float(mmd.mmd(*tensors, kernel, scales, c)) == pytest.approx(expected, abs=1e-5)
    # The default bandwidth is the median over all pairs, as long as none are equal: twice those of different samples.
    every = [np.sum((a - b) ** 2) for one, two in ((x, x), (y, y), (x, y)) for a in one for b in two]
    expected = by_double_sum(x, y, kernel, mmd.SCALES, np.sort(every)[len(every) // 2])
    assert float(mmd.mmd(*tensors, kernel)) == pytest.approx(expected, abs=1e-5)


def test_it_averages_zero_if_and_only_if_the_distributions_are_equal():
    draws = tf.function(lambda seed, shift: _of_normals(seed, shift), autograph=False)
    found = np.array([draws(tf.constant([0, i]), 0.0) for i in range(400)])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert (found < 0).mean() > 0.3  # unbiased, so often negative
    apart = np.array([draws(tf.constant([1, i]), 0.5) for i in range(100)])
    assert apart.mean() > 8 * apart.std() / np.sqrt(len(apart))


def _of_normals(seed, shift):
    x, y = tf.unstack(tf.random.stateless_normal([2, 20, 2], seed))
    return mmd.mmd(x, y + shift, bandwidth=2.0)


def test_its_gradient_moves_rows_towards_the_other_sample(rng):
    x, y = tf.constant(rng.normal(size=(50, 2)) + 3, tf.float32), tf.constant(rng.normal(size=(50, 2)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = mmd.mmd(x, y)
    moved = x - 0.5 * 50 * tape.gradient(value, x)
    assert mmd.mmd(moved, y) < value
    equal = tf.ones([4, 2])
    with tf.GradientTape() as tape:
        tape.watch(equal)
        value = mmd.mmd(equal, equal + 0.0, bandwidth=1.0)
    assert np.isfinite(tape.gradient(value, equal)).all() and float(value) == pytest.approx(0, abs=1e-5)


def test_a_single_row_has_no_pairs(rng):
    x, y = tf.constant(rng.normal(size=(1, 2)), tf.float32), tf.constant(rng.normal(size=(5, 2)), tf.float32)
    within = by_double_sum(y.numpy(), y.numpy(), "rbf", (1.0,), 2.0)  # twice that of y, less 2 over all pairs
    across = np.mean(np.exp(-np.sum((x - y) ** 2, axis=1) / 2.0))
    every = np.mean(np.exp(-np.sum((y[:, None] - y[None]) ** 2, axis=2) / 2.0))
    expected = (within + 2 * every) / 2 - 2 * across
    assert float(mmd.mmd(x, y, "rbf", (1.0,), 2.0)) == pytest.approx(expected, abs=1e-5)


def test_refusals():
    x = tf.zeros([3, 2])
    with pytest.raises(ValueError, match="'linear': expected one of inverse_multiquadric, rbf"):
        mmd.mmd(x, x, "linear")
    for scales in ((), (1.0, -1.0)):
        with pytest.raises(ValueError, match="scales: expected one or more numbers above 0"):
            mmd.mmd(x, x, scales=scales)
