"""Recurrences compared with their definition, step by step, and gradients with finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.layers.recurrent import QuasiRecurrent, linear_recurrence


def test_linear_recurrence_is_its_definition(rng):
    a, b, c = rng.uniform(size=(2, 5, 3)), rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 3))
    made = linear_recurrence(*(tf.constant(each) for each in (a, b, c))).numpy()
    for t in range(5):
        c = a[:, t] * c + b[:, t]
        np.testing.assert_allclose(made[:, t], c)


@pytest.mark.parametrize("n", [1, 6])
def test_gradients_of_a_linear_recurrence_are_those_of_differences(rng, n):
    arguments = [tf.constant(rng.normal(size=shape)) for shape in ((2, n, 3), (2, n, 3), (2, 3))]
    weights = rng.normal(size=(2, n, 3))
    theory, numbers = tf.test.compute_gradient(lambda *each: linear_recurrence(*each) * weights, arguments)
    for ours, differences in zip(theory, numbers, strict=True):
        assert np.abs(differences).max() > 0.1
        np.testing.assert_allclose(ours, differences, atol=1e-6)


def test_a_quasi_recurrent_layer_goes_on_from_its_state(rng):
    layer, x = QuasiRecurrent(8), rng.normal(size=(2, 10, 5)).astype("float32")
    whole, last = layer(x, tf.zeros([2, 8]))
    first, state = layer(x[:, :4], tf.zeros([2, 8]))
    second, end = layer(x[:, 4:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(end, last, atol=1e-6)


def test_units_forget_over_one_to_the_longest_number_of_steps():
    layer = QuasiRecurrent(16, longest=50.0)
    layer.build((None, None, 4))
    forget = tf.sigmoid(layer.gates.bias[:16]).numpy()
    np.testing.assert_allclose(forget[[0, -1]], [1 / 2, 50 / 51], rtol=1e-6)
    assert (np.diff(forget) > 0).all()
    np.testing.assert_array_equal(layer.gates.bias[16:], np.zeros(32))
    again = QuasiRecurrent.from_config(layer.get_config())
    assert again.units == 16 and again.longest == 50.0
