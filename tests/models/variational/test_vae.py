"""The VAE's mathematics: bounds, importance sampling and probabilistic PCA, compared with known values."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA

import keras_ae as ka
from keras_ae.distributions import importance
from keras_ae.evaluation import likelihood as likelihoods
from keras_ae.losses import divergences
from tests.numerics import relu_without_nan

D, K = 5, 2


def linear_gaussian(rng, scale=0.7):
    """A VAE with a linear decoder, and its exact log p(x): `x ~ N(b, W^T W + s^2 I)`."""

    def with_scale(raw):
        return tfp.distributions.Independent(tfp.distributions.Normal(raw, scale), 1)

    # The encoder returns the prior, q(z|x) = N(0, I): softplus(0.5413) = 1.
    encoder = ka.networks.mlp_encoder((D,), K, hidden=(), parameters=2)
    encoder.layers[-1].set_weights([np.zeros((D, 2 * K)), np.float32([0, 0, 0.5413, 0.5413])])
    decoder = ka.networks.mlp_decoder(K, (D,), hidden=())
    weights, bias = rng.normal(size=(K, D)).astype("float32"), rng.normal(size=D).astype("float32")
    decoder.layers[1].set_weights([weights, bias])
    exact = multivariate_normal(bias, weights.T @ weights + scale**2 * np.eye(D))
    return ka.VAE(encoder, decoder, with_scale, seed=0), exact


def test_log_prob_is_exact_in_the_limit(rng):
    model, exact = linear_gaussian(rng)
    x = exact.rvs(20, random_state=1).astype("float32")
    estimates = np.array([model.log_prob(x, num_samples=20_000, seed=s) for s in range(4)])
    error = np.maximum(4 * estimates.std(0), 0.05)  # four standard deviations of one estimate
    assert (np.abs(estimates.mean(0) - exact.logpdf(x)) < error).all()


def test_log_prob_is_exact_with_one_sample_of_the_true_posterior(rng):
    model, exact = linear_gaussian(rng)
    weights, bias = (w.astype("float64") for w in model.decoder.get_weights())
    # With orthogonal rows of W the posterior is diagonal: N(W (x - b) / (s^2 + |w|^2), s^2 / (s^2 + |w|^2)).
    weights[1] -= weights[0] * (weights[1] @ weights[0]) / (weights[0] @ weights[0])
    model.decoder.set_weights([weights, bias])
    precision = 0.49 + (weights**2).sum(1)
    kernel = np.concatenate([(weights / precision[:, None]).T, np.zeros((D, K))], 1)
    raw_scale = np.log(np.expm1(np.sqrt(0.49 / precision) - 1e-6))
    model.encoder.layers[-1].set_weights([kernel, np.concatenate([-(weights @ bias) / precision, raw_scale])])
    exact = multivariate_normal(bias, weights.T @ weights + 0.49 * np.eye(D))
    x = exact.rvs(50, random_state=1).astype("float32")
    np.testing.assert_allclose(model.log_prob(x, num_samples=1), exact.logpdf(x), atol=2e-3)
    # Then the bound is tight as well: ELBO = log p(x).
    model.compile("adam", run_eagerly=True)
    logs = model.evaluate(np.tile(x, (200, 1)), batch_size=2000, return_dict=True, verbose=0)
    assert -logs["loss"] == pytest.approx(exact.logpdf(x).mean(), abs=0.03)


def test_the_bound_rises_with_samples_and_stays_below(rng):
    model, exact = linear_gaussian(rng)
    x = exact.rvs(500, random_state=1).astype("float32")
    bounds = [model.log_prob(x, num_samples=n).mean() for n in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < exact.logpdf(x).mean() + 0.05


def test_chunks_do_not_change_the_estimate(rng, monkeypatch):
    model, exact = linear_gaussian(rng)
    x = exact.rvs(16, random_state=1).astype("float32")
    whole = model.log_prob(x, num_samples=4000)
    monkeypatch.setattr(importance, "CHUNK_VALUES", 16 * D * 7)  # 7 samples per chunk; 4000 is not a multiple
    model._compiled_methods.clear()
    chunked = model.log_prob(x, num_samples=4000)
    assert np.abs(whole - chunked).max() > 0  # different draws
    np.testing.assert_allclose(whole.mean(), chunked.mean(), atol=0.2)


def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca(rng):
    # Tipping & Bishop 1999: the optimum is known. Five seeds came within 0.4 %, the scale within 1.1 %.
    scales = np.array([3.0, 2.0, 0.5, 0.5, 0.5])
    rotation = np.linalg.qr(rng.normal(size=(D, D)))[0]
    x = (rng.normal(size=(2000, D)) * scales @ rotation).astype("float32")
    encoder = ka.networks.mlp_encoder((D,), K, hidden=(), parameters=2)
    decoder = ka.networks.mlp_decoder(K, (D,), hidden=())
    model = ka.VAE(encoder, decoder, "gaussian_learned_scale", seed=0)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.02, 2000)))
    model.fit(np.tile(x, (20, 1)), batch_size=200, epochs=10, verbose=0)  # each epoch has an overhead
    exact = PCA(K).fit(x).score(x)
    assert model.log_prob(x, num_samples=200).mean() == pytest.approx(exact, rel=0.02)
    logs = model.evaluate(x, return_dict=True, verbose=0)
    assert -logs["loss"] == pytest.approx(exact, rel=0.02)
    assert float(model.likelihood(np.zeros((1, K))).stddev()[0, 0]) == pytest.approx(0.5, rel=0.05)


def test_more_samples_make_the_reconstruction_term_steadier(rng):
    x = rng.random((64, 6)).round().astype("float32")
    spreads = []
    for num_samples in (1, 16):
        encoder = ka.networks.mlp_encoder((6,), 2, parameters=2)
        model = ka.VAE(encoder, ka.networks.mlp_decoder(2, (6,)), num_samples=num_samples, seed=0)
        model.decoder.set_weights([3 * w for w in model.decoder.get_weights()])
        terms = tf.function(lambda model=model: model.loss_terms(x, None, False)["reconstruction"])
        spreads.append(np.std([terms() for _ in range(50)], axis=0).mean())
    assert spreads[0] / spreads[1] == pytest.approx(4, rel=0.35)  # sqrt(16)


def test_the_loss_is_the_minibatch_estimate_with_a_prior_over_weights(rng, tmp_path):
    rows, scale = 60, 0.5
    options = {"hidden": (8,), "kernel_regularizer": ka.priors.NormalWeights(rows, scale)}
    encoder, decoder = (
        ka.networks.mlp_encoder((D,), K, parameters=2, **options),
        ka.networks.mlp_decoder(K, (D,), **options),
    )
    vae = ka.VAE(encoder, decoder, "gaussian", seed=0)
    vae.compile("adam", run_eagerly=True)
    x = rng.normal(size=(rows, D)).astype("float32")
    logs = vae.evaluate(x, batch_size=rows, verbose=0, return_dict=True)
    weights = np.concatenate(
        [layer.kernel.numpy().ravel() for n in (encoder, decoder) for layer in n.layers[1:] if layer.weights]
    )
    log_prior = norm.logpdf(weights, scale=scale).sum() - norm.logpdf(0, scale=scale) * len(weights)
    bound = -rows * (logs["reconstruction"] + logs["kl"])
    assert -rows * logs["loss"] == pytest.approx(bound + log_prior, rel=1e-5)
    # N/M times the sum of a batch, and the whole log prior, are right on average: over the batches of an epoch exactly.
    vae.draw = lambda q, num_samples, seed: q.mean()[None]  # the same z in all of them
    bound = -rows * sum(vae.test_on_batch(x, return_dict=True)[term] for term in ("reconstruction", "kl"))
    estimates = [-rows * vae.test_on_batch(x[i : i + 20], return_dict=True)["loss"] for i in range(0, rows, 20)]
    assert np.ptp(estimates) > 1 and np.mean(estimates) == pytest.approx(bound + log_prior, rel=1e-5)
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    assert float(sum(again.encoder.losses)) == pytest.approx(float(sum(encoder.losses)))
    for wrong in ({"rows": 0}, {"rows": 5, "scale": 0.0}):
        with pytest.raises(ValueError, match="expected a"):
            ka.priors.NormalWeights(**wrong)


def test_free_bits_cost_nothing_below_their_floor(rng):
    x = rng.random((32, 6)).round().astype("float32")
    encoder = ka.networks.mlp_encoder((6,), 2, parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(2, (6,)), free_bits=0.5, beta=4.0, seed=0)
    weights = model.objectives()["autoencoder"].weights
    assert float(weights["kl"]) == float(weights["free_bits"]) == 4.0
    terms = model.loss_terms(x, None, False)
    kl = divergences.kl_per_dimension(model.posterior(x), model.prior).numpy().mean(0)
    expected = np.maximum(kl, 0.5).sum()
    assert float(tf.reduce_mean(terms["kl"]) + terms["free_bits"]) == pytest.approx(expected, rel=1e-5)


def test_a_vae_learns_digits_to_a_known_bound():
    x, test = (ka.datasets.arrays(ka.datasets.load("digits", split, binarize="static")) for split in ("train", "test"))
    encoder = ka.networks.mlp_encoder((8, 8, 1), 8, hidden=(128,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(8, (8, 8, 1), hidden=(128,)), seed=0)
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(x, batch_size=100, epochs=40, verbose=0)
    mean = np.clip(x.mean(0), 0.01, 0.99)
    independent = (test * np.log(mean) + (1 - test) * np.log(1 - mean)).sum((1, 2, 3)).mean()
    # Independent pixels give about -27 nats; five seeds of this model gained 3.70 to 3.86 over that.
    assert model.log_prob(test, num_samples=100).mean() > independent + 3.4


def test_refusals():
    encoder, decoder = ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,))
    cases = {
        "num_samples: expected a whole number, 1 or more; received 0": {"num_samples": 0},
        "num_samples: .* received nan": {"num_samples": float("nan")},
        "num_samples: .* received '3'": {"num_samples": "3"},
        "beta: .* received -1": {"beta": -1.0},
        "beta: .* received nan": {"beta": float("nan")},
        "infinite": {"prior": "uniform"},
        "free_bits": {"prior": "mixture", "free_bits": 0.1},
        "Unknown prior": {"prior": "gamma"},
        "Unknown likelihood": {"likelihood": "poisson"},
        r"expects outputs of shape \(12,\); received \(6,\)": {"likelihood": "gaussian_per_dimension"},
    }
    for message, arguments in cases.items():
        with pytest.raises(ValueError, match=message):
            ka.VAE(encoder, decoder, **arguments)
    for posterior, named in (("deterministic", "deterministic"), ("bernoulli", "independent_bernoulli")):
        with pytest.raises(ValueError, match=f"posterior: expected a density .* received {named}"):
            ka.VAE(ka.networks.mlp_encoder((6,), 2), decoder, posterior=posterior)
    with pytest.raises(ValueError, match="free_bits: expected a diagonal Gaussian posterior; received full_covariance"):
        ka.VAE(ka.networks.mlp_encoder((6,), 5), decoder, posterior="full_covariance", free_bits=0.1)
    with pytest.raises(ValueError, match=r"expects 4 parameters.*received 2"):
        ka.VAE(ka.networks.mlp_encoder((6,), 2), decoder)
    other = ka.VAE(encoder, ka.networks.mlp_decoder(2, (7,)))
    other.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"maps x of shape \(6,\) to rows of shape \(7,\)"):
        other.fit(np.zeros((4, 6), "float32"), verbose=0)
    model = ka.VAE(encoder, decoder)
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"x: .*\[0.0, 1.0\].*Divide pixels of 0..255 by 255"):
        model.fit(np.full((4, 6), 255.0), verbose=0)
    for count in (0, 1.5):
        with pytest.raises(ValueError, match="num_samples: expected a whole number, 1 or more"):
            model.log_prob(np.zeros((4, 6), "float32"), num_samples=count)
    with pytest.raises(ValueError, match="beta: expected a finite number"):
        model.beta = -3.0


def test_a_callable_likelihood_gets_its_event_or_is_refused(rng):
    normal, independent = tfp.distributions.Normal, tfp.distributions.Independent
    x = rng.random((4, 3, 2)).astype("float32")
    encoder, decoder = ka.networks.mlp_encoder((3, 2), 2, parameters=2), ka.networks.mlp_decoder(2, (3, 2))
    values = []
    for likelihood in ("gaussian", lambda raw: normal(raw, 1.0), lambda raw: independent(normal(raw, 1.0), 2)):
        model = ka.VAE(encoder, decoder, likelihood, seed=0)
        values.append(model.loss_terms(x, None, False)["reconstruction"].numpy())
        assert values[-1].shape == (4,)
    np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-5)
    swallowing = ka.VAE(encoder, decoder, lambda raw: independent(normal(raw, 1.0)))
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        swallowing.loss_terms(x, None, False)
    wide = ka.VAE(encoder, decoder, lambda raw: independent(normal(tf.reduce_mean(raw, -2, keepdims=True), 1.0), 2))
    with pytest.raises(ValueError, match=r"event shape \(3, 2\); received \(1, 2\)"):
        wide.loss_terms(x, None, False)
    with pytest.raises(ValueError, match=r"expected the callable to return a tfp\.distributions object"):
        ka.VAE(encoder, decoder, lambda raw: raw).loss_terms(x, None, False)


@pytest.mark.parametrize("hidden", ["NaN", "numbers"])
def test_nan_in_a_later_batch_with_clean_targets_stops_training(rng, hidden):
    target = rng.integers(2, size=(40, 6)).astype("float32")
    x = target.copy()
    x[30] = np.nan
    # If layers pass NaN on, it shows in the terms. If they turn it into numbers, only the loss can show it.
    options = {"hidden": (8,), "activation": "tanh" if hidden == "NaN" else relu_without_nan}
    encoder = ka.networks.mlp_encoder((6,), 2, parameters=2, **options)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(2, (6,), **options), seed=0)
    model.compile("adam", jit_compile=False, steps_per_execution=1)
    terms = "reconstruction of .*, kl of .*" if hidden == "NaN" else "loss became .* first:"
    with pytest.raises(FloatingPointError, match=f"step 4 of VAE: {terms} rows with NaN"):
        model.fit(tf.data.Dataset.from_tensor_slices((x, target)).batch(10), verbose=0)


def test_the_input_of_a_denoiser_may_leave_the_range_of_its_target(rng):
    clean = rng.integers(2, size=(20, 6)).astype("float32")
    noisy = clean + rng.normal(size=clean.shape).astype("float32")
    model = ka.VAE(ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,)), seed=0)
    mask = functools.partial(model.y_role.row_mask, model)
    assert np.all(mask(noisy, clean)) and not np.any(mask(clean, clean + 2))


def test_zero_inflated_counts_have_a_finite_likelihood(rng):
    def inflated(raw):
        zeros = {"inflated_loc_probs": 0.3 * tf.ones_like(raw), "inflated_loc": tf.zeros_like(raw)}
        return tfp.distributions.Independent(
            tfp.distributions.Inflated(tfp.distributions.Poisson(log_rate=raw), **zeros), 1
        )

    model = ka.VAE(ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,)), inflated, seed=0)
    x = rng.poisson(1.0, size=(8, 6)).astype("float32")
    assert np.isfinite(model.log_prob(x, num_samples=5)).all()
    assert np.isfinite(likelihoods.negative_log_likelihood(model, x, 5).nll)
    with pytest.raises(ValueError, match="whole numbers"):
        likelihoods.negative_log_likelihood(model, x + 0.5, 5)


def test_a_users_prior_layer_is_learned(rng):
    class Shifted(keras.layers.Layer):
        def build(self, input_shape):
            self.mean = self.add_weight(shape=(input_shape[-1],), initializer="zeros")

        def call(self):
            return tfp.distributions.MultivariateNormalDiag(tf.convert_to_tensor(self.mean), tf.ones(2))

    encoder, decoder = ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,))
    model = ka.VAE(encoder, decoder, prior=Shifted(), seed=0)
    model.compile("adam", run_eagerly=True)
    model.fit(rng.random((32, 6)).astype("float32"), verbose=0)
    assert np.abs(model.prior.mean()).max() > 0


def test_log_prob_decodes_a_bounded_number_of_rows_at_once(rng, monkeypatch):
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, z):
            tf.numpy_function(lambda rows: calls.append(int(rows)), [tf.shape(z)[0]], [])
            return z

    x = rng.random((4, 6)).round().astype("float32")
    decoder = keras.Sequential([keras.Input((2,)), Counting(), keras.layers.Dense(6)])
    model = ka.VAE(ka.networks.mlp_encoder((6,), 2, (), parameters=2), decoder, seed=0)
    # 10 samples of 4 rows of 6 outputs.
    monkeypatch.setattr(importance, "CHUNK_VALUES", 10 * 4 * 6)
    for num_samples, rows in ((25, [40, 40, 20]), (1_000, [40] * 100), (3, [12])):
        calls.clear()
        assert np.isfinite(model.log_prob(x, num_samples=num_samples)).all()
        assert calls == rows
    # More rows than fit: one sample at a time.
    calls.clear()
    model.log_prob(np.tile(x, (25, 1)), num_samples=3, batch_size=100)
    assert calls == [100, 100, 100]


def test_a_chunk_of_samples_takes_at_most_16_mb():
    assert 4 * importance.CHUNK_VALUES <= 2**24


def test_a_model_that_cannot_be_saved_says_so_and_leaves_no_file(tmp_path):
    encoder, decoder = ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,))
    bare = tfp.distributions.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
    for arguments in ({"prior": bare}, {"likelihood": lambda raw: tfp.distributions.Normal(raw, 1.0)}):
        model = ka.VAE(encoder, decoder, **arguments)
        with pytest.raises(ValueError, match="register_keras_serializable"):
            model.save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_a_registered_likelihood_can_be_saved(tmp_path, rng):
    @keras.saving.register_keras_serializable("test")
    def student(raw):
        return tfp.distributions.Independent(tfp.distributions.StudentT(4.0, raw, 1.0), 1)

    encoder, decoder = ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,))
    model = ka.VAE(encoder, decoder, student, seed=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    x = rng.normal(size=(5, 6)).astype("float32")
    np.testing.assert_array_equal(model.log_prob(x), loaded.log_prob(x))


def test_a_truncated_or_unwritable_file_is_a_clear_error(tmp_path, monkeypatch):
    model = ka.VAE(ka.networks.mlp_encoder((6,), 2, parameters=2), ka.networks.mlp_decoder(2, (6,)))
    path = tmp_path / "m.keras"
    model.save(path)
    whole = path.read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.keras"):
        keras.saving.load_model(tmp_path / "cut.keras")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(OSError, match="space"):
        model.save(path)
    assert path.read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.keras", "m.keras"]
