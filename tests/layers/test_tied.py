"""Tied layers: their values and gradients, and that files keep the tie."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka


def pair(units=(5, 3), shape=(4, 2)):
    return ka.networks.chain(shape, units, "tanh", tied=True)


def dense_of(network):
    return [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]


def tied_of(network):
    return [layer for layer in network.layers if isinstance(layer, ka.layers.TransposedDense)]


def is_tied(model):
    owners = [layer.dense for layer in tied_of(model.decoder)]
    return [id(each) for each in owners] == [id(each) for each in reversed(dense_of(model.encoder))]


def test_the_layer_applies_the_transpose_and_its_own_bias(rng):
    dense = keras.layers.Dense(3)
    dense.build((None, 5))
    layer = ka.layers.TransposedDense(dense, "tanh")
    z = rng.normal(size=(4, 3)).astype("float32")
    layer(z)
    layer.bias.assign(np.arange(5.0))
    np.testing.assert_allclose(layer(z), np.tanh(z @ dense.kernel.numpy().T + np.arange(5)), rtol=1e-5)
    assert layer(np.zeros((2, 7, 3), "float32")).shape == (2, 7, 5)
    assert [v.name for v in layer.variables] == ["bias"]
    with pytest.raises(ValueError, match="dense: its transpose takes rows of 3 values"):
        ka.layers.TransposedDense(dense)(np.zeros((2, 4), "float32"))


def test_the_kernels_gradient_is_the_sum_of_both_uses(rng):
    x = rng.normal(size=(6, 5)).astype("float32")
    dense = keras.layers.Dense(3, use_bias=False)
    dense.build((None, 5))
    back = ka.layers.TransposedDense(dense)
    back.build((None, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((back(dense(x)) - x) ** 2)
    (gradient,) = tape.gradient(loss, [dense.kernel.value])
    # |x - x W W^T|^2 has the gradient -2 (X^T E + E^T X) W, E = X - X W W^T.
    w = dense.kernel.numpy()
    e = x - x @ w @ w.T
    np.testing.assert_allclose(gradient, -2 * (x.T @ e + e.T @ x) @ w, rtol=1e-4, atol=1e-4)


def test_training_changes_one_kernel_for_both_networks(rng):
    encoder, decoder = pair()
    model = ka.Autoencoder(encoder, decoder, seed=0)
    assert len(model.trainable_variables) == len(dense_of(encoder)) * 2 + len(tied_of(decoder))
    before = [layer.kernel.numpy() for layer in dense_of(encoder)]
    model.compile("sgd", run_eagerly=True)
    model.train_on_batch(rng.random((8, 4, 2)))
    for layer, old in zip(dense_of(encoder), before, strict=True):
        assert np.abs(layer.kernel.numpy() - old).max() > 0
    z = rng.normal(size=(2, 3)).astype("float32")
    hidden = np.tanh(z @ dense_of(encoder)[1].kernel.numpy().T + tied_of(decoder)[0].bias.numpy())
    made = hidden @ dense_of(encoder)[0].kernel.numpy().T + tied_of(decoder)[1].bias.numpy()
    np.testing.assert_allclose(decoder(z), made.reshape(2, 4, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["Autoencoder", "LinearAutoencoder", "Sequential"])
def test_a_file_keeps_the_tie(kind, tmp_path, rng):
    x = rng.random((8, 4, 2)).astype("float32")
    if kind == "Sequential":
        networks = pair()
        networks = [keras.Sequential([keras.Input(n.input_shape[1:]), *n.layers[1:]], name=n.name) for n in networks]
        model = ka.Autoencoder(*networks)
    else:
        model = ka.LinearAutoencoder((4, 2), 3) if kind == "LinearAutoencoder" else ka.Autoencoder(*pair())
    model.compile("adam", run_eagerly=True)
    model.train_on_batch(x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert is_tied(model) and is_tied(loaded)
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
    assert model.train_on_batch(x) == loaded.train_on_batch(x)
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))
    copy = type(model).from_config(model.get_config())
    assert is_tied(copy) and len(copy.trainable_variables) == len(model.trainable_variables)


def test_one_keras_model_of_both_keeps_the_tie(tmp_path):
    x = keras.Input((5,))
    dense = keras.layers.Dense(3)
    network = keras.Model(x, ka.layers.TransposedDense(dense)(dense(x)) if dense(x) is not None else None)
    network.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].dense is loaded.layers[-2]


def test_each_network_alone_is_saved_with_the_kernels(tmp_path):
    encoder, decoder = pair()
    dense_of(encoder)[0].kernel.assign_add(tf.ones((8, 5)))
    z = np.ones((2, 3), "float32")
    decoder.save(tmp_path / "decoder.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "decoder.keras")(z), decoder(z))
    encoder.save(tmp_path / "encoder.keras")
    x = np.ones((2, 4, 2), "float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "encoder.keras")(x), encoder(x))


def test_freezing_a_network_freezes_only_its_own_layers():
    encoder, decoder = pair()
    decoder.trainable = False
    assert len(encoder.trainable_variables) == 4 and not decoder.trainable_variables
    decoder.trainable, encoder.trainable = True, False
    assert not encoder.trainable_variables and len(decoder.trainable_variables) == 2


@pytest.mark.parametrize("dense", [keras.layers.Dense(3), keras.layers.Flatten(), None])
def test_what_has_no_kernel_is_refused(dense):
    with pytest.raises(ValueError, match="dense: expected a Dense layer that has been built"):
        ka.layers.TransposedDense(dense)
