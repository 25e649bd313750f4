"""Networks with other conventions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.networks.adapters import MeanAndRawScale
from tests.numerics import multiplies_half_precision


class Sampling(keras.layers.Layer):
    """As in Keras's example of a VAE; not registered for saving."""

    def call(self, inputs):
        mean, log_var = inputs
        return mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))


def keras_example(sampling=True):
    x = keras.Input((6,))
    h = keras.layers.Dense(8, activation="relu")(x)
    mean, log_var = keras.layers.Dense(3, name="z_mean")(h), keras.layers.Dense(3, name="z_log_var")(h)
    return keras.Model(x, [mean, log_var, Sampling()([mean, log_var])] if sampling else [mean, log_var], name="encoder")


@pytest.mark.parametrize("log_var", [-26.0, -20.0, -2.0, 0.0, 3.0, 40.0, 170.0])
def test_the_scale_is_that_of_the_log_variance(log_var):
    mean = np.array([[1.0, -2.0]], "float32")
    raw = np.asarray(MeanAndRawScale()([mean, np.full((1, 2), log_var, "float32")]), "float64")
    np.testing.assert_array_equal(raw[:, :2], mean)
    scale = np.logaddexp(0, raw[:, 2:]) + 1e-6
    # float32 rounds raw to 24 bits, and near 1e-6 the scale is a small difference.
    np.testing.assert_allclose(scale, np.exp(log_var / 2), rtol=2e-5)


@pytest.mark.parametrize("log_var", [-1e4, -40.0, -27.0, 0.0, 170.0])
def test_values_and_gradients_are_finite(log_var):
    x = tf.constant([[log_var]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        raw = MeanAndRawScale()([tf.zeros([1, 1]), x])
        scale = tf.nn.softplus(raw[:, 1:]) + 1e-6
    gradient = tape.gradient(scale, x)
    assert np.isfinite(raw).all() and np.isfinite(gradient).all()
    if log_var > -27:
        np.testing.assert_allclose(gradient, np.exp(log_var / 2) / 2 * np.ones((1, 1)), rtol=1e-3)


@pytest.mark.parametrize("sampling", [False, True])
def test_a_vae_with_the_encoder_of_the_keras_example_trains_and_is_saved(sampling, tmp_path, rng):
    encoder = keras_example(sampling)
    x = rng.random((16, 6)).astype("float32")
    mean, log_var = encoder(x)[:2]
    vae = ka.VAE(ka.networks.from_mean_log_var(encoder), ka.networks.mlp_decoder(3, (6,)), seed=0)
    vae.compile("adam")
    np.testing.assert_allclose(vae.encode(x), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vae.posterior(x).stddev(), np.exp(log_var / 2), rtol=1e-4)
    vae.fit(x, epochs=1, verbose=0)
    # The layers are shared: training the new encoder trains the old one.
    np.testing.assert_allclose(vae.encode(x), encoder(x)[0], rtol=1e-5, atol=1e-6)
    vae.save(tmp_path / "vae.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "vae.keras").encode(x), vae.encode(x), rtol=1e-6)


def test_conditions_and_maps_pass_through(rng):
    x, y = keras.Input((4, 4, 1)), keras.Input((2,))
    h = keras.layers.Conv2D(3, 3, padding="same")(x)
    shift = keras.layers.Reshape((1, 1, 3))(keras.layers.Dense(3)(y))
    encoder = ka.networks.from_mean_log_var(keras.Model([x, y], [keras.layers.Add()([h, shift]), h]))
    rows = [rng.random((2, 4, 4, 1)).astype("float32"), np.eye(2, dtype="float32")]
    assert encoder(rows).shape == (2, 4, 4, 6) and encoder.output_shape == (None, 4, 4, 6)


@multiplies_half_precision
def test_half_precision_keeps_small_scales():
    x = keras.Input((2,))
    dense = [keras.layers.Dense(2, dtype="mixed_float16", kernel_initializer="zeros") for _ in range(2)]
    encoder = keras.Model(x, [layer(x) for layer in dense])
    dense[1].bias.assign([-20.0, -12.0])
    raw = np.asarray(ka.networks.from_mean_log_var(encoder)(np.zeros((1, 2), "float32")))
    assert raw.dtype == np.float32
    np.testing.assert_allclose(np.logaddexp(0, raw[0, 2:]) + 1e-6, np.exp([-10.0, -6.0]), rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ka.networks.mlp_encoder((6,), 2, parameters=2), r"two of the same shape; received 1"),
        (lambda: keras.Sequential(), "functional Keras model.*Sequential"),
        (lambda: keras.layers.Dense(2), "functional Keras model.*Dense"),
        (lambda: "encoder", "functional Keras model.*str"),
    ],
)
def test_refuses_other_encoders(make, match):
    with pytest.raises(ValueError, match=match):
        ka.networks.from_mean_log_var(make())


def test_refuses_outputs_of_two_shapes():
    x = keras.Input((6,))
    encoder = keras.Model(x, [keras.layers.Dense(3)(x), keras.layers.Dense(1)(x)])
    with pytest.raises(ValueError, match=r"\(None, 3\), \(None, 1\)"):
        ka.networks.from_mean_log_var(encoder)
