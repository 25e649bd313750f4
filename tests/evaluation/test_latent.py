import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.evaluation.latent import active_units


class _Codes:
    def encode(self, x):
        return x


def test_counts_the_dimensions_whose_variance_exceeds_the_threshold(rng):
    # Variances just above and below the threshold, and zero, about means that must not count.
    signs = np.tile([-1.0, 1.0], 50)[:, None]
    codes = np.array([5.0, 0.0, 7.0, 1.0]) + signs * np.sqrt([0.0101, 0.0099, 0.0, 4.0])
    assert active_units(_Codes(), codes) == 2
    assert active_units(_Codes(), codes, threshold=5e-3) == 3
    assert active_units(_Codes(), codes, threshold=5.0) == 0


def test_a_model_that_ignores_half_of_its_code(rng):
    encoder = ka.networks.mlp_encoder((2, 2, 1), latent_dim=4, hidden=(), parameters=2)
    decoder = ka.networks.mlp_decoder(latent_dim=4, output_shape=(2, 2, 1), hidden=())
    vae = ka.VAE(encoder, decoder)
    kernel = np.zeros((4, 8), "float32")
    kernel[0, 0] = kernel[1, 1] = 1.0  # z 0 and z 1 copy a pixel; z 2, z 3 and all scales are constant
    encoder.layers[-1].kernel.assign(kernel)
    x = rng.random((100, 2, 2, 1)).astype("float32")
    assert active_units(vae, x) == 2
    assert active_units(vae, tf.data.Dataset.from_tensor_slices(x).batch(32)) == 2


def test_needs_two_rows():
    with pytest.raises(ValueError, match="at least two rows"):
        active_units(_Codes(), np.zeros((1, 3)))
