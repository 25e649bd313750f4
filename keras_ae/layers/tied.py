"""A dense layer that shares its kernel with another one, for decoders tied to their encoder."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.typing import Activation, Network


@keras.saving.register_keras_serializable("keras_ae")
class TransposedDense(keras.layers.Layer):
    """The transpose of a Dense layer: it uses that layer's kernel, and has a bias of its own.

        out = activation(x W^T + b),    W = dense.kernel

    W remains a weight of `dense`: `dense.trainable` decides whether it is trained, gradients through both layers add
    up, and a model that contains both counts W once. A file of one model contains the tie, also if the layers are in
    different networks, such as the encoder and the decoder of an `Autoencoder`. A tied network saved alone contains a
    copy of W.

    Args:
        dense: built `keras.layers.Dense`, from `(..., D)` to `(..., units)`.
        activation: Keras activation.

    Raises:
        ValueError: if `dense` is not a built Dense layer.

    Example:

        dense = keras.layers.Dense(32)
        dense.build((None, 784))
        TransposedDense(dense)(tf.zeros([4, 32]))    # (4, 784)

    Source: Vincent 2010, on tied weights. See also: `networks.tied_decoder`, a decoder of these layers.
    """

    def __init__(self, dense: keras.layers.Dense, activation: Activation | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(dense, keras.layers.Dense) or not dense.built:
            raise ValueError(f"dense: expected a Dense layer that has been built or called; received {dense!r}.")
        self.activation = keras.activations.get(activation)
        self.tie(dense)

    def tie(self, dense: keras.layers.Dense) -> None:
        """Uses the kernel of `dense` from now on."""
        # Not an attribute that Keras tracks: freezing the decoder would then freeze the encoder.
        object.__setattr__(self, "dense", dense)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs, units = self.dense.kernel.shape
        if input_shape[-1] != units:
            raise ValueError(f"dense: its transpose takes rows of {units} values; received {input_shape[-1]}.")
        self.bias = self.add_weight(shape=(inputs,), initializer="zeros", name="bias")
        self.built = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.dense.kernel)
        return self.activation(tf.tensordot(x, tf.transpose(kernel), axes=1) + self.bias)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.dense.kernel.shape[0])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "dense": keras.saving.serialize_keras_object(self.dense),
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TransposedDense":
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("dense")), **config)

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["kernel"] = keras.ops.convert_to_numpy(self.dense.kernel)  # for a network that is saved alone

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables({name: store[name] for name in store.keys() if name != "kernel"})  # noqa: SIM118
        self.dense.kernel.assign(store["kernel"])


def ties(networks: Iterable[Any]) -> list[list[int]]:
    """Returns the ties between layers of networks, in a form that can be saved; what is not a network is ignored.

    Each tie is a list of two places in the list of all layers, that of the tied layer and that of its `dense`. Keras
    loads each network separately, so a tied layer would get a kernel of its own: `restore` ties it again.
    """
    layers = _layers(networks)
    places = {id(layer): place for place, layer in enumerate(layers)}
    tied = [(place, layer.dense) for place, layer in enumerate(layers) if isinstance(layer, TransposedDense)]
    return [[place, places[id(dense)]] for place, dense in tied if id(dense) in places]


def restore(networks: Iterable[Any], found: Sequence[Sequence[int]]) -> None:
    """Ties the layers of loaded networks as they were in the networks that `ties` was called on."""
    layers = _layers(networks)
    for place, owner in found:
        layers[place].tie(layers[owner])


def _layers(networks: Iterable[Any]) -> list[Network]:
    return [layer for each in networks if isinstance(each, keras.layers.Layer) for layer in each._flatten_layers()]
