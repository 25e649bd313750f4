"""Flows: masks that preserve the order, densities by change of variables, and learning."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.distributions import flows
from keras_ae.layers import MADE


def shaken(layer, rng, scale=0.5):
    """The layer with random weights, because weights of zero would hide errors."""
    for weight in layer.trainable_variables:
        weight.assign(weight + scale * rng.normal(size=weight.shape))
    return layer


def jacobian(function, z):
    """d function / d z at one row z `(D,)`, with a gradient tape: `(..., D)`."""
    with tf.GradientTape() as tape:
        tape.watch(z)
        out = function(z)
    return tape.jacobian(out, z).numpy()


@pytest.mark.parametrize("hidden", [(), (3,), (40, 30)])
@pytest.mark.parametrize("reverse", [False, True])
def test_outputs_see_exactly_the_dimensions_before_them(rng, hidden, reverse):
    made = shaken(MADE(6, hidden, reverse=reverse, activation="tanh"), rng)
    slopes = jacobian(made, tf.constant(rng.normal(size=6), tf.float32))  # (D, parameters, D)
    before = np.triu(np.ones((6, 6)), 1) if reverse else np.tril(np.ones((6, 6)), -1)
    assert slopes.shape == (6, 2, 6)
    for k in range(2):
        assert (slopes[:, k][before == 0] == 0).all()
        if hidden != (3,):  # three units cannot have five degrees
            assert (slopes[:, k][before == 1] != 0).all()


@pytest.mark.parametrize("hidden", [(), (40, 30)])
def test_every_output_sees_the_context(rng, hidden):
    made = shaken(MADE(4, hidden, context=3, activation="tanh"), rng)
    z, h = (tf.constant(rng.normal(size=n), tf.float32) for n in (4, 3))
    assert (jacobian(lambda h: made.call(z, h), h) != 0).all()
    slopes = jacobian(lambda z: made.call(z, h), z)
    assert (slopes[np.triu_indices(4)[0], :, np.triu_indices(4)[1]] == 0).all()


def test_context_broadcasts_over_samples(rng):
    made = shaken(MADE(4, context=3), rng)
    z, h = rng.normal(size=(5, 2, 4)).astype("float32"), rng.normal(size=(2, 3)).astype("float32")
    out = made.call(z, h)
    assert out.shape == (5, 2, 4, 2)
    np.testing.assert_allclose(out[3, 1], made.call(z[3, 1], h[1]), rtol=1e-4, atol=1e-5)


def test_outputs_start_at_their_biases():
    out = MADE(3, bias=(0.5, 2.0)).call(tf.random.normal([7, 3]))
    np.testing.assert_array_equal(out, np.broadcast_to([0.5, 2.0], (7, 3, 2)))


def test_flow_starts_as_the_standard_normal(rng):
    z = rng.normal(size=(9, 3)).astype("float32")
    np.testing.assert_allclose(
        flows.Flow(3).call().log_prob(z), ka.priors.Normal(3).call().log_prob(z), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_log_prob_is_the_change_of_variables(rng, steps):
    flow = shaken(flows.Flow(3, steps, hidden=(16,), activation="tanh"), rng).call()
    for z in rng.normal(size=(4, 3)).astype("float32"):
        slopes = jacobian(flow.bijector.inverse, tf.constant(z))
        u = flow.bijector.inverse(tf.constant(z)).numpy()
        expected = -0.5 * (u**2).sum() - 1.5 * np.log(2 * np.pi) + np.linalg.slogdet(slopes)[1]
        assert float(flow.log_prob(z)) == pytest.approx(expected, abs=1e-3)


def test_sampling_inverts_the_density(rng):
    flow = shaken(flows.Flow(4, hidden=(16,)), rng, 0.3).call()
    u = tf.constant(rng.normal(size=(50, 4)), tf.float32)
    z = flow.bijector.forward(u)
    np.testing.assert_allclose(flow.bijector.inverse(tf.identity(z)), u, atol=1e-3)


def test_density_integrates_to_one_in_the_plane(rng):
    flow = shaken(flows.Flow(2, hidden=(16,)), rng, 0.2).call()
    axis = np.linspace(-12, 12, 801, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    mass = np.exp(flow.log_prob(grid), dtype="float64").sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=5e-3)


def test_learns_a_banana_whose_entropy_is_known(rng):
    # z2 = z1^2 + noise is one shear of a Gaussian: the entropy is the Gaussian's, log(2 pi e) + log 0.3.
    first, noise = rng.normal(size=(2, 4000))
    z = np.stack([first, first**2 + 0.3 * noise], -1).astype("float32")
    train, test = z[:3000], z[3000:]
    model = flows.Density(flows.Flow(2, steps=2, hidden=(32,)), seed=0)
    model.compile(keras.optimizers.Adam(5e-3))
    model.fit(train, epochs=25, batch_size=100, verbose=0)
    nll = -model.predict(test, verbose=0)
    mean, covariance = train.mean(0), np.cov(train.T)
    gaussian = np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance)[1] + 1
    entropy = np.log(2 * np.pi * np.e) + np.log(0.3)
    error = 4 * nll.std() / np.sqrt(len(nll))
    assert entropy - error < nll.mean() < entropy + 0.15 + error
    assert nll.mean() < gaussian - 1.0
    draws = model.density.call().sample(2000, seed=[0, 1]).numpy()
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.2)
    # The residual across the banana is as thin as the noise.
    assert np.median(np.abs(draws[:, 1] - draws[:, 0] ** 2)) == pytest.approx(0.3 * 0.6745, abs=0.06)


def test_a_flow_is_a_prior_that_is_learned_and_saved(rng, tmp_path):
    encoder = ka.networks.mlp_encoder((5,), 2, hidden=(8,), parameters=2)
    vae = ka.VAE(encoder, ka.networks.mlp_decoder(2, (5,), hidden=(8,)), prior=flows.Flow(2, 2, hidden=(8,)), seed=0)
    vae.compile(keras.optimizers.Adam(1e-2), run_eagerly=True)
    before = [weight.numpy() for weight in vae._prior.trainable_variables]
    x = rng.uniform(size=(64, 5)).astype("float32")
    vae.fit(x, epochs=2, verbose=0)
    moved = [np.abs(weight - old).max() for weight, old in zip(vae._prior.trainable_variables, before, strict=True)]
    assert len(moved) == 8 and min(moved) > 0
    images = vae.sample(3, seed=0)
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_allclose(again.sample(3, seed=0), images, rtol=1e-6)
    np.testing.assert_allclose(vae.sample(2, seed=1), images[1:], rtol=1e-4, atol=1e-5)


def test_configuration_comes_back():
    made = MADE(3, (8, 5), 1, 2, (0.5,), True, "tanh")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.get_config() == made.get_config()
    flow = flows.Flow(3, 2, (8,), "elu")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(flow))
    assert again.get_config() == flow.get_config()


def test_refusals():
    with pytest.raises(ValueError, match=r"latent_dim.*1 or more.*0"):
        MADE(0)
    with pytest.raises(ValueError, match="hidden"):
        MADE(2, (4.5,))
    with pytest.raises(ValueError, match="expected 2 numbers"):
        MADE(2, bias=(1.0,))
    with pytest.raises(ValueError, match="context"):
        MADE(2, context=3).call(tf.zeros([1, 2]))
    with pytest.raises(ValueError, match="steps"):
        flows.Flow(2, steps=0)
    with pytest.raises(ValueError, match="density"):
        flows.Density(2)
    model = flows.Density(flows.Flow(2))
    model.compile("adam")
    with pytest.raises(ValueError, match=r"rows of shape \(2,\)"):
        model.fit(np.zeros((4, 3), "float32"))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full((4, 2), np.nan, "float32"))
    with pytest.raises(ValueError, match="does not use y"):
        model.fit(np.zeros((4, 2), "float32"), np.zeros(4))
