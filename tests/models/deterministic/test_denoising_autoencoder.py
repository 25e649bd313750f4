"""The denoising autoencoder: what is corrupted, what the target is, and emphasis."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

SHAPE = (4, 2)


@keras.saving.register_keras_serializable("test")
class Negative(keras.layers.Layer):
    """A corruption without randomness, of the first half of the rows' values."""

    def call(self, x, training=False):
        return tf.concat([-x[:, :2], x[:, 2:]], axis=1) if training else x

    def compute_output_shape(self, shape):
        return shape


def make(corruption=None, likelihood="gaussian", **kwargs):
    networks = ka.networks.mlp_encoder(SHAPE, 3, (5,)), ka.networks.mlp_decoder(3, SHAPE, (5,))
    model = ka.DenoisingAutoencoder(*networks, corruption or Negative(), likelihood, seed=0, **kwargs)
    model.compile("sgd", run_eagerly=True)
    return model


def corrupted(x):
    return np.concatenate([-x[:, :2], x[:, 2:]], axis=1)


def reconstruction(model, x, y, weights=1.0):
    """The loss of each row from the definition, in float64."""
    m = model.decode(model.encode(x)).astype("float64")
    return (weights * (0.5 * (y - m) ** 2 + 0.5 * np.log(2 * np.pi))).sum((1, 2))


def terms(model, x, y=None, training=True):
    y = None if y is None else tf.constant(y)
    return model.loss_terms(tf.constant(x), y, training)["reconstruction"].numpy()


@pytest.fixture
def x(rng):
    return rng.random((6, *SHAPE)).astype("float32")


def test_the_target_is_the_clean_input(x):
    model = make()
    np.testing.assert_allclose(terms(model, x), reconstruction(model, corrupted(x), x), rtol=1e-5)
    # Nothing is corrupted in evaluation.
    np.testing.assert_allclose(terms(model, x, training=False), reconstruction(model, x, x), rtol=1e-5)
    logged = model.evaluate(x, verbose=0, return_dict=True)["reconstruction"]
    np.testing.assert_allclose(logged, reconstruction(model, x, x).mean(), rtol=1e-5)
    np.testing.assert_allclose(model.reconstruct(x), model.decode(model.encode(x)), atol=1e-6)


def test_a_layer_that_is_always_active_corrupts_in_training_only(x):
    model = make(keras.layers.Rescaling(-1.0))
    np.testing.assert_allclose(terms(model, x), reconstruction(model, -x, x), rtol=1e-5)
    np.testing.assert_allclose(terms(model, x, training=False), reconstruction(model, x, x), rtol=1e-5)


def test_a_pair_is_corrupted_only_if_asked_for(x, rng):
    noisy = x + rng.normal(size=x.shape).astype("float32")
    model = make()
    np.testing.assert_allclose(terms(model, noisy, x), reconstruction(model, noisy, x), rtol=1e-5)
    same = make(corrupt_pairs=True)
    np.testing.assert_allclose(terms(same, noisy, x), reconstruction(same, corrupted(noisy), x), rtol=1e-5)
    model.fit(noisy, x, validation_data=(noisy, x), verbose=0)


def test_x_as_its_own_target_is_corrupted_as_without_y(x):
    model = make()
    np.testing.assert_allclose(terms(model, x, x), terms(model, x), rtol=1e-6)


def test_a_target_of_another_shape_is_not_compared_with_x(x):
    networks = ka.networks.mlp_encoder(SHAPE, 3), ka.networks.mlp_decoder(3, (7,))
    model = ka.DenoisingAutoencoder(*networks, Negative())
    model.compile("sgd", run_eagerly=True)
    model.fit(x, np.zeros((6, 7)), verbose=0)


def test_emphasis_weighs_corrupted_and_other_values(x, rng):
    model = make(emphasis=(2.0, 0.5))
    weights = np.where(corrupted(x) != x, 2.0, 0.5)
    np.testing.assert_allclose(terms(model, x), reconstruction(model, corrupted(x), x, weights), rtol=1e-5)
    np.testing.assert_allclose(terms(model, x, training=False), reconstruction(model, x, x), rtol=1e-5)
    noisy = np.where(rng.random(x.shape) < 0.5, 0, x).astype("float32")
    weights = np.where(noisy != x, 2.0, 0.5)
    np.testing.assert_allclose(terms(model, noisy, x), reconstruction(model, noisy, x, weights), rtol=1e-5)


def test_a_corruption_may_round_to_half_precision(x):
    model = make(Negative(dtype="mixed_float16"), emphasis=(2.0, 0.5))
    weights = np.where(corrupted(x) != x, 2.0, 0.5)  # what is only rounded is not corrupted
    for y in (None, x):
        np.testing.assert_allclose(terms(model, x, y), reconstruction(model, corrupted(x), x, weights), rtol=1e-3)


def test_emphasis_needs_independent_values(x):
    networks = ka.networks.mlp_encoder((8,), 3), ka.networks.mlp_decoder(3, (8,))
    model = ka.DenoisingAutoencoder(*networks, ka.layers.MaskingNoise(0.5), "multinomial", emphasis=(1, 0))
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="emphasis: the values of x are not independent"):
        model.fit(x.reshape(6, 8), verbose=0)


@pytest.mark.parametrize("corruption", [ka.layers.MaskingNoise(0.5), keras.layers.GaussianNoise(0.5)])
def test_noise_differs_between_steps(x, corruption):
    model = make(corruption)
    assert np.any(terms(model, x) != terms(model, x))


def test_denoising_learns_to_remove_the_noise(rng):
    # Rows on a line: a linear denoiser projects onto it, and shrinks by the ratio of variances, 4 / (4 + 1 / 4).
    direction = np.full(4, 0.5)
    x = (2 * rng.normal(size=(2000, 1)) * direction).astype("float32")
    networks = ka.networks.chain((4,), (1,))
    model = ka.DenoisingAutoencoder(*networks, keras.layers.GaussianNoise(0.5), seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 1000)), jit_compile=False)
    model.fit(np.tile(x, (20, 1)), batch_size=200, epochs=5, verbose=0)
    t = np.linspace(-4, 4, 9)[:, None]
    np.testing.assert_allclose(model.reconstruct(t * direction) @ direction, t[:, 0] * 4 / 4.25, atol=0.08)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corruption": "masking"}, "corruption: expected a Keras layer"),
        ({"emphasis": 2.0}, "emphasis: expected two numbers"),
        ({"emphasis": (1, 2, 3)}, "emphasis"),
        ({"emphasis": (0, 0)}, "emphasis: expected at least one number above 0"),
        ({"emphasis": (-1, 1)}, "emphasis: expected a finite number, 0 or more"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
