"""Bits with gradients, and bits packed into bytes."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ae.distributions import relaxed_bits

LOGITS = tf.constant([[-2.0, 0.0, 0.5, 3.0]])
P = 1 / (1 + np.exp(-LOGITS.numpy()))
N = 40_000


def gradient(relaxation, seed=(1, 2)):
    """Mean over samples of d z / d l, `(1, 4)`."""
    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        z = relaxed_bits.RELAXATIONS[relaxation](LOGITS, N, tf.constant(seed))
        mean = tf.reduce_sum(tf.reduce_mean(z, axis=0))
    return z.numpy(), tape.gradient(mean, LOGITS).numpy()


def test_straight_through_samples_are_bits_with_the_gradient_of_their_mean():
    z, slope = gradient("straight_through")
    assert set(np.unique(z)) == {0.0, 1.0}
    error = 4 * np.sqrt(P * (1 - P) / N)
    assert (np.abs(z.mean(0) - P) < error).all()
    np.testing.assert_allclose(slope, P * (1 - P), rtol=2e-3)  # a sum of 40,000 in float32


def test_logistic_samples_are_above_a_half_as_often_as_the_bit_is_one():
    z, slope = gradient("logistic")
    assert ((z >= 0) & (z <= 1)).all()
    assert np.mean((z > 0) & (z < 1)) > 0.99  # float32 rounds the most extreme ones
    assert (np.abs((z > 0.5).mean(0) - P) < 4 * np.sqrt(P * (1 - P) / N)).all()
    # The slope is that of the mean sample, by a finite difference with the same noise.
    step = 1e-2
    up, down = (relaxed_bits.logistic(LOGITS + s, N, tf.constant([1, 2])).numpy().mean(0) for s in (step, -step))
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-2)


def test_noise_in_the_logits_has_the_stated_scale():
    # At a smaller scale than the default, whose most extreme samples float32 rounds to 1.
    z = relaxed_bits.noisy(LOGITS, N, tf.constant([1, 2]), scale=1.5).numpy()[:, 0, 1]  # where the logit is 0
    noise = np.log(z) - np.log1p(-z)
    assert noise.std() == pytest.approx(1.5, rel=0.02)
    assert abs(noise.mean()) < 4 * 1.5 / np.sqrt(N)


@pytest.mark.parametrize("relaxation", relaxed_bits.RELAXATIONS)
def test_samples_follow_from_the_seed(relaxation):
    draw = relaxed_bits.RELAXATIONS[relaxation]
    np.testing.assert_array_equal(draw(LOGITS, 3, tf.constant([1, 2])), draw(LOGITS, 3, tf.constant([1, 2])))
    assert np.any(draw(LOGITS, 8, tf.constant([1, 2])) != draw(LOGITS, 8, tf.constant([1, 3])))


@pytest.mark.parametrize("width", [8, 16, 13, 64, 3])
def test_pack_is_that_of_numpy(width, rng):
    bits = rng.random((7, width)) > 0.5
    packed = relaxed_bits.pack(tf.constant(bits))
    assert packed.dtype == tf.uint8
    np.testing.assert_array_equal(packed, np.packbits(bits, axis=1))
