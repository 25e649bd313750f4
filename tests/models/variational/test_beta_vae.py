"""The effects of beta, of a capacity, and of the parts of the KL."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm

import keras_ae as ka
from keras_ae.losses import divergences

D, K = 6, 3


def networks():
    return ka.networks.mlp_encoder((D,), K, (16,), parameters=2), ka.networks.mlp_decoder(K, (D,), (16,))


def test_the_kl_stays_near_the_capacity(rng):
    x = np.repeat(rng.integers(2, size=(300, 3)), 2, axis=1).astype("float32")
    found = []
    model = ka.BetaVAE(*networks(), beta=50.0, capacity=0.0, seed=0)
    model.compile(keras.optimizers.Adam(0.005), jit_compile=False)
    start = model.get_weights()
    for capacity in (0.5, 1.5):
        model.set_weights(start)
        annealing = ka.callbacks.Annealing(100, 0.0, capacity, weight="capacity")
        model.fit(np.tile(x, (10, 1)), batch_size=50, epochs=4, callbacks=[annealing], verbose=0)
        logs = model.evaluate(x, batch_size=300, return_dict=True, verbose=0)
        assert model.capacity == capacity
        assert logs["kl"] == pytest.approx(capacity, abs=0.1)
        assert logs["off_capacity"] == pytest.approx(abs(logs["kl"] - capacity), abs=1e-3)
        assert logs["loss"] == pytest.approx(logs["reconstruction"] + 50 * logs["off_capacity"], rel=1e-4)
        found.append(logs["reconstruction"])
    assert found[1] < found[0]  # a wider code contains more information


def test_a_greater_beta_gives_a_smaller_kl(rng):
    x = rng.integers(2, size=(300, D)).astype("float32")
    kl = []
    model = ka.BetaVAE(*networks(), seed=0)
    model.compile(keras.optimizers.Adam(0.005), jit_compile=False)
    start = model.get_weights()
    for beta in (0.1, 1.0, 4.0):
        model.set_weights(start)
        model.beta = beta
        model.fit(x, batch_size=50, epochs=10, verbose=0)
        kl.append(model.evaluate(x, return_dict=True, verbose=0)["kl"])
    assert kl == sorted(kl, reverse=True) and kl[0] > 2 * kl[1]


def test_the_three_parts_are_the_kl(rng):
    model = ka.BetaTCVAE(*networks(), rows=1000, seed=3)
    x = rng.integers(2, size=(200, D)).astype("float32")
    draws = {}
    step = tf.function(lambda: model.loss_terms(x, None, False), autograph=False)
    for _ in range(50):
        for name, value in step().items():
            draws.setdefault(name, []).append(value)
    parts = sum(np.mean(draws[n]) for n in ("mutual_information", "total_correlation", "dimension_kl"))
    kl = divergences.kl(model.posterior(x), model.prior, None).numpy().mean()
    assert parts == pytest.approx(kl, abs=0.02)
    assert model.term_weights()["total_correlation"] == 6.0


def test_the_parts_are_those_of_the_mixture_of_posteriors(rng, monkeypatch):
    model = ka.BetaTCVAE(*networks(), rows=40, seed=3)
    x = rng.integers(2, size=(40, D)).astype("float32")
    q, z = model.posterior(x), rng.normal(size=(40, K)).astype("float32")
    monkeypatch.setattr(model, "draw", lambda *_: z[None])
    terms = model.loss_terms(x, None, False)
    # log q(z) and each log q(z_j) over all rows; the estimate of a batch of 40 rows of 40 has another log 40 each.
    each = norm(q.mean().numpy(), q.stddev().numpy()).logpdf(z[:, None])  # (z, row, D)
    log_q = logsumexp(each.sum(2), axis=1) - np.log(40)
    log_dimensions = (logsumexp(each, axis=1) - np.log(40)).sum(1)
    prior = norm.logpdf(z).sum(1)
    np.testing.assert_allclose(terms["total_correlation"] - (K - 1) * np.log(40), log_q - log_dimensions, atol=1e-3)
    np.testing.assert_allclose(terms["dimension_kl"] + K * np.log(40), log_dimensions - prior, atol=1e-3)


def test_refusals():
    for arguments in ({"capacity": -1.0}, {"beta": -1.0}, {"num_samples": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            ka.BetaVAE(*networks(), **arguments)
    with pytest.raises(ValueError, match="BetaVAE takes no free_bits"):
        ka.BetaVAE(*networks(), capacity=0.0, free_bits=0.5)
    model = ka.BetaVAE(*networks())
    with pytest.raises(ValueError, match="capacity: this model has no capacity"):
        model.capacity = 1.0
    for arguments in ({"posterior": "full_covariance"}, {"num_samples": 7}, {"free_bits": 0.5}):
        with pytest.raises(ValueError, match=f"BetaTCVAE takes no {next(iter(arguments))}"):
            ka.BetaTCVAE(*networks(), rows=40, **arguments)
    with pytest.raises(ValueError, match="takes no lists"):
        ka.BetaTCVAE(*([each] for each in networks()), rows=40)
    with pytest.raises(ValueError, match="rows: expected a whole number"):
        ka.BetaTCVAE(*networks(), rows=0)
