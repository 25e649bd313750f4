"""KL compared with the closed form in NumPy and with sampling."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import priors
from keras_ae.losses import divergences

tfd = tfp.distributions


def gaussians(rng):
    mean = rng.normal(size=(3, 4)).astype("float32")
    scale = np.exp(rng.normal(size=(3, 4)) / 2).astype("float32")
    return mean, scale, tfd.MultivariateNormalDiag(mean, scale)


def test_kl_to_the_standard_normal_is_kingmas_formula(rng):
    mean, scale, q = gaussians(rng)
    mean, scale = mean.astype("float64"), scale.astype("float64")
    expected = 0.5 * (mean**2 + scale**2 - 1 - np.log(scale**2))  # Kingma & Welling 2014, appendix B
    p = priors.Normal(4).call()
    np.testing.assert_allclose(divergences.kl(q, p, None), expected.sum(1), rtol=1e-5)
    np.testing.assert_allclose(divergences.kl_per_dimension(q, p), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(divergences.kl(p, p, None), 0, atol=1e-7)


def test_kl_to_another_gaussian(rng):
    _, _, q = gaussians(rng)
    mean, scale = np.float32([0.5, -1, 0, 2]), np.float32([0.5, 1, 2, 0.1])
    p = tfd.MultivariateNormalDiag(mean, scale)
    a, b = q.mean().numpy().astype("float64"), q.stddev().numpy().astype("float64")
    expected = np.log(scale / b) + (b**2 + (a - mean) ** 2) / (2 * scale**2) - 0.5
    np.testing.assert_allclose(divergences.kl(q, p, None), expected.sum(1), rtol=1e-5)


def test_monte_carlo_where_there_is_no_closed_form(rng):
    _, _, q = gaussians(rng)
    one = tfd.MultivariateNormalDiag(tf.zeros(4), tf.ones(4))
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(logits=[0.0, 0.0]), tfd.MultivariateNormalDiag(tf.zeros((2, 4)), tf.ones((2, 4)))
    )  # equal to the standard normal, so the exact value is known
    z = q.sample(20_000, seed=[0, 1])
    estimate = divergences.kl(q, mixture, z)
    error = (q.log_prob(z) - one.log_prob(z)).numpy().std(0) / np.sqrt(20_000)
    assert (np.abs(estimate - divergences.kl(q, one, z)) < 4 * error + 1e-4).all()


def test_kl_per_dimension_refuses_other_families(rng):
    _, _, q = gaussians(rng)
    with pytest.raises(ValueError, match="diagonal"):
        divergences.kl_per_dimension(q, tfd.Independent(tfd.Laplace(tf.zeros(4), 1.0), 1))
