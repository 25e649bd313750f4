"""Samplers: known densities of codes are recovered, rows keep their seeds, and bad input raises errors."""

import keras
import numpy as np
import pytest
import scipy.stats

import keras_ae as ka
from keras_ae import samplers


class Identity:
    """The codes are the data, so a sampler's draws show what it has fitted."""

    latent_dim = 2

    def encode(self, x):
        return np.asarray(x, "float32")

    def decode(self, z):
        return np.asarray(z)


@pytest.fixture(scope="module")
def autoencoder():
    keras.utils.set_random_seed(0)
    return ka.Autoencoder(
        ka.networks.mlp_encoder((6,), 2, hidden=(8,)), ka.networks.mlp_decoder(2, (6,), hidden=(8,)), seed=0
    )


def two_clusters(rng, n=1500):
    """Three parts of ten around (-5, 0), narrow; seven around (5, 3), with correlated dimensions."""
    left = rng.random(n) < 0.3
    wide = rng.multivariate_normal([5, 3], [[1.0, 0.8], [0.8, 1.0]], n)
    return np.where(left[:, None], rng.normal([-5, 0], 0.3, (n, 2)), wide)


def test_mixture_recovers_two_clusters(rng):
    sampler = samplers.MixtureSampler(Identity(), components=2).fit(two_clusters(rng))
    z = sampler.sample(1000, seed=3)
    assert z.shape == (1000, 2) and z.dtype == np.float32
    left = z[:, 0] < 0
    assert left.mean() == pytest.approx(0.3, abs=0.06)
    np.testing.assert_allclose(z[left].mean(0), [-5, 0], atol=0.1)
    np.testing.assert_allclose(z[left].std(0), [0.3, 0.3], atol=0.05)
    np.testing.assert_allclose(z[~left].mean(0), [5, 3], atol=0.2)
    np.testing.assert_allclose(np.cov(z[~left].T), [[1, 0.8], [0.8, 1]], atol=0.2)
    # The fitted density is close to the true one: their divergence, estimated from samples.
    fresh = two_clusters(np.random.default_rng(1), 4000)
    truth = 0.3 * scipy.stats.multivariate_normal([-5, 0], 0.09).pdf(fresh)
    truth += 0.7 * scipy.stats.multivariate_normal([5, 3], [[1, 0.8], [0.8, 1]]).pdf(fresh)
    assert 0 <= np.mean(np.log(truth) - sampler.distribution().log_prob(fresh.astype("float32"))) < 0.02


def test_flow_learns_a_curve_far_from_the_origin(rng):
    angle = rng.uniform(0, np.pi, 1500)
    radius = 30 + rng.normal(size=1500)
    x = np.stack([100 + radius * np.cos(angle), radius * np.sin(angle)], -1)
    sampler = samplers.FlowSampler(Identity(), steps=3, hidden=(32,), seed=0)
    sampler.fit(x, epochs=20, optimizer=keras.optimizers.Adam(5e-3))
    z = sampler.sample_codes(200, seed=0)
    # A Gaussian with the same moments would put these radii 15 apart.
    radii = np.hypot(z[:, 0] - 100, z[:, 1])
    assert np.median(np.abs(radii - 30)) < 3
    assert np.mean(z[:, 1] < -3) < 0.05
    # log p(z) in units of the codes: the entropy is that of radius and angle, and E[log radius].
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(np.pi) + np.log(30)
    nll = -sampler.distribution().log_prob(x.astype("float32")).numpy().mean()
    assert entropy - 0.1 < nll < entropy + 0.5


def test_rows_depend_on_their_seed_only(rng, autoencoder):
    x = rng.uniform(size=(60, 6)).astype("float32")
    fitted = [
        samplers.MixtureSampler(autoencoder, components=2).fit(x),
        samplers.FlowSampler(autoencoder, steps=1, hidden=(4,)).fit(x, epochs=1),
    ]
    for sampler in fitted:
        many = sampler.sample_codes(6, seed=4)
        np.testing.assert_allclose(sampler.sample_codes(2, seed=7), many[3:5], rtol=1e-6)
        assert len(np.unique(many, axis=0)) == 6
        images = sampler.sample(6, seed=4)
        np.testing.assert_allclose(images, autoencoder.decode(many), rtol=1e-5, atol=1e-6)


def test_a_second_fit_replaces_the_first(rng):
    sampler = samplers.MixtureSampler(Identity(), components=1)
    assert np.abs(sampler.fit(rng.normal(size=(50, 2))).sample(5)).max() < 10
    assert sampler.fit(rng.normal(50, 1, size=(50, 2))).sample(5).min() > 40


def test_prior_sampler_is_the_vaes_own_sample():
    vae = ka.VAE(ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,)), seed=0)
    np.testing.assert_array_equal(samplers.PriorSampler(vae).fit().sample(4, seed=2), vae.sample(4, seed=2))


def conditional(**kwargs):
    return ka.CVAE(
        ka.networks.mlp_encoder((6,), 2, parameters=2, condition_shape=(3,)),
        ka.networks.mlp_decoder(2, (6,), condition_shape=(3,)),
        seed=0,
        **kwargs,
    )


