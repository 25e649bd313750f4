"""Masked dense networks with autoregressive outputs."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class MADE(keras.layers.Layer):
    """A masked dense network: outputs for dimension i depend only on the dimensions before i and an optional context.

        out_i = f_i(z_1, ..., z_i-1, h),    i = 1, ..., D; with `reverse`: f_i(z_i+1, ..., z_D, h)

    Each unit has a degree; degrees are spread evenly over a layer, and weights to lower degrees are masked. The output
    kernel is initialised to zero, so all outputs initially equal `bias`.

    Args:
        latent_dim: int, D.
        hidden: ints, units of the hidden layers.
        parameters: int, outputs per dimension.
        context: int, size of h; 0 for none.
        bias: floats `(parameters,)`, initial biases of the outputs; None for zeros.
        reverse: bool, whether to order the dimensions from last to first.
        activation: Keras activation of the hidden layers.

    `call(z, h)` takes z `(..., D)` and h `(..., context)`, whose leading axes broadcast, and returns
    `(..., D, parameters)`.

    Raises:
        ValueError: if a size is not an integer in its range.

    Example: `MADE(8, context=32)(z, h)    # (..., 8, 2)`

    Source: Germain 2015, equations 8 to 13, with fixed instead of random orders. See also: `distributions.flows.Flow`
    and `posteriors.InverseAutoregressive`, which are built from it.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int] = (64, 64),
        parameters: int = 2,
        context: int = 0,
        bias: Sequence[float] | None = None,
        reverse: bool = False,
        activation: str | Callable = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32"} | kwargs)
        latent_dim = validation.positive_int("latent_dim", latent_dim)
        parameters = validation.positive_int("parameters", parameters)
        hidden = [validation.positive_int("hidden", units) for units in hidden]
        if context:
            context = validation.positive_int("context", context)
        bias = [0.0] * parameters if bias is None else [float(value) for value in bias]
        if len(bias) != parameters:
            raise ValueError(f"bias: expected {parameters} numbers, one for each parameter; received {bias}.")
        self.latent_dim, self.hidden, self.parameters, self.context = latent_dim, tuple(hidden), parameters, context
        self.bias, self.reverse = bias, reverse
        self.activation = keras.activations.get(activation)
        order = np.arange(latent_dim, 0, -1) if reverse else np.arange(1, latent_dim + 1)
        # Units of degree 0 depend only on the context; without one they would be constant.
        lowest = 0 if context else min(1, latent_dim - 1)
        degrees = [order] + [np.round(np.linspace(lowest, latent_dim - 1, units)) for units in self.hidden]
        self.masks = [(ins[:, None] <= outs).astype("float32") for ins, outs in itertools.pairwise(degrees)]
        last = (degrees[-1][:, None] < order).astype("float32")
        self.masks.append(np.repeat(last, parameters, axis=1))
        self.kernels, self.biases = [], []
        for i, mask in enumerate(self.masks):
            start = "zeros" if i == len(self.hidden) else "glorot_uniform"
            self.kernels.append(self.add_weight(shape=mask.shape, initializer=start, name=f"kernel_{i}"))
            self.biases.append(self.add_weight(shape=mask.shape[1:], initializer="zeros", name=f"bias_{i}"))
        self.biases[-1].assign(np.tile(bias, latent_dim))
        if context:
            start = "glorot_uniform" if self.hidden else "zeros"
            shape = (context, self.masks[0].shape[1])
            self.context_kernel = self.add_weight(shape=shape, initializer=start, name="context_kernel")
        self.built = True

    def call(self, z: tf.Tensor, h: tf.Tensor | None = None) -> tf.Tensor:
        if (h is None) != (self.context == 0):
            raise ValueError(f"context: expected {self.context or 'no'} values per row; received {h}.")
        out = z
        for i, (mask, kernel, bias) in enumerate(zip(self.masks, self.kernels, self.biases, strict=True)):
            out = tf.tensordot(out, kernel * mask, axes=1) + bias
            if i == 0 and self.context:
                out += tf.tensordot(h, tf.convert_to_tensor(self.context_kernel), axes=1)
            if i < len(self.hidden):
                out = self.activation(out)
        shape = tf.concat([tf.shape(out)[:-1], [self.latent_dim, self.parameters]], axis=0)
        return tf.ensure_shape(tf.reshape(out, shape), [*out.shape[:-1], self.latent_dim, self.parameters])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "latent_dim": self.latent_dim,
            "hidden": self.hidden,
            "parameters": self.parameters,
            "context": self.context,
            "bias": self.bias,
            "reverse": self.reverse,
            "activation": keras.activations.serialize(self.activation),
        }
