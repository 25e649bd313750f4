"""Adapters for networks whose conventions differ from those of this package."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.utils.constants import SCALE_FLOOR

# Keeps the logarithm of (scale - SCALE_FLOOR) finite.
_TINY = 1e-12


def from_mean_log_var(encoder: keras.Model) -> keras.Model:
    """Converts an encoder that returns a list of mean and log variance to one that returns `[mean | raw scale]`.

        s = exp(log_var / 2),    raw = softplus^-1(s - 1e-6),    so that softplus(raw) + 1e-6 = s

    The new encoder shares the layers of the old one, and therefore its weights. Outputs after the first two, such as
    the sample in the Keras VAE example, are dropped, along with layers used only by them.

    Args:
        encoder: functional `keras.Model` (or `keras.Sequential`) whose outputs are `[mean, log_var, ...]`, each
            `(B, ..., D)`.

    Returns:
        `keras.Model` with the same inputs and output `(B, ..., 2 D)`.

    Raises:
        ValueError: if `encoder` is not such a model.

    Example:

        x = keras.Input((784,))
        h = keras.layers.Dense(256, activation="relu")(x)
        encoder = keras.Model(x, [keras.layers.Dense(32)(h), keras.layers.Dense(32)(h)])
        vae = ka.VAE(ka.networks.from_mean_log_var(encoder), ka.networks.mlp_decoder(32, (784,)))

    Source: Chollet 2020, the VAE example of keras.io, for the outputs. See also: `mlp_encoder`, whose networks need no
    adapter.
    """
    outputs = getattr(encoder, "outputs", None)
    if not isinstance(encoder, keras.Model) or not outputs:
        raise ValueError(
            "encoder: expected a functional Keras model with the outputs [mean, log_var]; received "
            f"{type(encoder).__name__}. Convert it: keras.Model(x, encoder(x)) with x = keras.Input(...)."
        )
    shapes = [tuple(output.shape) for output in outputs[:2]]
    if len(outputs) < 2 or shapes[0] != shapes[1]:
        raise ValueError(
            f"encoder: expected the outputs [mean, log_var], two of the same shape; received {len(outputs)} of shapes "
            f"{[tuple(output.shape) for output in outputs]}."
        )
    inputs = encoder.inputs if len(encoder.inputs) > 1 else encoder.inputs[0]
    # Scales of 1e-6 need float32, whatever the dtype policy of the encoder.
    raw = MeanAndRawScale(dtype="float32", name="mean_and_raw_scale")(outputs[:2])
    return keras.Model(inputs, raw, name=encoder.name)


@keras.saving.register_keras_serializable("keras_ae")
class MeanAndRawScale(keras.layers.Layer):
    """The layer of `from_mean_log_var`: `[mean, log_var]`, `(B, ..., D)` each, to `[mean | raw scale]`.

        s = exp(log_var / 2),    raw = softplus^-1(s - 1e-6)

    Example: `MeanAndRawScale()([tf.zeros([4, 8]), tf.zeros([4, 8])])    # (4, 16), of scale 1`

    See also: `from_mean_log_var`, which adds it to an encoder.
    """

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        mean, log_var = inputs
        y = tf.maximum(tf.exp(log_var / 2) - SCALE_FLOOR, _TINY)
        # softplus^-1(y) = log(exp(y) - 1) overflows for large y and loses all precision for small y.
        return tf.concat([mean, y + tf.math.log(-tf.math.expm1(-y))], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        return (*input_shape[0][:-1], 2 * input_shape[0][-1])
