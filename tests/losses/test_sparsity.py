"""Sparsity: penalties against closed forms, and exactly k units."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.losses import sparsity


def test_l1_is_the_sum_of_absolute_values(rng):
    z = rng.normal(size=(5, 3, 2)).astype("float32")
    np.testing.assert_allclose(sparsity.l1(z), np.abs(z).sum((1, 2)), rtol=1e-5)


def test_kl_is_that_of_bernoulli_variables(rng):
    z = rng.random((40, 6)).astype("float32")
    rho, r = 0.1, z.astype("float64").mean(0)
    expected = (rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))).sum()
    np.testing.assert_allclose(sparsity.kl(z, rho), expected, rtol=1e-4)
    assert abs(float(sparsity.kl(tf.fill([4, 3], 0.1), 0.1))) < 1e-5


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_kl_of_units_that_are_always_off_or_on_is_finite_and_has_a_gradient(value):
    z = tf.fill([4, 3], value)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = sparsity.kl(z, 0.1)
    gradient = tape.gradient(loss, z).numpy()
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    assert np.all(gradient < 0 if value == 0 else gradient > 0)  # towards the target


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k_keeps_the_k_largest_and_their_gradient(rng, k):
    z = tf.constant(rng.normal(size=(6, 7)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(z)
        kept = sparsity.top_k(z, tf.constant(k))
        total = tf.reduce_sum(kept)
    expected = np.where(z >= np.sort(z, axis=1)[:, [-k]], z, 0)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(tape.gradient(total, z), (expected != 0).astype("float32"))


def test_top_k_keeps_exactly_k_of_equal_values():
    z = tf.constant([[1.0, 2.0, 2.0, 2.0, 0.5], [3.0] * 5])
    np.testing.assert_array_equal(sparsity.top_k(z, 2), [[0, 2, 2, 0, 0], [3, 3, 0, 0, 0]])
    np.testing.assert_array_equal(sparsity.top_k(z, 4), [[1, 2, 2, 2, 0], [3, 3, 3, 3, 0]])


def test_arguments_out_of_range_are_named():
    z = tf.fill([4, 3], 0.5)
    for rho in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="target_activity: expected a number between 0 and 1"):
            sparsity.kl(z, rho)
    for k in (0, 4, 1.5):
        with pytest.raises(ValueError, match="k: expected a whole number, 1 to 3"):
            sparsity.top_k(z, k)
