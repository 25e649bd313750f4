"""Autoencoders of every kind as Keras models that share one design: `fit` them, compare them with their papers, and
serve them.
"""

from typing import TYPE_CHECKING

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"keras_ae needs Keras's TensorFlow backend; the backend is {keras.backend.backend()!r}. "
        "Set the environment variable KERAS_BACKEND=tensorflow before Keras is imported."
    )

from keras_ae import names
from keras_ae.utils import lazy

if TYPE_CHECKING:  # for editors and type checkers, which cannot follow `names`
    from keras_ae import datasets, evaluation, layers, losses, networks, plots, samplers
    from keras_ae.anomalies import AnomalyDetector
    from keras_ae.distributions import likelihoods, posteriors, priors
    from keras_ae.models.adversarial.aae import AAE
    from keras_ae.models.adversarial.avb import AVB
    from keras_ae.models.adversarial.cluster_head_aae import ClusterHeadAAE
    from keras_ae.models.adversarial.conditional_aae import ConditionalAAE
    from keras_ae.models.adversarial.segan import SEGAN
    from keras_ae.models.adversarial.semi_supervised_aae import SemiSupervisedAAE
    from keras_ae.models.adversarial.wae import WAE
    from keras_ae.models.base.latent_model import LatentModel
    from keras_ae.models.deterministic.autoencoder import Autoencoder
    from keras_ae.models.deterministic.contractive_autoencoder import ContractiveAutoencoder
    from keras_ae.models.deterministic.denoising_autoencoder import DenoisingAutoencoder
    from keras_ae.models.deterministic.linear_autoencoder import LinearAutoencoder
    from keras_ae.models.deterministic.sparse_autoencoder import SparseAutoencoder
    from keras_ae.models.deterministic.speech_denoiser import SpeechDenoiser
    from keras_ae.models.sequences.sketch_vae import SketchVAE
    from keras_ae.models.text.dynamic_autoencoder import DynamicAutoencoder
    from keras_ae.models.text.semantic_hashing import SemanticHashing
    from keras_ae.models.text.vdsh import VDSH
    from keras_ae.models.variational.beta_tcvae import BetaTCVAE
    from keras_ae.models.variational.beta_vae import BetaVAE
    from keras_ae.models.variational.cvae import CVAE
    from keras_ae.models.variational.factor_vae import FactorVAE
    from keras_ae.models.variational.info_vae import InfoVAE
    from keras_ae.models.variational.iwae import IWAE
    from keras_ae.models.variational.m1 import M1
    from keras_ae.models.variational.m1m2 import M1M2
    from keras_ae.models.variational.m2 import M2
    from keras_ae.models.variational.vae import VAE
    from keras_ae.pretraining import pretrain
    from keras_ae.serving import export, load_pretrained
    from keras_ae.training import Objective, ObjectiveModel, callbacks, distribute

__version__ = "0.1.0"

__all__ = [
    "AAE",
    "AVB",
    "CVAE",
    "IWAE",
    "M1",
    "M1M2",
    "M2",
    "SEGAN",
    "VAE",
    "VDSH",
    "WAE",
    "AnomalyDetector",
    "Autoencoder",
    "BetaTCVAE",
    "BetaVAE",
    "ClusterHeadAAE",
    "ConditionalAAE",
    "ContractiveAutoencoder",
    "DenoisingAutoencoder",
    "DynamicAutoencoder",
    "FactorVAE",
    "InfoVAE",
    "LatentModel",
    "LinearAutoencoder",
    "Objective",
    "ObjectiveModel",
    "SemanticHashing",
    "SemiSupervisedAAE",
    "SketchVAE",
    "SparseAutoencoder",
    "SpeechDenoiser",
    "callbacks",
    "datasets",
    "distribute",
    "evaluation",
    "export",
    "layers",
    "likelihoods",
    "load_pretrained",
    "losses",
    "networks",
    "plots",
    "posteriors",
    "pretrain",
    "priors",
    "samplers",
]

__getattr__ = lazy.attach(__name__, modules=names.MODULES, attributes=names.ATTRIBUTES)


def __dir__():
    return sorted({*globals(), *__all__})


# Lets `keras.saving.load_model` find the classes in a saved file.
lazy.register(__name__, names.CLASSES, names.RENAMED, names.FUNCTIONS)
