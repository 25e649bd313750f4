"""Every autoencoder, as one family of Keras models that you fit, measure and serve."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"keras_ae needs Keras's TensorFlow backend; the backend is {keras.backend.backend()!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
    )

from keras_ae import callbacks, datasets, likelihoods, networks, priors, strategies, text
from keras_ae.models.autoencoder import Autoencoder
from keras_ae.models.semantic_hashing import SemanticHashing
from keras_ae.models.vae import VAE
from keras_ae.models.vdsh import VDSH
from keras_ae.serving import export

__version__ = "0.1.0"

__all__ = [
    "VAE",
    "VDSH",
    "Autoencoder",
    "SemanticHashing",
    "callbacks",
    "datasets",
    "export",
    "likelihoods",
    "networks",
    "priors",
    "strategies",
    "text",
]
