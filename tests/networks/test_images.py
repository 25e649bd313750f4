"""Networks: shapes at any size and channel count, every variable in use."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ae.networks import images

PAIRS = {
    "mlp": (images.mlp_encoder, images.mlp_decoder),
    "conv": (images.conv_encoder, images.conv_decoder),
    "residual": (images.residual_encoder, images.residual_decoder),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (13, 7, 3), (5, 64, 2)])
@pytest.mark.parametrize("parameters", [1, 2])
def test_shapes(kind, shape, parameters):
    encoder, decoder = PAIRS[kind]
    assert encoder(shape, 3, parameters=parameters).output_shape == (None, 3 * parameters)
    out = decoder(3, shape, parameters=parameters).output_shape
    assert out == (None, *shape[:2], shape[2] * parameters)


@pytest.mark.parametrize("kind", PAIRS)
def test_levels_of_a_categorical_likelihood(kind):
    assert PAIRS[kind][1](3, (9, 6, 2, 256)).output_shape == (None, 9, 6, 2, 256)


@pytest.mark.parametrize("kind", PAIRS)
def test_every_variable_gets_a_gradient(kind, rng):
    encoder, decoder = (
        make(*a, activation="tanh") for make, a in zip(PAIRS[kind], [((9, 9, 2), 3), (3, (9, 9, 2))], strict=True)
    )
    x = rng.random((4, 9, 9, 2)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((decoder(encoder(x)) - x) ** 2)
    variables = encoder.trainable_variables + decoder.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.path


def test_hidden_layers_and_activation_are_as_told():
    encoder = images.mlp_encoder((4, 4, 1), 2, hidden=(7, 5), activation="tanh")
    dense = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in dense] == [7, 5, 2]
    assert [layer.activation.__name__ for layer in dense] == ["tanh", "tanh", "linear"]
