"""Adversarial autoencoders: terms in closed form, codes that follow the prior, labels, clusters, and refusals."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import keras_ae as ka
from keras_ae.evaluation import clusters, two_sample

tfd = tfp.distributions


def networks(inputs, code, latent=None, **kwargs):
    encoder = ka.networks.mlp_encoder((inputs,), code, (32,), **kwargs)
    return encoder, ka.networks.mlp_decoder(latent or code, (inputs,), (32,))


def critic(size, **kwargs):
    return ka.networks.code_critic(size, (64,), **kwargs)


def fit(model, *data, epochs, rate=5e-3):
    model.compile(keras.optimizers.Adam(rate, beta_1=0.5), jit_compile=False)
    model.fit(*data, batch_size=100, epochs=epochs, verbose=0)
    return model


def terms_of(model, x, y=None):
    """All terms of a batch, and what the players share."""
    shared, found = model.shared_pass(x, y, False), {}
    for player in model.objectives().values():
        found |= player.terms(x, y, False, shared)
    return found, shared


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def test_terms_are_their_formulas(rng):
    model = ka.AAE(*networks(4, 2), critic(2), "gaussian", smoothing=0.1, seed=0)
    x = tf.constant(rng.normal(size=(6, 4)), tf.float32)
    seed = model.seed_generator.state.numpy()
    terms, z = terms_of(model, x)
    model.seed_generator.state.assign(seed)
    model.next_seed()  # of the shared pass
    p = tf.random.stateless_normal([6, 2], model.next_seed(), alg="philox")
    np.testing.assert_allclose(z, model.encoder(x), atol=1e-6)
    real, fake = sigmoid(model.critic(p))[:, 0], sigmoid(model.critic(z))[:, 0]
    expected = -0.9 * np.log(real) - 0.1 * np.log(1 - real) - np.log(1 - fake)
    np.testing.assert_allclose(terms["discrimination"], expected, rtol=1e-4)
    np.testing.assert_allclose(terms["adversarial"], -np.log(fake), rtol=1e-4)
    error = 0.5 * np.sum((x - model.decoder(z)) ** 2, axis=1) + 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(terms["reconstruction"], error, rtol=1e-4)


def test_codes_come_to_follow_the_prior():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.uniform(-1, 1, size=(600, 2)) @ rng.normal(size=(2, 4))).astype("float32")
    model = ka.AAE(*networks(4, 2), critic(2), "gaussian", "ring", seed=0)
    p = model.prior.sample(600, seed=[0, 9])
    before = two_sample.energy_test(model.encode(x), p, permutations=20)
    fit(model, x, epochs=60)
    after = two_sample.energy_test(model.encode(x), p, permutations=20)
    assert before.p_value == 1 / 21
    assert after.statistic < 0.1 * before.statistic


def blobs(rng, classes, rows=600):
    y = rng.integers(classes, size=rows)
    return (2 * np.eye(classes)[y] + 0.3 * rng.normal(size=(rows, classes))).astype("float32"), y


def test_each_class_gets_its_own_wing(rng):
    keras.utils.set_random_seed(0)
    x, y = blobs(rng, 4)
    some = np.where(np.arange(len(y)) % 2 == 0, y, -1)
    ring = ka.priors.Ring(components=4)
    model = ka.AAE(*networks(4, 2), critic(2, condition_shape=(5,)), "gaussian", ring, label_critic=True, seed=0)
    fit(model, x, some, epochs=200)
    assert clusters.wing_share(model.encode(x)[some < 0], y[some < 0], ring, 4) > 0.9
    assert clusters.mode_coverage(model.encode(x), ring, 4).covered == 1.0


def test_the_critic_sees_labels_or_the_class_of_none():
    ring = ka.priors.Ring(components=4)
    model = ka.AAE(*networks(4, 2), critic(2, condition_shape=(5,)), "gaussian", ring, label_critic=True, seed=0)
    x, y = tf.zeros([3, 4]), tf.constant([2, -1, 0])
    (seen,) = model._seen(x, y)
    np.testing.assert_array_equal(seen, np.eye(5)[[2, 4, 0]])
    (seen,) = model._seen(x, None)
    np.testing.assert_array_equal(seen, np.eye(5)[[4, 4, 4]])
    with pytest.raises(ValueError, match=r"labels 0 to 3, or -1 where unknown; received 4"):
        model.compile("sgd", run_eagerly=True)
        model.fit(np.zeros((3, 4), "float32"), [4, 0, 1], verbose=0)
    with pytest.raises(ValueError, match="y: expected integer labels, -1 where unknown; received none"):
        model.fit(np.zeros((3, 4), "float32"), verbose=0)
    assert np.isfinite(model.evaluate(np.zeros((3, 4), "float32"), verbose=0)).all()


def test_a_condition_reaches_the_decoder_and_names_are_labels(rng):
    decoder = ka.networks.mlp_decoder(2, (4,), (8,), condition_shape=(2,))
    model = ka.ConditionalAAE(networks(4, 2)[0], decoder, critic(2), "gaussian", classes=["cat", "dog"], seed=0)
    x, y = rng.normal(size=(6, 4)).astype("float32"), np.array(["dog", "cat"] * 3)
    model.compile("sgd", run_eagerly=True)
    model.fit(x, y, verbose=0)
    z = model.encode(x, y)
    expected = decoder([z, np.eye(2)[[1, 0] * 3]])
    np.testing.assert_allclose(model.reconstruct(x, y), expected, atol=1e-5)
    np.testing.assert_allclose(model.sweep_labels(z)[:, 1], decoder([z, np.eye(2)[[1] * 6]]), atol=1e-5)
    shared = model.shared_pass(tf.constant(x), tf.constant([1, 0] * 3), False)
    found = model.loss_terms(tf.constant(x), tf.constant([1, 0] * 3), False, shared)
    error = 0.5 * np.sum((x - expected) ** 2, axis=1) + 2 * np.log(2 * np.pi)
    np.testing.assert_allclose(found["reconstruction"], error, rtol=1e-4)


# Labels and clusters


def semi_supervised(**kwargs):
    encoder, decoder = networks(3, 2 + 3)
    return ka.SemiSupervisedAAE(encoder, decoder, critic(2), critic(3), 3, "gaussian", seed=0, **kwargs)


def test_terms_of_labels_are_their_formulas(rng):
    model = semi_supervised()
    x, y = tf.constant(rng.normal(size=(6, 3)), tf.float32), tf.constant([0, 2, -1, -1, 1, 1])
    terms, (style, logits) = terms_of(model, x, y)
    params = model.encoder(x).numpy()
    np.testing.assert_allclose(np.concatenate([style, logits], 1), params, atol=1e-6)
    q = tf.nn.softmax(params[:, 2:]).numpy()
    missed, known = terms["classification"]
    np.testing.assert_array_equal(known, [1, 1, 0, 0, 1, 1])
    np.testing.assert_allclose(np.array(missed)[[0, 1, 4, 5]], -np.log(q[[0, 1, 4, 5], [0, 2, 1, 1]]), rtol=1e-4)
    np.testing.assert_allclose(terms["adversarial"], -np.log(sigmoid(model.critic(params[:, :2])))[:, 0], rtol=1e-4)
    np.testing.assert_allclose(terms["label_adversarial"], -np.log(sigmoid(model.label_critic(q)))[:, 0], rtol=1e-4)
    code = np.concatenate([params[:, :2], q], axis=1)
    np.testing.assert_allclose(model.encode(x), code, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(x), q, atol=1e-5)
    error = 0.5 * np.sum((x - model.decoder(code)) ** 2, axis=1) + 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(terms["reconstruction"], error, rtol=1e-4)
    without, _ = terms_of(model, x)
    assert set(without) == set(terms) and not np.any(without["classification"][1])


def test_classes_from_few_labels(rng):
    keras.utils.set_random_seed(0)
    x, y = blobs(rng, 3)
    model = fit(semi_supervised(), x, ka.datasets.keep_labels(y, 30), epochs=30)
    assert np.mean(model.predict_proba(x).argmax(axis=1) != y) < 0.05
    assert model.predict_proba(x).max(axis=1).mean() > 0.9  # the critic of labels wants one-hot rows


def test_clusters_without_labels(rng):
    keras.utils.set_random_seed(0)
    x, y = blobs(rng, 3)
    model = fit(semi_supervised(), x, epochs=60)
    assert clusters.cluster_error(model.predict_proba(x), y).error < 0.05


def test_heads_keep_their_distance(rng):
    x = tf.constant(blobs(rng, 3)[0][:5])
    encoder, decoder = networks(3, 2 + 3, 2)
    model = ka.ClusterHeadAAE(encoder, decoder, critic(2), critic(3), 3, "gaussian", distance=5.0, seed=0)
    model._posterior.heads.assign([[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]])
    terms, _ = terms_of(model, x)
    assert float(terms["closeness"]) == pytest.approx(4.0, abs=1e-3)  # of one pair, the others are apart
    params = encoder(x).numpy()
    np.testing.assert_allclose(
        model.encode(x), params[:, :2] + tf.nn.softmax(params[:, 2:]) @ model.heads, rtol=1e-4, atol=1e-5
    )
    # Moving along its gradient parts the two heads by the rate times 2.
    with tf.GradientTape() as tape:
        value = model.loss_terms(x, None, False, model.shared_pass(x, None, False))["closeness"]
    gradient = tape.gradient(value, model._posterior.heads.value)
    np.testing.assert_allclose(gradient, [[1, 0], [-1, 0], [0, 0]], atol=1e-4)
    model._posterior.heads.assign(tf.zeros([3, 2]))  # equal heads have a finite gradient
    with tf.GradientTape() as tape:
        value = model.loss_terms(x, None, False, model.shared_pass(x, None, False))["closeness"]
    assert np.isfinite(tape.gradient(value, model._posterior.heads.value)).all()


# What is refused


class Silent(tfd.Distribution):
    """A distribution without samples."""

    def _log_prob(self, z):
        return tf.zeros(tf.shape(z)[:-1])

    def _event_shape(self):
        return tf.TensorShape([2])

    def _event_shape_tensor(self):
        return tf.constant([2])


def test_refusals():
    parts, ring = networks(4, 2), ka.priors.Ring(components=3)
    silent = Silent(tf.float32, tfd.FULLY_REPARAMETERIZED, True, True)
    cases = {
        r"critic: expected a network with inputs of shape \(2,\), .*received \(3,\)": lambda: ka.AAE(*parts, critic(3)),
        r"inputs of shape \(2,\), .*received \(2,\), \(5,\)": lambda: ka.AAE(*parts, critic(2, condition_shape=(5,))),
        "with label_critic, expected a network of codes and of a label": lambda: ka.AAE(
            *parts, critic(2), prior="ring", label_critic=True
        ),
        "no part for each class": lambda: ka.AAE(*parts, critic(2, condition_shape=(11,)), label_critic=True),
        "3 components, one for each class; received 10 classes": lambda: ka.AAE(
            *parts, critic(2, condition_shape=(11,)), prior=ring, label_critic=True
        ),
        "cannot be sampled": lambda: ka.AAE(*parts, critic(2), prior=silent),
        "has weights, which no player trains": lambda: ka.WAE(*parts, prior="mixture"),
        "critic_steps: expected a whole number": lambda: ka.AAE(*parts, critic(2), critic_steps=0),
        "instance_noise: expected a finite number": lambda: ka.AAE(*parts, critic(2), instance_noise=-1.0),
        "ConditionalAAE takes no label_critic": lambda: ka.ConditionalAAE(*parts, critic(2), label_critic=True),
        r"label_critic: expected a network with inputs of shape \(1,\)": lambda: ka.SemiSupervisedAAE(
            ka.networks.mlp_encoder((4,), 3, (8,)), ka.networks.mlp_decoder(3, (4,), (8,)), critic(2), critic(3), 1
        ),
        "more than 5 numbers, a style and a logit": lambda: ka.SemiSupervisedAAE(*parts, critic(2), critic(5), 5),
        "divergence: expected 'mmd' or a critic": lambda: ka.WAE(*parts, "kl"),
        r"divergence: expected a network with inputs of shape \(2,\)": lambda: ka.WAE(*parts, critic(3)),
        "Unknown kernel 'linear'": lambda: ka.WAE(*parts, kernel="linear"),
        "bandwidth: expected a number above 0": lambda: ka.WAE(*parts, bandwidth=0.0),
    }
    for message, make in cases.items():
        with pytest.raises(ValueError, match=message):
            make()
