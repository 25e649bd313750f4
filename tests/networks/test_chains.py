"""Chains: splitting networks, mirrored pairs, and classifiers."""

import keras
import numpy as np
import pytest

import keras_ae as ka
from keras_ae.networks import chains


def names(layers):
    return [type(layer).__name__ for layer in layers]


def stages_of(split, network):
    return [names(stage.layers) for stage in split(network)]


def test_a_chain_mirrors_its_encoder():
    encoder, decoder = ka.networks.chain((4, 2), (6, 5, 3), "tanh", code_activation="sigmoid")
    assert [layer.units for layer in encoder.layers if hasattr(layer, "units")] == [6, 5, 3]
    assert [layer.units for layer in decoder.layers if hasattr(layer, "units")] == [5, 6, 8]
    assert encoder.output_shape == (None, 3) and decoder.output_shape == (None, 4, 2)
    assert chains.last_activation(encoder.layers) is keras.activations.sigmoid
    assert encoder.layers[-2].activation is keras.activations.tanh
    assert chains.last_activation(decoder.layers) is keras.activations.linear
    one, other = ka.networks.chain((4,), 2)
    assert one.output_shape == (None, 2) and other.output_shape == (None, 4)


def test_a_tied_decoder_has_the_activations_of_its_mirror():
    encoder = keras.Sequential([keras.Input((2, 4)), keras.layers.Flatten(), keras.layers.Dense(6, "tanh")])
    encoder.add(keras.layers.Dropout(0.5))
    encoder.add(keras.layers.Dense(5))
    encoder.add(keras.layers.Activation("sigmoid"))
    encoder.add(keras.layers.Dense(3, "relu"))
    decoder = ka.networks.tied_decoder(encoder)
    assert [layer.activation.__name__ for layer in decoder.layers[1:-1]] == ["sigmoid", "tanh", "linear"]
    assert decoder.output_shape == (None, 2, 4)
    assert len(decoder.weights) == 3  # biases
    with pytest.raises(ValueError, match="encoder: expected Dense layers only"):
        ka.networks.tied_decoder(ka.networks.conv_encoder((8, 8, 1), 2))


def test_networks_are_taken_apart_and_put_together(rng):
    inner = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "relu"), keras.layers.Dropout(0.1)])
    x = keras.Input((2, 5))
    h = keras.layers.Flatten()(x)
    network = keras.Model(x, keras.layers.Dense(2)(inner(keras.layers.Dense(5)(h))))
    layers = chains.layers_of(network)
    assert names(layers) == ["Flatten", "Dense", "Dense", "Dropout", "Dense"]
    again = keras.Sequential([keras.Input((2, 5)), *layers])
    rows = rng.normal(size=(3, 2, 5)).astype("float32")
    np.testing.assert_allclose(again(rows), network(rows), atol=1e-6)


def test_stages_of_convolutional_networks_mirror_each_other():
    down = chains.encoder_stages(ka.networks.conv_encoder((8, 8, 1), 3, (4, 6)))
    up = chains.decoder_stages(ka.networks.conv_decoder(3, (8, 8, 1), (6, 4)))
    shapes = [(stage.input_shape, stage.output_shape) for stage in down]
    assert shapes == [((8, 8, 1), (4, 4, 4)), ((4, 4, 4), (2, 2, 6)), ((2, 2, 6), (3,))]
    assert [(stage.output_shape, stage.input_shape) for stage in reversed(up)] == shapes
    assert [names(stage.layers) for stage in down] == [["Conv2D"], ["Conv2D"], ["Flatten", "Dense"]]
    assert down[2].main == 1 and up[0].main == 0


def test_layers_without_weights_belong_to_a_neighbour():
    layers = [
        *(keras.layers.Rescaling(2.0), keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization()),
        *(keras.layers.ReLU(), keras.layers.MaxPooling2D(), keras.layers.Conv2D(2, 3, padding="same")),
        *(keras.layers.Reshape((32,)), keras.layers.Dense(6), keras.layers.Reshape((2, 3))),
    ]
    network = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    assert stages_of(chains.encoder_stages, network) == [
        ["Rescaling", "Conv2D", "BatchNormalization", "ReLU"],
        ["MaxPooling2D", "Conv2D"],
        ["Reshape", "Dense", "Reshape"],
    ]
    assert stages_of(chains.decoder_stages, network) == [
        ["Rescaling", "Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D"],
        ["Conv2D", "Reshape"],
        ["Dense", "Reshape"],
    ]


def branched():
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Add()([keras.layers.Dense(4)(x), x]))


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (branched, "'add.*' has 2 inputs"),
        (Subclassed, "Subclassed has a `call` of its own"),
        (lambda: ka.networks.mlp_encoder((4,), 2, condition_shape=(3,)), "several inputs or outputs"),
        (lambda: ka.networks.residual_encoder((8, 8, 1), 2), "has 2 inputs"),
    ],
)
def test_what_is_no_chain_cannot_be_split(make, message):
    with pytest.raises(ValueError, match=f"encoder: expected a chain of layers.*{message}"):
        chains.layers_of(make(), "encoder")


def test_stages_need_weights_and_a_known_shape():
    with pytest.raises(ValueError, match="encoder: expected layers with weights"):
        chains.encoder_stages(keras.Sequential([keras.Input((4,)), keras.layers.Flatten()]))
    with pytest.raises(ValueError, match="decoder: its input shape is not known"):
        chains.decoder_stages(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match=r"encoder: expected a chain.*Subclassed has a `call` of its own"):
        chains.encoder_stages(Subclassed())  # whose input shape is not known, either


def test_a_classifier_shares_the_encoders_layers(rng):
    encoder, _ = ka.networks.chain((4, 2), (5, 3), code_activation="sigmoid")
    network = ka.networks.classifier(encoder, 4)
    x = rng.random((6, 4, 2)).astype("float32")
    np.testing.assert_allclose(network(x).numpy().sum(1), 1, rtol=1e-5)
    before = encoder(x).numpy()
    network.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    network.fit(x, np.arange(6) % 4, verbose=0)
    assert np.abs(encoder(x) - before).max() > 0
    for wrong in (1, 2.5, "ten"):
        with pytest.raises(ValueError, match="num_classes"):
            ka.networks.classifier(encoder, wrong)
    with pytest.raises(ValueError, match=r"encoder: expected a network with one keras\.Input"):
        ka.networks.classifier(keras.Sequential([keras.layers.Dense(3)]), 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"units": ()}, "units"),
        ({"units": (3, 0)}, "units"),
        ({"code_activation": "cubic"}, "code_activation"),
        ({"input_shape": 0}, "input_shape"),
    ],
)
def test_arguments_of_a_chain_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        ka.networks.chain(**{"input_shape": (4,), "units": (3,)} | changed)
