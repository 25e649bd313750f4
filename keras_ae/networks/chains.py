"""Networks as chains of layers: taking one apart into stages, and making mirrored pairs and classifiers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_ae.layers.tied import TransposedDense
from keras_ae.networks.images import mlp_decoder, mlp_encoder
from keras_ae.typing import Activation, Network, Shape, Size
from keras_ae.utils import validation

# Layers with weights that belong to the layer before or after them.
_NORMALISATIONS = (
    layers.BatchNormalization,
    layers.GroupNormalization,
    layers.LayerNormalization,
    layers.Normalization,
    layers.PReLU,
)

# Layers that are activations by themselves.
_ACTIVATIONS = {layers.ReLU: keras.activations.relu, layers.Softmax: keras.activations.softmax}


def chain(
    input_shape: Size,
    units: Size,
    activation: Activation = "sigmoid",
    code_activation: Activation = "linear",
    tied: bool = False,
) -> tuple[keras.Model, keras.Model]:
    """A deep encoder of dense layers, and the decoder that mirrors it: `(encoder, decoder)`.

        h_0 = x,    h_k = activation(W_k h_k-1 + b_k),    z = code_activation(W_K h_K-1 + b_K)
        g_K = z,    g_k-1 = activation(V_k g_k + c_k),    params = V_1 g_1 + c_1,    V_k = W_k^T if `tied`

    Args:
        input_shape: shape of x.
        units: ints, widths of h_1, ..., h_K-1 and z.
        activation, code_activation: Keras activations.
        tied: bool.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `encoder, decoder = ka.networks.chain((28, 28, 1), (1000, 500, 250, 30))`

    Source: Hinton & Salakhutdinov, Science 2006. See also: `pretrain`, which trains it layer by layer; `mlp_encoder`
    and `mlp_decoder`, which take more arguments.
    """
    widths = [validation.positive_int("units", each) for each in ((units,) if isinstance(units, int) else units)]
    if not widths:
        raise ValueError("units: expected one width or more, the last one that of the code; received none.")
    hidden = widths[:-1]
    encoder = mlp_encoder(input_shape, widths[-1], hidden, activation=activation, code_activation=code_activation)
    if tied:
        return encoder, tied_decoder(encoder)
    return encoder, mlp_decoder(widths[-1], input_shape, hidden[::-1], activation=activation)


def tied_decoder(encoder: keras.Model, name: str = "decoder") -> keras.Model:
    """The mirror image of a chain of dense layers, with the transposes of their kernels and biases of its own.

        g_K = z,    g_k-1 = activation_k-1(W_k^T g_k + c_k),    params = W_1^T g_1 + c_1

    Args:
        encoder: Keras model of Dense layers one after another, whose k-th activation is activation_k. Layers without
            weights, such as Flatten and Dropout, are left out.
        name: str.

    Raises:
        ValueError: if `encoder` is not such a model.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), 32, hidden=())
        model = ka.Autoencoder(encoder, ka.networks.tied_decoder(encoder))

    Source: Vincent 2010, on tied weights. See also: `TransposedDense`, its layers; `chain`, which makes both networks.
    """
    stages = encoder_stages(encoder)
    if not all(isinstance(stage.layers[stage.main], layers.Dense) for stage in stages):
        raise ValueError("encoder: expected Dense layers only, apart from layers without weights.")
    z = x = keras.Input(stages[-1].output_shape)
    activations = [None, *(last_activation(stage.layers) for stage in stages)]
    for stage, activation in zip(reversed(stages), reversed(activations[:-1]), strict=True):
        x = TransposedDense(stage.layers[stage.main], activation)(x)
    shape = stages[0].input_shape
    return keras.Model(z, layers.Reshape(shape)(x) if len(shape) > 1 else x, name=name)


def classifier(encoder: keras.Model, num_classes: int, name: str = "classifier") -> keras.Model:
    """A classifier of the encoder's codes: `(B, ...)` to class probabilities `(B, num_classes)`.

        p(y|x) = softmax(W encoder(x) + b)

    It shares the encoder's layers, so training it fine-tunes them; `encoder.trainable = False` trains W and b alone.

    Args:
        encoder: built Keras model of one input, such as one trained by `pretrain`.
        num_classes: int, 2 or more.
        name: str.

    Raises:
        ValueError: if `num_classes` is out of range, or the encoder has no static input shape.

    Example:

        encoder, _ = ka.networks.chain((28, 28, 1), (100, 100), code_activation="sigmoid")
        network = ka.networks.classifier(encoder, 10)
        network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        network.fit(x_train, y_train, verbose=0)

    Source: Vincent 2010, on stacked denoising autoencoders. See also: `M1`, whose codes are features of any classifier.
    """
    num_classes = validation.positive_int("num_classes", num_classes, at_least=2)
    shapes = validation.input_shapes(encoder)
    if shapes is None or len(shapes) != 1:
        raise ValueError("encoder: expected a network with one keras.Input.")
    x = keras.Input(shapes[0])
    z = encoder(x)
    z = layers.Flatten()(z) if len(z.shape) > 2 else z
    return keras.Model(x, layers.Dense(num_classes, "softmax")(z), name=name)


# Taking networks apart


class Stage(NamedTuple):
    """A layer with weights, and the layers around it that belong to it.

    Attributes:
        layers: list of Keras layers, in order.
        main: int, index of the layer with weights.
        input_shape, output_shape: shapes without the batch axis.
    """

    layers: list[Network]
    main: int
    input_shape: Shape
    output_shape: Shape


def layers_of(network: Network, name: str = "network") -> list[Network]:
    """Returns the layers that a network applies one after another; nested networks are taken apart.

    Args:
        network: functional or `Sequential` Keras model, or a layer.
        name: what the network is called in error messages.

    Raises:
        ValueError: if layers branch or merge, or the network is a class with a `call` of its own.

    Example: `layers_of(encoder)    # [Flatten, Dense, Dense]`

    See also: `encoder_stages` and `decoder_stages`, which group the layers.
    """
    if isinstance(network, keras.Sequential):
        return [each for layer in network.layers for each in layers_of(layer, name)]
    if not isinstance(network, keras.Model):
        if not isinstance(network, layers.Layer):
            raise _not_a_chain(name, f"{getattr(network, 'name', network)!r} is not a layer")
        return [network]
    if not getattr(network, "outputs", None):
        raise _not_a_chain(name, f"{type(network).__name__} has a `call` of its own")
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise _not_a_chain(name, f"{network.name!r} has several inputs or outputs")
    found: list[Network] = []
    tensor = network.outputs[0]
    while tensor is not network.inputs[0]:
        layer, node, _ = tensor._keras_history
        inputs = layer._inbound_nodes[node].input_tensors
        if len(inputs) != 1:
            raise _not_a_chain(name, f"{layer.name!r} has {len(inputs)} inputs")
        found = layers_of(layer, name) + found
        tensor = inputs[0]
    return found


def _not_a_chain(name, reason):
    return ValueError(f"{name}: expected a chain of layers, one after another, which can be split; {reason}.")


def encoder_stages(network: Network, name: str = "encoder") -> list[Stage]:
    """Splits an encoder into stages: a layer with weights, after any changes of shape, and before any activations.

    Args and errors as in `layers_of`, which also raises if the network has no static input shape or no weights.

    Example: `len(encoder_stages(ka.networks.mlp_encoder((28, 28, 1), 32, hidden=(500, 250))))    # 3`

    See also: `decoder_stages`, whose changes of shape come last, so that the stages mirror each other.
    """
    groups: list[list[Network]] = []
    lead: list[Network] = []
    for layer, before, after in _with_shapes(network, name):
        if _is_main(layer):
            groups.append([*lead, layer])
            lead = []
        elif groups and not lead and before == after:
            groups[-1].append(layer)
        else:
            lead.append(layer)
    return _stages(network, name, groups, [], lead)


def decoder_stages(network: Network, name: str = "decoder") -> list[Stage]:
    """Splits a decoder into stages: a layer with weights, and all layers up to the next one.

    Args and errors as in `encoder_stages`.

    Example: `len(decoder_stages(ka.networks.mlp_decoder(32, (28, 28, 1), hidden=(250, 500))))    # 3`

    See also: `encoder_stages`.
    """
    groups: list[list[Network]] = []
    lead: list[Network] = []
    for layer, _, _ in _with_shapes(network, name):
        if _is_main(layer):
            groups.append([layer])
        else:
            (groups[-1] if groups else lead).append(layer)
    return _stages(network, name, groups, lead, [])


def _with_shapes(network, name):
    """Yields the layers of a chain with their input and output shapes."""
    found = layers_of(network, name)
    shapes = validation.input_shapes(network)
    if shapes is None:
        raise ValueError(f"{name}: its input shape is not known. Add a keras.Input.")
    before = (None, *shapes[0])
    for layer in found:
        after = tuple(layer.compute_output_shape(before))
        yield layer, before[1:], after[1:]
        before = after


def _is_main(layer):
    return isinstance(layer, TransposedDense) or bool(layer.weights and not isinstance(layer, _NORMALISATIONS))


def _stages(network, name, groups, first, last):
    if not groups:
        raise ValueError(f"{name}: expected layers with weights; {network.name!r} has none.")
    groups[0], groups[-1] = first + groups[0], groups[-1] + last
    shape, stages = (None, *validation.input_shapes(network)[0]), []
    for group in groups:
        main = next(i for i, layer in enumerate(group) if _is_main(layer))
        after = shape
        for layer in group:
            after = tuple(layer.compute_output_shape(after))
        stages.append(Stage(group, main, shape[1:], after[1:]))
        shape = after
    return stages


def last_activation(chain_of_layers: list[Network]) -> Callable[..., Any]:
    """Returns the function of the last activation in a list of layers, `keras.activations.linear` if there is none.

    Example: `last_activation([keras.layers.Dense(8, activation="tanh")])    # keras.activations.tanh`

    See also: `layers_of`, for the list of a network.
    """
    return _last_with_activation(chain_of_layers)[1]


def activation_layer(chain_of_layers: list[Network]) -> Network | None:
    """Returns the layer of the last activation in a list of layers; None if there is none.

    Example: `activation_layer([keras.layers.Dense(8), keras.layers.Reshape((2, 4))])    # the Dense layer`

    See also: `last_activation`, its function.
    """
    return _last_with_activation(chain_of_layers)[0]


def _last_with_activation(chain_of_layers):
    for layer in reversed(chain_of_layers):
        if type(layer) in _ACTIVATIONS:
            return None, _ACTIVATIONS[type(layer)]
        activation = getattr(layer, "activation", None)
        if activation is not None:
            return layer, activation
    return None, keras.activations.linear