def test_codes_of_a_conditional_model_are_decoded_under_the_condition_asked_for(rng):
    model = conditional(num_classes=3)
    x, y = rng.uniform(size=(40, 6)).astype("float32"), np.arange(40) % 3
    sampler = samplers.MixtureSampler(model, components=1).fit(x, y)
    np.testing.assert_allclose(sampler.distribution().mean(), model.encode(x, y).mean(axis=0), atol=1e-5)
    images = sampler.sample(3, np.array([0, 1, 2]), seed=5)
    np.testing.assert_allclose(images, model.decode(sampler.sample_codes(3, seed=5), np.array([0, 1, 2])), rtol=1e-5)
    y = np.array([2, 0])
    np.testing.assert_array_equal(samplers.PriorSampler(model).sample(2, y, seed=1), model.sample(2, y, seed=1))


def test_a_constant_dimension_is_no_obstacle(rng):
    codes = np.stack([rng.normal(size=40), np.full(40, 3.0)], -1)
    mixture = samplers.MixtureSampler(Identity(), components=2).fit(codes)
    np.testing.assert_allclose(mixture.sample(20)[:, 1], 3.0, atol=0.01)
    flow = samplers.FlowSampler(Identity(), steps=1, hidden=(4,)).fit(codes, epochs=1)
    assert np.isfinite(flow.sample(3)).all()


def test_refusals(rng, autoencoder):
    x = rng.uniform(size=(5, 6)).astype("float32")
    with pytest.raises(ValueError, match="prior"):
        samplers.PriorSampler(autoencoder)
    with pytest.raises(ValueError, match="encode, decode"):
        samplers.MixtureSampler(object())
    network = ka.networks.mlp_encoder((3,), 2, parameters=2)
    for sampler in (samplers.PriorSampler, samplers.MixtureSampler):
        with pytest.raises(ValueError, match="prior of this CVAE depends on y"):
            sampler(conditional(prior_network=network))
    with pytest.raises(ValueError, match="CVAE is conditional"):
        samplers.MixtureSampler(conditional()).fit(x)
    with pytest.raises(ValueError, match=r"not conditional.*seed="):
        samplers.MixtureSampler(autoencoder, components=2).fit(x).sample(2, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="components"):
        samplers.MixtureSampler(autoencoder, components=0)
    for sampler in (samplers.MixtureSampler(autoencoder), samplers.FlowSampler(autoencoder)):
        with pytest.raises(ValueError, match="not fitted"):
            sampler.sample(3)
        with pytest.raises(ValueError, match="not fitted"):
            sampler.distribution()
        with pytest.raises(ValueError, match=r"expected shape \(N, latent_dim\)"):
            sampler.fit_codes(np.zeros(20))
        with pytest.raises(ValueError, match=r"rows of shape \(2,\)"):
            sampler.fit_codes(np.zeros((20, 3)))
        with pytest.raises(ValueError, match="NaN"):
            sampler.fit_codes(np.full((20, 2), np.nan))
        with pytest.raises(ValueError, match=r"rows of shape \(6,\)"):
            sampler.fit(np.zeros((5, 7), "float32"))
    with pytest.raises(ValueError, match="10 rows or more, received 5"):
        samplers.MixtureSampler(autoencoder).fit(x)
    with pytest.raises(ValueError, match="2 rows or more, received 1"):
        samplers.FlowSampler(autoencoder).fit(x[:1])
    with pytest.raises(ValueError, match="n: expected"):
        samplers.MixtureSampler(autoencoder, components=2).fit(x).sample(0)


def test_masked_codes_are_refused(rng):
    z = np.ma.masked_array(rng.normal(size=(20, 2)), np.arange(40).reshape(20, 2) % 7 == 0)
    with pytest.raises(ValueError, match="codes: received a masked array"):
        samplers.MixtureSampler(Identity(), components=1).fit_codes(z)


def test_a_prior_sampler_follows_the_weights_that_the_model_uses(rng):
    keras.utils.set_random_seed(0)
    parts = ka.networks.mlp_encoder((4,), 2, (5,), parameters=2), ka.networks.mlp_decoder(2, (4,), (5,))
    vae = ka.VAE(*parts, "gaussian", ka.priors.LearnedMixture(2, 3), seed=0)
    x = rng.normal(size=(32, 4)).astype("float32")
    sampler, seen = samplers.PriorSampler(vae), []
    for _ in range(2):  # raw weights, averages, another optimizer's averages
        seen.append(sampler.sample_codes(8))
        vae.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), jit_compile=False)
        np.testing.assert_array_equal(sampler.sample_codes(8), samplers.PriorSampler(vae).sample_codes(8))
        vae.fit(x, batch_size=8, epochs=2, verbose=0)
        seen.append(sampler.sample_codes(8))
        np.testing.assert_array_equal(seen[-1], samplers.PriorSampler(vae).sample_codes(8))
        assert np.abs(seen[-1] - seen[-2]).max() > 1e-4
