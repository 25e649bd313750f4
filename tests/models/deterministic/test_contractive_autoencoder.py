"""The contractive autoencoder: its penalties are those of the encoder's Jacobian."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.losses import jacobian

SHAPE = (4, 2)


def make(hidden=(), tied=True, **kwargs):
    networks = ka.networks.chain(SHAPE, (*hidden, 3), code_activation="sigmoid", tied=tied)
    return ka.ContractiveAutoencoder(*networks, seed=0, **kwargs)


def terms(model, x):
    return {name: value.numpy() for name, value in model.loss_terms(tf.constant(x), None, True).items()}


@pytest.fixture
def x(rng):
    return rng.normal(size=(6, *SHAPE)).astype("float32")


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_the_exact_penalty_is_the_squared_norm(x, hidden):
    model = make(hidden)
    np.testing.assert_allclose(terms(model, x)["contraction"], jacobian.squared_norm(model.encoder, x), rtol=1e-5)


@pytest.mark.parametrize("penalty", ["projection", "stochastic"])
def test_estimates_have_the_mean_of_the_exact_penalty(x, penalty):
    model = make((5,), penalty=penalty, noise=0.01, num_samples=2_000)
    scale = 0.01**2 if penalty == "stochastic" else 1.0
    expected = scale * jacobian.squared_norm(model.encoder, x).numpy()
    np.testing.assert_allclose(terms(model, x)["contraction"], expected, rtol=0.15)


@pytest.mark.parametrize(("hidden", "penalty"), [((), "exact"), ((5,), "exact"), ((5,), "projection")])
def test_the_curvature_is_the_change_of_the_jacobian(x, hidden, penalty):
    model = make(hidden, penalty=penalty, hessian=0.5, noise=0.3, num_samples=400)
    network = model.encoder
    units = jacobian.units(len(x) * 400, 3)
    near = np.repeat(x, 400, axis=0)
    there = near + 0.3 * np.random.default_rng(1).normal(size=near.shape).astype("float32")
    change = jacobian.vector_products(network, tf.constant(near), units) - jacobian.vector_products(
        network, tf.constant(there), units
    )
    expected = jacobian.squares(change).numpy().reshape(-1, 400)
    errors = 5 * expected.std(1) / 400**0.5
    found = terms(model, x)["curvature"]
    # Projections share the vectors of a row among the samples of e.
    np.testing.assert_array_less(np.abs(found - expected.mean(1)), 2 * errors + 0.2 * expected.mean(1))
    assert model.hessian == 0.5


@pytest.mark.parametrize("penalty", ["exact", "stochastic"])
def test_the_loss_is_the_weighted_sum_also_in_evaluation(x, penalty):
    options = {"hessian": 0.7} if penalty == "exact" else {}
    model = make(penalty=penalty, weight=0.3, noise=0.5, **options)
    model.compile("sgd", run_eagerly=True)
    logs = model.evaluate(x, verbose=0, return_dict=True)
    assert logs["contraction"] > 1e-3 and logs.get("curvature", 1.0) > 1e-3  # noise is drawn in evaluation, too
    expected = logs["reconstruction"] + 0.3 * logs["contraction"] + 0.7 * logs.get("curvature", 0.0)
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_an_encoder_that_mixes_rows_is_refused():
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    decoder = ka.networks.mlp_decoder(3, (4,), hidden=())
    for penalty in ("exact", "projection"):
        with pytest.raises(ValueError, match=f"encoder: with the penalty '{penalty}', expected no Batch"):
            ka.ContractiveAutoencoder(encoder, decoder, penalty=penalty)
    assert ka.ContractiveAutoencoder(encoder, decoder, penalty="stochastic").penalty == "stochastic"
    encoder.trainable = False  # then its statistics are constant
    assert ka.ContractiveAutoencoder(encoder, decoder).penalty == "exact"


def test_the_loss_has_the_penalty_and_training_lowers_it(rng):
    x = rng.normal(size=(200, *SHAPE)).astype("float32")
    norms = []
    for weight in (0.0, 20.0):
        keras.utils.set_random_seed(0)
        model = make(weight=weight)
        model.compile(keras.optimizers.Adam(0.1), run_eagerly=True)
        model.fit(x, batch_size=200, epochs=20, verbose=0)
        norms.append(float(tf.reduce_mean(jacobian.squared_norm(model.encoder, x))))
    assert norms[1] < 0.2 * norms[0]


def test_a_deep_exact_penalty_compiles_with_xla_and_agrees_with_eager_steps(x):
    weights = []
    for options in ({"jit_compile": True, "steps_per_execution": 2}, {"run_eagerly": True}):
        keras.utils.set_random_seed(0)
        model = make((5,), tied=False, weight=1.0)
        model.compile(keras.optimizers.SGD(0.1), **options)
        model.fit(x, batch_size=2, epochs=1, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_penalties_with_noise_are_not_compiled_with_xla_on_a_cpu():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("on a GPU, XLA draws noise quickly")
    for arguments, compiled in (({}, True), ({"penalty": "stochastic"}, False), ({"hessian": 1.0}, False)):
        model = make(**arguments)
        model.compile("sgd")
        assert model.jit_compile == compiled


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penalty": "spectral"}, "penalty: expected one of exact, projection, stochastic; received 'spectral'"),
        ({"penalty": "stochastic", "hessian": 1.0}, "hessian: the penalty 'stochastic' has no Jacobian"),
        ({"penalty": "stochastic", "noise": 0.0}, "noise: expected a number above 0"),
        ({"hessian": 1.0, "noise": 2.0}, "noise: expected a number from 0 to 1"),
        ({"weight": -1.0}, "weight: expected a finite number"),
        ({"hessian": -1.0}, "hessian: expected a finite number"),
        ({"num_samples": 0}, "num_samples: expected a whole number"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
