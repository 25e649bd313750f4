"""The autoencoder's mathematics; test_linear_autoencoder.py compares a linear one with PCA."""

import keras
import numpy as np
import pytest

import keras_ae as ka


def test_y_is_the_clean_target(rng):
    noisy, clean = rng.normal(size=(2, 40, 6)).astype("float32")
    model = ka.Autoencoder(ka.networks.mlp_encoder((6,), 3), ka.networks.mlp_decoder(3, (6,)))
    model.compile("adam", jit_compile=False)
    expected = -model.likelihood(model.encode(noisy)).log_prob(clean).numpy().mean()
    logs = model.evaluate(noisy, clean, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["reconstruction"], expected, rtol=1e-5)
    same = model.evaluate(noisy, noisy, return_dict=True, verbose=0)
    np.testing.assert_allclose(same["loss"], model.evaluate(noisy, return_dict=True, verbose=0)["loss"], rtol=1e-6)


def test_score_is_minus_the_squared_error(rng):
    x = rng.normal(size=(8, 6)).astype("float32")
    model = ka.Autoencoder(ka.networks.mlp_encoder((6,), 3), ka.networks.mlp_decoder(3, (6,)))
    np.testing.assert_allclose(model.score(x), -((x - model.reconstruct(x)) ** 2).sum(1), rtol=1e-5)


@pytest.mark.parametrize(("model_class", "width"), [(ka.Autoencoder, 2), (ka.VAE, 4)])
def test_any_keras_model_will_do(rng, tmp_path, model_class, width):
    @keras.saving.register_keras_serializable("test")
    class Encoder(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(width)

        def call(self, x, training=False):
            return self.dense(keras.ops.reshape(x, (-1, 6)))

    x = rng.random((40, 6)).astype("float32")
    model = model_class(Encoder(), keras.Sequential([keras.layers.Dense(6)]))
    with pytest.raises(ValueError, match="never built"):
        model.save(tmp_path / "m.keras")
    model.compile("adam", jit_compile=False)
    model.fit(x, epochs=2, verbose=0)
    assert model.encode(x).shape == (40, 2)
    assert int(model.optimizer.iterations) == 4
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "m.keras").encode(x), model.encode(x))
