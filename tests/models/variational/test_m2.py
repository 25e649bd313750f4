"""Semi-supervised models: labels are summed out exactly, and learned from a few."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, logsumexp

import keras_ae as ka
from keras_ae.distributions import sampling

D, K, Z = 6, 3, 2


def m2(shape=(D,), likelihood="bernoulli", hidden=(), **kwargs):
    encoder = ka.networks.mlp_encoder(shape, Z, hidden, parameters=2, condition_shape=(K,))
    decoder = ka.networks.mlp_decoder(Z, shape, hidden, condition_shape=(K,))
    return ka.M2(encoder, decoder, ka.networks.mlp_encoder(shape, K, hidden), K, likelihood, seed=0, **kwargs)


def without_style(rng):
    """A model whose decoder does not see z and whose posterior is the prior: log p(x|y) is known."""
    model = m2()
    model.encoder.layers[-1].set_weights([np.zeros((D + K, 2 * Z)), np.float32([0, 0, 0.5413, 0.5413])])
    kernel = rng.normal(size=(Z + K, D))
    kernel[:Z] = 0
    model.decoder.layers[-2].set_weights([kernel, rng.normal(size=D)])
    logits = kernel[Z:] + model.decoder.layers[-2].get_weights()[1]  # (K, D)
    x = rng.integers(2, size=(8, D)).astype("float32")
    log_p = x @ logits.T - np.log1p(np.exp(logits)).sum(1)  # (8, K): log p(x|y)
    return model, x, log_p


def test_the_sum_over_labels_is_exact(rng):
    model, x, log_p = without_style(rng)
    terms = model.loss_terms(x, tf.constant([-1] * 8), False)
    log_q = log_softmax(model.classifier(x), axis=1)
    posterior = log_softmax(log_p, axis=1)
    np.testing.assert_allclose(terms["kl"], 0, atol=1e-4)
    # -log p(x) and the gap of the bound, KL(q(y|x) || p(y|x)).
    exact = -logsumexp(log_p, axis=1) + np.log(K)
    gap = np.sum(np.exp(log_q) * (log_q - posterior), axis=1)
    np.testing.assert_allclose(terms["reconstruction"] + terms["label"], exact + gap, rtol=1e-4)


def test_a_known_label_leaves_the_other_classes_out(rng):
    model, x, log_p = without_style(rng)
    y = np.arange(8) % K
    terms = model.loss_terms(x, tf.constant(y), False)
    np.testing.assert_allclose(terms["reconstruction"], -log_p[np.arange(8), y], rtol=1e-4)
    np.testing.assert_allclose(terms["label"], np.log(K), rtol=1e-5)
    log_q = log_softmax(model.classifier(x), axis=1)
    np.testing.assert_allclose(terms["classification"][0], -log_q[np.arange(8), y], rtol=1e-4)


def test_classification_is_the_mean_over_the_labelled_rows(rng):
    model, x, _ = without_style(rng)
    y = np.array([2, 0, 1, -1, -1, -1, -1, -1])
    log_q = log_softmax(model.classifier(x), axis=1)
    right = -log_q[range(3), y[:3]]
    model.compile("adam", run_eagerly=True)
    for size in (2, 8):
        logs = model.evaluate(x, y, batch_size=size, return_dict=True, verbose=0)
        assert logs["classification"] == pytest.approx(right.mean(), rel=1e-4)
    weights = np.float32([3, 1, 0, 5, 5, 0, 0, 0])
    weighted = model.evaluate(x, y, batch_size=2, sample_weight=weights, return_dict=True, verbose=0)
    assert weighted["classification"] == pytest.approx((3 * right[0] + right[1]) / 4, rel=1e-4)
    expected = sum(logs[name] for name in ("reconstruction", "kl", "label")) + 50 * logs["classification"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def clusters(rng, rows=600):
    """Binary rows around three prototypes, all labels, and one known label per class."""
    prototypes = np.kron(np.eye(K), np.ones(4))  # (3, 12)
    y = rng.integers(K, size=rows)
    x = np.abs(prototypes[y] - (rng.random((rows, 12)) < 0.2)).astype("float32")
    return x, y, ka.datasets.keep_labels(y, K)


def test_one_label_a_class_names_the_clusters(rng):
    x, y, some = clusters(rng)
    keras.utils.set_random_seed(0)
    model = m2((12,), hidden=(32,), classification_weight=5.0)
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    model.fit(
        ka.datasets.semi_supervised(x, some, batch_size=63, labelled=3, num_classes=3),
        epochs=60,
        verbose=0,
        shuffle=False,
    )
    found = model.predict_proba(x)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    # The nearest of the three labelled rows has the right label for about three quarters of the rows.
    nearest = y[some >= 0][np.abs(x[:, None] - x[some >= 0]).sum(2).argmin(1)]
    right = (found.argmax(1) == y).mean()
    assert right > 0.93 and right > (nearest == y).mean() + 0.05


def test_m1_finds_its_units_and_m1m2_learns_on_them(rng):
    x, y, some = clusters(rng)
    keras.utils.set_random_seed(0)
    m1 = ka.M1(ka.networks.mlp_encoder((12,), 6, (32,), parameters=2), ka.networks.mlp_decoder(6, (12,), (32,)), seed=0)
    m1.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    m1.fit(x, batch_size=60, epochs=40, verbose=0)
    units = m1.units(x)
    assert 2 <= len(units) < 6  # three clusters take two dimensions; the others collapse
    assert m1.features(x, units).shape == (600, len(units))
    before = m1.get_weights()
    model = ka.M1M2(m1, m2((len(units),), "gaussian", (32,), classification_weight=5.0), units)
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    model.fit(
        ka.datasets.semi_supervised(x, some, batch_size=63, labelled=3, num_classes=3),
        epochs=40,
        verbose=0,
        shuffle=False,
    )
    assert (model.predict_proba(x).argmax(1) == y).mean() > 0.85
    for mine, old in zip(m1.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    assert model.sample(4, np.array([0, 1, 2, 0])).shape == (4, 12)


def test_both_codes_of_m1m2_draw_from_one_stream_that_m2_seeds(rng, monkeypatch):
    seeds, draw = [], sampling.draw
    monkeypatch.setattr(sampling, "draw", lambda q, n, seed: seeds.append(tuple(seed.numpy())) or draw(q, n, seed))
    x, y = rng.random((5, 12)).astype("float32"), tf.constant([0, 1, 2, -1, -1])
    m1 = ka.M1(ka.networks.mlp_encoder((12,), Z, (), parameters=2), ka.networks.mlp_decoder(Z, (12,), ()), seed=0)
    for _ in range(2):
        ka.M1M2(m1, m2((Z,), "gaussian")).loss_terms(x, y, True)
    first, second, *again = seeds
    assert first != second and again == [first, second]
    with pytest.raises(ValueError, match="M1M2 takes no seed"):
        ka.M1M2(m1, m2((Z,), "gaussian"), seed=0)


def test_labels_that_do_not_suit(rng):
    model, x, _ = without_style(rng)
    model.compile("adam", run_eagerly=True)
    cases = {
        r"labels 0 to 2, or -1 where unknown; received 3": np.array([3] * 8),
        r"received -2": np.array([-2] * 8),
        "all rows are unlabelled": np.full(8, -1),
        "a label for each of the 8 rows": np.zeros(7, int),
        "expected integer labels": np.full(8, 0.5),
    }
    for message, y in cases.items():
        with pytest.raises(ValueError, match=message):
            model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="integer labels, -1 where unknown; received none"):
        model.fit(x, verbose=0)
    with pytest.warns(UserWarning, match="class 2"):
        model.y_role.check(model, x, np.array([0, 1, -1, -1, -1, -1, -1, -1]), training=True)
    with pytest.warns(UserWarning, match="class 2"):
        model.fit(tf.constant(x), tf.constant([0, 1, -1, -1, -1, -1, -1, -1]), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # in a data set, this is one batch
        model.y_role.check(model, tf.constant(x[:2]), tf.constant([0, -1]), training=True)
        # Data for evaluation only may lack labels.
        for y in (np.full(8, -1), np.array([0, 1, -1, -1, -1, -1, -1, -1])):
            assert np.isfinite(model.evaluate(x, y, verbose=0, return_dict=True)["loss"])
        model.fit(x, np.arange(8) % 3, validation_data=(x, np.full(8, -1)), verbose=0)
    with pytest.raises(ValueError, match="received 3"):
        model.evaluate(x, np.full(8, 3), verbose=0)
    with pytest.raises(ValueError, match="classifier: expected 3 logits"):
        ka.M2(model.encoder, model.decoder, ka.networks.mlp_encoder((D,), 4), 3)
    for option in ("beta", "free_bits", "prior_network"):
        with pytest.raises(ValueError, match=f"M2 takes no {option}"):
            m2(**{option: 1.0})
    with pytest.raises(ValueError, match="classification_weight"):
        m2(classification_weight=-1.0)
    with pytest.raises(ValueError, match=r"expected a model for 2 units .* received one for rows of shape \(6,\)"):
        ka.M1M2(ka.M1(*_m1()), model)
    with pytest.raises(ValueError, match="m2: expected a likelihood of real numbers"):
        ka.M1M2(ka.M1(*_m1()), m2((2,)))
    for units in ([0, 7], [0, 0], [0.5, 1], np.array([True, False])):
        with pytest.raises(ValueError, match="units: expected distinct dimensions of M1's code, from 0 to 1"):
            ka.M1M2(ka.M1(*_m1()), m2((2,), "gaussian"), units)
    with pytest.raises(ValueError, match="m1: expected an M1 or an unconditional VAE; received M2"):
        ka.M1M2(model, m2((2,), "gaussian"))
    with pytest.raises(ValueError, match="m2: expected an M2, which sums over labels; received M1"):
        ka.M1M2(ka.M1(*_m1()), ka.M1(*_m1()))
    with pytest.raises(ValueError, match="masked"):
        model.fit(x, np.ma.array(np.arange(8) % 3, mask=True), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.y_role.check(model, x, np.array([0, 1, 2, -1, -1, -1, -1, -1]), training=True)


def test_a_label_that_does_not_exist_stops_training_in_a_later_batch(rng):
    model, x, _ = without_style(rng)
    model.compile("adam", jit_compile=False, steps_per_execution=1)
    for wrong in (K, -2):
        batches = tf.data.Dataset.from_tensor_slices((x, np.array([0, 1, 2, -1, -1, -1, -1, wrong]))).batch(4)
        with pytest.raises(FloatingPointError, match="labels out of range"):
            model.fit(batches, verbose=0)


def test_unlabelled_rows_can_be_learned_from_and_rows_of_no_numbers_cannot(rng):
    model, x, _ = without_style(rng)
    x, y = np.array(x[:4], "float32"), np.array([-1, 0, K, K - 1])
    np.testing.assert_array_equal(model.y_role.row_mask(model, x, y), [True, True, False, True])
    x[1, 0] = np.nan
    assert not np.all(model.y_role.row_mask(model, x[:2], y[:2]))


def test_labels_of_any_integer_dtype_and_networks_that_are_not_built(rng):
    x, y = rng.integers(2, size=(8, D)).astype("float32"), np.array([0, 1, 2, -1] * 2)

    for dtype in ("int8", "int16", "int64"):
        model = ka.M2(Joined(2 * Z), Joined(D), keras.Sequential([keras.layers.Dense(K)]), K, seed=0)
        # The first batch builds the networks, inside a graph and outside.
        model.compile("adam", **{"jit_compile": False} if dtype == "int8" else {"run_eagerly": True})
        assert np.isfinite(model.fit(x, y.astype(dtype), verbose=0).history["loss"]).all()
        assert model.latent_dim == Z and model.predict_proba(x).shape == (8, K)
        assert model.sample(2, np.array([0, 1])).shape == (2, D)


def test_a_condition_of_another_width_than_at_fit_is_refused_by_networks_that_were_not_built(rng):
    x, y = rng.integers(2, size=(8, D)).astype("float32"), rng.normal(size=(8, 3)).astype("float32")
    model = ka.CVAE(Joined(2 * Z), Joined(D), seed=0)
    model.compile("adam", run_eagerly=True)
    model.fit(x, y, verbose=0)
    for method in (model.encode, model.evaluate, model.log_prob):
        with pytest.raises(ValueError, match=r"y: expected rows of shape \(3,\), received \(2,\)"):
            method(x, y[:, :2])


class Joined(keras.Model):
    """A user's network with two inputs whose shapes are unknown before the first batch."""

    def __init__(self, width):
        super().__init__()
        self.join, self.dense = keras.layers.Concatenate(), keras.layers.Dense(width)

    def call(self, inputs):
        return self.dense(self.join(inputs))


