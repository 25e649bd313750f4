"""Priors: densities that integrate to one, samples that agree with them, and errors."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_ae as ka
from keras_ae.distributions import likelihoods, priors

tfd = tfp.distributions


@functools.cache
def in_the_plane(name):
    """The log densities of a prior on a grid that covers it, and the area of a cell."""
    axis = np.linspace(-7, 7, 401, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    return priors.get(name, 2).call().log_prob(grid).numpy(), (axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("name", [name for name in priors.NAMES if name != "bernoulli"])  # has no density
def test_density_integrates_to_one_in_the_plane(name):
    on_grid, cell = in_the_plane(name)
    mass = np.exp(on_grid).sum() * cell
    # The edge of the uniform lies between grid points: an error of one grid step per side.
    assert mass == pytest.approx(1, abs=0.03 if name == "uniform" else 1e-3)


@pytest.mark.parametrize("name", [name for name in priors.NAMES if name != "bernoulli"])  # has no density
def test_samples_have_the_entropy_that_the_density_says(name):
    prior = priors.get(name, 2).call()
    z = prior.sample(20_000, seed=[0, 1])
    log_density = prior.log_prob(z).numpy()
    on_grid, cell = in_the_plane(name)
    density = np.exp(on_grid)
    integral = (density * np.where(density > 0, on_grid, 0)).sum() * cell
    error = 4 * log_density.std() / np.sqrt(len(log_density)) + (0.06 if name == "uniform" else 1e-3)
    assert log_density.mean() == pytest.approx(integral, abs=error)


def test_ring_has_ten_modes_at_radius_four():
    z = priors.Ring().call().sample(50_000, seed=[0, 1]).numpy()
    angle = np.arctan2(z[:, 1], z[:, 0])
    counts = np.bincount(np.round(angle / (2 * np.pi / 10)).astype(int) % 10, minlength=10)
    np.testing.assert_allclose(counts, 5000, atol=4 * np.sqrt(50_000 * 0.1 * 0.9))
    assert np.linalg.norm(z, axis=1).mean() == pytest.approx(4.0, abs=0.05)
    # Across the radius the modes are 0.25 wide.
    first = z[np.abs(angle) < np.pi / 10]
    assert first[:, 1].std() == pytest.approx(0.25, abs=0.02)


def test_swiss_roll_lies_on_the_spiral():
    z = priors.SwissRoll().call().sample(5_000, seed=[0, 1]).numpy()
    fine = np.linspace(0.05, 1.05, 4000)
    curve = 5 * fine[:, None] * np.stack([np.cos(4 * np.pi * fine), np.sin(4 * np.pi * fine)], -1)
    distance = np.sqrt(((z[:, None] - curve[None, ::4]) ** 2).sum(-1)).min(1)
    assert np.quantile(distance, 0.99) < 0.4  # four widths
    assert (np.bincount(np.digitize(np.linalg.norm(z, axis=1), [1, 2, 3, 4])) > 100).all()


def test_learned_mixture_fits_two_clusters(rng):
    prior = priors.LearnedMixture(1, components=2)
    z = np.concatenate([rng.normal(-2, 0.5, 500), rng.normal(3, 1.0, 500)])[:, None].astype("float32")
    optimizer = keras.optimizers.Adam(0.05)
    optimizer.build(prior.trainable_variables)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.call().log_prob(z))
        gradients = tape.gradient(loss, prior.trainable_variables)
        assert all(g is not None for g in gradients)
        optimizer.apply(gradients, prior.trainable_variables)

    for _ in range(300):
        step()
    np.testing.assert_allclose(np.sort(prior.means.numpy().ravel()), [-2, 3], atol=0.2)
    np.testing.assert_allclose(np.sort(np.log1p(np.exp(prior.raw_scales)).ravel()), [0.5, 1.0], atol=0.12)


class WithoutSamples(tfd.Distribution):
    def _log_prob(self, z):
        return -0.5 * tf.reduce_sum(z**2, -1)

    def _event_shape(self):
        return tf.TensorShape([2])

    def _event_shape_tensor(self):
        return tf.constant([2])


def test_refusals():
    with pytest.raises(ValueError, match=r"'gamma'.*normal"):
        priors.get("gamma", 2)
    with pytest.raises(ValueError, match=r"event shape \(3,\)"):
        priors.get(tfd.MultivariateNormalDiag(tf.zeros(2)), 3)
    with pytest.raises(ValueError, match="latent_dim=2, received 3"):
        priors.get("ring", 3)
    with pytest.raises(ValueError, match="infinite"):
        priors.check_covers_gaussians(priors.Uniform(2).call())
    with pytest.raises(ValueError, match="infinite"):
        priors.check_covers_gaussians(tfd.Independent(tfd.LogNormal(tf.zeros(2), 1.0), 1))
    for elsewhere in (
        priors.UniformBernoulli(2).call(),
        tfd.Independent(tfd.Skellam([1.0, 2.0], 1.0), 1),
        tfd.OneHotCategorical([0.0, 0.0]),
        tfd.Dirichlet([1.0, 1.0]),
        tfd.Independent(tfd.VonMises([0.0, 0.0], 1.0), 1),
    ):
        with pytest.raises(ValueError, match="a density over all real codes"):
            priors.check_covers_gaussians(elsewhere)
    for batch in (tfd.MultivariateNormalDiag(tf.zeros([3, 2])), tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64))):
        with pytest.raises(ValueError, match="one float32 distribution, without a batch axis"):
            priors.get(batch, 2)
    with pytest.raises(ValueError, match="a density over all real codes"):
        half = tfd.Independent(tfd.VonMises([0.0, 0.0], 1.0), 1)
        priors.check_covers_gaussians(
            tfd.Mixture(tfd.Categorical([0.0, 0.0]), [tfd.MultivariateNormalDiag(tf.zeros(2)), half])
        )
    priors.check_covers_gaussians(tfd.MultivariateNormalDiag(tf.zeros(2), tf.fill([2], 1e10)))
    priors.check_covers_gaussians(WithoutSamples(tf.float32, tfd.FULLY_REPARAMETERIZED, True, True))
    with pytest.warns(UserWarning, match="does not update the variables"):
        priors.get(tfd.MultivariateNormalDiag(tf.Variable(tf.zeros(2)), tf.ones(2)), 2)


@pytest.mark.parametrize("prior", [priors.UniformBernoulli(5), priors.BernoulliMixture(5, components=3)])
def test_probabilities_of_all_codes_sum_to_one(prior):
    codes = np.array(list(itertools.product([0.0, 1.0], repeat=5)), "float32")
    log_p = prior.call().log_prob(codes).numpy()
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)
    draws = prior.call().sample(40_000, seed=[0, 1]).numpy() @ 2 ** np.arange(4, -1, -1)
    shares = np.bincount(draws.astype(int), minlength=32) / 40_000
    np.testing.assert_allclose(shares, np.exp(log_p), atol=4 * 0.5 / np.sqrt(40_000))


def test_fair_coins_are_fair():
    np.testing.assert_allclose(priors.UniformBernoulli(5).call().log_prob(np.zeros((1, 5))), 5 * np.log(0.5), rtol=1e-6)


def test_a_density_is_no_prior_over_bits():
    priors.check_covers_bits(priors.BernoulliMixture(3).call())
    with pytest.raises(ValueError, match="float32 bits"):
        priors.check_covers_bits(priors.Normal(3).call())


def vamp_model(likelihood="bernoulli", **kwargs):
    prior = priors.VampPrior(2, (5,), **kwargs)
    encoder = ka.networks.mlp_encoder((5,), 2, hidden=(8,), parameters=2)
    decoder = ka.networks.mlp_decoder(2, (5,), hidden=(8,))
    if likelihood == "categorical":
        inputs = keras.Input((2,))
        decoder = keras.Model(inputs, keras.layers.Reshape((5, 256))(keras.layers.Dense(5 * 256)(inputs)))
    return ka.VAE(encoder, decoder, likelihood, prior, seed=0)


def test_vamp_prior_is_the_even_mixture_of_the_posteriors_at_its_pseudo_inputs(rng):
    x, z = rng.uniform(size=(4, 5)).astype("float32"), rng.normal(size=(7, 2)).astype("float32")
    vae = vamp_model(components=4, initial=x)
    each = np.exp(np.stack([vae.posterior(x[k : k + 1]).log_prob(z) for k in range(4)]), dtype="float64")
    np.testing.assert_allclose(vae.prior.log_prob(z), np.log(each.mean(0)), rtol=1e-5)


def test_vamp_prior_reads_levels_in_their_own_range(rng):
    x = rng.integers(0, 256, size=(3, 5), dtype="uint8")
    vae = vamp_model("categorical", components=3, initial=x)
    np.testing.assert_allclose(vae._prior.pseudo_inputs, x / 255, rtol=1e-6)
    np.testing.assert_allclose(
        vae.prior.components_distribution.mean(), vae.posterior(tf.constant(x)).mean(), rtol=1e-4, atol=1e-6
    )


def test_vamp_prior_is_learned_within_the_range_and_shares_the_encoder(rng, tmp_path):
    x = rng.uniform(size=(64, 5)).astype("float32").round()
    vae = vamp_model(components=3)
    start = vae._prior.pseudo_inputs.numpy()
    vae.compile(keras.optimizers.Adam(0.1), jit_compile=False)
    vae.fit(x, epochs=12, verbose=0)
    pseudo_inputs = vae._prior.pseudo_inputs.numpy()
    assert np.abs(pseudo_inputs - start).max() > 0.1
    assert pseudo_inputs.min() == 0 or pseudo_inputs.max() == 1  # steps of 0.1 reach the edge and stop there
    assert pseudo_inputs.min() >= 0 and pseudo_inputs.max() <= 1
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert len(again.weights) == len(vae.weights)
    z = rng.normal(size=(6, 2)).astype("float32")
    np.testing.assert_allclose(again.prior.log_prob(z), vae.prior.log_prob(z), rtol=1e-5)
    again.encoder.weights[-1].assign_add([5.0, 0.0, 0.0, 0.0])
    shift = again.prior.components_distribution.mean() - vae.prior.components_distribution.mean()
    np.testing.assert_allclose(shift, np.tile([5.0, 0.0], (3, 1)), atol=1e-4)


def test_vamp_prior_refuses():
    with pytest.raises(ValueError, match="components"):
        priors.VampPrior(2, (5,), components=0)
    with pytest.raises(ValueError, match=r"initial: expected shape \(3, 5\)"):
        priors.VampPrior(2, (5,), components=3, initial=np.zeros((4, 5)))
    with pytest.raises(ValueError, match="NaN"):
        priors.VampPrior(2, (5,), components=3, initial=np.full((3, 5), np.nan))
    with pytest.raises(ValueError, match=r"initial.*\[0.0, 1.0\]"):
        vamp_model(components=3, initial=np.full((3, 5), 7.0))
    with pytest.raises(ValueError, match="Pass it to a model first"):
        priors.VampPrior(2, (5,)).call()
    vae = vamp_model(components=3)
    with pytest.raises(ValueError, match="belongs to another model"):
        vae._prior.bind(lambda x: None, likelihoods.Bernoulli(), (5,))
    with pytest.raises(ValueError, match=r"expected input_shape=\(5,\), as in the encoder; received \(4,\)"):
        ka.VAE(vae.encoder, vae.decoder, prior=priors.VampPrior(2, (4,)))
    bent = ka.networks.mlp_encoder((5,), ka.posteriors.InverseAutoregressive(2).parameters_for(2))
    with pytest.raises(ValueError, match=r"inverse_autoregressive.* cannot compute"):
        ka.VAE(bent, vae.decoder, prior=priors.VampPrior(2, (5,)), posterior="inverse_autoregressive")


@pytest.mark.parametrize("name", ["ring", "swiss_roll"])
def test_draws_follow_the_density_and_labelled_ones_their_part_of_it(name):
    prior = priors.get(name, 2)
    drawn = priors.draw(prior, 4_000, tf.constant([0, 1])).numpy()
    sampled = prior.call().sample(4_000, seed=[0, 2]).numpy()
    density = [prior.call().log_prob(each).numpy() for each in (drawn, sampled)]
    error = 4 * density[0].std() * np.sqrt(2 / 4_000)
    assert density[0].mean() == pytest.approx(density[1].mean(), abs=error)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(sampled.T), atol=0.6)
    labels = np.where(np.arange(6_000) % 3 == 0, -1, np.arange(6_000) % 10)
    z = prior.draw_labelled(tf.constant(labels), 10, tf.constant([0, 3])).numpy()
    np.testing.assert_array_equal(z, prior.draw_labelled(tf.constant(labels), 10, tf.constant([0, 3])))
    found = prior.labels_of(z, 10)
    for label in range(10):
        assert np.mean(found[labels == label] == label) > 0.85
    shares = np.bincount(found[labels < 0], minlength=10) / 2_000
    np.testing.assert_allclose(shares, 0.1, atol=4 * 0.3 / np.sqrt(2_000) + 0.01)


def test_a_roll_can_be_divided_by_any_number_of_classes():
    roll = priors.SwissRoll()
    labels = np.arange(3_000) % 7
    z = roll.draw_labelled(tf.constant(labels), 7, tf.constant([0, 1])).numpy()
    found = roll.labels_of(z, 7)
    assert np.mean(found == labels) > 0.85
    radius = [np.linalg.norm(z[labels == label], axis=1).mean() for label in range(7)]
    assert radius == sorted(radius)  # the first class is the innermost
    assert priors.Ring.from_config(priors.Ring(components=7).get_config()).components == 7
    with pytest.raises(ValueError, match="200 components"):
        priors.check_classes(roll, 201)
    with pytest.raises(ValueError, match="no part for each class"):
        priors.check_classes(priors.Normal(2), 10)


def test_priors_that_a_critic_cannot_use():
    for name in ("normal", "uniform", "ring", "swiss_roll"):
        priors.check_can_be_sampled(priors.get(name, 2))
    with pytest.raises(ValueError, match="learned_mixture has weights, which no player trains"):
        priors.check_can_be_sampled(priors.get("mixture", 2))
    silent = WithoutSamples(tf.float32, tfd.FULLY_REPARAMETERIZED, True, True)
    with pytest.raises(ValueError, match="cannot be sampled"):
        priors.check_can_be_sampled(lambda: silent)
    with pytest.raises(ValueError, match="NaN"):
        priors.check_can_be_sampled(lambda: tfd.MultivariateNormalDiag(tf.fill([2], np.nan)))


def test_style_and_label_side_by_side():
    p = priors.StyleAndLabel(priors.get("ring", 2), 3)()
    z = p.sample(5_000, seed=[0, 1]).numpy()
    assert p.event_shape == (5,) and (z[:, 2:].sum(1) == 1).all()
    np.testing.assert_allclose(z[:, 2:].mean(0), 1 / 3, atol=0.03)
    ring = priors.Ring().call().log_prob(z[:, :2])
    np.testing.assert_allclose(p.log_prob(z), ring - np.log(3), rtol=1e-4)
    heads = keras.Variable([[0.0, 0.0], [10.0, 0.0]])
    z = priors.AroundHeads(heads)().sample(2_000, seed=[0, 1]).numpy()
    assert np.mean(z[:, 0] > 5) == pytest.approx(0.5, abs=0.05) and z[z[:, 0] > 5].std(0).max() < 1.1
