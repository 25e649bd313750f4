"""Posteriors: closed-form and change-of-variables densities, tight bounds, gradients."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import keras_ae as ka
from keras_ae.distributions import flows, posteriors
from keras_ae.losses import divergences
from tests.numerics import EPSILON, rounding

tfd = tfp.distributions

# Posteriors with a KL to a prior; points and bits have their own models.
DENSITIES = ("diagonal", "full_covariance", "inverse_autoregressive")


def made(name, latent_dim, rng, **kwargs):
    """A posterior of this kind; networks get random weights, because weights of zero would hide errors."""
    kwargs = {"latent_dim": latent_dim, "context": 3, "hidden": (16,)} | kwargs if name.startswith("inverse") else {}
    layer = posteriors.NAMES[name](**kwargs)
    for weight in layer.trainable_variables:
        weight.assign(weight + 0.5 * rng.normal(size=weight.shape))
    return layer


def raw_for(layer, latent_dim, rng, rows=4):
    return tf.constant(rng.normal(size=(rows, layer.parameters_for(latent_dim))), tf.float32)


def test_diagonal_has_means_and_raw_scales_in_two_halves(rng):
    raw = tf.constant(rng.normal(size=(4, 6)), tf.float32)
    q = posteriors.DiagonalGaussian().call(raw)
    assert isinstance(q, tfd.MultivariateNormalDiag)  # the package has shortcuts for these
    np.testing.assert_array_equal(q.mean(), raw[:, :3])
    np.testing.assert_allclose(q.stddev(), np.log1p(np.exp(raw[:, 3:])) + 1e-6, rtol=1e-5)


def test_full_covariance_has_the_triangle_of_its_raw_values(rng):
    raw, z = raw_for(posteriors.FullCovariance(), 3, rng), np.array([0.3, -0.2, 1.0])
    q = posteriors.FullCovariance().call(raw)
    for row, values in enumerate(raw.numpy().astype("float64")):
        mean, scale = values[:3], tfp.math.fill_triangular(values[3:]).numpy()
        np.fill_diagonal(scale, np.log1p(np.exp(np.diag(scale))) + 1e-6)
        np.testing.assert_allclose(q.covariance()[row], scale @ scale.T, rtol=1e-4, atol=1e-6)
        u = np.linalg.solve(scale, z - mean)
        expected = -0.5 * u @ u - np.log(np.diag(scale)).sum() - 1.5 * np.log(2 * np.pi)
        # Solving L u = z - m in float32 is like solving it exactly with entries that are off by a few units in the last
        # place: |du| <= |L^-1| (|L| |u| + |z| + |m|) times that. One of the rows here has |u|^2 = 5,000.
        inverse = np.abs(np.linalg.inv(scale))
        error = 8 * EPSILON * inverse @ (np.abs(scale) @ np.abs(u) + np.abs(z) + np.abs(mean))
        found = float(q.log_prob(z.astype("float32"))[row])
        assert found == pytest.approx(expected, rel=float(8 * EPSILON), abs=np.abs(u) @ error)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize("steps", [1, 3])
def test_iaf_density_is_the_change_of_variables(rng, context, steps):
    layer = made("inverse_autoregressive", 3, rng, context=context, steps=steps, activation="tanh")
    raw = raw_for(layer, 3, rng)
    q = layer.call(raw)
    base = posteriors.DiagonalGaussian().call(raw[:, :6])
    start = base.sample(seed=[0, 1])
    with tf.GradientTape() as tape:
        tape.watch(start)
        z, total = start, 0.0
        for step in layer.steps:  # equations 10 to 14, written out
            m, s = tf.unstack(step.call(z, raw[:, 6:] if context else None), axis=-1)
            sigma = tf.sigmoid(s)
            z = sigma * z + (1 - sigma) * m
            total += tf.reduce_sum(tf.math.log(sigma), -1)
    slopes = np.linalg.slogdet(tape.batch_jacobian(z, start).numpy())[1]
    np.testing.assert_allclose(total, slopes, atol=1e-4)
    np.testing.assert_allclose(q.bijector.forward(start), z, rtol=1e-5, atol=1e-5)
    # The density inverts z; the error depends on the slopes of the density.
    error = np.abs(q.log_prob(tf.identity(z)) - (base.log_prob(start) - slopes))
    assert (error < rounding(lambda z: q.log_prob(tf.identity(z)), z)).all()


def test_iaf_density_of_its_samples_is_that_of_foreign_codes(rng):
    layer = made("inverse_autoregressive", 4, rng)
    q = layer.call(raw_for(layer, 4, rng))
    z = q.sample(5, seed=[0, 1])
    assert z.shape == (5, 4, 4)
    error = np.abs(q.log_prob(z) - q.log_prob(z.numpy()))
    for i in range(5):
        assert (error[i] < rounding(lambda z: q.log_prob(tf.identity(z)), z[i])).all()


def test_iaf_density_of_its_samples_needs_no_loop(rng):
    layer = made("inverse_autoregressive", 4, rng)
    raw = raw_for(layer, 4, rng)

    def loops(density):
        graph = tf.function(density).get_concrete_function().graph.as_graph_def()
        return sum("While" in node.op for node in graph.node)

    def of_a_sample():
        q = layer.call(raw)
        return q.log_prob(q.sample(2, seed=[0, 1]))

    assert loops(of_a_sample) == 0
    assert loops(lambda: layer.call(raw).log_prob(tf.zeros([2, 4, 4]))) > 0


def test_iaf_integrates_to_one_in_the_plane(rng):
    layer = made("inverse_autoregressive", 2, rng, activation="tanh")
    axis = np.linspace(-8, 8, 401, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2)
    mass = np.exp(layer.call(raw_for(layer, 2, rng, rows=1)).log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=5e-3)


def test_iaf_mean_is_the_image_of_the_bases_mean(rng):
    layer = made("inverse_autoregressive", 3, rng)
    raw = raw_for(layer, 3, rng)
    narrow = tf.concat([raw[:, :3], tf.fill([4, 3], -20.0), raw[:, 6:]], axis=1)
    mean = layer.call(raw).mean()
    assert mean.shape == (4, 3)
    # With a scale near 0, all samples are at the mean.
    np.testing.assert_allclose(layer.call(narrow).sample(seed=[0, 1]), mean, atol=1e-4)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("prior", ["normal", "mixture", "flow"])
def test_gradients_reach_raw_values_and_weights(rng, name, prior):
    layer = made(name, 3, rng)
    prior = flows.Flow(3, hidden=(8,)) if prior == "flow" else ka.priors.get(prior, 3)
    raw = raw_for(layer, 3, rng)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        q = layer.call(raw)
        z = q.sample(2, seed=[0, 1])
        loss = tf.reduce_sum(divergences.kl(q, prior.call(), z)) + tf.reduce_sum(z**2)
    assert (q.batch_shape, q.event_shape, q.dtype) == ((4,), (3,), tf.float32)
    for gradient in tape.gradient(loss, [raw, *layer.trainable_variables]):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


@pytest.mark.parametrize("name", DENSITIES)
def test_gradients_compile_for_batches_of_any_size(rng, name):
    layer = made(name, 3, rng)

    def loss(raw):
        with tf.GradientTape() as tape:
            tape.watch(raw)
            q = layer.call(raw)
            total = tf.reduce_sum(q.log_prob(q.sample(2, seed=[0, 1])))
        return tape.gradient(total, raw)

    raw = raw_for(layer, 3, rng)
    signature = [tf.TensorSpec([None, raw.shape[1]])]
    # XLA draws other numbers, but the gradient of a Gaussian's density at its own samples does not depend on them.
    compiled = tf.function(loss, signature, jit_compile=True)(raw)
    assert np.isfinite(compiled).all()
    if name != "inverse_autoregressive":
        np.testing.assert_allclose(compiled, loss(raw), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", DENSITIES)
def test_extreme_raw_values_stay_finite(rng, name):
    layer = made(name, 3, rng)
    raw = 50 * tf.sign(raw_for(layer, 3, rng))
    q = layer.call(raw)
    assert np.isfinite(q.log_prob(q.sample(seed=[0, 1]))).all()


def test_full_covariance_closes_the_bound_of_a_linear_model_and_diagonal_does_not():
    # p(z) = N(0, I), p(x|z) = N(W z, 0.5^2 I): the posterior N(M W^T x / 0.25, M) has correlated dimensions.
    w = np.array([[1.0, 0.9], [0.8, 1.0], [0.5, 0.7]])
    x = np.array([[0.5, -1.0, 0.3]])
    precision = np.eye(2) + w.T @ w / 0.25
    evidence = scipy.stats.multivariate_normal(np.zeros(3), w @ w.T + 0.25 * np.eye(3)).logpdf(x)
    # The best diagonal Gaussian has the precision's diagonal; its gap is a KL in closed form.
    gap = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])

    def bound(layer):
        raw = tf.Variable(tf.zeros([1, layer.parameters_for(2)]))
        optimizer = keras.optimizers.Adam(0.05)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                q = layer.call(raw)
                fit = tfd.MultivariateNormalDiag(q.mean() @ w.T.astype("float32"), tf.fill([3], 0.5)).log_prob(x)
                # E_q |W (z - m)|^2 = tr(W C W^T)
                spread = tf.linalg.trace(tf.constant(w.T @ w, tf.float32) @ q.covariance())
                elbo = fit - spread / (2 * 0.25) - tfd.kl_divergence(q, ka.priors.Normal(2).call())
                loss = -tf.reduce_sum(elbo)
            optimizer.apply(tape.gradient(loss, [raw]), [raw])
            return elbo[0]

        optimizer.build([raw])
        return float([step() for _ in range(600)][-1]), layer.call(raw)

    full, q = bound(posteriors.FullCovariance())
    assert full == pytest.approx(float(evidence), abs=1e-3)
    np.testing.assert_allclose(q.covariance()[0], np.linalg.inv(precision), atol=2e-3)
    diagonal, _ = bound(posteriors.DiagonalGaussian())
    assert gap > 0.5
    assert diagonal == pytest.approx(float(evidence) - gap, abs=1e-3)


def test_iaf_comes_nearer_to_a_curved_posterior_than_a_gaussian():
    # The density N(z1; 0, 1) N(z2; z1^2, 0.3^2) is normalised, so the bound's distance from 0 is the KL to it.
    def log_p(z):
        return tfd.Normal(0.0, 1.0).log_prob(z[..., 0]) + tfd.Normal(z[..., 0] ** 2, 0.3).log_prob(z[..., 1])

    def divergence(layer):
        raw = tf.Variable(tf.zeros([1, layer.parameters_for(2)]))
        variables = [raw, *layer.trainable_variables]
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build(variables)

        @tf.function
        def step(i):
            with tf.GradientTape() as tape:
                q = layer.call(raw)
                z = q.sample(64, seed=tf.stack([0, i]))
                loss = tf.reduce_mean(q.log_prob(z) - log_p(z))
            optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        return np.mean([step(tf.constant(i)) for i in range(400)][-50:])

    gaussian = divergence(posteriors.FullCovariance())
    assert gaussian > 0.6
    assert -0.05 < divergence(posteriors.InverseAutoregressive(2, context=0, steps=1, hidden=(32,))) < gaussian / 4


def test_iaf_stays_in_float32_inside_a_model_of_mixed_precision():
    encoder = ka.networks.mlp_encoder((5,), 1, hidden=(4,), parameters=7)
    layer = posteriors.InverseAutoregressive(2, context=3, hidden=(4,))
    decoder = ka.networks.mlp_decoder(2, (5,), hidden=(4,))
    vae = ka.VAE(encoder, decoder, posterior=layer, dtype="mixed_float16")
    x = np.ones((3, 5), "float32")
    np.testing.assert_allclose(vae(x), vae.reconstruct(x), rtol=1e-2)


@pytest.mark.parametrize("name", list(posteriors.NAMES))
def test_width_and_size_are_inverse(rng, name):
    for latent_dim in (1, 2, 7):
        layer = made(name, latent_dim, rng)
        assert layer.latent_dim_for(layer.parameters_for(latent_dim)) == latent_dim
        assert layer.call(raw_for(layer, latent_dim, rng)).event_shape == (latent_dim,)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def test_points_and_bits(rng):
    raw = tf.constant(rng.normal(size=(4, 3)), tf.float32)
    np.testing.assert_array_equal(posteriors.Deterministic().call(raw).sample(), raw)
    q = posteriors.IndependentBernoulli().call(raw)
    np.testing.assert_allclose(q.mean(), 1 / (1 + np.exp(-raw)), rtol=1e-5)
    expected = scipy.stats.bernoulli(1 / (1 + np.exp(-raw.numpy()))).logpmf([1, 0, 1]).sum(1)
    np.testing.assert_allclose(q.log_prob([1.0, 0.0, 1.0]), expected, rtol=1e-4)


def test_get_and_its_refusals():
    assert isinstance(posteriors.get("diagonal", None), posteriors.DiagonalGaussian)
    assert isinstance(posteriors.get("full_covariance", 3), posteriors.FullCovariance)
    assert posteriors.get("inverse_autoregressive", 3).latent_dim == 3
    layer = posteriors.InverseAutoregressive(3)
    assert posteriors.get(layer, 3) is layer
    with pytest.raises(ValueError, match="codes of size 3, received 4"):
        posteriors.get(layer, 4)
    with pytest.raises(ValueError, match="needs the code size"):
        posteriors.get("inverse_autoregressive", None)
    with pytest.raises(ValueError, match=r"'banana'.*full_covariance"):
        posteriors.get("banana", 3)
    for wrong in (posteriors.DiagonalGaussian(), posteriors.FullCovariance(), posteriors.InverseAutoregressive(2)):
        with pytest.raises(ValueError, match="params per row"):
            wrong.call(tf.zeros([1, 7]))
        with pytest.raises(ValueError, match="shape"):
            wrong.call(tf.zeros([7]))


def test_a_universal_posterior_is_what_the_encoder_makes_of_noise():
    encoder = ka.networks.mlp_encoder((3,), 2, (8,), activation="tanh", condition_shape=(4,))
    model = ka.AAE(
        *(encoder, ka.networks.mlp_decoder(2, (3,), (8,)), ka.networks.code_critic(2, (8,)), "gaussian"),
        posterior="universal",
    )
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    q = model.posterior(x)
    np.testing.assert_allclose(q.mean(), encoder([x, np.zeros((5, 4))]), atol=1e-6)
    with tf.GradientTape() as tape:
        z = q.sample(7, seed=[0, 1])
    assert z.shape == (7, 5, 2) and q.event_shape == (2,) and q.batch_shape == (5,)
    # Every sample has the x of its row: those of a row are as spread as the encoder's own.
    e = np.random.default_rng(1).normal(size=(4_000, 4)).astype("float32")
    for row in (0, 4):
        own = encoder([np.repeat(x[row : row + 1], 4_000, 0), e]).numpy()
        drawn = q.sample(4_000, seed=[0, 2]).numpy()[:, row]
        np.testing.assert_allclose(drawn.mean(0), own.mean(0), atol=6 * own.std() / np.sqrt(4_000))
        np.testing.assert_allclose(drawn.std(0), own.std(0), rtol=0.1)
    assert all(gradient is not None for gradient in tape.gradient(z, encoder.trainable_variables))
    assert not hasattr(model, "log_prob") and model.score(x).shape == (5,)
    with pytest.raises(ValueError, match="two inputs, x and noise"):
        plain = ka.networks.mlp_encoder((3,), 2, (8,))
        ka.AAE(plain, model.decoder, model.critic, "gaussian", posterior="universal").posterior(x)
    with pytest.raises(ValueError, match="expected a density over continuous codes"):
        ka.VAE(encoder, model.decoder, posterior="universal")


def test_styles_labels_and_heads():
    params = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    apart, together = posteriors.StyleAndLabel(3), posteriors.ClusterHeads(3, latent_dim=2)
    style, logits = apart.split(tf.constant(params))
    y = tf.nn.softmax(params[:, 2:])
    np.testing.assert_allclose(apart.call(tf.constant(params)).mean(), np.concatenate([params[:, :2], y], 1), rtol=1e-6)
    np.testing.assert_allclose(together.call(tf.constant(params)).mean(), params[:, :2] + y @ together.heads, rtol=1e-5)
    assert apart.code_shape_for((5,)) == (5,) and together.code_shape_for((5,)) == (2,)
    assert style.shape == (6, 2) and logits.shape == (6, 3)
    for posterior in (apart, together):
        assert type(posterior).from_config(posterior.get_config()).get_config() == posterior.get_config()
        with pytest.raises(ValueError, match=r"a style (and|of)"):
            posterior.code_shape_for((3,))
