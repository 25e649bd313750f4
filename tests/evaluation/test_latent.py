import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
import tensorflow_probability as tfp

import keras_ae as ka
from keras_ae.evaluation import latent
from keras_ae.evaluation.latent import active_units, aggregate_posterior_distance


class _Codes:
    def encode(self, x):
        return x


def test_counts_the_dimensions_whose_variance_exceeds_the_threshold(rng):
    # Variances just above and below the threshold, and zero; the means must not matter.
    signs = np.tile([-1.0, 1.0], 50)[:, None]
    codes = np.array([5.0, 0.0, 7.0, 1.0]) + signs * np.sqrt([0.0101, 0.0099, 0.0, 4.0])
    assert active_units(_Codes(), codes) == 2
    assert active_units(_Codes(), codes, threshold=5e-3) == 3
    assert active_units(_Codes(), codes, threshold=5.0) == 0


def test_a_model_that_ignores_half_of_its_code(rng):
    encoder = ka.networks.mlp_encoder((2, 2, 1), latent_dim=4, hidden=(), parameters=2)
    decoder = ka.networks.mlp_decoder(latent_dim=4, output_shape=(2, 2, 1), hidden=())
    vae = ka.VAE(encoder, decoder)
    kernel = np.zeros((4, 8), "float32")
    kernel[0, 0] = kernel[1, 1] = 1.0  # z 0 and z 1 copy a pixel; z 2, z 3 and all scales are constant
    encoder.layers[-1].kernel.assign(kernel)
    x = rng.random((100, 2, 2, 1)).astype("float32")
    assert active_units(vae, x) == 2
    assert active_units(vae, tf.data.Dataset.from_tensor_slices(x).batch(32)) == 2


def test_needs_two_rows():
    with pytest.raises(ValueError, match="at least two rows"):
        active_units(_Codes(), np.zeros((1, 3)))


