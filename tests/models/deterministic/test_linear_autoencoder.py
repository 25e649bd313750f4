"""The linear autoencoder against PCA: error, subspace, and axes."""

import keras
import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA

import keras_ae as ka


def data(rng, rows=1000):
    scales = np.array([3.0, 2.0, 1.5, 0.5, 0.4, 0.3])
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return (rng.normal(size=(rows, 6)) * scales @ rotation + rng.normal(size=6)).astype("float32")


@pytest.mark.parametrize("tied", [True, False])
def test_training_reaches_pcas_error_and_subspace(rng, tied):
    x = data(rng)
    model = ka.LinearAutoencoder((6,), 3, tied, seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 1500)), jit_compile=False)
    model.fit(np.tile(x, (60, 1)), batch_size=200, epochs=5, verbose=0)  # each epoch has an overhead

    pca = PCA(3).fit(x)
    error = ((x - model.reconstruct(x)) ** 2).sum()
    optimum = ((x - pca.inverse_transform(pca.transform(x))) ** 2).sum()
    assert -1e-5 < error / optimum - 1 < 1e-3  # negative only by rounding
    assert scipy.linalg.subspace_angles(model.components.T, pca.components_.T).max() < 1e-2

    reconstructions = model.reconstruct(x)
    model.align(x)
    np.testing.assert_allclose(model.reconstruct(x), reconstructions, atol=0.02)
    signs = np.sign((model.components * pca.components_).sum(1))
    np.testing.assert_allclose(model.components, signs[:, None] * pca.components_, atol=0.02)
    np.testing.assert_allclose(model.encode(x), signs * pca.transform(x), atol=0.1)


@pytest.mark.parametrize("tied", [True, False])
def test_align_finds_the_axes_of_the_reconstructions(rng, tied):
    x = rng.normal(size=(50, 2, 4)).astype("float32") + 1
    model = ka.LinearAutoencoder((2, 4), 3, tied)
    made = model.reconstruct(x).reshape(50, -1)
    model.align(x)
    axes = model.components.reshape(3, -1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-5)
    assert np.all(axes[range(3), np.abs(axes).argmax(1)] > 0)
    pca = PCA(3).fit(made)
    signs = np.sign((axes * pca.components_).sum(1))
    np.testing.assert_allclose(axes, signs[:, None] * pca.components_, atol=1e-4)
    # The codes of the old reconstructions are their principal components.
    codes = model.encode(made.reshape(x.shape))
    np.testing.assert_allclose(codes, signs * pca.transform(made), atol=1e-4)
    np.testing.assert_allclose(model.decode(codes).reshape(50, -1), made, atol=1e-4)


def test_sizes_are_checked():
    assert ka.LinearAutoencoder((2, 4), 8).components.shape == (8, 2, 4)
    for wrong, message in ((9, "a whole number, 1 to 8"), (0, "a positive"), (2.5, "a positive"), ((2, 2), "a whole")):
        with pytest.raises(ValueError, match=f"latent_dim: expected {message}"):
            ka.LinearAutoencoder((2, 4), wrong)
    for wrong in ("images", (None, 2), (0,)):
        with pytest.raises(ValueError, match="input_shape: expected"):
            ka.LinearAutoencoder(wrong, 1)
    with pytest.raises(ValueError, match="x: expected more than 3 rows"):
        ka.LinearAutoencoder((2, 4), 3).align(np.zeros((3, 2, 4)))
