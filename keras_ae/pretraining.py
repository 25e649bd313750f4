"""Greedy layer-wise pretraining of deep autoencoders and classifiers."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import posteriors
from keras_ae.layers.tied import TransposedDense
from keras_ae.models.base.latent_model import LatentModel
from keras_ae.models.deterministic.autoencoder import Autoencoder
from keras_ae.models.deterministic.contractive_autoencoder import ContractiveAutoencoder
from keras_ae.models.deterministic.denoising_autoencoder import DenoisingAutoencoder
from keras_ae.networks import chains
from keras_ae.training import optimizers
from keras_ae.training.optimizers import OptimizerLike
from keras_ae.typing import Network, Rows
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation

Factory = Callable[..., LatentModel]
"""What makes the autoencoder of a stage: a function `(encoder, decoder, likelihood, seed=) -> model`."""


def pretrain(
    model: Network,
    x: Rows,
    epochs: int = 10,
    batch_size: int | None = None,
    *,
    optimizer: OptimizerLike = "adam",
    autoencoder: Factory | None = None,
    likelihood: Any = "gaussian",
    stages: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    verbose: str | int = "auto",
    seed: int | None = None,
) -> list[keras.callbacks.History]:
    """Trains a deep autoencoder, or a network alone, layer by layer; afterwards, `fit` it to train all layers together.

        h_0 = x,    h_i = layer_i(h_i-1)
        stage i: an autoencoder of h_i-1, with the encoder layer_i and the decoder mirror_i,    i = 1, 2, ...

    A stage is a layer with weights, along with the layers around it that have none, such as Flatten, Reshape,
    activations and dropout. The layers belong to the model, which is therefore changed in place, and each stage sees
    the codes of the trained stages before it, without noise. The last code of a model with a posterior is its mean.
    Stages after the first reconstruct activations: with the Bernoulli likelihood where the mirror layer ends in a
    sigmoid, else with the Gaussian.

    Args:
        model: a model whose encoder and decoder are chains of layers that mirror each other, such as those of
            `ka.networks.chain`; or a Keras network alone, an encoder or a classifier. A network alone has no mirror
            layers, so each stage gets a temporary decoder: the transpose of a Dense layer, or a Dense layer of its own.
        x: rows as in `fit`, or a `tf.data.Dataset` of batches, which is read once per stage and epoch. Targets and
            labels in a data set are ignored.
        epochs: int, for each stage.
        batch_size: int, as in `fit`.
        optimizer: name or instance; each stage gets its own copy.
        autoencoder: function `(encoder, decoder, likelihood, seed=seed)` that makes the model of a stage, such as
            `functools.partial(ka.DenoisingAutoencoder, corruption=ka.layers.MaskingNoise(0.25))`. None for a
            `DenoisingAutoencoder` or `ContractiveAutoencoder` with the model's own arguments if it is one of these,
            and for a plain `Autoencoder` otherwise.
        likelihood: of x, for a network alone; a model has its own.
        stages: int, number of stages to train, from the input; None for all. A classifier's last layer is not one to
            pretrain: pass its number of other layers.
        callbacks: Keras callbacks, used in each stage.
        verbose: as in `fit`.
        seed: int or None, seed of each stage; None for that of the model.

    Returns:
        list of `keras.callbacks.History`, one for each stage.

    Raises:
        ValueError: if the layers of a network cannot be split or do not mirror each other, or an argument or x is
            invalid.

    Example:

        encoder, decoder = ka.networks.chain((28, 28, 1), (256, 64, 16))
        model = ka.Autoencoder(encoder, decoder, "bernoulli")
        ka.pretrain(model, x_train, epochs=5)
        model.compile("adam")
        model.fit(x_train, epochs=5)

    Source: Hinton & Salakhutdinov, Science 2006, whose stages are Boltzmann machines; Bengio 2007, for autoencoders;
    Vincent 2010, for denoising ones. See also: `networks.chain`, for the networks; `networks.classifier`, for a
    pretrained encoder; `DynamicAutoencoder.deepen`, whose stages all reconstruct x.
    """
    pairs, first = _pairs(model, likelihood)
    count = len(pairs) if stages is None else validation.positive_int("stages", stages, at_most=len(pairs))
    make = autoencoder or _like(model)
    if seed is None and isinstance(model, LatentModel):
        seed = model._arguments.get("seed")
    if rows_of.is_source(x):
        if not isinstance(x, tf.data.Dataset):
            raise ValueError(
                "x: every stage reads it several times. Expected arrays or a tf.data.Dataset; received "
                f"{type(x).__name__}."
            )
        x = x.map(lambda *parts: parts[0])
    histories = []
    for i, (down, up) in enumerate(pairs[:count]):
        with _as_logits(up if i else None) as is_sigmoid, model.distribute_strategy.scope():
            later = "bernoulli" if is_sigmoid else "gaussian"
            stage = make(_network(down), _network(up), likelihood=later if i else first, seed=seed)
            stage.compile(optimizers.copy(keras.optimizers.get(optimizer)))
            histories.append(stage.fit(x, None, batch_size, epochs, verbose, callbacks))
        if i + 1 < count:
            x = _encoded(stage, x)
    return histories


def _like(model):
    """Returns the default factory of a model's stages."""
    kind = type(model)
    if kind not in (DenoisingAutoencoder, ContractiveAutoencoder):
        return Autoencoder
    networks = ("encoder", "decoder", "likelihood", "seed", "name", "dtype")
    options = {name: value for name, value in model._arguments.items() if name not in networks}
    return lambda encoder, decoder, **given: kind(encoder, decoder, **options | given)


