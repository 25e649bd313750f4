"""Binary codes: the bound by enumerating all codes, the contrast by its formula, and recovering subjects."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, logsumexp

import keras_ae as ka
from keras_ae.evaluation import retrieval
from keras_ae.models.text.semantic_hashing import contrast

V, D = 6, 4


def small(rng, prior=None, **kwargs):
    """A model with random linear networks, and all its codes `(2^D, D)`."""
    encoder = ka.networks.mlp_encoder((V,), D, hidden=())
    decoder = ka.networks.mlp_decoder(D, (V,), hidden=())
    model = ka.SemanticHashing(encoder, decoder, prior=prior, seed=0, **kwargs)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model, np.array(list(itertools.product([0.0, 1.0], repeat=D)), "float32")


def words(rng, rows):
    return rng.poisson(1.0, (rows, V)).astype("float32")


def log_likelihood(model, codes, x):
    """log p(x|z) for all rows and codes, `(B, 2^D)`, from the weights."""
    kernel, bias = model.decoder.get_weights()
    return x @ log_softmax(codes @ kernel + bias, axis=1).T


@pytest.mark.parametrize("mixture", [False, True])
def test_log_prob_is_the_sum_over_all_codes(rng, mixture):
    prior = ka.priors.BernoulliMixture(D, components=3) if mixture else None
    model, codes = small(rng, prior)
    log_prior = model.prior.log_prob(codes).numpy()
    assert logsumexp(log_prior) == pytest.approx(0, abs=1e-5)
    x = words(rng, 9)
    exact = logsumexp(log_likelihood(model, codes, x) + log_prior, axis=1)
    estimates = np.array([model.log_prob(x, num_samples=4000, seed=s) for s in range(4)])
    error = 4 * estimates.std(0, ddof=1) + 0.02
    assert (np.abs(estimates.mean(0) - exact) < error).all()


def test_the_logged_terms_are_the_bound(rng):
    model, codes = small(rng, contrast_weight=0.0, beta=1.0)
    model.compile("adam", jit_compile=False)
    x = words(rng, 1)
    logs = model.evaluate(np.repeat(x, 20_000, 0), batch_size=20_000, return_dict=True, verbose=0)
    p = model.encode(x)[0]
    q = np.prod(np.where(codes > 0.5, p, 1 - p), axis=1)
    kl = np.sum(q * (np.log(q) + D * np.log(2)))
    each = -log_likelihood(model, codes, x)[0]
    assert logs["kl"] == pytest.approx(kl, rel=1e-4)
    assert logs["reconstruction"] == pytest.approx(np.sum(q * each), abs=4 * each.std() / np.sqrt(20_000))
    assert logs["loss"] == pytest.approx(logs["kl"] + logs["reconstruction"], rel=1e-5)


def test_contrast_is_its_formula_and_log_b_where_nothing_is_told_apart(rng):
    u, v = rng.normal(size=(2, 5, 3)).astype("float32")
    s = u @ v.T / 0.7
    expected = [-(log_softmax(s[i])[i] + log_softmax(s[:, i])[i]) / 2 for i in range(5)]
    np.testing.assert_allclose(contrast(u, v, 0.7), expected, rtol=1e-5)
    np.testing.assert_allclose(contrast(np.ones_like(u), np.ones_like(v), 0.7), np.log(5), rtol=1e-6)
    np.testing.assert_allclose(contrast(100 * np.eye(3), 100 * np.eye(3), 1.0), 0, atol=1e-6)


def test_the_contrast_compares_codes_of_documents_and_neighbours(rng):
    model, _ = small(rng, temperature=0.3)
    model.compile("adam", jit_compile=False)
    x, y = words(rng, 8), words(rng, 8)
    logs = model.evaluate(x, y, batch_size=8, return_dict=True, verbose=0)
    expected = contrast(2 * model.encode(x) - 1, 2 * model.encode(y) - 1, D * 0.3).numpy().mean()
    assert logs["contrast"] == pytest.approx(expected, rel=1e-5)


def topics(rng, rows, subjects=4, each=25):
    """Documents of 12 words from their subject's own part of the vocabulary; most pairs of a subject share no word."""
    y = rng.integers(subjects, size=rows)
    x = np.zeros((rows, subjects * each), "float32")
    for row, subject in zip(x, y, strict=True):
        row[subject * each + rng.integers(each, size=4)] = 1.0
    return x, y


def test_codes_tell_subjects_apart_from_neighbours_alone(rng):
    keras.utils.set_random_seed(0)
    x, y = topics(rng, 600)
    encoder = ka.networks.mlp_encoder((x.shape[1],), 8, hidden=(32,))
    decoder = ka.networks.mlp_decoder(8, (x.shape[1],), hidden=())
    model = ka.SemanticHashing(encoder, decoder, seed=0)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    model.fit(ka.datasets.pairs(x, ka.datasets.nearest(x, 10), 100), epochs=15, verbose=0)
    new, labels = topics(rng, 100)
    relevant = labels[:, None] == y
    found = retrieval.precision_at(20, retrieval.hamming(model.hash(new), model.hash(x)), relevant).mean()
    raw = retrieval.precision_at(20, -(new @ x.T), relevant).mean()
    assert found > 0.9
    assert found > raw - 0.05  # 8 bits keep the information of 100 words
    # A code decodes to the words of its subject.
    subject = model.reconstruct(new).reshape(100, 4, 25).sum(2).argmax(1)
    assert np.mean(subject == labels) > 0.9


def test_hash_packs_the_likelier_bits(rng):
    model, _ = small(rng)
    x = words(rng, 20)
    np.testing.assert_array_equal(model.hash(x), np.packbits(model.encode(x) > 0.5, axis=1))


def test_vdsh_halves_the_documents_by_every_bit_and_keeps_its_thresholds(rng, tmp_path):
    x = words(rng, 200) + 0.1 * rng.random((200, V)).astype("float32")
    encoder = ka.networks.mlp_encoder((V,), D, hidden=(), parameters=2)
    model = ka.VDSH(encoder, ka.networks.mlp_decoder(D, (V,), hidden=()), seed=0)
    model.compile("adam", jit_compile=False)
    model.fit(x, verbose=0)
    model.set_thresholds(x)
    bits = np.unpackbits(model.hash(x), axis=1)[:, :D]
    np.testing.assert_array_equal(bits.sum(0), 100)
    q = model.posterior(x)
    draws = q.sample(4000, seed=1).numpy() > np.median(model.encode(x), axis=0)
    np.testing.assert_allclose(model.probabilities(x), draws.mean(0), atol=4 * 0.5 / np.sqrt(4000))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras").hash(x), model.hash(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contrast_weight": -1.0}, "contrast_weight"),
        ({"temperature": 0.0}, "temperature"),
        ({"relaxation": "gumbel"}, "straight_through"),
        ({"prior": "normal"}, "float32 bits"),
        ({"num_samples": 0}, "num_samples"),
    ],
)
def test_refuses_arguments_out_of_range(rng, arguments, message):
    with pytest.raises(ValueError, match=message):
        small(rng, **arguments)


def test_refuses_negative_word_weights(rng):
    model, _ = small(rng)
    model.compile("adam")
    with pytest.raises(ValueError, match=r"values in \[0.0, inf\]"):
        model.fit(-words(rng, 4) - 1)
    assert not model.valid(tf.constant([[-1.0] * V])).numpy().any()