def _m1():
    return ka.networks.mlp_encoder((12,), 2, parameters=2), ka.networks.mlp_decoder(2, (12,))


@pytest.mark.parametrize("width", [1, K + 1])
def test_a_classifier_of_another_width_is_refused_once_it_is_built(rng, width):
    x = rng.integers(2, size=(8, D)).astype("float32")
    model = ka.M2(Joined(2 * Z), Joined(D), keras.Sequential([keras.layers.Dense(width)]), K, seed=0)
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match=f"classifier: expected 3 logits, one per class; received {width}"):
        model.fit(x, np.arange(8) % K, verbose=0)


def test_m1m2_of_units_as_m1_finds_them_is_saved(rng, tmp_path):
    x = rng.random((20, 12)).astype("float32")
    m1 = ka.M1(ka.networks.mlp_encoder((12,), 3, (), parameters=2), ka.networks.mlp_decoder(3, (12,), ()), seed=0)
    units = m1.units(x, threshold=0.0)[:2]
    model = ka.M1M2(m1, m2((2,), "gaussian"), units)
    model.save(tmp_path / "m1m2.keras")
    again = keras.saving.load_model(tmp_path / "m1m2.keras")
    assert again.units == units.tolist()
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


def test_predict_gives_class_probabilities_whatever_carries_x(rng):
    m1 = ka.M1(ka.networks.mlp_encoder((D,), 2, (), parameters=2), ka.networks.mlp_decoder(2, (D,), ()), seed=0)
    model, x, _ = without_style(rng)
    for each in (model, ka.M1M2(m1, m2((2,), "gaussian"))):
        expected = each.predict_proba(x)
        batches = tf.data.Dataset.from_tensor_slices((x, np.full(len(x), -1))).batch(3)
        for given in (x, x.tolist(), batches, (batch for batch in (x[:5], x[5:]))):
            np.testing.assert_allclose(each.predict(given, verbose=0), expected, atol=1e-6)
        np.testing.assert_allclose(each.predict(batches, steps=2, verbose=0), expected[:6], atol=1e-6)
        with pytest.raises(ValueError, match="x: expected rows of shape"):
            each.predict(x[:, :2])
        # With labels, it reconstructs.
        assert each.predict(x, np.arange(len(x)) % K, verbose=0).shape == x.shape


def test_metrics_of_m1m2_compare_labels(rng):
    m1 = ka.M1(ka.networks.mlp_encoder((D,), 2, (), parameters=2), ka.networks.mlp_decoder(2, (D,), ()), seed=0)
    _, x, _ = without_style(rng)
    model = ka.M1M2(m1, m2((2,), "gaussian"))
    model.compile("adam", metrics=[keras.metrics.SparseCategoricalAccuracy(name="hits")], run_eagerly=True)
    y, weights = np.array([0, 1, 2, 0, 1, 2, -1, -1]), np.arange(8.0)
    found = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    hits = model.predict_proba(x[:6]).argmax(axis=1) == y[:6]
    assert found["hits"] == pytest.approx(np.average(hits, weights=weights[:6]), abs=1e-6)
