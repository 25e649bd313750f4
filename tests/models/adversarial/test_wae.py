"""Wasserstein autoencoders: terms in closed form, and codes that follow the prior."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.evaluation import two_sample
from keras_ae.losses import mmd


def wae(divergence="mmd", **kwargs):
    encoder = ka.networks.mlp_encoder((4,), 2, (32,))
    return ka.WAE(encoder, ka.networks.mlp_decoder(2, (4,), (32,)), divergence, seed=0, **kwargs)


@pytest.mark.parametrize("divergence", ["mmd", "critic"])
def test_codes_come_to_follow_the_prior(divergence):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.uniform(-1, 1, size=(600, 2)) @ rng.normal(size=(2, 4))).astype("float32")
    model = wae(divergence if divergence == "mmd" else ka.networks.code_critic(2, (64,)))
    p = model.prior.sample(600, seed=[0, 9])
    before = two_sample.energy_test(model.encode(x), p, permutations=20)
    model.compile(keras.optimizers.Adam(5e-3, beta_1=0.5), jit_compile=False)
    model.fit(x, batch_size=100, epochs=40, verbose=0)
    after = two_sample.energy_test(model.encode(x), p, permutations=20)
    assert after.statistic < 0.1 * before.statistic
    error = np.mean(np.sum((x - model.reconstruct(x)) ** 2, axis=1)) / np.sum(x.var(axis=0))
    assert error < 0.1  # and the codes still tell x


def test_the_divergence_is_the_mmd_from_the_prior_with_its_median_as_bandwidth(rng, monkeypatch):
    model = wae(prior="uniform", kernel="rbf")
    p = rng.uniform(-1, 1, size=(2_000, 2))
    squares = np.sum((p[:1000] - p[1000:]) ** 2, axis=1)
    assert model.bandwidth == pytest.approx(np.median(squares), rel=0.1)
    x = tf.constant(rng.normal(size=(8, 4)), tf.float32)
    drawn = []
    original = ka.models.base.critics.draw_prior
    monkeypatch.setattr(
        "keras_ae.models.base.critics.draw_prior", lambda *args: drawn.append(original(*args)) or drawn[-1]
    )
    terms = model.loss_terms(x, None, False, model.shared_pass(x, None, False))
    expected = mmd.mmd(model.encoder(x), drawn[0], "rbf", bandwidth=model.bandwidth)
    assert float(terms["mmd"]) == pytest.approx(float(expected), abs=1e-5)
    assert wae(bandwidth=3.0).bandwidth == 3.0


def test_the_weight_may_change():
    model = wae(weight=3.0)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.compile("sgd", run_eagerly=True)
    for weight in (3.0, 0.5):
        model.weight = weight
        logs = model.test_on_batch(x, return_dict=True)
        assert logs["loss"] == pytest.approx(logs["reconstruction"] + weight * logs["mmd"], rel=1e-4)
