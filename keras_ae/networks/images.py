"""Encoders and decoders for images, as plain Keras models; any Keras model of the right shapes does as well.

An encoder maps x to raw parameters `(B, parameters * latent_dim)`: 1 for a point, 2 for `[mean | raw scale]`. A decoder
maps codes `(B, latent_dim)` to raw outputs: `(B, H, W, parameters * C)`, or `(B, H, W, C, 256)` for
`output_shape=(H, W, C, 256)`, the logits of the categorical likelihood. With a `condition_shape` a network receives
`[x, condition]` or `[z, condition]`: one-hot labels `(num_classes,)`, attributes, or the part of an image that is seen.
"""

import math

import keras
from keras import layers

# One factor of two for every stage of a convolutional network.
_STRIDE = 2


def mlp_encoder(
    input_shape,
    latent_dim,
    hidden=(512,),
    parameters=1,
    activation="relu",
    condition_shape=None,
    kernel_regularizer=None,
    name="encoder",
):
    """Dense layers `hidden`, then `(B, parameters * latent_dim)`: `mlp_encoder((28, 28, 1), 32, parameters=2)`.

    With `kernel_regularizer=priors.NormalWeights(rows)` the weights have a prior.
    """
    x = keras.Input(input_shape)
    inputs, x = _with_condition(x, layers.Flatten()(x), condition_shape)
    x = _dense_head(x, hidden, activation, parameters * latent_dim, kernel_regularizer)
    return keras.Model(inputs, x, name=name)


def mlp_decoder(
    latent_dim,
    output_shape,
    hidden=(512,),
    parameters=1,
    activation="relu",
    condition_shape=None,
    kernel_regularizer=None,
    name="decoder",
):
    """Dense layers `hidden`, then raw outputs of `output_shape`, channels times `parameters`."""
    shape = _raw_shape(output_shape, parameters)
    z = keras.Input((latent_dim,))
    inputs, x = _with_condition(z, z, condition_shape)
    x = _dense_head(x, hidden, activation, math.prod(shape), kernel_regularizer)
    return keras.Model(inputs, layers.Reshape(shape)(x), name=name)


def conv_encoder(
    input_shape,
    latent_dim,
    filters=(32, 64),
    hidden=(),
    parameters=1,
    kernel_size=3,
    activation="relu",
    condition_shape=None,
    name="encoder",
):
    """Convolutions of stride 2 with `filters` channels, dense layers `hidden`, then `(B, parameters * latent_dim)`.

    A condition joins before the dense layers.
    """
    x = inputs = keras.Input(input_shape)
    for channels in filters:
        x = layers.Conv2D(channels, kernel_size, _STRIDE, padding="same", activation=activation)(x)
    inputs, x = _with_condition(inputs, layers.Flatten()(x), condition_shape)
    return keras.Model(inputs, _dense_head(x, hidden, activation, parameters * latent_dim), name=name)


def conv_decoder(
    latent_dim,
    output_shape,
    filters=(64, 32),
    hidden=(),
    parameters=1,
    kernel_size=3,
    activation="relu",
    condition_shape=None,
    name="decoder",
):
    """The mirror of `conv_encoder`: one transposed convolution of stride 2 for each of `filters`, cropped to size."""
    z = keras.Input((latent_dim,))
    inputs, x = _with_condition(z, z, condition_shape)
    x = _seed_image(x, output_shape, filters, hidden, activation)
    for channels in filters[1:]:
        x = layers.Conv2DTranspose(channels, kernel_size, _STRIDE, padding="same", activation=activation)(x)
    raw_channels = math.prod(_raw_shape(output_shape, parameters)[2:])
    x = layers.Conv2DTranspose(raw_channels, kernel_size, _STRIDE, padding="same")(x)
    return keras.Model(inputs, _crop(x, output_shape, parameters), name=name)


def residual_encoder(
    input_shape, latent_dim, filters=(32, 64), hidden=(), parameters=1, activation="relu", name="encoder"
):
    """A stage for each of `filters`: a residual block that halves the size first (He 2016, pre-activation)."""
    x = inputs = keras.Input(input_shape)
    x = layers.Conv2D(filters[0], 3, padding="same")(x)
    for channels in filters:
        x = _residual_block(x, channels, activation, layers.Conv2D(channels, 3, _STRIDE, padding="same"))
    x = layers.Flatten()(layers.Activation(activation)(x))
    return keras.Model(inputs, _dense_head(x, hidden, activation, parameters * latent_dim), name=name)


def residual_decoder(
    latent_dim, output_shape, filters=(64, 32), hidden=(), parameters=1, activation="relu", name="decoder"
):
    """The mirror of `residual_encoder`: a residual block for each of `filters`, doubled in size, cropped at the end."""
    inputs = keras.Input((latent_dim,))
    x = _seed_image(inputs, output_shape, filters, hidden, activation)
    for channels in filters:
        up = layers.Conv2DTranspose(channels, 3, _STRIDE, padding="same")
        x = _residual_block(x, channels, activation, up)
    raw_channels = math.prod(_raw_shape(output_shape, parameters)[2:])
    x = layers.Conv2D(raw_channels, 3, padding="same")(layers.Activation(activation)(x))
    return keras.Model(inputs, _crop(x, output_shape, parameters), name=name)


def _with_condition(inputs, x, condition_shape):
    """The inputs of a network, and vectors x, each joined by a condition where there is one."""
    if condition_shape is None:
        return inputs, x
    condition = keras.Input(condition_shape, name="condition")
    return [inputs, condition], layers.Concatenate()([x, layers.Flatten()(condition)])


def _dense_head(x, hidden, activation, width, kernel_regularizer=None):
    for units in hidden:
        x = layers.Dense(units, activation=activation, kernel_regularizer=kernel_regularizer)(x)
    return layers.Dense(width, kernel_regularizer=kernel_regularizer)(x)


def _raw_shape(output_shape, parameters):
    if len(output_shape) == 4:  # levels of a categorical likelihood
        return tuple(output_shape)
    return (*output_shape[:-1], output_shape[-1] * parameters)


def _seed_image(x, output_shape, filters, hidden, activation):
    """Dense layers up to the smallest image, from which len(filters) doublings reach at least the wanted size."""
    height, width = (math.ceil(size / _STRIDE ** len(filters)) for size in output_shape[:2])
    for units in (*hidden, height * width * filters[0]):
        x = layers.Dense(units, activation=activation)(x)
    return layers.Reshape((height, width, filters[0]))(x)


def _crop(x, output_shape, parameters):
    height, width = (have - want for have, want in zip(x.shape[1:3], output_shape[:2], strict=True))
    if height or width:
        x = layers.Cropping2D(((0, height), (0, width)))(x)
    shape = _raw_shape(output_shape, parameters)
    return layers.Reshape(shape)(x) if len(shape) == 4 else x


def _residual_block(x, channels, activation, resize):
    y = resize(layers.Activation(activation)(x))
    y = layers.Conv2D(channels, 3, padding="same")(layers.Activation(activation)(y))
    if isinstance(resize, layers.Conv2DTranspose):
        x = layers.UpSampling2D(_STRIDE)(x)
    else:
        x = layers.AveragePooling2D(_STRIDE, padding="same")(x)
    return layers.Add()([layers.Conv2D(channels, 1)(x), y])
