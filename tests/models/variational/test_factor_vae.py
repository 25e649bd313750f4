"""FactorVAE and InfoVAE: the total correlation of known codes, and what their weights do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.losses import divergences
from keras_ae.models.variational.factor_vae import permuted


def copies_x():
    """An encoder whose code is x, with almost no noise."""
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(4, kernel_initializer=keras.initializers.Constant(np.eye(2, 4))),
            keras.layers.Rescaling(1.0, offset=[0.0, 0.0, -20.0, -20.0]),
        ]
    )


def test_the_critic_estimates_the_total_correlation_of_a_correlated_gaussian():
    keras.utils.set_random_seed(0)
    correlation = 0.8
    covariance = [[1, correlation], [correlation, 1]]
    x = np.random.default_rng(0).multivariate_normal([0, 0], covariance, size=4_000).astype("float32")
    decoder = ka.networks.mlp_decoder(2, (2,), ())
    model = ka.FactorVAE(copies_x(), decoder, ka.networks.code_critic(2, (64,)), "gaussian", seed=0)
    players = {"critic": keras.optimizers.Adam(5e-3), "autoencoder": keras.optimizers.SGD(0.0)}
    model.compile(players, jit_compile=False)
    model.fit(x, batch_size=500, epochs=40, verbose=0)
    found = model.evaluate(x, batch_size=4_000, return_dict=True, verbose=0)["total_correlation"]
    assert found == pytest.approx(-0.5 * np.log(1 - correlation**2), abs=0.08)


def test_a_permutation_keeps_each_dimension_and_breaks_the_rest():
    z = tf.reshape(tf.range(3000.0), [1000, 3])
    made = permuted(z, tf.constant([0, 1])).numpy()
    for before, after in zip(z.numpy().T, made.T, strict=True):
        np.testing.assert_array_equal(np.sort(after), before)
    assert np.abs(np.corrcoef(made.T) - np.eye(3)).max() < 0.15


def test_terms_of_a_factor_vae(rng):
    model = ka.FactorVAE(
        ka.networks.mlp_encoder((3,), 2, (8,), parameters=2),
        ka.networks.mlp_decoder(2, (3,), (8,)),
        ka.networks.code_critic(2, (8,)),
        "gaussian",
        gamma=4.0,
        seed=0,
    )
    x = rng.normal(size=(5, 3)).astype("float32")
    q, z = shared = model.shared_pass(tf.constant(x), None, False)
    terms = model.loss_terms(tf.constant(x), None, False, shared)
    np.testing.assert_allclose(terms["kl"], divergences.kl(q, model.prior, None), rtol=1e-4)
    np.testing.assert_allclose(terms["total_correlation"], model.critic(z[0])[:, 0], rtol=1e-4)
    np.testing.assert_allclose(terms["reconstruction"], -model.likelihood(z[0]).log_prob(x), rtol=1e-4)
    model.compile("sgd", run_eagerly=True)
    model.gamma = 2.0
    logs = model.test_on_batch(x, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + logs["kl"] + 2 * logs["total_correlation"], rel=1e-4)
    with pytest.raises(ValueError, match="FactorVAE takes no beta"):
        ka.FactorVAE(model.encoder, model.decoder, model.critic, beta=2.0)
    with pytest.raises(ValueError, match=r"critic: expected a network with inputs of shape \(2,\)"):
        ka.FactorVAE(model.encoder, model.decoder, ka.networks.code_critic(3, (8,)))


def test_an_info_vae_keeps_information_and_the_prior(rng):
    keras.utils.set_random_seed(0)
    x = (rng.random((400, 6)) < 0.5).astype("float32")
    encoder, decoder = ka.networks.mlp_encoder((6,), 2, (16,), 2), ka.networks.mlp_decoder(2, (6,), (16,))
    model = ka.InfoVAE(encoder, decoder, seed=0)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    start, found = model.get_weights(), {}
    for beta, weight in ((1.0, 0.0), (0.0, 30.0)):
        model.set_weights(start)
        model.beta, model.mmd_weight = beta, weight
        model.fit(x, batch_size=100, epochs=50, verbose=0)
        logs = found[weight] = model.evaluate(x, batch_size=400, return_dict=True, verbose=0)
        expected = logs["reconstruction"] + beta * logs["kl"] + weight * logs["mmd"]
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    assert found[30.0]["kl"] > found[0.0]["kl"] and found[30.0]["reconstruction"] < found[0.0]["reconstruction"]
    assert abs(found[30.0]["mmd"]) < 0.1
    with pytest.raises(ValueError, match="InfoVAE takes no free_bits"):
        ka.InfoVAE(encoder, decoder, free_bits=1.0)
