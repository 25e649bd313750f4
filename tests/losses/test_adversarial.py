"""Adversarial losses: their values at given scores, and the critics that minimise them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.losses import adversarial

SCORES = np.array([-5.0, 1.4, 12.5, 2.7], "float32")


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype("float64")))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_its_targets(smoothing):
    loss = adversarial.cross_entropy(smoothing)
    s = sigmoid(SCORES)
    real = -(1 - smoothing) * np.log(s) - smoothing * np.log(1 - s)
    fake = -np.log(1 - s[::-1])
    np.testing.assert_allclose(loss.critic(tf.constant(SCORES), tf.constant(SCORES[::-1])), real + fake, rtol=1e-5)
    np.testing.assert_allclose(loss.generator(tf.constant(SCORES)), -np.log(s), rtol=1e-5)
    # Where both are equally likely the best score is log((1 - a) / (1 + a)), so a real row is taken for 1/2 - a/2.
    d = np.linspace(-2, 2, 4001).astype("float32")
    best = d[np.argmin(loss.critic(tf.constant(d), tf.constant(d)))]
    assert best == pytest.approx(np.log((1 - smoothing) / (1 + smoothing)), abs=2e-3)


def test_least_squares_with_smoothing():
    loss = adversarial.get("least_squares", 0.2)
    np.testing.assert_allclose(loss.critic(SCORES, SCORES), 0.5 * (SCORES - 0.8) ** 2 + 0.5 * SCORES**2, rtol=1e-6)
    np.testing.assert_allclose(loss.generator(SCORES), 0.5 * (SCORES - 1) ** 2, rtol=1e-6)


def test_gradients_are_finite_at_extreme_scores():
    d = tf.constant([-80.0, 80.0])
    with tf.GradientTape() as tape:
        tape.watch(d)
        value = adversarial.cross_entropy().critic(d, d) + adversarial.cross_entropy().generator(d)
    assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, d)).all()


def test_refusals():
    with pytest.raises(ValueError, match="'hinge': expected one of cross_entropy, least_squares"):
        adversarial.get("hinge")
    for wrong in (-0.1, 0.5, True):
        with pytest.raises(ValueError, match="smoothing: expected a number from 0 to below"):
            adversarial.cross_entropy(wrong)
