"""Training, saving and exporting one half of an autoencoder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka

SHAPE = (4, 2)


@pytest.fixture
def x(rng):
    return rng.random((24, *SHAPE)).astype("float32")


def model_of(kind):
    if kind == "VAE":
        return ka.VAE(ka.networks.mlp_encoder(SHAPE, 3, (5,), 2), ka.networks.mlp_decoder(3, SHAPE, (5,)))
    encoder = ka.networks.mlp_encoder(SHAPE, 3, (5,))
    normalised = keras.Sequential([encoder, keras.layers.BatchNormalization()], name="encoder")
    return ka.Autoencoder(normalised, ka.networks.mlp_decoder(3, SHAPE, (5,)))


@pytest.mark.parametrize("kind", ["Autoencoder", "VAE"])
@pytest.mark.parametrize("frozen", ["encoder", "decoder"])
def test_a_frozen_half_keeps_its_weights(kind, frozen, x):
    model = model_of(kind)
    model.compile("adam", run_eagerly=True)
    model.fit(x, verbose=0)
    still, moving = (model.encoder, model.decoder) if frozen == "encoder" else (model.decoder, model.encoder)
    still.trainable = False
    model.compile("adam", run_eagerly=True)
    # Batch normalisation's statistics also stay.
    before, others = still.get_weights(), [v.numpy() for v in moving.trainable_variables]
    model.fit(x, verbose=0)
    for old, new in zip(before, still.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(np.any(old != v.numpy()) for old, v in zip(others, moving.trainable_variables, strict=True))
    still.trainable = True
    model.compile("adam", run_eagerly=True)
    model.fit(x, verbose=0)
    assert any(np.any(old != new) for old, new in zip(before, still.get_weights(), strict=True))


def test_training_one_half_of_a_saved_model_goes_on_as_if_never_stopped(x, tmp_path):
    model = ka.Autoencoder(*ka.networks.chain(SHAPE, (5, 3)), seed=0)
    model.encoder.trainable = False
    model.compile("adam", run_eagerly=True)
    model.train_on_batch(x)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    loaded.run_eagerly = True
    assert not loaded.encoder.trainable_variables
    assert model.train_on_batch(x) == loaded.train_on_batch(x)


def test_a_model_with_everything_frozen_says_so(x):
    model = ka.Autoencoder(*ka.networks.chain(SHAPE, (3,)))
    model.encoder.trainable = model.decoder.trainable = False
    model.compile("adam", run_eagerly=True)
    with pytest.raises(ValueError, match="no trainable weights"):
        model.fit(x, verbose=0)
    assert np.isfinite(model.evaluate(x, verbose=0)).all()


@pytest.mark.parametrize("kind", ["Autoencoder", "VAE"])
def test_an_encoder_alone_is_saved_loaded_and_exported(kind, x, tmp_path):
    model = model_of(kind)
    model.compile("adam", run_eagerly=True)
    model.fit(x, verbose=0)
    model.encoder.save(tmp_path / "encoder.keras")
    network = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_allclose(network(x), model.encoder(x), atol=1e-6)

    half = type(model)(network, None)
    np.testing.assert_allclose(half.encode(x), model.encode(x), atol=1e-6)
    assert half.latent_dim == 3 and not hasattr(half, "decode") and not hasattr(half, "score")
    half.save(tmp_path / "half.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "half.keras").encode(x), half.encode(x), atol=1e-6)
    served = tf.saved_model.load(ka.export(half, tmp_path / "export"))
    assert set(served.signatures) - {"serving_default"} == {"encode"}
    np.testing.assert_allclose(served.signatures["serving_default"](x=x)["z"], model.encode(x), atol=1e-5)
    with pytest.raises((ValueError, AttributeError), match="decoder"):
        half.compile("adam", run_eagerly=True)
        half.fit(x, verbose=0)


def test_a_tied_decoder_alone_is_exported(x, tmp_path):
    model = ka.LinearAutoencoder(SHAPE, 3)
    half = ka.Autoencoder(None, model.decoder)
    z = model.encode(x)
    served = tf.saved_model.load(ka.export(half, tmp_path / "decoder"))
    assert "encode" not in served.signatures
    np.testing.assert_allclose(served.signatures["serving_default"](z=z)["x"], model.decode(z), atol=1e-5)
    whole = tf.saved_model.load(ka.export(model, tmp_path / "whole", half=True))
    np.testing.assert_allclose(whole.signatures["encode"](x=x)["z"], z, atol=1e-2)
    np.testing.assert_allclose(whole.signatures["decode"](z=z)["x"], model.decode(z), atol=1e-2)