def _encoded(stage, x):
    if isinstance(x, tf.data.Dataset):
        return x.map(stage.encode, num_parallel_calls=tf.data.AUTOTUNE)
    return stage.encode(x, batch_size=1_000)


# Stages and their mirrors


def _pairs(model, likelihood):
    """Returns the stages of the encoder with their mirrors, and the likelihood of x."""
    if not isinstance(model, LatentModel):
        if not isinstance(model, keras.Model):
            raise ValueError(f"model: expected a Keras model; received {type(model).__name__}.")
        down = chains.encoder_stages(model, "model")
        before = [keras.activations.linear, *(chains.last_activation(stage.layers) for stage in down)]
        pairs = [(each, _temporary(each, act)) for each, act in zip(down, before[:-1], strict=True)]
        return pairs, likelihood
    for name in ("encoder", "decoder"):
        if getattr(model, name) is None:
            raise ValueError(f"model: expected an encoder and a decoder; {type(model).__name__} has no {name}.")
    down, up = chains.encoder_stages(model.encoder), chains.decoder_stages(model.decoder)[::-1]
    if not isinstance(model._posterior, posteriors.Deterministic):
        code = _PosteriorMean(model._posterior)
        last = down[-1]
        down[-1] = last._replace(layers=[*last.layers, code], output_shape=model.code_shape)
    shapes = [[(stage.input_shape, stage.output_shape) for stage in stages] for stages in (down, up)]
    mirrored = [(after, before) for before, after in shapes[1]]
    # What the last decoder layer returns are the likelihood's params.
    if len(down) != len(up) or shapes[0][1:] != mirrored[1:] or shapes[0][0][1] != mirrored[0][1]:
        raise ValueError(
            "model: expected a decoder whose layers mirror those of the encoder; received the stages "
            f"{_shown(shapes[0])} in the encoder and {_shown(shapes[1][::-1])} in the decoder."
        )
    return list(zip(down, up, strict=True)), model._likelihood


def _shown(shapes):
    return ", ".join(f"{before} to {after}" for before, after in shapes)


def _temporary(stage, activation):
    """Returns a new decoder of a stage of a network alone, as a stage; `activation` is that of the stage's input."""
    size = math.prod(stage.input_shape)
    main = stage.layers[stage.main]
    fits = isinstance(main, keras.layers.Dense) and main.kernel.shape == (size, math.prod(stage.output_shape))
    layer = TransposedDense(main, activation) if fits else keras.layers.Dense(size, activation)
    around = [keras.layers.Flatten()] if len(stage.output_shape) > 1 else []
    reshape = [keras.layers.Reshape(stage.input_shape)] if len(stage.input_shape) > 1 else []
    return chains.Stage([*around, layer, *reshape], len(around), stage.output_shape, stage.input_shape)


def _network(stage):
    return keras.Sequential([keras.Input(stage.input_shape), *stage.layers])


@contextlib.contextmanager
def _as_logits(stage: chains.Stage | None) -> Iterator[bool]:
    """Context in which a stage that ends in a sigmoid returns its logits; yields whether it does."""
    layer = None if stage is None else chains.activation_layer(stage.layers)
    if layer is None or layer.activation is not keras.activations.sigmoid:
        yield False
        return
    layer.activation = keras.activations.linear
    try:
        yield True
    finally:
        layer.activation = keras.activations.sigmoid


class _PosteriorMean(keras.layers.Layer):
    """The mean of a posterior of the encoder's params: the code that a decoder receives from `encode`."""

    def __init__(self, posterior: posteriors.Posterior) -> None:
        super().__init__()
        self.posterior = posterior

    def call(self, params: tf.Tensor) -> tf.Tensor:
        return self.posterior.call(params).mean()

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.posterior.compute_output_shape(input_shape)
