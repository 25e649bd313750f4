"""Jacobians against automatic differentiation, finite differences and Monte Carlo."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_ae as ka
from keras_ae.losses import jacobian

SHAPE, K = (3, 2, 1), 4
ACTIVATIONS = ["sigmoid", "tanh", "relu", "linear"]


def convolutional():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(2, 2, activation="tanh"), keras.layers.Flatten()])


NETWORKS = {
    **{name: lambda name=name: ka.networks.mlp_encoder(SHAPE, K, (), code_activation=name) for name in ACTIVATIONS},
    "deep": lambda: ka.networks.mlp_encoder(SHAPE, K, (7, 5), activation="tanh", code_activation="sigmoid"),
    "convolutional": convolutional,
}


@pytest.fixture
def x(rng):
    return tf.constant(rng.normal(size=(6, *SHAPE)).astype("float32"))


def by_autodiff(network, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        h = tf.reshape(network(x), [len(x), -1])
    return tape.batch_jacobian(h, x, experimental_use_pfor=False).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_norm_is_that_of_automatic_differentiation(name, x):
    network = NETWORKS[name]()
    expected = (by_autodiff(network, x) ** 2).sum((1, 2, 3, 4))
    np.testing.assert_allclose(jacobian.squared_norm(network, x), expected, rtol=1e-4)
    assert (jacobian.one_layer(network) is not None) == (name in ACTIVATIONS)


@pytest.mark.parametrize("units", [(K,), (7, K)])
def test_the_norm_is_float32_under_mixed_precision(units, x):
    networks = [
        keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), *layers])
        for layers in ([keras.layers.Dense(u, "tanh", dtype=d) for u in units] for d in ("float32", "mixed_float16"))
    ]
    networks[1].set_weights(networks[0].get_weights())
    half = jacobian.squared_norm(networks[1], x)
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, jacobian.squared_norm(networks[0], x), rtol=0.02)


@pytest.mark.parametrize("name", ["sigmoid", "deep"])
def test_the_norm_is_that_of_finite_differences(name, x):
    network, step = NETWORKS[name](), 1e-2
    moves = step * np.eye(6).reshape(6, *SHAPE).astype("float32")
    columns = [(network(x + move) - network(x - move)).numpy() / (2 * step) for move in moves]
    np.testing.assert_allclose(jacobian.squared_norm(network, x), (np.stack(columns) ** 2).sum((0, 2)), rtol=1e-2)


def test_vector_products_give_all_rows_of_the_jacobian(x):
    network = NETWORKS["deep"]()
    made = jacobian.vector_products(network, x, jacobian.units(len(x), K))
    np.testing.assert_allclose(made, by_autodiff(network, x), atol=1e-6)


def test_differences_of_slopes_are_differences_of_jacobians(x, rng):
    network = NETWORKS["sigmoid"]()
    near = x + 0.5 * rng.normal(size=x.shape).astype("float32")
    kernel = jacobian.one_layer(network).kernel
    change = jacobian.slopes(network(x), kernel) - jacobian.slopes(network(near), kernel)
    expected = ((by_autodiff(network, x) - by_autodiff(network, near)) ** 2).sum((1, 2, 3, 4))
    np.testing.assert_allclose(jacobian.squares(change), expected, rtol=1e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_the_random_projection_is_unbiased(count):
    network = NETWORKS["deep"]()
    x = tf.random.stateless_normal([1, *SHAPE], [0, 1])
    many = tf.repeat(x, 4_000, axis=0)
    v = jacobian.projections(len(many), count, K, [0, 2])
    np.testing.assert_allclose(np.abs(v), count**-0.5, rtol=1e-6)
    estimates = jacobian.squares(jacobian.vector_products(network, many, v)).numpy()
    expected = float(jacobian.squared_norm(network, x)[0])
    assert abs(estimates.mean() - expected) < 4 * estimates.std() / 4_000**0.5
    assert estimates.std() > 0.01 * expected


def test_the_penalty_has_the_gradient_of_automatic_differentiation(x):
    network = NETWORKS["deep"]()
    kernel = network.layers[2].kernel.value
    gradients = []
    for norm in (
        lambda: jacobian.squares(jacobian.vector_products(network, x, jacobian.units(len(x), K))),
        lambda: tf.stack([tf.reduce_sum(_jacobian(network, row[None]) ** 2) for row in x]),
    ):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(norm())
        gradients.append(tape.gradient(loss, kernel).numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-5)


def _jacobian(network, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        units = tf.unstack(network(x)[0])
    return tf.stack([tape.gradient(h, x) for h in units])


@pytest.mark.parametrize(
    "layers",
    [
        [keras.layers.Activation("tanh"), keras.layers.Dense(2)],
        [keras.layers.Dense(2, "sigmoid"), keras.layers.Activation("tanh")],
        [keras.layers.Dense(2, "elu")],
        [keras.layers.Dense(2), keras.layers.BatchNormalization()],
        [keras.layers.Dense(2, "relu"), keras.layers.Dense(2)],
        [keras.layers.Rescaling(2.0), keras.layers.Dense(2)],
    ],
)
def test_only_one_dense_layer_has_a_closed_form(layers, rng):
    network = keras.Sequential([keras.Input((3,)), *layers])
    assert jacobian.one_layer(network) is None
    x = tf.constant(rng.normal(size=(4, 3)).astype("float32"))
    np.testing.assert_allclose(
        jacobian.squared_norm(network, x), (by_autodiff(network, x) ** 2).sum((1, 2)), rtol=1e-4, atol=1e-6
    )


def test_an_activation_as_a_layer_and_a_map_are_told_apart():
    separate = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Activation("tanh")])
    assert jacobian.one_layer(separate) is separate.layers[0]
    places = keras.Sequential([keras.Input((5, 3)), keras.layers.Dense(2, "tanh")])
    assert jacobian.one_layer(places) is None


def test_activations_without_a_closed_form_are_refused():
    with pytest.raises(ValueError, match="activation: expected one of sigmoid, tanh, relu, linear; received 'elu'"):
        jacobian.slopes(tf.zeros([2, 3]), tf.zeros([4, 3]), "elu")