def _mmd_by_definition(z, p):
    """Sums over pairs, written out."""
    c = 2 * p.var(axis=0, ddof=1).sum()

    def k(a, b):
        return c / (c + np.sum((a - b) ** 2))

    n, m = len(z), len(p)
    zz = sum(k(z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    pp = sum(k(p[i], p[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    zp = sum(k(a, b) for a in z for b in p) / (n * m)
    return zz + pp - 2 * zp


def test_discrepancy_is_that_of_its_definition(rng, monkeypatch):
    monkeypatch.setattr(latent, "_ROWS", 4)  # several blocks, the last one not full
    z, p = rng.normal(size=(10, 3)) + 0.5, rng.normal(size=(7, 3))
    assert aggregate_posterior_distance(z, p)["mmd"] == pytest.approx(_mmd_by_definition(z, p), abs=1e-12)


def test_discrepancy_is_unbiased(rng):
    # Equal distributions: mean 0. A shift by 1 in one dimension, C = 2: with d the difference of two codes, N(mean, 2),
    # MMD^2 = 2 E k(N(0, 2)) - 2 E k(N(1, 2)), by integration.
    def expected(mean):
        return scipy.integrate.quad(
            lambda d: 2 / (2 + d**2) * np.exp(-((d - mean) ** 2) / 4) / np.sqrt(4 * np.pi), -40, 40
        )[0]

    for shift, value in ((0.0, 0.0), (1.0, 2 * expected(0.0) - 2 * expected(1.0))):
        estimates = [
            aggregate_posterior_distance(rng.normal(size=(30, 1)) + shift, seed=seed)["mmd"] for seed in range(1000)
        ]
        error = np.std(estimates) / np.sqrt(len(estimates))
        assert np.mean(estimates) == pytest.approx(value, abs=4 * error)
        assert error < 0.003
        if shift == 0:
            assert np.mean(np.array(estimates) < 0) > 0.3  # a biased estimate would never be negative


def test_frechet_distance_of_given_moments():
    # Codes with exact moments: mean m and covariance diag(v), from the corners of a cube.
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    unit = corners * np.sqrt(7 / 8)  # covariance I with N - 1 = 7
    m, v = np.array([1.0, 0.0, -2.0]), np.array([4.0, 1.0, 0.25])
    z = m + unit * np.sqrt(v)
    expected = np.sum(m**2) + np.sum((np.sqrt(v) - 1) ** 2)
    assert aggregate_posterior_distance(z)["frechet"] == pytest.approx(expected, rel=1e-12)
    assert aggregate_posterior_distance(z, unit)["frechet"] == pytest.approx(expected, rel=1e-9)
    # A collapsed dimension adds the whole variance of the prior, and the result stays finite.
    z[:, 1] = 0
    assert aggregate_posterior_distance(z)["frechet"] == pytest.approx(expected + 1, rel=1e-9)


def test_frechet_distance_of_covariances_that_do_not_commute(rng):
    z, p = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 3)) for _ in range(2))
    s_z, s_p = np.cov(z.T), np.cov(p.T)
    # The trace of a root is the sum of the roots of the eigenvalues, which are those of S_z S_p.
    cross = np.sqrt(np.linalg.eigvals(s_z @ s_p).real).sum()
    expected = np.sum((z.mean(0) - p.mean(0)) ** 2) + np.trace(s_z + s_p) - 2 * cross
    assert aggregate_posterior_distance(z, p)["frechet"] == pytest.approx(expected, rel=1e-9)
    assert aggregate_posterior_distance(p, z)["frechet"] == pytest.approx(expected, rel=1e-9)
    assert aggregate_posterior_distance(z, z)["frechet"] == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_the_prior_itself_has_the_bias_that_is_stated(rng):
    n, d = 400, 6
    values = [aggregate_posterior_distance(rng.normal(size=(n, d)))["frechet"] for _ in range(40)]
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(d * (d + 5) / (4 * n), abs=4 * error + 0.05 * d * (d + 5) / (4 * n))


def test_what_two_moments_cannot_see(rng):
    # A point on every corner of a cube has the prior's moments.
    z = np.sign(rng.normal(size=(2000, 2)))
    far, near = aggregate_posterior_distance(z), aggregate_posterior_distance(rng.normal(size=(2000, 2)))
    assert far["frechet"] < 0.02
    assert far["mmd"] > 10 * abs(near["mmd"])


def test_priors_are_samples_or_distributions(rng):
    z = rng.normal(size=(500, 2)).astype("float32")
    prior = tfp.distributions.MultivariateNormalDiag([3.0, 0.0], [1.0, 2.0])
    distances = aggregate_posterior_distance(z, prior, seed=1)
    # |m|^2 = 9 and (2 - 1)^2; four standard errors of a mean of 500, doubled for both samples.
    assert distances["frechet"] == pytest.approx(10.0, abs=2 * 3 * 4 * np.sqrt(2 / 500))
    assert distances == aggregate_posterior_distance(z, prior.sample(500, seed=(0, 1)).numpy())
    assert distances == aggregate_posterior_distance(z, prior, seed=1)
    assert distances != aggregate_posterior_distance(z, prior, seed=2)
    assert all(type(value) is float for value in distances.values())


@pytest.mark.parametrize(
    "z, prior, message",
    [
        (np.zeros((1, 3)), None, "z: expected at least two rows"),
        (np.zeros(5), None, "z: expected at least two rows"),
        (np.full((5, 2), np.nan), None, "z contains NaN"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "z has 2 latents"),
        (np.zeros((5, 2)), np.full((5, 2), np.inf), "prior contains NaN or infinity"),
        (np.zeros((5, 2)), np.zeros((1, 2)), "prior: expected at least two rows"),
        (np.zeros((5, 2)), np.ones((5, 2)), "prior: expected samples that differ"),
    ],
)
def test_codes_without_a_distance_are_refused(z, prior, message):
    with pytest.raises(ValueError, match=message):
        aggregate_posterior_distance(z, prior)


def test_irregularities_of_codes_that_have_each_of_them(rng):
    labels = np.arange(3000) % 3
    even = rng.normal(size=(3000, 2))
    found = latent.irregularity(even, labels)
    assert found.off_centre < 0.1 and found.uneven_areas < 1.2 and found.gaps < 0.05
    shift = np.array([3.0, 0.0])
    assert latent.irregularity(even + shift, labels).off_centre == pytest.approx(3, abs=0.15)
    wide = even * np.where(labels == 2, 4, 1)[:, None]
    assert latent.irregularity(wide, labels).uneven_areas == pytest.approx(16, rel=0.2)
    apart = 0.1 * even + 5 * np.array([[0, 0], [1, 0], [0, 1]])[labels]
    assert latent.irregularity(apart, labels).gaps > 0.8
    with pytest.raises(ValueError, match="expected more than 2"):
        latent.irregularity(even[:6], [0, 0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="z"):
        latent.irregularity(np.full((6, 2), np.nan), labels[:6])
