"""Importance-weighted bounds, their two gradients, and several stochastic layers, compared with exact likelihoods."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal

import keras_ae as ka

D, K = 5, 2


def fixed(network, scale):
    """Makes an encoder return N(0, scale^2) for every input: a proposal that covers the posterior."""
    width = network.output_shape[-1] // 2
    bias = np.concatenate([np.zeros(width), np.full(width, np.log(np.expm1(scale)))])
    network.layers[-1].set_weights([np.zeros((network.input_shape[-1], 2 * width)), bias])
    return network


def linear(rng, **kwargs):
    """An IWAE with a linear decoder, and its exact p(x) = N(b, W^T W + I)."""
    encoder = fixed(ka.networks.mlp_encoder((D,), K, hidden=(), parameters=2), 1.0)
    decoder = ka.networks.mlp_decoder(K, (D,), hidden=())
    weights, bias = rng.normal(size=(K, D)).astype("float32"), rng.normal(size=D).astype("float32")
    decoder.layers[1].set_weights([weights, bias])
    exact = multivariate_normal(bias, weights.T @ weights + np.eye(D))
    return ka.IWAE(encoder, decoder, "gaussian", seed=0, **kwargs), exact


def bound(model, x):
    return -np.mean([model.loss_terms(x, None, False)["bound"] for _ in range(10)])


def test_the_bound_rises_with_k_from_the_elbo_to_the_likelihood(rng):
    model, exact = linear(rng)
    x = exact.rvs(200, random_state=1).astype("float32")
    vae = ka.VAE(model.encoder, model.decoder, "gaussian", seed=0)
    terms = [vae.loss_terms(x, None, False) for _ in range(10)]
    elbos = [-np.mean(t["reconstruction"] + t["kl"]) for t in terms]
    bounds = []
    for k in (1, 5, 50, 1000):
        model.importance_samples = k
        bounds.append(bound(model, x))
    # Both are means of 10 draws, equally noisy.
    assert bounds[0] == pytest.approx(np.mean(elbos), abs=4 * np.std(elbos, ddof=1) * np.sqrt(2 / 10))
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(exact.logpdf(x).mean(), abs=0.1)


@pytest.mark.parametrize("gradient", ["doubly_reparameterised", "reparameterised"])
def test_independent_bounds_are_averaged(rng, gradient):
    model, exact = linear(rng, importance_samples=5, gradient=gradient)
    x = exact.rvs(200, random_state=1).astype("float32")
    one = [model.loss_terms(x, None, False)["bound"] for _ in range(30)]
    model.num_samples = 16
    many = [model.loss_terms(x, None, False)["bound"] for _ in range(30)]
    assert np.mean(one) == pytest.approx(np.mean(many), abs=0.1)
    assert np.std(one, axis=0).mean() / np.std(many, axis=0).mean() == pytest.approx(4, rel=0.2)  # sqrt(16)


def gradients(model, networks, x, draws):
    """Gradients of each network, flattened, `(draws, .)`. Each is that of the mean over 40 copies of every row of x."""
    x = np.repeat(x, 40, axis=0)

    @tf.function(autograph=False)
    def one():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model.loss_terms(x, None, True)["bound"])
        found = tape.gradient(loss, [n.trainable_variables for n in networks])
        return [tf.concat([tf.reshape(g, [-1]) for g in each], 0) for each in found]

    return [np.stack(each) for each in zip(*(one() for _ in range(draws)), strict=True)]


def test_both_gradients_have_one_mean_and_the_double_less_noise(rng):
    found = {}
    x = None
    for gradient in ("reparameterised", "doubly_reparameterised"):
        model, exact = linear(np.random.default_rng(0), importance_samples=20, gradient=gradient)
        x = exact.rvs(8, random_state=1).astype("float32") if x is None else x
        found[gradient] = gradients(model, (model.encoder, model.decoder), x, 75)
    for i, network in enumerate(("encoder", "decoder")):
        plain, double = (found[name][i] for name in ("reparameterised", "doubly_reparameterised"))
        error = np.sqrt(plain.var(0) / len(plain) + double.var(0) / len(double))
        assert (np.abs(plain.mean(0) - double.mean(0)) < 4.5 * error).all(), network
        assert np.abs(plain.mean(0)).max() > 20 * error.min(), network  # so that there is a mean to compare
    encoder = [found[name][0].var(0).mean() for name in ("reparameterised", "doubly_reparameterised")]
    assert encoder[0] > 3 * encoder[1]


def two_layers(rng, sizes=(3, 2)):
    """A model of two linear layers and its exact p(x)."""
    first, second = sizes
    encoders = [
        fixed(ka.networks.mlp_encoder((D,), first, hidden=(), parameters=2), 2.5),
        fixed(ka.networks.mlp_encoder((first,), second, hidden=(), parameters=2), 1.0),
    ]
    decoders = [
        ka.networks.mlp_decoder(first, (D,), hidden=()),
        ka.networks.mlp_decoder(second, (first,), hidden=(), parameters=2),
    ]
    w1, b1 = rng.normal(size=(first, D)), rng.normal(size=D)
    w2, b2, scale = rng.normal(size=(second, first)), rng.normal(size=first), 0.6
    decoders[0].layers[1].set_weights([w1, b1])
    raw_scale = np.full(first, np.log(np.expm1(scale)))
    decoders[1].layers[1].set_weights(
        [np.concatenate([w2, np.zeros((second, first))], 1), np.concatenate([b2, raw_scale])]
    )
    inner = w2.T @ w2 + scale**2 * np.eye(first)
    return encoders, decoders, multivariate_normal(b2 @ w1 + b1, w1.T @ inner @ w1 + np.eye(D))


def test_both_gradients_have_one_mean_with_two_layers_and_several_bounds():
    found = {}
    for gradient in ("reparameterised", "doubly_reparameterised"):
        encoders, decoders, exact = two_layers(np.random.default_rng(0))
        options = {"importance_samples": 5, "num_samples": 2, "gradient": gradient}
        model = ka.IWAE(encoders, decoders, "gaussian", seed=0, **options)
        x = exact.rvs(8, random_state=1).astype("float32")
        found[gradient] = gradients(model, (*encoders, *decoders), x, 50)
    for plain, double in zip(*found.values(), strict=True):
        error = np.sqrt(plain.var(0) / len(plain) + double.var(0) / len(double))
        assert (np.abs(plain.mean(0) - double.mean(0)) < 4.5 * error + 1e-6).all()
        assert np.abs(plain.mean(0)).max() > 20 * error[error > 0].min()  # so that there is a mean to compare


@pytest.mark.parametrize("model_class", [ka.IWAE, ka.VAE])
def test_two_layers_estimate_the_exact_likelihood(rng, model_class):
    encoders, decoders, exact = two_layers(rng)
    model = model_class(encoders, decoders, "gaussian", seed=0)
    assert model.latent_dim == 5
    x = exact.rvs(20, random_state=1).astype("float32")
    estimates = np.array([model.log_prob(x, num_samples=10_000, seed=s) for s in range(4)])
    error = np.maximum(5 * estimates.std(0, ddof=1), 0.05)
    assert (np.abs(estimates.mean(0) - exact.logpdf(x)) < error).all()


def test_samples_of_two_layers_have_the_models_moments(rng):
    encoders, decoders, exact = two_layers(rng)
    model = ka.VAE(encoders, decoders, "gaussian", seed=0)
    z = model.prior.sample(40_000, seed=[0, 1]).numpy()
    images = model.decode(z, batch_size=len(z))  # means of p(x|z), without the noise of x
    np.testing.assert_allclose(images.mean(0), exact.mean, atol=0.1)
    np.testing.assert_allclose(np.cov(images.T), exact.cov - np.eye(D), atol=0.25)
    # The prior's density matches its samples: the mean of log p is the negative entropy.
    entropy = 5 * 0.5 * np.log(2 * np.pi * np.e) + 3 * np.log(0.6)
    assert model.prior.log_prob(z).numpy().mean() == pytest.approx(-entropy, abs=0.05)


def test_distributions_of_two_layers_are_sampled_with_any_seed_or_none(rng):
    encoders = ka.networks.mlp_encoder((D,), K, parameters=2), ka.networks.mlp_encoder((K,), 1, parameters=2)
    decoders = ka.networks.mlp_decoder(K, (D,)), ka.networks.mlp_decoder(1, (2 * K,))
    model = ka.VAE(list(encoders), list(decoders), seed=0)
    for seed in (None, 5, [0, 5]):
        z = model.prior.sample(3, seed=seed).numpy()
        assert z.shape == (3, K + 1) and np.abs(z).min() > 0


def test_refusals(rng):
    encoder, decoder = ka.networks.mlp_encoder((D,), K, parameters=2), ka.networks.mlp_decoder(K, (D,))
    for arguments in ({"importance_samples": 0}, {"num_samples": 0}, {"gradient": "score"}, {"prior": "uniform"}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            ka.IWAE(encoder, decoder, **arguments)
    with pytest.raises(ValueError, match="equal length, received 2 and 1"):
        ka.IWAE([encoder, encoder], [decoder])
    for networks in ((encoder, [decoder]), ([encoder], decoder)):
        with pytest.raises(ValueError, match="two lists or two models"):
            ka.IWAE(*networks)
    with pytest.raises(ValueError, match=r"decoder: expected 4 params"):
        ka.IWAE([encoder, ka.networks.mlp_encoder((K,), 3, parameters=2)], [decoder, ka.networks.mlp_decoder(3, (K,))])
    upper = ka.networks.mlp_encoder((K + 1,), 3, parameters=2, name="upper")
    with pytest.raises(ValueError, match=r"upper: expected inputs of sizes \[2\], the codes of the layers below"):
        ka.IWAE([encoder, upper], [decoder, ka.networks.mlp_decoder(3, (2 * K,))])
    late = keras.Sequential([keras.layers.Dense(2 * K)], name="late")
    with pytest.raises(ValueError, match="late: expected a known input shape"):
        ka.IWAE([late], [decoder])
    with pytest.raises(ValueError, match="Leave both out"):
        ka.IWAE([encoder], [decoder], prior="mixture")


def test_the_double_gradient_of_an_autoregressive_posterior_trains_without_xla(rng):
    posterior = ka.posteriors.InverseAutoregressive(K, context=2, steps=1, hidden=(4,))
    encoder, decoder = ka.networks.mlp_encoder((D,), posterior.parameters_for(K)), ka.networks.mlp_decoder(K, (D,))
    model = ka.IWAE(encoder, decoder, posterior=posterior, importance_samples=2, seed=0)
    model.compile("adam")
    assert not model.jit_compile  # XLA cannot compile it, and the batches of the first call would be lost
    model.compile("adam", run_eagerly=True)
    history = model.fit(rng.random((16, D)).round().astype("float32"), batch_size=8, verbose=0).history
    assert int(model.optimizer.iterations) == 2 and np.isfinite(history["loss"]).all()
