"""Likelihoods against exact ones: linear-Gaussian models, quadrature, enumeration, and known densities."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import betaln, expit, logsumexp, xlogy
from scipy.stats import beta, multivariate_normal, norm
from sklearn.neighbors import KernelDensity

import keras_ae as ka
from keras_ae.evaluation import likelihood
from keras_ae.evaluation.likelihood import annealed_importance_sampling, negative_log_likelihood
from keras_ae.training import roles

tfd = tfp.distributions

D, K = 5, 2


def linear_gaussian(rng, widen=1.0, shift=0.0):
    """A VAE with a linear decoder, scale 1 and orthogonal rows of W, and its exact `p(x) = N(b, W^T W + I)`.

    The encoder is the exact posterior, N(W (x - b) / (1 + |w|^2), 1 / (1 + |w|^2)), with scales times `widen` and means
    moved by `shift`.
    """
    w, b = rng.normal(size=(K, D)), rng.normal(size=D)
    w[1] -= w[0] * (w[1] @ w[0]) / (w[0] @ w[0])
    precision = 1 + (w**2).sum(1)
    encoder = ka.networks.mlp_encoder((D,), K, hidden=(), parameters=2)
    kernel = np.concatenate([(w / precision[:, None]).T, np.zeros((D, K))], axis=1)
    raw_scale = np.log(np.expm1(widen / np.sqrt(precision) - 1e-6))
    encoder.layers[-1].set_weights([kernel, np.concatenate([shift - (w @ b) / precision, raw_scale])])
    decoder = ka.networks.mlp_decoder(K, (D,), hidden=())
    decoder.layers[1].set_weights([w, b])
    return ka.VAE(encoder, decoder, "gaussian", seed=0), multivariate_normal(b, w.T @ w + np.eye(D))


def binary_vae(rng, pixels=6):
    """A VAE of binary pixels with a nonlinear decoder, and its exact log p(x) by quadrature over the plane of codes."""
    # q(z|x) covers every mode: its means are off, but its scales of 1.7 exceed the prior's (softplus(1.5) = 1.7).
    encoder = ka.networks.mlp_encoder((pixels,), 2, hidden=(), parameters=2)
    encoder.layers[-1].set_weights([rng.normal(size=(pixels, 4)) * [0.1, 0.1, 0, 0], np.float32([0.3, -0.3, 1.5, 1.5])])
    decoder = ka.networks.mlp_decoder(2, (pixels,), hidden=(8,))
    decoder.set_weights([rng.normal(size=w.shape) * 1.5 for w in decoder.get_weights()])
    model = ka.VAE(encoder, decoder, "bernoulli", seed=0)
    axis = np.linspace(-7, 7, 200)  # cells of 0.07
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype("float32")
    logits = model.decoder(z).numpy().astype("float64")
    weight = norm.logpdf(z.astype("float64")).sum(1) + 2 * np.log(axis[1] - axis[0])

    def exact(x):
        return logsumexp(x @ logits.T - np.logaddexp(0, logits).sum(1) + weight, axis=1)

    return model, exact


def all_bits(n):
    return np.array(list(itertools.product([0, 1], repeat=n)), "float32")


def assert_agrees(result, exact):
    """Rows within four of their standard errors, and their mean within three: one in thousands fails by chance."""
    error = result.monte_carlo_error
    assert (np.abs(result.log_prob - exact) < 4 * error + 1e-5).all()
    assert abs((result.log_prob - exact).mean()) < 3 * math.sqrt((error**2).sum()) / len(exact) + 1e-5


def test_importance_sampling_finds_the_likelihood_of_a_linear_gaussian_model(rng):
    model, exact = linear_gaussian(rng, widen=1.3, shift=0.2)
    x = exact.rvs(50, random_state=1).astype("float32")
    result = negative_log_likelihood(model, x, num_samples=5000)
    assert_agrees(result, exact.logpdf(x))
    assert result.monte_carlo_error.max() < 0.05
    assert result.nll == pytest.approx(-exact.logpdf(x).mean(), abs=0.01)
    assert result.standard_error == pytest.approx(exact.logpdf(x).std(ddof=1) / math.sqrt(50), rel=0.02)


def test_the_estimates_are_those_of_log_prob(rng):
    model, exact = linear_gaussian(rng, widen=1.3)
    x = exact.rvs(20, random_state=1).astype("float32")
    result = negative_log_likelihood(model, x, num_samples=70, seed=3, batch_size=8)
    expected = model.log_prob(x, num_samples=70, seed=3, batch_size=8)
    np.testing.assert_allclose(result.log_prob, expected, rtol=1e-6)
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(8)
    np.testing.assert_array_equal(negative_log_likelihood(model, dataset, 70, 3).log_prob, result.log_prob)


def test_effective_samples_of_perfect_and_bad_proposals(rng):
    perfect, exact = linear_gaussian(np.random.default_rng(1))
    x = exact.rvs(20, random_state=1).astype("float32")
    result = negative_log_likelihood(perfect, x, num_samples=200)
    np.testing.assert_allclose(result.effective_samples, 200, rtol=1e-4)  # float32 weights
    assert result.share_below(199) == 0 and result.monte_carlo_error.max() < 1e-3
    # The means are off by 6, with scales below 1, so hardly any sample reaches the mode.
    bad, _ = linear_gaussian(np.random.default_rng(1), shift=6.0)
    result = negative_log_likelihood(bad, x, num_samples=200)
    assert (result.effective_samples >= 1 - 1e-6).all() and np.median(result.effective_samples) < 5
    assert result.share_below(20) > 0.9
    assert result.monte_carlo_error.min() > 0.1


def test_effective_samples_follow_from_the_divergence_of_the_proposal(rng):
    # One dimension of q is c times too wide: E[w^2] / E[w]^2 = c^2 / sqrt(2 c^2 - 1) for each of the K dimensions.
    c = 1.5
    model, exact = linear_gaussian(rng, widen=c)
    x = exact.rvs(10, random_state=1).astype("float32")
    result = negative_log_likelihood(model, x, num_samples=20_000)
    expected = 20_000 / (c**2 / math.sqrt(2 * c**2 - 1)) ** K
    np.testing.assert_allclose(result.effective_samples, expected, rtol=0.03)


def test_the_monte_carlo_error_is_the_scatter_of_repeated_estimates(rng):
    model, exact = linear_gaussian(rng, widen=1.5, shift=0.3)
    x = exact.rvs(50, random_state=1).astype("float32")
    runs = [negative_log_likelihood(model, x, num_samples=500, seed=1000 * seed) for seed in range(30)]
    scatter = np.std([run.log_prob for run in runs], axis=0, ddof=1)
    claimed = np.mean([run.monte_carlo_error for run in runs], axis=0)
    # 30 runs estimate a spread to 13 %, and its mean over 50 rows to 2 %.
    assert (scatter / claimed).mean() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("initial", ["prior", "posterior"])
def test_annealing_finds_the_likelihood_of_a_linear_gaussian_model(rng, initial):
    model, exact = linear_gaussian(rng, widen=1.5, shift=0.5)
    x = exact.rvs(30, random_state=1).astype("float32")
    result = annealed_importance_sampling(
        model, x, num_chains=200, num_temperatures=40, num_leapfrog_steps=3, initial=initial, step_size=0.3
    )
    assert_agrees(result, exact.logpdf(x))
    assert result.monte_carlo_error.max() < 0.1
    assert result.num_samples == 200 and result.effective_samples.shape == (30,)
    assert ((result.acceptance > 0.5) & (result.acceptance < 0.95)).all()


def test_short_ladders_are_unbiased_too(rng):
    # Accepting moves by the density of another temperature would be off by several standard errors here.
    model, exact = linear_gaussian(rng)
    model.decoder.set_weights([3 * w for w in model.decoder.get_weights()])
    w, b = (w.astype("float64") for w in model.decoder.get_weights())
    exact = multivariate_normal(b, w.T @ w + np.eye(D))
    x = exact.rvs(10, random_state=1).astype("float32")
    result = annealed_importance_sampling(
        model, x, num_chains=3000, num_temperatures=10, num_leapfrog_steps=3, step_size=0.4
    )
    assert_agrees(result, exact.logpdf(x))
    assert result.monte_carlo_error.max() < 0.3


def test_a_longer_ladder_needs_fewer_chains(rng):
    model, exact = linear_gaussian(rng, shift=3.0)
    x = exact.rvs(20, random_state=1).astype("float32")
    shares = [
        annealed_importance_sampling(model, x, 50, temperatures, 2).effective_samples.mean() / 50
        for temperatures in (1, 80)
    ]
    assert shares[0] < 0.5 and shares[1] > 0.8


def test_the_likelihood_of_a_bending_decoder_agrees_with_quadrature(rng):
    model, exact = binary_vae(rng)
    x = all_bits(6)
    expected = exact(x)
    assert logsumexp(expected) == pytest.approx(0, abs=1e-5)  # the probabilities of all images sum to 1
    assert_agrees(negative_log_likelihood(model, x[::3], num_samples=10_000), expected[::3])
    result = annealed_importance_sampling(model, x[::3], 200, 40, 3, step_size=0.3)
    assert_agrees(result, expected[::3])
    assert result.monte_carlo_error.max() < 0.2


def test_the_likelihood_of_a_binary_code_agrees_with_the_sum_over_all_codes(rng):
    bits, pixels = 3, 4
    encoder = ka.networks.mlp_encoder((pixels,), bits, hidden=())
    decoder = ka.networks.mlp_decoder(bits, (pixels,), hidden=())
    decoder.layers[1].set_weights([rng.normal(size=(bits, pixels)) * 2, rng.normal(size=pixels)])
    model = ka.SemanticHashing(encoder, decoder, "bernoulli", seed=0)
    x, codes = all_bits(pixels), all_bits(bits)
    p = expit(model.decoder(codes).numpy().astype("float64"))  # (8, pixels)
    each = np.prod(np.where(x[:, None, :] == 1, p, 1 - p), axis=-1)  # (16, 8)
    result = negative_log_likelihood(model, x, num_samples=20_000)
    assert_agrees(result, np.log(each.mean(axis=1)))
    assert result.monte_carlo_error.max() < 0.03
    with pytest.raises(ValueError, match="SemanticHashing has discrete codes"):
        annealed_importance_sampling(model, x)


class Conditional:
    """p(z|y) = N(A y, I), p(x|z) = N(z W, I): the methods of conditional models that the estimates use."""

    y_role = roles.Condition()
    conditional, code_shape, latent_dim, params_size, log_prob, prior = (
        True,
        (K,),
        K,
        D,
        None,
        tfd.MultivariateNormalDiag(tf.zeros(K)),
    )

    def __init__(self, rng):
        self.a, self.w = rng.normal(size=(3, K)).astype("float32"), rng.normal(size=(K, D)).astype("float32")

    def check_inputs(self, as_target=False, **rows):
        pass

    def conditional_prior(self, y):
        return tfd.MultivariateNormalDiag(y @ self.a, tf.ones([tf.shape(y)[0], K]))

    def posterior(self, x, y):
        return tfd.MultivariateNormalDiag(y @ self.a + 0.1, tf.fill([tf.shape(y)[0], K], 1.2))

    def likelihood(self, z, y):
        assert y is not None
        return tfd.MultivariateNormalDiag(tf.linalg.matmul(z, self.w))


def test_enumeration_importance_sampling_and_annealing_agree(rng):
    # A decoder that only sees the signs of its codes: the likelihood is a mean over eight combinations.
    bits, pixels = 3, 4
    z, signs = keras.Input((bits,)), np.array(list(itertools.product([-1, 1], repeat=bits)), "float32")
    kernel, bias = 1.5 * rng.normal(size=(bits, pixels)), rng.normal(size=pixels)
    dense = keras.layers.Dense(pixels)
    decoder = keras.Model(z, dense(keras.ops.sign(z)))
    dense.set_weights([kernel, bias])
    encoder = ka.networks.mlp_encoder((pixels,), bits, hidden=(), parameters=2)
    encoder.set_weights([0.1 * w for w in encoder.get_weights()])
    model, x = ka.VAE(encoder, decoder, seed=0), all_bits(pixels)
    logits = signs @ kernel + bias
    exact = logsumexp(x @ logits.T - np.logaddexp(0, logits).sum(1), axis=1) - bits * math.log(2)
    assert np.exp(exact).sum() == pytest.approx(1)
    assert_agrees(negative_log_likelihood(model, x, num_samples=5000), exact)
    assert_agrees(annealed_importance_sampling(model, x, num_chains=64, num_temperatures=100), exact)


def test_the_likelihood_under_a_condition(rng):
    model = Conditional(rng)
    y = rng.normal(size=(20, 3)).astype("float32")
    exact = multivariate_normal(np.zeros(D), model.w.T @ model.w + np.eye(D))
    mean = y @ model.a @ model.w
    x = (mean + exact.rvs(20, random_state=1)).astype("float32")
    expected = exact.logpdf(x - mean)
    # In 80 runs, 1,600 rows in units of their errors had mean 0.00 and spread 1.02; only one, with seed 0, exceeded 4.
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    assert_agrees(negative_log_likelihood(model, dataset, 5000, seed=1), expected)
    assert_agrees(annealed_importance_sampling(model, x, 200, 30, 2, step_size=0.3, y=y), expected)


def test_a_prior_that_depends_on_the_condition_is_measured_under_it(rng):
    # p(z|y) = N(A y, I), p(x|z, y) = N(W z, I), and q = N(0, 3^2), which covers the posteriors.
    encoder = ka.networks.mlp_encoder((D,), K, (), parameters=2, condition_shape=(3,))
    encoder.layers[-1].set_weights([np.zeros((D + 3, 2 * K)), np.repeat([0.0, np.log(np.expm1(3.0))], K)])
    decoder = ka.networks.mlp_decoder(K, (D,), (), condition_shape=(3,))
    prior_network = ka.networks.mlp_encoder((3,), K, (), parameters=2)
    w, a = rng.normal(size=(K, D)), rng.normal(size=(3, K))
    decoder.layers[-2].set_weights([np.concatenate([w, np.zeros((3, D))]), np.zeros(D)])
    unit = np.repeat([0.0, np.log(np.expm1(1.0))], K)
    prior_network.layers[-1].set_weights([np.concatenate([a, np.zeros((3, K))], 1), unit])
    model = ka.CVAE(encoder, decoder, "gaussian", prior_network=prior_network, seed=0)
    exact, y = multivariate_normal(np.zeros(D), w.T @ w + np.eye(D)), rng.normal(size=(12, 3)).astype("float32")
    x = (y @ a @ w + exact.rvs(12, random_state=1)).astype("float32")
    expected = exact.logpdf(x - y @ a @ w)
    assert np.abs(exact.logpdf(x) - expected).mean() > 1  # what p(z) without y would give
    assert_agrees(negative_log_likelihood(model, x, 20_000, y=y), expected)
    assert_agrees(annealed_importance_sampling(model, x, 200, 30, 2, step_size=0.3, y=y), expected)
    rows = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    assert np.isfinite(annealed_importance_sampling(model, rows, 2, 2, 1).log_prob).all()


def test_a_likelihood_without_a_density_is_refused(rng):
    encoder, decoder = ka.networks.mlp_encoder((D,), K, parameters=2), ka.networks.mlp_decoder(K, (D,))
    x = rng.random((4, D)).astype("float32")
    point = ka.VAE(encoder, decoder, lambda raw: tfd.Independent(tfd.Deterministic(raw), 1), seed=0)
    point.compile("adam")
    for method in (point.fit, point.log_prob, functools.partial(negative_log_likelihood, point)):
        with pytest.raises(ValueError, match="neither a probability nor a density"):
            method(x)
    counts = ka.VAE(encoder, decoder, lambda raw: tfd.Independent(tfd.Poisson(log_rate=raw), 1), seed=0)
    with pytest.raises(ValueError, match="whole numbers"):
        negative_log_likelihood(counts, x)

    def coins(raw):
        flips = tfd.Independent(tfd.Bernoulli(logits=tf.stack([raw, -raw], -2), dtype=tf.float32), 1)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(2)), flips)

    def two_kinds(raw):
        kinds = [tfd.Bernoulli(logits=raw), tfd.Bernoulli(logits=-raw)]
        return tfd.Independent(tfd.Mixture(tfd.Categorical(logits=tf.stack([raw, raw], -1)), kinds), 1)

    for flips in (coins, two_kinds):
        with pytest.raises(ValueError, match="0 and 1 only"):
            negative_log_likelihood(ka.VAE(encoder, decoder, flips, seed=0), x)
    for whole in (
        lambda raw: tfd.QuantizedDistribution(tfd.Logistic(raw, 1.0)),
        lambda raw: tfd.BetaBinomial(5.0, tf.exp(raw), 1.0),
        lambda raw: tfd.Skellam(tf.exp(raw), 1.0),
    ):
        model = ka.VAE(encoder, decoder, lambda raw, whole=whole: tfd.Independent(whole(raw), 1), seed=0)
        with pytest.raises(ValueError, match="whole numbers"):
            negative_log_likelihood(model, x)
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match="batch_size: expected a whole number"):
            negative_log_likelihood(counts, x.round(), batch_size=batch_size)


def test_an_estimate_that_is_no_number_is_refused(rng):
    model = ka.VAE(ka.networks.mlp_encoder((D,), K, parameters=2), ka.networks.mlp_decoder(K, (D,)), seed=0)
    model.decoder.set_weights([np.full_like(w, np.nan) for w in model.decoder.get_weights()])
    with pytest.raises(ValueError, match="log-likelihood of 4 of 4 rows is NaN"):
        negative_log_likelihood(model, rng.integers(2, size=(4, D)).astype("float32"), num_samples=3)


def test_word_counts_have_a_likelihood_and_weights_have_none(rng):
    encoder, decoder = ka.networks.mlp_encoder((6,), 3, hidden=()), ka.networks.mlp_decoder(3, (6,), hidden=())
    model = ka.SemanticHashing(encoder, decoder, seed=0)
    counts = rng.integers(5, size=(4, 6)).astype("float32")
    assert np.isfinite(negative_log_likelihood(model, counts, num_samples=10).log_prob).all()
    with pytest.raises(ValueError, match="whole numbers"):
        negative_log_likelihood(model, counts / 3)


def test_one_row_and_one_sample_have_estimates_without_errors(rng):
    model, exact = linear_gaussian(rng)
    x = exact.rvs(1, random_state=1)[None].astype("float32")
    result = negative_log_likelihood(model, x, num_samples=1)
    assert math.isnan(result.standard_error) and np.isnan(result.monte_carlo_error).all()
    assert result.nll == pytest.approx(-exact.logpdf(x), abs=1e-3)


def test_rows_that_no_sample_explains_have_no_effective_samples():
    nothing = likelihood._estimate(np.full(2, -np.inf), np.full(2, -np.inf), 5)
    assert (nothing.effective_samples == 0).all() and nothing.nll == np.inf
    assert (nothing.monte_carlo_error == np.inf).all()


def test_refusals_of_likelihoods(rng):
    model, _ = binary_vae(rng)
    x = all_bits(6)[:4]
    for function in (negative_log_likelihood, annealed_importance_sampling):
        with pytest.raises(ValueError, match=r"Binarise x, or train with likelihood='continuous_bernoulli'"):
            function(model, x * 0.5)
        # Grey values are found anywhere in a data set, and also for a callable that returns a Bernoulli.
        with pytest.raises(ValueError, match="Bernoulli"):
            function(model, tf.data.Dataset.from_tensor_slices(np.concatenate([x, x * 0.5])).batch(2))
        custom = ka.VAE(model.encoder, model.decoder, lambda raw: tfd.Bernoulli(raw, dtype=tf.float32))
        with pytest.raises(ValueError, match="Bernoulli"):
            function(custom, x * 2)
        with pytest.raises(ValueError, match="x contains NaN"):
            function(model, x * np.nan)
        with pytest.raises(ValueError, match=r"x: expected rows of shape \(6,\)"):
            function(model, x[:, :5])
        with pytest.raises(ValueError, match=r"Autoencoder has no p\(z\).*keras_ae\.VAE"):
            function(ka.Autoencoder(ka.networks.mlp_encoder((6,), 2), model.decoder), x)
    for number in (0, -3, 1.5):
        with pytest.raises(ValueError, match="num_samples: expected a whole number, 1 or more"):
            negative_log_likelihood(model, x, num_samples=number)
    cases = {
        "num_chains": {"num_chains": 0},
        "num_temperatures": {"num_temperatures": 0},
        "num_leapfrog_steps": {"num_leapfrog_steps": 2.5},
        "step_size: expected a finite number above 0": {"step_size": 0.0},
        "Unknown initial 'encoder'": {"initial": "encoder"},
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            annealed_importance_sampling(model, x, **arguments)


def test_grey_pixels_have_a_likelihood_under_a_density(rng):
    encoder, decoder = ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,))
    model = ka.VAE(encoder, decoder, "continuous_bernoulli", seed=0)
    x = rng.random((4, 6)).astype("float32")
    assert np.isfinite(negative_log_likelihood(model, x, num_samples=10).log_prob).all()


def test_parzen_agrees_with_scikit_learn_whatever_the_blocks(rng, monkeypatch):
    samples, x_valid, x_test = (rng.random((n, 3, 2)).astype("float32") for n in (60, 20, 30))
    result = likelihood.parzen(samples, x_valid, x_test)
    flat, valid, test = (rows.reshape(len(rows), -1) for rows in (samples, x_valid, x_test))
    kernels = [KernelDensity(bandwidth=s).fit(flat) for s in np.logspace(-1, 0, 10)]
    best = max(kernels, key=lambda kernel: kernel.score(valid))
    densities = best.score_samples(test)
    assert result.sigma == best.bandwidth
    assert result.log_prob == pytest.approx(densities.mean(), rel=1e-9)
    assert result.standard_error == pytest.approx(densities.std(ddof=1) / math.sqrt(30), rel=1e-9)
    monkeypatch.setattr(likelihood, "_DISTANCES", 7 * 60)  # seven rows per block; 20 and 30 are not multiples
    np.testing.assert_allclose(likelihood.parzen(samples, x_valid, x_test), result, rtol=1e-12)


def test_parzen_comes_near_a_known_density_in_one_dimension(rng):
    samples, x_valid, x_test = (rng.normal(size=(n, 1)) for n in (5000, 1000, 1000))
    result = likelihood.parzen(samples, x_valid, x_test, sigmas=[0.01, 0.2, 2.0])
    assert result.sigma == 0.2
    assert result.log_prob == pytest.approx(norm.logpdf(x_test).mean(), abs=0.03)  # the kernel widens it by 2 %
    # A sample on the row itself, far from all others: the kernel's peak, at distance exactly 0.
    far = np.full((2, 1), 1e4)
    alone = likelihood.parzen(far[:1], far, far, sigmas=[0.5])
    assert alone.log_prob == pytest.approx(norm.logpdf(0, scale=0.5), abs=1e-12)


def test_refusals_of_parzen(rng):
    x = rng.random((5, 3))
    cases = [
        ("sigmas: expected one or more", (x, x, x, [])),
        ("sigmas: expected one or more", (x, x, x, [0.1, 0.0])),
        ("sigmas: expected one or more", (x, x, x, [np.nan])),
        (r"x_valid: expected rows of shape \(3,\), received \(2,\)", (x, x[:, :2], x, None)),
        (r"x_test: expected rows of shape \(3,\), received \(2,\)", (x, x, x[:, :2], None)),
        ("samples contains NaN", (x * np.nan, x, x, None)),
        ("x_test contains NaN", (x, x, x * np.inf, None)),
        ("samples is empty", (x[:0], x, x, None)),
        ("x_test: expected two rows", (x, x, x[:1], None)),
        ("samples: expected rows", (x[0], x, x, None)),
    ]
    for message, arguments in cases:
        with pytest.raises(ValueError, match=message):
            likelihood.parzen(*arguments)


def test_the_batches_of_a_generator_are_kept_for_every_pass(rng):
    model, _ = binary_vae(rng)
    x = (rng.random((6, 6)) > 0.5).astype("float32")
    for estimate in (
        lambda x: negative_log_likelihood(model, x, num_samples=4),
        lambda x: annealed_importance_sampling(model, x, num_chains=2, num_temperatures=2, num_leapfrog_steps=1),
    ):
        np.testing.assert_allclose(estimate(iter([x])).log_prob, estimate(x).log_prob, rtol=1e-6)


def test_bits_per_dimension_of_known_distributions(rng):
    assert likelihood.bits_per_dimension(0.0, (28, 28, 1)) == 8.0  # uniform on the cube, of density 1
    assert likelihood.bits_per_dimension(0.0, (28, 28, 1), levels=32) == pytest.approx(5.0)
    uniform_levels = np.full(3, 12 * math.log(1 / 256))  # twelve levels, each of probability 1/256
    np.testing.assert_allclose(likelihood.bits_per_dimension(uniform_levels, (2, 6), levels=1), 8.0)
    # A density that is four times as high in each dimension, on a quarter of its range, saves two bits per dimension.
    assert likelihood.bits_per_dimension(10 * math.log(4), (10,)) == pytest.approx(6.0)


def test_dequantised_bits_are_those_of_the_discrete_distribution_and_never_fewer(rng):
    # Pixels with the mass of a density's cells. What Jensen's inequality costs in cell k follows from the integral of
    # log p over it: mass_k (log mass_k + log 256 - 256 int_k log p).
    edges = np.linspace(0, 1, 257)
    for a, b in ((2.0, 3.0), (0.5, 0.5)):
        mass = np.diff(beta.cdf(edges, a, b))
        integral = (
            np.diff((a - 1) * xlogy(edges, edges) - (b - 1) * xlogy(1 - edges, 1 - edges))
            - (a + b - 2 + betaln(a, b)) / 256
        )
        cost = (mass * (np.log(mass * 256) - 256 * integral)).sum() / math.log(2)
        assert cost > 0
        x = rng.choice(256, size=(20_000, 4), p=mass).astype("uint8")
        y = likelihood.dequantise(x, seed=0).astype("float64")
        log_p = beta.logpdf(np.maximum(y, 2.0**-25), a, b)
        bits = likelihood.bits_per_dimension(log_p.sum(1), (4,))
        discrete = -np.log2(mass[x]).mean(axis=1)
        error = 4 * (bits - discrete).std() / math.sqrt(len(x))
        assert (bits - discrete).mean() == pytest.approx(cost, abs=error)
        assert bits.mean() == pytest.approx(
            -(mass * np.log2(mass)).sum() + cost, abs=4 * bits.std() / math.sqrt(len(x))
        )


def test_dequantised_levels_stay_in_their_cells_evenly(rng):
    for levels in (256, 32, 10, 1 << 16):
        x = rng.integers(levels, size=(2000, 50)).astype("uint16")
        x[0] = levels - 1
        y = likelihood.dequantise(x, seed=1, levels=levels)
        assert y.dtype == np.float32 and y.min() >= 0 and y.max() < 1
        np.testing.assert_array_equal(np.floor(y.astype("float64") * levels + 1e-9 * levels), x)
        noise = y.astype("float64") * levels - x
        assert noise.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / x.size) + 1 / 512)  # 8 bits at least
        assert noise.var() == pytest.approx(1 / 12, rel=0.02)
    x = np.zeros((3, 4), "uint8")
    np.testing.assert_array_equal(likelihood.dequantise(x, 5), likelihood.dequantise(x, 5))
    assert np.any(likelihood.dequantise(x, 5) != likelihood.dequantise(x, 6))


def test_refusals_of_pixels(rng):
    for x, levels in ((rng.random((2, 3)), 256), (np.array([[256]]), 256), (np.array([[-1]]), 256), ([[8]], 8)):
        with pytest.raises(ValueError, match="expected whole numbers 0"):
            likelihood.dequantise(x, 0, levels)
    with pytest.raises(ValueError, match="at most 65,536"):
        likelihood.dequantise(np.array([[1]]), 0, levels=1 << 17)
    with pytest.raises(ValueError, match="levels: expected a whole number"):
        likelihood.bits_per_dimension(0.0, (3,), levels=0)
    with pytest.raises(ValueError, match="x_shape: expected sizes of 1 or more"):
        likelihood.bits_per_dimension(0.0, (None, 3))
