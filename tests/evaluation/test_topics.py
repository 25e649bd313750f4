import numpy as np
import pytest
from scipy.special import log_softmax

import keras_ae as ka
from keras_ae.evaluation import topics

V, D = 12, 2


def model(likelihood="multinomial"):
    networks = ka.networks.mlp_encoder((V,), D, hidden=()), ka.networks.mlp_decoder(D, (V,), hidden=())
    return ka.Autoencoder(*networks, likelihood, seed=0)


def counts(rng, rows):
    return rng.poisson(1.0, (rows, V)).astype("float32")


def test_perplexity_is_that_of_the_words(rng):
    autoencoder, x = model(), counts(rng, 30)
    kernel, bias = autoencoder.decoder.get_weights()
    for z in (None, rng.normal(size=(30, D)).astype("float32")):
        code = autoencoder.encode(x) if z is None else z
        log_p = np.sum(x * log_softmax(code @ kernel + bias, axis=1), axis=1)
        np.testing.assert_allclose(topics.log_prob(autoencoder, x, z, batch_size=7), log_p, rtol=1e-5, atol=1e-5)
        expected = np.exp(-log_p.sum() / x.sum())
        assert topics.perplexity(autoencoder, x, z, batch_size=7) == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_nothing_chooses_among_all_words(rng):
    autoencoder = model()
    autoencoder.decoder.set_weights([np.zeros((D, V)), np.zeros(V)])
    assert topics.perplexity(autoencoder, counts(rng, 5)) == pytest.approx(V, rel=1e-5)


def test_perplexity_of_draws_is_the_exponential_of_the_entropy_within_the_error(rng):
    p = rng.dirichlet(np.ones(V))
    truth = np.exp(-np.sum(p * np.log(p)))
    found, errors = [], []
    for _ in range(400):
        x = np.stack([rng.multinomial(n, p) for n in rng.integers(1, 40, 50)])
        perplexity, error = topics.perplexity_of(x @ np.log(p), x.sum(axis=1))
        found.append(perplexity)
        errors.append(error)
    # Four standard errors of a mean of 400; the spread of 400 draws is known within 4 / sqrt(800) = 14 %.
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / 20
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.14)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_roughness_of_an_autoregression_is_one_minus_its_correlation(rng, correlation):
    before = rng.normal(size=(200_000, 3))
    z = correlation * before + np.sqrt(1 - correlation**2) * rng.normal(size=before.shape)
    assert topics.roughness(z, before) == pytest.approx(1 - correlation, rel=0.02)
    # The unit and the axes of the codes do not matter.
    rotation = 7 * np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert topics.roughness(z @ rotation, before @ rotation) == pytest.approx(topics.roughness(z, before), rel=1e-9)


def test_refusals(rng):
    x = counts(rng, 3)
    with pytest.raises(ValueError, match="zeros only"):
        topics.perplexity(model(), np.zeros((2, V), "float32"))
    with pytest.raises(ValueError, match="multinomial"):
        topics.perplexity(model("gaussian"), x)
    with pytest.raises(ValueError, match="each of the 3 rows"):
        topics.perplexity(model(), x, np.zeros((2, D), "float32"))
    with pytest.raises(ValueError, match="the same shape"):
        topics.roughness(np.zeros((3, 2)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="differ"):
        topics.roughness(np.ones((3, 2)), np.zeros((3, 2)))
