"""The conditional VAE compared with exact conditional likelihoods."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import multivariate_normal

import keras_ae as ka
from tests.numerics import relu_without_nan

D, K, C = 4, 2, 3


def linear(rng, prior_network=True):
    """p(z|y) = N(A y, I), p(x|z, y) = N(W z + B y, I): a model and its exact log p(x|y)."""
    encoder = ka.networks.mlp_encoder((D,), K, hidden=(), parameters=2, condition_shape=(C,))
    # q = N(0, 3^2) covers the posteriors of all conditions.
    encoder.layers[-1].set_weights([np.zeros((D + C, 2 * K)), np.repeat([0.0, np.log(np.expm1(3.0))], K)])
    decoder = ka.networks.mlp_decoder(K, (D,), hidden=(), condition_shape=(C,))
    w, b = rng.normal(size=(K, D)), rng.normal(size=(C, D))
    decoder.layers[-2].set_weights([np.concatenate([w, b]), np.zeros(D)])
    a = rng.normal(size=(C, K)) if prior_network else np.zeros((C, K))
    network = None
    if prior_network:
        network = ka.networks.mlp_encoder((C,), K, hidden=(), parameters=2)
        # softplus(0.5413) = 1.
        network.layers[-1].set_weights([np.concatenate([a, np.zeros((C, K))], 1), np.float32([0, 0, 0.5413, 0.5413])])
    model = ka.CVAE(encoder, decoder, "gaussian", prior_network=network, seed=0)

    def exact(x, y):
        covariance = w.T @ w + np.eye(D)
        return np.array(
            [multivariate_normal(c @ a @ w + c @ b, covariance).logpdf(r) for r, c in zip(x, y, strict=True)]
        )

    return model, exact


@pytest.mark.parametrize("prior_network", [True, False])
def test_log_prob_is_the_conditional_likelihood(rng, prior_network):
    model, exact = linear(rng, prior_network)
    x, y = rng.normal(size=(20, D)).astype("float32"), rng.normal(size=(20, C)).astype("float32")
    estimates = np.array([model.log_prob(x, y, num_samples=20_000, seed=s) for s in range(4)])
    error = np.maximum(5 * estimates.std(0, ddof=1), 0.05)
    assert (np.abs(estimates.mean(0) - exact(x, y)) < error).all()
    scores = np.mean([model.score(x, y, seed=1000 * s) for s in range(50)], axis=0)
    assert np.corrcoef(scores, exact(x, y))[0, 1] > 0.9


def test_the_terms_are_those_of_the_conditional_bound(rng):
    model, exact = linear(rng)
    x, y = rng.normal(size=(30, D)).astype("float32"), rng.normal(size=(30, C)).astype("float32")
    step = tf.function(lambda: model.loss_terms(x, y, False), autograph=False)
    terms = [step() for _ in range(300)]
    elbo = -np.mean([t["reconstruction"] + t["kl"] for t in terms], axis=0)
    assert (elbo < exact(x, y)).all()
    q, p = model.posterior(x, y), model.conditional_prior(y)
    expected = np.log(p.stddev() / q.stddev()) + (q.variance() + (q.mean() - p.mean()) ** 2) / (2 * p.variance()) - 0.5
    np.testing.assert_allclose(terms[0]["kl"], np.sum(expected, axis=1), rtol=1e-4)


def test_samples_follow_their_own_condition(rng):
    model, _ = linear(rng)
    y = rng.normal(size=(3, C)).astype("float32")
    many = model.sample(30_000, np.repeat(y, 10_000, axis=0), seed=0).reshape(3, 10_000, D)
    kernel = model.decoder.layers[-2].get_weights()[0]
    expected = model.conditional_prior(y).mean() @ kernel[:K] + y @ kernel[K:]
    np.testing.assert_allclose(many.mean(1), expected, atol=0.12)
    with pytest.raises(ValueError, match="conditional_prior"):
        _ = model.prior


def test_several_samples_meet_their_own_condition(rng):
    model, _ = linear(rng)
    z, y = rng.normal(size=(3, 5, K)).astype("float32"), rng.normal(size=(5, C)).astype("float32")
    together = model.likelihood(z, y).mean()
    for i in range(3):
        np.testing.assert_allclose(together[i], model.likelihood(z[i], y).mean(), atol=1e-5)


def test_the_style_is_kept_and_the_label_swept(rng):
    # x = two pixels of the label, and two of a style that is independent of it.
    y = rng.integers(2, size=600)
    style = rng.integers(2, size=600)
    x = np.stack([y, 1 - y, style, 1 - style], 1).astype("float32")
    encoder = ka.networks.mlp_encoder((4,), 1, (32,), parameters=2, condition_shape=(2,))
    decoder = ka.networks.mlp_decoder(1, (4,), (32,), condition_shape=(2,))
    model = ka.CVAE(encoder, decoder, num_classes=2, seed=0)
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    keras.utils.set_random_seed(0)
    model.fit(x, y, batch_size=100, epochs=40, verbose=0)
    swept = model.decode(model.encode(x, y), 1 - y)
    np.testing.assert_array_equal(swept.round()[:, :2], x[:, 1::-1])  # the other label
    assert (swept.round()[:, 2:] == x[:, 2:]).mean() > 0.95  # the same style


def test_images_are_completed_from_the_part_that_is_seen(rng):
    seen_shape, hidden_shape = (2, 4, 1), (6, 4, 1)
    encoder = ka.networks.conv_encoder(hidden_shape, 2, (4,), parameters=2, condition_shape=seen_shape)
    decoder = ka.networks.conv_decoder(2, hidden_shape, (4,), condition_shape=seen_shape)
    model = ka.CVAE(encoder, decoder, seed=0)
    x, seen = rng.random((6, *hidden_shape)).round(), rng.random((6, *seen_shape)).round()
    assert model.reconstruct(x, seen).shape == (6, *hidden_shape)
    assert model.sample(6, seen).shape == (6, *hidden_shape)
    with pytest.raises(ValueError, match=r"y: expected rows of shape \(2, 4, 1\), received \(3, 4, 1\)"):
        model.encode(x, np.zeros((6, 3, 4, 1)))
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=r"y: expected rows of shape \(2, 4, 1\), received \(6, 4, 1\)"):
        model.fit(x, x, verbose=0)


@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("wrong", ["label", "attribute", "x"])
def test_invalid_rows_in_a_later_batch_stop_training(rng, jit_compile, wrong):
    x = rng.integers(2, size=(40, D)).astype("float32")
    y = np.arange(40) % C if wrong == "label" else rng.normal(size=(40, C)).astype("float32")
    (x if wrong == "x" else y)[30] = C if wrong == "label" else np.nan
    # The layers turn NaN into 0, so the terms stay finite.
    options = {"hidden": (32,), "activation": relu_without_nan, "condition_shape": (C,)}
    encoder = ka.networks.mlp_encoder((D,), K, parameters=2, **options)
    decoder = ka.networks.mlp_decoder(K, (D,), **options)
    model = ka.CVAE(encoder, decoder, num_classes=C if wrong == "label" else None, seed=0)
    model.compile("adam", jit_compile=jit_compile, steps_per_execution=1)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    assert np.isfinite(model.evaluate(batches.take(3), verbose=0, return_dict=True)["loss"])
    assert np.isnan(model.evaluate(batches, verbose=0, return_dict=True)["loss"])
    with pytest.raises(FloatingPointError, match=r"step 4 of CVAE: .*labels out of range"):
        model.fit(batches, verbose=0)


def test_predict_takes_the_condition_as_the_other_methods_do(rng):
    x, y = rng.uniform(size=(10, D)).astype("float32"), np.arange(10) % C
    encoder = ka.networks.mlp_encoder((D,), K, parameters=2, condition_shape=(C,))
    model = ka.CVAE(encoder, ka.networks.mlp_decoder(K, (D,), condition_shape=(C,)), num_classes=C, seed=0)
    expected = model.reconstruct(x, y)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    nested = batches.map(lambda x, y: ((x, y),))
    for arguments in ((x, y), ((x, y),), (batches,), (nested,)):
        np.testing.assert_allclose(model.predict(*arguments, verbose=0), expected, rtol=1e-5)
    generator = (tuple(np.asarray(each) for each in batch) for batch in batches)
    np.testing.assert_allclose(model.predict(generator, steps=3, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, list(y), verbose=0), expected, rtol=1e-5)
    sizes = []
    counting = keras.callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: sizes.append(len(logs["outputs"]))
    )
    for arguments in (((x, y), 4, 0), (x, y, 4, 0)):
        model.predict(*arguments, callbacks=[counting])
        assert sizes == [4, 4, 2]
        sizes.clear()
    # The first batch is checked. A wrong condition in a later one makes its own row NaN.
    wrong = np.where(np.arange(10) == 7, C, y)
    found = model.predict(tf.data.Dataset.from_tensor_slices((x, wrong)).batch(4), verbose=0)
    assert np.isnan(found[7]).all() and np.isfinite(np.delete(found, 7, axis=0)).all()
    with pytest.raises(ValueError, match="received 3"):
        model.predict(tf.data.Dataset.from_tensor_slices((x, wrong)).batch(10), verbose=0)
    with pytest.raises(ValueError, match="CVAE is conditional"):
        model.predict(x, verbose=0)
    with pytest.raises(ValueError, match=r"expected a pair \(x, y\), received 3"):
        model.predict((x, y, y), verbose=0)
    with pytest.raises(ValueError, match="received 3"):
        model.predict(x, y + 1, verbose=0)
    with pytest.raises(ValueError, match="y: expected labels 0 to 2; received 5"):
        model.predict(x, 5, verbose=0)
    with pytest.raises(ValueError, match="expected a condition for each of the 10 rows"):
        model.predict(x, y[:9], verbose=0)


def test_levels_as_a_condition_are_refused(rng):
    model = ka.CVAE(
        ka.networks.mlp_encoder((D,), K, parameters=2, condition_shape=(C,)),
        ka.networks.mlp_decoder(K, (D, 256), condition_shape=(C,)),
        "categorical",
        seed=0,
    )
    model.compile("adam", run_eagerly=True)
    x, y = (rng.integers(256, size=(10, width)).astype("uint8") for width in (D, C))
    with pytest.raises(ValueError, match=r"y: received uint8 .*Divide pixels by 255"):
        model.fit(x, y, verbose=0)
    model.fit(x, y / 255, verbose=0)
    model.fit(x, y % 2, verbose=0)  # flags


def test_codes_of_one_dimension_under_their_own_prior(rng, tmp_path):
    encoder = ka.networks.mlp_encoder((D,), 1, parameters=2, condition_shape=(C,))
    prior_network = ka.networks.mlp_encoder((C,), 1, parameters=2)
    model = ka.CVAE(encoder, ka.networks.mlp_decoder(1, (D,), condition_shape=(C,)), prior_network=prior_network)
    condition = rng.normal(size=(5, C)).astype("float32")
    exported = tf.saved_model.load(str(ka.export(model, tmp_path))).signatures["sample"]
    served = exported(seed=tf.range(5, dtype=tf.int64), condition=tf.constant(condition))["x"]
    np.testing.assert_allclose(served, model.sample(5, condition), atol=1e-6)


def test_refusals(rng):
    model, _ = linear(rng)
    with pytest.raises(ValueError, match="at most one of them"):
        ka.CVAE(model.encoder, model.decoder, prior="mixture", prior_network=model.prior_network)
    plain = ka.networks.mlp_encoder((D,), K, parameters=2), ka.networks.mlp_decoder(K, (D,))
    narrow = ka.networks.mlp_decoder(K, (D,), condition_shape=(C - 1,))
    for message, networks, arguments in (
        ("encoder and decoder: expected a network with two inputs", plain, {}),
        ("expected conditions of the same shape", (model.encoder, narrow), {}),
        ("expected conditions of the same shape", (model.encoder, model.decoder), {"num_classes": C + 1}),
        (
            "prior_network: expected 4 params",
            (model.encoder, model.decoder),
            {"prior_network": ka.networks.mlp_encoder((C,), K)},
        ),
        (
            "expected conditions of the same shape",
            (model.encoder, model.decoder),
            {"prior_network": ka.networks.mlp_encoder((C + 1,), K, parameters=2)},
        ),
        ("cannot be conditional", ([model.encoder], [model.decoder]), {}),
        ("cannot be conditional", (model.encoder, model.decoder), {"prior": ka.priors.VampPrior(K, (D,))}),
    ):
        with pytest.raises(ValueError, match=message):
            ka.CVAE(*networks, **arguments)
    encoder = ka.networks.mlp_encoder((D,), K, parameters=2, condition_shape=(10,))
    labelled = ka.CVAE(encoder, ka.networks.mlp_decoder(K, (D,), condition_shape=(10,)), num_classes=10)
    x = np.zeros((4, D), "float32")
    for y, message in (([0, 1, 2, 10], "received 10"), ([0, 1, 2, -1], "received -1"), ([0.5] * 4, "integer")):
        with pytest.raises(ValueError, match=message):
            labelled.encode(x, np.array(y))
    with pytest.raises(ValueError, match="as many rows as x"):
        labelled.encode(x, np.zeros(3, int))
    with pytest.raises(ValueError, match="y: CVAE is conditional"):
        labelled.predict(x, verbose=0)
    with pytest.raises(ValueError, match="num_classes: expected a whole number"):
        ka.CVAE(encoder, labelled.decoder, num_classes=0)
    inside = tf.function(lambda y: labelled.sample_from_seeds(tf.range(2, dtype=tf.int64), y), autograph=False)
    assert inside(tf.constant([1, 2])).shape == (2, D)


def test_a_prior_network_works_in_training_mode_and_is_checked_once_it_is_built(rng):
    model, _ = linear(rng)
    x, y = rng.normal(size=(6, D)).astype("float32"), rng.normal(size=(6, C)).astype("float32")
    dropping = keras.Sequential([keras.Input((C,)), keras.layers.Dropout(0.9), keras.layers.Dense(2 * K)])
    dropped = ka.CVAE(model.encoder, model.decoder, "gaussian", prior_network=dropping, seed=0)
    means = [dropped.conditional_prior(y, training=training).mean().numpy() for training in (False, False, True)]
    np.testing.assert_array_equal(means[0], means[1])
    assert np.abs(means[2] - means[0]).max() > 0.1
    q = dropped.posterior(x, y)
    kl = [dropped.elbo_terms(q, x, y, training=training)["kl"].numpy() for training in (False, True)]
    assert np.abs(kl[1] - kl[0]).max() > 0.1
    for width in (1, 2 * K + 2):
        late = ka.CVAE(model.encoder, model.decoder, prior_network=keras.Sequential([keras.layers.Dense(width)]))
        with pytest.raises(ValueError, match=f"prior_network: expected {2 * K} params.* received {width}"):
            late.conditional_prior(y)
