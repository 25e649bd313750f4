"""Data, model and training of the quickstart."""

import math
from collections import namedtuple

import keras
import numpy as np

import keras_ae as ka

from .. import common

# Scale of the Gaussian at first: about what the networks leave of photographs with pixels in [0, 1].
_SCALE = 0.1

Data = namedtuple("Data", "train batches images test binary labels")
Data.__doc__ = """A dataset as the quickstart uses it.

Attributes:
    train: `tf.data.Dataset` of training batches, as the model receives them.
    batches: int, batches per epoch.
    images: `(N, H, W, C)` greyscale training images, for the output bias and PCA.
    test: `(M, H, W, C)` greyscale test images.
    binary: the test images as a VAE receives them: with one Bernoulli draw per pixel if that is its likelihood.
    labels: `(M,)` integers, or None if the dataset has none.
"""


def load(dataset, data, kind, seed, settings):
    """Loads a dataset by name; a VAE of Bernoulli pixels trains on new draws of them in each epoch."""
    draws = settings["likelihood"] == "bernoulli"

    def read(split, **options):
        options = {"data": data, "batch_size": settings["batch_size"], "size": settings["size"]} | options
        return ka.datasets.load(dataset, split, seed=seed, **options)

    def arrays(split, **options):
        rows, batch_size = settings["images"], 500
        batches = read(split, shuffle=False, batch_size=batch_size, **options)
        if rows is None:
            return ka.datasets.arrays(batches)
        found = ka.datasets.arrays(batches.take(math.ceil(rows / batch_size)))
        return tuple(column[:rows] for column in found) if isinstance(found, tuple) else found[:rows]

    with common.user_input():
        train = read("train", binarize="dynamic" if kind == "vae" and draws else None)
        images = arrays("train")
        binary = arrays("test", binarize="static" if draws else None)
        try:
            test, labels = arrays("test", labels=True)
        except ValueError:  # dataset without labels; any other error would have been raised above
            test, labels = arrays("test"), None
    batches = int(train.cardinality())
    if batches < 0:  # The number of readable files in a folder is not known in advance.
        batches = sum(1 for _ in train)
    return Data(train, batches, images, test, binary, labels)


def build(kind, shape, latent_dim, settings, seed):
    """Returns an untrained `VAE` with the likelihood of the settings, or `Autoencoder` with Gaussian likelihood."""
    parameters = 2 if kind == "vae" else 1
    options = {"activation": settings["activation"]}
    if settings["network"] == "mlp":
        hidden = settings["hidden"]
        encoder = ka.networks.mlp_encoder(shape, latent_dim, hidden, parameters, **options)
        decoder = ka.networks.mlp_decoder(latent_dim, shape, hidden[::-1], **options)
    else:
        filters, hidden = settings["filters"], settings["hidden"]
        encoder = ka.networks.conv_encoder(shape, latent_dim, filters, hidden, parameters, **options)
        decoder = ka.networks.conv_decoder(latent_dim, shape, filters[::-1], hidden[::-1], **options)
    if kind == "vae":
        likelihood = settings["likelihood"]
        if likelihood == "gaussian_learned_scale":
            likelihood = ka.likelihoods.GaussianLearnedScale(_SCALE)
        return ka.VAE(encoder, decoder, likelihood=likelihood, seed=seed)
    return ka.Autoencoder(encoder, decoder, likelihood="gaussian", seed=seed)


def start_at_mean(model, images):
    """Sets the output bias of the decoder so that the untrained model outputs the mean image.

        bias = log(m / (1 - m)) for logits, m otherwise,    m = mean of the images

    Saves the epochs it would take to learn this. Burda 2016's code does the same, with the same bounds on m.
    """
    bias = next(layer.bias for layer in reversed(model.decoder.layers) if getattr(layer, "bias", None) is not None)
    # A dense output layer has one bias per pixel, a convolution one per channel.
    dense = bias.shape[0] == math.prod(images.shape[1:])
    mean = np.mean(images, axis=0 if dense else (0, 1, 2), dtype="float64").ravel()
    if model.get_config().get("likelihood", "bernoulli") == "bernoulli":  # the default
        mean = np.clip(mean, 1e-3, 1 - 1e-3)
        mean = np.log(mean) - np.log1p(-mean)
    bias.assign(mean.astype("float32"))


def train(kind, data, latent_dim, settings, *, seed, strategy, max_minutes=None, checkpoint=None):
    """Builds and trains a model, or resumes from a checkpoint; returns it and the training time in seconds."""
    keras.utils.set_random_seed(seed)
    steps = settings["epochs"] * data.batches
    with strategy.scope():
        model = build(kind, data.images.shape[1:], latent_dim, settings, seed)
        start_at_mean(model, data.images)
        model.compile(keras.optimizers.Adam(settings["learning_rate"]))
    seconds = common.fit(
        model,
        data.train,
        epochs=settings["epochs"],
        shuffle=False,  # the dataset shuffles itself, and Keras would warn
        # Decays to 0, so that the last weights are the best and no images must be held out to select them.
        budget=common.CosineDecay(settings["learning_rate"], steps, max_minutes),
        checkpoint=checkpoint,
    )
    return model, seconds
