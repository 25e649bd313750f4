"""Adversarial variational Bayes: the exact posterior and its KL where they are known, and likelihoods."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import keras_ae as ka
from keras_ae.evaluation import latent, likelihood


def mlp(outputs, **kwargs):
    return ka.networks.mlp_encoder((1,), outputs, (32,), **kwargs)


def identity():
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    decoder.trainable = False
    return decoder


def avb(contrast, decoder=None):
    critic = ka.networks.code_critic(1, (64,), condition_shape=(1,))
    encoder = mlp(1, condition_shape=(4,))
    return ka.AVB(encoder, decoder or identity(), critic, "gaussian", contrast=contrast, seed=0)


def test_the_posterior_of_a_conjugate_gaussian():
    # z ~ N(0, 1) and x|z ~ N(z, 1): z|x ~ N(x / 2, 1/2), and -log p(x) is the lowest loss.
    keras.utils.set_random_seed(0)
    x = np.sqrt(2) * np.random.default_rng(0).normal(size=(1000, 1)).astype("float32")
    model = avb(mlp(1, parameters=2))
    model.compile(keras.optimizers.Adam(4e-3, beta_1=0.5), jit_compile=False)
    history = model.fit(x, batch_size=200, epochs=100, verbose=0).history
    grid = np.linspace(-2, 2, 5, dtype="float32")
    z = latent.sample_codes(model, np.repeat(grid, 1000)[:, None]).reshape(5, 1000)
    np.testing.assert_allclose(z.mean(axis=1), grid / 2, atol=0.25)
    np.testing.assert_allclose(z.std(axis=1), np.sqrt(0.5), atol=0.2)
    exact = -scipy.stats.norm(0, np.sqrt(2)).logpdf(x).mean()
    assert np.mean(history["loss"][-20:]) == pytest.approx(exact, abs=0.15)


@pytest.mark.parametrize("has_contrast", [False, True])
def test_a_critic_at_its_optimum_gives_the_kl(has_contrast, rng):
    # The optimum is known for a posterior of mean a x and scale s: put it into the critic's place.
    a, s = 0.3, 0.6

    class Posterior(keras.layers.Layer):
        def call(self, inputs):
            x, e = inputs
            return a * x + s * e

    inputs = [keras.Input((1,)), keras.Input((1,))]
    encoder = keras.Model(inputs, Posterior()(inputs))
    contrast = mlp(1, parameters=2) if has_contrast else None
    critic = ka.networks.code_critic(1, (4,), condition_shape=(1,))
    model = ka.AVB(encoder, identity(), critic, "gaussian", contrast=contrast, seed=0)
    x = tf.constant(rng.normal(size=(20_000, 1)), tf.float32)
    *_, r = shared = model.shared_pass(x, None, False)

    def optimal(inputs, training=False):
        u, x = inputs
        z = u if r is None else u * r.stddev() + r.mean()
        q = -0.5 * ((z - a * x) / s) ** 2 - np.log(s)
        other = -0.5 * z**2 if r is None else -0.5 * u**2 - tf.math.log(r.stddev())
        return q - other

    object.__setattr__(model, "critic", optimal)
    kl = model.loss_terms(x, None, False, shared)["kl"].numpy()
    closed = -np.log(s) + (s**2 + (a * x[:, 0]) ** 2 - 1) / 2
    assert kl.mean() == pytest.approx(np.mean(closed), abs=4 * kl.std() / np.sqrt(len(kl)))


def test_the_critic_and_the_contrast_see_the_posteriors_samples(rng):
    model = avb(mlp(1, parameters=2))
    x = tf.constant(rng.normal(size=(6, 1)), tf.float32)
    z, _, r = shared = model.shared_pass(x, None, False)
    np.testing.assert_allclose(model.fit_contrast(x, None, False, shared)["contrast"], -r.log_prob(z), rtol=1e-5)
    params = model.contrast(x).numpy()
    np.testing.assert_allclose(r.mean()[:, 0], params[:, 0], atol=1e-6)
    found = model.discriminate(x, None, False, shared)["discrimination"]
    assert found.shape == (6,) and np.isfinite(found).all()


def test_its_likelihood_by_annealing(rng):
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model = avb(None, decoder)
    x = rng.normal(size=(4, 1)).astype("float32")
    found = likelihood.annealed_importance_sampling(model, x, num_chains=32, num_temperatures=40, num_leapfrog_steps=4)
    np.testing.assert_allclose(found.log_prob, scipy.stats.norm(0, np.sqrt(2)).logpdf(x[:, 0]), atol=0.15)
    with pytest.raises(ValueError, match="posterior that is a distribution"):
        likelihood.annealed_importance_sampling(model, x, initial="posterior")
    with pytest.raises(ValueError, match="posterior that is a distribution"):
        likelihood.negative_log_likelihood(model, x)


def test_refusals():
    with pytest.raises(ValueError, match="AVB takes no posterior"):
        ka.AVB(mlp(1, condition_shape=(4,)), identity(), mlp(1), posterior="diagonal")
    with pytest.raises(ValueError, match=r"critic: expected a network with inputs of shape \(1,\), \(1,\)"):
        ka.AVB(mlp(1, condition_shape=(4,)), identity(), ka.networks.code_critic(1, (4,)))
    with pytest.raises(ValueError, match="contrast: expected 2 params"):
        avb(mlp(1))
