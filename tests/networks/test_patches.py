"""Patch networks: shapes, PCA at the start, and that training improves on it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.evaluation.principal import principal_axes
from keras_ae.networks import patches

SMALL = {"filters": (4, 6), "patch": 2}


def pair(shape, latent_dim, parameters=1, **options):
    options = SMALL | options
    encoder = patches.patch_encoder(shape, latent_dim, parameters=parameters, **options)
    options = options | {"filters": options["filters"][::-1]}
    return encoder, patches.patch_decoder(latent_dim, shape, **options)


@pytest.fixture(scope="module")
def x():
    """Curved data, which no plane fits: a blob at a random place, on a random grey."""
    rng = np.random.default_rng(0)
    centre, grey = rng.uniform(1, 6, size=(200, 2, 1, 1)), rng.uniform(0, 0.5, size=(200, 1, 1))
    rows, columns = np.mgrid[:8, :8]
    blob = np.exp(-((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2) / 3)
    return (0.5 * blob + grey).astype("float32")[..., None]


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 14, 3)])
@pytest.mark.parametrize("linear", [True, False])
def test_shapes(shape, linear):
    encoder = patches.patch_encoder(shape, 5, filters=(3, 4), parameters=2, patch=4, linear=linear)
    decoder = patches.patch_decoder(
        5, shape, filters=(4, 3), parameters=2, patch=4, linear=linear, condition_shape=(3,)
    )
    assert encoder.output_shape == (None, 10) and decoder.output_shape == (None, *shape[:2], 2 * shape[2])


@pytest.mark.parametrize("parameters", [1, 2])
def test_an_untrained_pair_is_pca(parameters, x):
    pca = principal_axes(x, 5)
    encoder, decoder = pair((8, 8, 1), 5, parameters)
    patches.start_at_pca(encoder, decoder, pca)
    flat = x.reshape(len(x), -1).astype("float64")
    axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:5]
    codes = (flat - flat.mean(0)) @ axes.T
    params = np.asarray(encoder(x))
    if parameters == 1:
        np.testing.assert_allclose(params.T @ params / len(x), np.eye(5), atol=1e-3)  # white codes
        expected = codes @ axes + flat.mean(0)
    else:
        # Bishop 2006, equation 12.48: the posterior mean of probabilistic PCA, of which W is the decoder's kernel.
        noise, up = pca.left / (64 - 5), decoder.get_layer("linear_path").kernel.numpy().T
        posterior = np.linalg.inv(up.T @ up + noise * np.eye(5))
        np.testing.assert_allclose(params[:, :5], (flat - flat.mean(0)) @ up @ posterior, atol=2e-3)
        scale = np.logaddexp(0, params[0, 5:]) + 1e-6
        np.testing.assert_allclose(scale**2, noise * np.diag(posterior), rtol=1e-3)
        expected = params[:, :5] @ up.T + flat.mean(0)
    np.testing.assert_allclose(np.asarray(decoder(params[:, :5])).reshape(len(x), -1), expected, atol=1e-3)


def test_training_begins_at_pca_and_ends_below_it(x):
    pca = principal_axes(x, 3)
    encoder, decoder = pair((8, 8, 1), 3)
    patches.start_at_pca(encoder, decoder, pca)
    model = ka.Autoencoder(encoder, decoder, seed=0)
    model.compile(keras.optimizers.Adam(3e-3), run_eagerly=False)
    assert np.mean(model.squared_error(x)) == pytest.approx(pca.left, rel=1e-3)
    model.fit(x, batch_size=50, epochs=15, verbose=0)
    assert np.mean(model.squared_error(x)) < 0.9 * pca.left


def test_networks_survive_a_file(tmp_path, x):
    decoder = patches.patch_decoder(3, (8, 8, 1), filters=(6, 4), patch=2)
    model = ka.VAE(
        encoder=pair((8, 8, 1), 3, 2)[0], decoder=decoder, likelihood=ka.likelihoods.GaussianLearnedScale(0.1)
    )
    model.compile("adam")
    model(x[:2])
    model.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(loaded.reconstruct(x[:4]), model.reconstruct(x[:4]))
    assert float(loaded._likelihood.scale) == pytest.approx(0.1, rel=1e-5)


def test_channels_become_places():
    x = tf.reshape(tf.range(16.0), [1, 2, 2, 4])
    out = np.asarray(patches.DepthToSpace(2)(x))[0, ..., 0]
    np.testing.assert_array_equal(out, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])


def test_what_does_not_fit_raises(x):
    pca = principal_axes(x, 5)
    with pytest.raises(ValueError, match="expected 4 axes for the linear paths"):
        patches.start_at_pca(*pair((8, 8, 1), 4), pca)
    with pytest.raises(ValueError, match="encoder: expected a network with a linear path"):
        patches.start_at_pca(*pair((8, 8, 1), 5, linear=False), pca)
    with pytest.raises(ValueError, match=r"expected an image, \(H, W, C\)"):
        patches.patch_encoder((20, 3), 4)
