"""Residual encoders and decoders that work on patches of images, with a linear path that can start at PCA.

At full size, a convolution of few channels leaves a processor waiting for memory. These networks therefore cut an image
into patches first, and put it together from patches last: an image of 64 x 64 with patches of 4 is a map of 16 x 16 in
between. There is no normalisation, so the size of a batch does not matter: the second convolution of every block starts
at zero, and so does the last layer, which keeps the scale of the maps as He 2016's normalisation would.

With `linear=True`, the code is the sum of a linear map of the image and of what the convolutions find, and so is the
image. `start_at_pca` sets the linear maps to the optimum of a linear model. Training then begins with the squared error
of PCA, and the convolutions learn what PCA leaves.
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_ae.evaluation.principal import PrincipalAxes
from keras_ae.networks import images
from keras_ae.typing import Activation, Size
from keras_ae.utils import validation
from keras_ae.utils.constants import SCALE_FLOOR

_CHANNELS = {"data_format": "channels_last"}
_LINEAR = "linear_path"


def patch_encoder(
    input_shape: Size,
    latent_dim: int,
    filters: Size = (48, 96, 160),
    parameters: int = 1,
    patch: int = 4,
    blocks: int = 1,
    activation: Activation = "swish",
    linear: bool = True,
    condition_shape: Size | None = None,
    name: str = "encoder",
) -> keras.Model:
    """Residual encoder of patches, `(B, H, W, C)` to params `(B, parameters * latent_dim)`.

        h = conv(patches of x);  at every stage: h + conv(a(conv(a(h)))), then half the size
        params = dense(a(h)) + linear(x),    a = activation

    Args:
        input_shape: `(H, W, C)`.
        latent_dim: int, size of the code.
        filters: channels of each stage; every stage after the first halves the size.
        parameters: int, 2 for `[mean | raw scale]`.
        patch: int, side of a patch in pixels.
        blocks: int, residual blocks of each stage.
        activation: as in Keras.
        linear: bool, whether to add the linear path.
        condition_shape: shape of a condition, which is concatenated after the convolutions; None for none.
        name: str.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `ka.networks.patch_encoder((64, 64, 3), latent_dim=64, parameters=2)    # (B, 64, 64, 3) to (B, 128)`

    Source: He 2016 (identity mappings) for the blocks; Zhang 2019 (Fixup) for the zeros in place of normalisation. See
    also: `residual_encoder`, which works at full size.
    """
    shape, stages, patch, blocks = _arguments("input_shape", input_shape, filters, patch, blocks)
    width = validation.positive_int("latent_dim", latent_dim) * validation.positive_int("parameters", parameters)
    activation = images._activation(activation)
    x = keras.Input(shape)
    h = layers.Conv2D(stages[0], patch, patch, padding="same", **_CHANNELS)(x)
    for stage, channels in enumerate(stages):
        if stage:
            h = layers.Conv2D(channels, 3, 2, padding="same", **_CHANNELS)(layers.Activation(activation)(h))
        h = _blocks(h, channels, blocks, activation)
    h = layers.Flatten(**_CHANNELS)(layers.Activation(activation)(h))
    inputs, h = images._with_condition(x, h, condition_shape)
    params = layers.Dense(width, kernel_initializer="zeros" if linear else "glorot_uniform")(h)
    if linear:
        params = layers.Add()([params, layers.Dense(width, name=_LINEAR)(layers.Flatten(**_CHANNELS)(x))])
    return keras.Model(inputs, params, name=name)


def patch_decoder(
    latent_dim: int,
    output_shape: Size,
    filters: Size = (160, 96, 48),
    parameters: int = 1,
    patch: int = 4,
    blocks: int = 1,
    activation: Activation = "swish",
    linear: bool = True,
    condition_shape: Size | None = None,
    name: str = "decoder",
) -> keras.Model:
    """Mirror image of `patch_encoder`: codes `(B, latent_dim)` to params `(B, H, W, parameters * C)`.

        h = dense(z);  at every stage: twice the size, then h + conv(a(conv(a(h))))
        params = patches(conv(a(h))) + linear(z),    a = activation

    Args as in `patch_encoder`; `filters` begin with the smallest map.

    Raises:
        ValueError: if an argument is invalid; the message names it.

    Example: `ka.networks.patch_decoder(64, (64, 64, 3))    # (B, 64) to (B, 64, 64, 3)`

    Source: as in `patch_encoder`; Shi 2016 for enlarging a map by a rearrangement of its channels. See also:
    `residual_decoder`, which works at full size.
    """
    shape, stages, patch, blocks = _arguments("output_shape", output_shape, filters, patch, blocks)
    latent_dim = validation.positive_int("latent_dim", latent_dim)
    activation = images._activation(activation)
    shape = (*shape[:2], shape[2] * validation.positive_int("parameters", parameters))
    sizes = [tuple(math.ceil(side / patch / 2**stage) for side in shape[:2]) for stage in range(len(stages))][::-1]
    z = keras.Input((latent_dim,))
    inputs, code = images._with_condition(z, z, condition_shape)
    h = layers.Reshape((*sizes[0], stages[0]))(layers.Dense(math.prod(sizes[0]) * stages[0])(code))
    for stage, channels in enumerate(stages):
        if stage:
            h = layers.Conv2D(4 * channels, 1, **_CHANNELS)(layers.Activation(activation)(h))
            h = _cropped(DepthToSpace(2)(h), sizes[stage])
        h = _blocks(h, channels, blocks, activation)
    last = "zeros" if linear else "glorot_uniform"
    h = layers.Activation(activation)(h)
    h = layers.Conv2D(shape[2] * patch**2, 3, padding="same", kernel_initializer=last, **_CHANNELS)(h)
    x = _cropped(DepthToSpace(patch)(h), shape[:2])
    if linear:
        x = layers.Add()([x, layers.Reshape(shape)(layers.Dense(math.prod(shape), name=_LINEAR)(z))])
    return keras.Model(inputs, x, name=name)


def start_at_pca(encoder: keras.Model, decoder: keras.Model, pca: PrincipalAxes) -> None:
    """Sets the linear paths of a pair of untrained networks to a PCA of the data, and freezes them.

        m = mean,    U = axes,    S = their variances,    s^2 = mean of the other eigenvalues of the covariance
        z = S^-1/2 U (x - m),    x = U^T S^1/2 z + m                                                 parameters=1
        z ~ N(S^-1 (S - s^2)^1/2 U (x - m), s^2 S^-1),    x = U^T (S - s^2)^1/2 z + m                parameters=2

    The second is the optimum of a linear VAE with the prior N(0, 1) and a Gaussian likelihood of scale s. Dimensions
    whose variance is below s^2 carry nothing there. The convolutions add nothing until they are trained, so the pair is
    PCA. The paths stay as they are, and the convolutions correct both the code and the image.

    Args:
        encoder: as made by `patch_encoder` with `linear=True`.
        decoder: as made by `patch_decoder` with `linear=True`. A condition of the decoder adds nothing at first.
        pca: `evaluation.principal.PrincipalAxes` of images, with as many axes as the code has dimensions.

    Raises:
        ValueError: if a network has no linear path, or the shapes differ.

    Example:

        pca = ka.evaluation.principal.principal_axes(x_train, 4)
        encoder, decoder = ka.networks.patch_encoder((28, 28, 1), 4), ka.networks.patch_decoder(4, (28, 28, 1))
        ka.networks.start_at_pca(encoder, decoder, pca)
        model = ka.Autoencoder(encoder, decoder)    # reconstructs as PCA does

    Source: Tipping & Bishop 1999, equations 7 and 8; Lucas 2019, which shows that a linear VAE has this optimum. See
    also: `LinearAutoencoder`, which learns it.
    """
    down, up = (_linear_path(name, network) for name, network in (("encoder", encoder), ("decoder", decoder)))
    k, columns = pca.axes.shape
    parameters = down.kernel.shape[1] // k
    if tuple(down.kernel.shape) not in ((columns, k), (columns, 2 * k)) or tuple(up.kernel.shape) != (k, columns):
        raise ValueError(
            f"pca: expected {up.kernel.shape[0]} axes for the linear paths {tuple(down.kernel.shape)} and "
            f"{tuple(up.kernel.shape)}; received axes {pca.axes.shape}."
        )
    noise = pca.left / max(columns - k, 1)
    kept = np.maximum(pca.variances, 1e-12)
    weights = np.sqrt(np.maximum(kept - noise, 0.0) if parameters == 2 else kept)
    kernel = pca.axes.T * (weights / kept)
    bias = -(pca.mean @ kernel)
    if parameters == 2:
        scale = np.sqrt(np.clip(noise / kept, 1e-8, 1.0))  # a dead dimension has the scale of the prior, 1
        bias = np.concatenate([bias, np.log(np.expm1(scale - SCALE_FLOOR))])
        kernel = np.concatenate([kernel, np.zeros_like(kernel)], axis=1)
    down.set_weights([kernel, bias])
    up.set_weights([pca.axes * weights[:, None], pca.mean])
    down.trainable = up.trainable = False


@keras.saving.register_keras_serializable("keras_ae")
class DepthToSpace(layers.Layer):
    """Rearranges channels into positions: `(B, H, W, s^2 C)` to `(B, s H, s W, C)`.

    Args:
        size: int, s.

    Example: `DepthToSpace(2)(tf.zeros([1, 4, 4, 12]))    # (1, 8, 8, 3)`

    Source: Shi 2016, section 2.2.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs if self.size == 1 else tf.nn.depth_to_space(inputs, self.size)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, height, width, channels = input_shape
        return (batch, height * self.size, width * self.size, channels // self.size**2)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"size": self.size}


def _blocks(x, channels, count, activation):
    for _ in range(count):
        y = layers.Conv2D(channels, 3, padding="same", **_CHANNELS)(layers.Activation(activation)(x))
        y = layers.Activation(activation)(y)
        y = layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros", **_CHANNELS)(y)
        x = layers.Add()([x, y])
    return x


def _cropped(x, places):
    beyond = tuple((0, have - want) for have, want in zip(x.shape[1:3], places, strict=True))
    return layers.Cropping2D(beyond, **_CHANNELS)(x) if any(after for _, after in beyond) else x


def _linear_path(name, network):
    try:
        return network.get_layer(_LINEAR)
    except ValueError:
        raise ValueError(f"{name}: expected a network with a linear path, made with linear=True.") from None


def _arguments(name, shape, filters, patch, blocks):
    shape = images._with_channels(name, shape)
    if len(shape) != 3:
        raise ValueError(f"{name}: expected an image, (H, W, C); received {shape}.")
    patch, blocks = validation.positive_int("patch", patch), validation.positive_int("blocks", blocks, at_least=0)
    return shape, images._stages(filters), patch, blocks
