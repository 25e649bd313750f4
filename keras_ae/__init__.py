"""Every autoencoder, as one family of Keras models that you fit, measure and serve."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"keras_ae needs Keras's TensorFlow backend; the backend is {keras.backend.backend()!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
    )

from keras_ae import (
    callbacks,
    datasets,
    likelihoods,
    networks,
    posteriors,
    priors,
    samplers,
    speech_networks,
    strategies,
    text,
)
from keras_ae.models.autoencoder import Autoencoder
from keras_ae.models.beta_tcvae import BetaTCVAE
from keras_ae.models.beta_vae import BetaVAE
from keras_ae.models.cvae import CVAE
from keras_ae.models.dynamic_autoencoder import DynamicAutoencoder
from keras_ae.models.iwae import IWAE
from keras_ae.models.m1 import M1
from keras_ae.models.m1m2 import M1M2
from keras_ae.models.m2 import M2
from keras_ae.models.segan import SEGAN
from keras_ae.models.semantic_hashing import SemanticHashing
from keras_ae.models.vae import VAE
from keras_ae.models.vdsh import VDSH
from keras_ae.serving import export

__version__ = "0.1.0"

__all__ = [
    "CVAE",
    "IWAE",
    "M1",
    "M1M2",
    "M2",
    "SEGAN",
    "VAE",
    "VDSH",
    "Autoencoder",
    "BetaTCVAE",
    "BetaVAE",
    "DynamicAutoencoder",
    "SemanticHashing",
    "callbacks",
    "datasets",
    "export",
    "likelihoods",
    "networks",
    "posteriors",
    "priors",
    "samplers",
    "speech_networks",
    "strategies",
    "text",
]
