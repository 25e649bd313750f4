"""Encoders and decoders for images, series, volumes and tables; you can use any Keras model with the right shapes.

An encoder maps x to params `(B, parameters * latent_dim)`; `parameters` is 1 for a point estimate and 2 for
`[mean | raw scale]`. A decoder maps codes `(B, latent_dim)` to params with x's shape, with `parameters` times the
last axis. The rank of the convolutions follows from the shape: series `(T, C)`, images `(H, W, C)`, or volumes
`(D, H, W, C)`, of any size.

**Spatial codes.** With `latent_dim=(h, w, C)` the code is a small image (`(t, C)` for series, `(d, h, w, C)` for
volumes): the encoder returns `(B, h, w, parameters * C)`, and the decoder takes `(B, h, w, C)`. Every stage halves the
size, rounding up, so for example `conv_encoder((28, 28, 1), (7, 7, 2), filters=(32, 64))` is valid.

**Levels.** For the categorical likelihood pass `levels=256`: for an output shape `(..., C)` the decoder then returns
logits `(..., C, 256)`. An output shape with four axes, the last of size 256, `(H, W, C, 256)`, means the same; all
others are plain shapes.

**Conditions.** With a `condition_shape`, a network takes `[x, condition]` or `[z, condition]`. The condition can be
one-hot labels `(num_classes,)`, attributes, or the visible part of an image. It is concatenated after the convolutions
of an encoder, and before those of a decoder.

`filters` and `hidden` are sequences of ints, or one int for a single stage or layer. Invalid arguments raise a
`ValueError` that names them. Data are channels-last, regardless of `keras.config.image_data_format()`.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_ae.typing import Activation, Size
from keras_ae.utils import validation

# Every stage of a convolutional network halves or doubles the size.
_STRIDE = 2
_CHANNELS = {"data_format": "channels_last"}
_LEVELS = 256


def mlp_encoder(
    input_shape: Size,
    latent_dim: Size,
    hidden: Size = (512,),
    parameters: int = 1,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    kernel_regularizer: keras.regularizers.Regularizer | None = None,
    code_activation: Activation = "linear",
    name: str = "encoder",
) -> keras.Model:
    """MLP encoder: dense layers `hidden`, then params `(B, parameters * latent_dim)`.

        h_0 = x,    h_k = activation(W_k h_k-1 + b_k),    params = code_activation(W h_K + b)

    Args as in the module; `kernel_regularizer=priors.NormalWeights(rows)` puts a prior on the weights. Codes of sparse
    and contractive autoencoders are often sigmoids, `code_activation="sigmoid"`.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `ka.networks.mlp_encoder((28, 28, 1), 32, parameters=2)    # (B, 28, 28, 1) to (B, 64)`

    Source: Kingma & Welling 2014, appendix C. See also: `conv_encoder` and `residual_encoder`, for data with a layout.
    """
    shape, code = _shape("input_shape", input_shape), _params_of_code(latent_dim, parameters)
    hidden, activation = _sizes("hidden", hidden), _activation(activation)
    code_activation = _activation(code_activation, "code_activation")
    x = keras.Input(shape)
    inputs, x = _with_condition(x, _flat(x), condition_shape)
    x = _dense_head(x, hidden, activation, math.prod(code), kernel_regularizer, code_activation)
    return keras.Model(inputs, layers.Reshape(code)(x) if len(code) > 1 else x, name=name)


def mlp_decoder(
    latent_dim: Size,
    output_shape: Size,
    hidden: Size = (512,),
    parameters: int = 1,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    kernel_regularizer: keras.regularizers.Regularizer | None = None,
    levels: int | None = None,
    name: str = "decoder",
) -> keras.Model:
    """MLP decoder: dense layers `hidden`, then params of `output_shape`, with `parameters` times the last axis.

        h_0 = z,    h_k = activation(W_k h_k-1 + b_k),    params = W h_K + b

    Args as in the module; `kernel_regularizer` as in `mlp_encoder`.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `ka.networks.mlp_decoder(32, (28, 28, 1))    # (B, 32) to (B, 28, 28, 1)`

    Source: Kingma & Welling 2014, appendix C. See also: `conv_decoder` and `residual_decoder`, for data with a layout.
    """
    shape, levels = _output_shape(output_shape, parameters, levels)
    hidden, activation = _sizes("hidden", hidden), _activation(activation)
    params = _params_shape(shape, parameters, levels)
    z = keras.Input(_params_of_code(latent_dim, 1))
    inputs, x = _with_condition(z, _flat(z), condition_shape)
    x = _dense_head(x, hidden, activation, math.prod(params), kernel_regularizer)
    return keras.Model(inputs, layers.Reshape(params)(x), name=name)


def conv_encoder(
    input_shape: Size,
    latent_dim: Size,
    filters: Size = (32, 64),
    hidden: Size = (),
    parameters: int = 1,
    kernel_size: Size = 3,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    name: str = "encoder",
) -> keras.Model:
    """Convolutional encoder: stride-2 convolutions, dense layers `hidden`, then params `(B, parameters * latent_dim)`.

        h_0 = x,    h_k = activation(conv_k(h_k-1)), of half the size,    params = dense(h_K)

    Each of `filters` is the number of channels of one convolution. With a spatial `latent_dim`, the dense layers are
    applied at each position. Other args as in the module.

    Raises:
        ValueError: if an argument is invalid, or a spatial `latent_dim` is not the size that the stages lead to.

    Example: `ka.networks.conv_encoder((1000, 3), latent_dim=8, filters=(32, 64, 64), parameters=2)    # series`

    Source: Radford 2016 (DCGAN), for strides instead of pooling. See also: `residual_encoder`, deeper; `mlp_encoder`.
    """
    shape, filters, hidden = _with_channels("input_shape", input_shape), _stages(filters), _sizes("hidden", hidden)
    kernel_size, activation = _sizes("kernel_size", kernel_size, len(shape) - 1), _activation(activation)
    x = inputs = keras.Input(shape)
    for channels in filters:
        x = _conv(x, channels, kernel_size, _STRIDE, activation)
    return _encoder(inputs, x, latent_dim, filters, hidden, parameters, activation, condition_shape, name)


def conv_decoder(
    latent_dim: Size,
    output_shape: Size,
    filters: Size = (64, 32),
    hidden: Size = (),
    parameters: int = 1,
    kernel_size: Size = 3,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    levels: int | None = None,
    name: str = "decoder",
) -> keras.Model:
    """Mirror image of `conv_encoder`: one stride-2 transposed convolution per element of `filters`, then a crop.

        h_0 = dense(z),    h_k = activation(conv_transpose_k(h_k-1)), of twice the size,    params = crop(h_K)

    The last stage has as many channels as the params and no activation. Args as in the module.

    Raises:
        ValueError: as in `conv_encoder`.

    Example: `ka.networks.conv_decoder(8, (1000, 3), filters=(64, 64, 32))    # series`

    Source: Radford 2016 (DCGAN). See also: `residual_decoder`, deeper; `mlp_decoder`.
    """
    shape, levels = _output_shape(output_shape, parameters, levels)
    shape, filters, hidden = _with_channels("output_shape", shape), _stages(filters), _sizes("hidden", hidden)
    kernel_size, activation = _sizes("kernel_size", kernel_size, len(shape) - 1), _activation(activation)
    inputs, x = _seed_image(latent_dim, shape, filters, hidden, activation, condition_shape)
    for channels in filters[1:]:
        x = _conv_transpose(x, channels, kernel_size, activation)
    x = _conv_transpose(x, _params_channels(shape, parameters, levels), kernel_size)
    return keras.Model(inputs, _cropped(x, _params_shape(shape, parameters, levels), len(shape) - 1), name=name)


def residual_encoder(
    input_shape: Size,
    latent_dim: Size,
    filters: Size = (32, 64),
    hidden: Size = (),
    parameters: int = 1,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    name: str = "encoder",
) -> keras.Model:
    """Residual encoder: one pre-activation block per element of `filters`, each of which halves the size.

        h_k = conv_1x1(pool(h_k-1)) + conv(a(conv(a(h_k-1)), stride 2)),    a = activation,    params = dense(a(h_K))

    Args as in the module.

    Raises:
        ValueError: as in `conv_encoder`.

    Example: `ka.networks.residual_encoder((28, 28, 1), latent_dim=8, parameters=2)    # (B, 28, 28, 1) to (B, 16)`

    Source: He 2016 (identity mappings), for the order in a block. See also: `conv_encoder`, one convolution per stage.
    """
    shape, filters, hidden = _with_channels("input_shape", input_shape), _stages(filters), _sizes("hidden", hidden)
    activation = _activation(activation)
    inputs = keras.Input(shape)
    x = _conv(inputs, filters[0], 3)
    for channels in filters:
        y = _conv(_activated(x, activation), channels, 3, _STRIDE)
        y = _conv(_activated(y, activation), channels, 3)
        pooling = _of_rank(x, layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
        x = layers.Add()([_conv(pooling(_STRIDE, padding="same", **_CHANNELS)(x), channels, 1), y])
    x = _activated(x, activation)
    return _encoder(inputs, x, latent_dim, filters, hidden, parameters, activation, condition_shape, name)


def residual_decoder(
    latent_dim: Size,
    output_shape: Size,
    filters: Size = (64, 32),
    hidden: Size = (),
    parameters: int = 1,
    activation: Activation = "relu",
    condition_shape: Size | None = None,
    levels: int | None = None,
    name: str = "decoder",
) -> keras.Model:
    """Mirror image of `residual_encoder`: each of `filters` adds a block that doubles the size, followed by a crop.

        h_k = conv_1x1(double(h_k-1)) + conv(a(conv_transpose(a(h_k-1)))),    a = activation
        params = crop(conv(a(h_K)))

    Args as in the module.

    Raises:
        ValueError: as in `conv_encoder`.

    Example: `ka.networks.residual_decoder(8, (28, 28, 1))    # (B, 8) to (B, 28, 28, 1)`

    Source: He 2016 (identity mappings). See also: `conv_decoder`, one convolution per stage.
    """
    shape, levels = _output_shape(output_shape, parameters, levels)
    shape, filters, hidden = _with_channels("output_shape", shape), _stages(filters), _sizes("hidden", hidden)
    activation = _activation(activation)
    inputs, x = _seed_image(latent_dim, shape, filters, hidden, activation, condition_shape)
    for channels in filters:
        y = _conv_transpose(_activated(x, activation), channels, 3)
        y = _conv(_activated(y, activation), channels, 3)
        x = layers.Add()([_conv(_doubled(x), channels, 1), y])
    x = _conv(_activated(x, activation), _params_channels(shape, parameters, levels), 3)
    return keras.Model(inputs, _cropped(x, _params_shape(shape, parameters, levels), len(shape) - 1), name=name)


# Parts of networks.


def _encoder(inputs, x, latent_dim, filters, hidden, parameters, activation, condition_shape, name):
    """Adds the layers after the convolutions, whose output is x."""
    code = _params_of_code(latent_dim, parameters)
    if len(code) == 1:
        inputs, x = _with_condition(inputs, _flat(x), condition_shape)
    else:
        _check_map(code[:-1], x.shape[1:-1], inputs.shape[1:], filters)
        inputs, x = _with_condition(inputs, x, condition_shape)
    return keras.Model(inputs, _dense_head(x, hidden, activation, code[-1]), name=name)


def _seed_image(latent_dim, output_shape, filters, hidden, activation, condition_shape):
    """The inputs of a decoder, and the smallest feature map, which len(filters) doublings enlarge to the output."""
    code = _params_of_code(latent_dim, 1)
    smallest = tuple(math.ceil(size / _STRIDE ** len(filters)) for size in output_shape[:-1])
    z = keras.Input(code)
    inputs, x = _with_condition(z, z, condition_shape)
    if len(code) == 1:
        shape = (*smallest, filters[0])
        x = _dense(x, (*hidden, math.prod(shape)), activation)
        return inputs, layers.Reshape(shape)(x)
    _check_map(code[:-1], smallest, output_shape, filters)
    return inputs, _dense(x, (*hidden, filters[0]), activation)


def _with_condition(inputs, x, condition_shape):
    """The inputs of a network, and vectors or feature maps x; the condition, if there is one, is added to both."""
    if condition_shape is None:
        return inputs, x
    condition = keras.Input(_shape("condition_shape", condition_shape), name="condition")
    flat, places = _flat(condition), x.shape[1:-1]
    if places:  # repeat the condition at every position of the map
        flat = layers.Reshape((*places, flat.shape[-1]))(layers.RepeatVector(math.prod(places))(flat))
    return [inputs, condition], layers.Concatenate()([x, flat])


def _flat(x):
    return x if len(x.shape) == 2 else layers.Flatten(**_CHANNELS)(x)


def _dense(x, hidden, activation, kernel_regularizer=None):
    for units in hidden:
        x = layers.Dense(units, activation=activation, kernel_regularizer=kernel_regularizer)(x)
    return x


def _dense_head(x, hidden, activation, width, kernel_regularizer=None, last_activation=None):
    x = _dense(x, hidden, activation, kernel_regularizer)
    return layers.Dense(width, activation=last_activation, kernel_regularizer=kernel_regularizer)(x)


def _of_rank(x, *kinds):
    """Selects the layer class for the spatial rank of x."""
    return kinds[len(x.shape) - 3]


def _conv(x, channels, kernel_size, strides=1, activation=None):
    kind = _of_rank(x, layers.Conv1D, layers.Conv2D, layers.Conv3D)
    return kind(channels, kernel_size, strides, padding="same", activation=activation, **_CHANNELS)(x)


def _conv_transpose(x, channels, kernel_size, activation=None):
    kind = _of_rank(x, layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    return kind(channels, kernel_size, _STRIDE, padding="same", activation=activation, **_CHANNELS)(x)


def _activated(x, activation):
    return layers.Activation(activation)(x)


def _doubled(x):
    if len(x.shape) == 3:
        return layers.UpSampling1D(_STRIDE)(x)  # has no data_format
    return _of_rank(x, None, layers.UpSampling2D, layers.UpSampling3D)(_STRIDE, **_CHANNELS)(x)


def _cropped(x, params, rank):
    """Crops x to the first `rank` sizes of `params`, and reshapes it to `params`."""
    beyond = tuple((0, have - want) for have, want in zip(x.shape[1:-1], params[:rank], strict=True))
    if any(after for _, after in beyond):
        if rank == 1:
            x = layers.Cropping1D(beyond[0])(x)  # has no data_format
        else:
            x = _of_rank(x, None, layers.Cropping2D, layers.Cropping3D)(beyond, **_CHANNELS)(x)
    return layers.Reshape(params)(x) if len(params) > len(x.shape) - 1 else x


# Arguments.


def _params_of_code(latent_dim, parameters):
    """Shape of the params of a code."""
    code = _shape("latent_dim", latent_dim)
    return (*code[:-1], code[-1] * validation.positive_int("parameters", parameters))


def _params_shape(shape, parameters, levels):
    return (*shape, levels) if levels else (*shape[:-1], shape[-1] * parameters)


def _params_channels(shape, parameters, levels):
    return shape[-1] * (levels or parameters)


def _output_shape(output_shape: Size, parameters: int, levels: int | None) -> tuple[tuple[int, ...], int | None]:
    """Shape of x, and its number of levels or None."""
    shape = _shape("output_shape", output_shape)
    parameters = validation.positive_int("parameters", parameters)
    if levels is None and len(shape) == 4 and shape[-1] == _LEVELS:
        shape, levels = shape[:-1], _LEVELS
    if levels is None:
        return shape, None
    levels = validation.positive_int("levels", levels)
    if levels < 2:
        raise ValueError(f"levels: expected two or more, such as 256; received {levels}.")
    if parameters != 1:
        raise ValueError(
            f"parameters: expected 1 with levels={levels}, as each level has one logit; received {parameters}."
        )
    return shape, levels


def _with_channels(name: str, shape: Size) -> tuple[int, ...]:
    shape = _shape(name, shape)
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"{name}: expected (T, C), (H, W, C) or (D, H, W, C), channels last; received {shape}.")
    return shape


def _shape(name: str, shape: Size) -> tuple[int, ...]:
    shape = _sizes(name, shape)
    if not shape:
        raise ValueError(f"{name}: expected at least one axis, received ().")
    return shape


def _stages(filters: Any) -> tuple[int, ...]:
    filters = _sizes("filters", filters)
    if not filters:
        raise ValueError("filters: expected one stage or more, received none.")
    return filters


def _sizes(name: str, sizes: Any, count: int | None = None) -> tuple[int, ...]:
    """Converts an int or a sequence of ints to a tuple of positive ints, of length `count` if given."""
    try:
        is_one = np.ndim(sizes) == 0 and not isinstance(sizes, str)
        found = (sizes,) * (count or 1) if is_one else tuple(sizes)
        found = tuple(validation.positive_int(name, size) for size in found)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a positive whole number, or several; received {sizes!r}.") from None
    if count is not None and len(found) != count:
        raise ValueError(f"{name}: expected one number, or {count}, one for each axis; received {sizes!r}.")
    return found


def _activation(activation, name="activation"):
    try:
        return keras.activations.get(activation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: expected a function, or the name of a Keras one such as 'relu'; received {activation!r}."
        ) from error


def _check_map(places, reached, shape, filters):
    if tuple(places) != tuple(reached):
        raise ValueError(
            f"latent_dim: {len(filters)} stages of stride 2 reduce {tuple(shape)} to a code of "
            f"({', '.join(map(str, reached))}, C); received {tuple(places)} before the channels. Change it, or the "
            "number of `filters`."
        )
