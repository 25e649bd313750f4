"""The sparse autoencoder: its penalties, and the number of active units."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.losses import sparsity

D = 6


def make(kind, activation="linear", **kwargs):
    encoder, decoder = ka.networks.chain((8,), (D,), code_activation=activation)
    return ka.SparseAutoencoder(encoder, decoder, sparsity=kind, seed=0, **kwargs)


@pytest.fixture
def x(rng):
    return rng.normal(size=(50, 8)).astype("float32")


def test_penalties_are_those_of_the_codes(x):
    model = make("l1", weight=0.3)
    terms = model.loss_terms(tf.constant(x), None, True)
    np.testing.assert_allclose(terms["sparsity"], np.abs(model.encode(x)).sum(1), rtol=1e-5)
    model = make("kl", "sigmoid", target_activity=0.2)
    terms = model.loss_terms(tf.constant(x), None, True)
    np.testing.assert_allclose(terms["sparsity"], sparsity.kl(model.encode(x), 0.2), rtol=1e-5)


def test_the_weight_counts_and_can_be_assigned(x):
    model = make("l1", weight=0.5)
    model.compile("sgd", run_eagerly=True)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + 0.5 * logs["sparsity"], rel=1e-5)
    model.weight = 2.0
    loss = model.evaluate(x, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(logs["reconstruction"] + 2 * logs["sparsity"], rel=1e-5)


def test_kl_brings_the_mean_activity_to_its_target(x):
    model = make("kl", "sigmoid", weight=30.0, target_activity=0.1)
    model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
    model.fit(np.tile(x, (20, 1)), batch_size=50, epochs=10, verbose=0)
    np.testing.assert_allclose(model.encode(x).mean(0), 0.1, rtol=0.1)


@pytest.mark.parametrize(("k", "alpha", "after"), [(1, 1.0, 1), (2, 1.2, 2), (2, 1.3, 3), (4, 3.0, 6)])
def test_k_units_are_active_in_training_and_alpha_k_afterwards(x, k, alpha, after):
    model = make("k", k=k, alpha=alpha)
    raw = model.encoder(x).numpy()
    for training, count in ((True, k), (False, after)):
        z = model.posterior(tf.constant(x), training=training).mean().numpy()
        np.testing.assert_array_equal((z != 0).sum(1), count)
        np.testing.assert_array_equal(z, np.where(raw >= np.sort(raw, 1)[:, [-count]], raw, 0))
    np.testing.assert_array_equal((model.encode(x) != 0).sum(1), after)
    assert model.terms == ("reconstruction",) and model.weight is None


def test_k_can_change_at_any_time_and_is_saved(x, tmp_path):
    model = make("k", k=5)
    model.compile("sgd")
    z = model.encode(x)
    model.k = 2
    np.testing.assert_array_equal((model.encode(x) != 0).sum(1), 2)
    assert np.all((z != 0).sum(1) == 5)
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").k == 2
    model.k = 2.6  # as a schedule may pass
    assert model.k == 3
    model.compile("sgd", run_eagerly=True)
    model.fit(x, verbose=0, callbacks=[ka.callbacks.Annealing(2, 5, 1, weight="k")])
    assert model.k == 1


def test_training_sees_the_present_k(x):
    model = make("k", k=5)
    model.compile("sgd", jit_compile=False)
    losses = []
    for k in (5, 1):
        model.k = k
        losses.append(model.evaluate(x, verbose=0))
    assert losses[0] != losses[1]


def test_k_is_checked_once_the_size_of_the_code_is_known(x):
    encoder, decoder = (keras.Sequential([keras.layers.Dense(size)]) for size in (D, 8))
    model = ka.SparseAutoencoder(encoder, decoder, sparsity="k", k=7)
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="k: expected a whole number, 1 to 6; received 7"):
        model.fit(x, verbose=0)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("l2", {}, "sparsity: expected one of l1, kl, k; received 'l2'"),
        ("k", {}, "k: expected a number of units"),
        ("l1", {"k": 3}, "k: expected a number of units"),
        ("k", {"k": 7}, "k: expected a whole number, 1 to 6; received 7"),
        ("k", {"k": 0}, "k: expected a whole number, 1 to 6"),
        ("k", {"k": 2, "alpha": 0.5}, "alpha: expected 1 or more"),
        ("kl", {"activation": "sigmoid", "target_activity": 0.0}, "target_activity: expected a number between 0 and 1"),
        ("kl", {"activation": "sigmoid", "target_activity": 1.2}, "target_activity: expected a number between 0 and 1"),
        ("kl", {"activation": "tanh"}, "encoder: with sparsity='kl'.*'tanh'.*code_activation='sigmoid'"),
        ("l1", {"weight": -1.0}, "weight: expected a finite number, 0 or more"),
    ],
)
def test_arguments_are_checked(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(kind, **arguments)
    with pytest.raises(ValueError, match="k: only a model with sparsity='k'"):
        make("l1").k = 2
