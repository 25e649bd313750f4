"""Critics of codes, with the means that keep them steady."""

import keras
from keras import layers

from keras_ae.networks import images
from keras_ae.typing import Activation, Size


def code_critic(
    latent_dim: Size,
    hidden: Size = (1000, 1000),
    condition_shape: Size | None = None,
    spectral_normalization: bool = False,
    activation: Activation = "relu",
    name: str = "critic",
) -> keras.Model:
    """MLP critic from codes, or from `[codes, condition]`, to scores `(B, 1)`.

        h_0 = z,    h_k = activation(W_k h_k-1 + b_k),    score = w h_K + b

    With spectral normalization, each layer's matrix is divided by its largest singular value in every update, so the
    score changes by no more than |z - z'| for activations such as ReLU. The critic then cannot become infinitely sure
    of itself, and the encoder keeps a gradient.

    Args:
        latent_dim: int, or the shape of a code.
        hidden: ints, units of the hidden layers.
        condition_shape: None, or the shape of what is given with the code: `(num_classes + 1,)` for the labels of an
            `AAE`, x's shape for an `AVB`.
        spectral_normalization: bool, whether to wrap each layer in `keras.layers.SpectralNormalization`.
        activation: Keras activation of the hidden layers.
        name: str.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `ka.networks.code_critic(2, hidden=(64, 64), spectral_normalization=True)    # (B, 2) to (B, 1)`

    Source: Makhzani 2015, appendix A, for the sizes; Miyato 2018, for spectral normalization. See also:
    `waveform_critic`, of speech.
    """
    critic = images.mlp_encoder(
        latent_dim, 1, hidden, activation=activation, condition_shape=condition_shape, name=name
    )
    return keras.models.clone_model(critic, clone_function=_normalized) if spectral_normalization else critic


def _normalized(layer):
    fresh = type(layer).from_config(layer.get_config())
    return layers.SpectralNormalization(fresh) if isinstance(layer, layers.Dense) else fresh
