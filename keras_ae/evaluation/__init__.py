"""Evaluation measures for trained models."""

from typing import TYPE_CHECKING

from keras_ae.utils import lazy

if TYPE_CHECKING:
    from keras_ae.evaluation import disentanglement, latent, likelihood, manifold, retrieval, samples, speech, topics

__all__ = ["disentanglement", "latent", "likelihood", "manifold", "retrieval", "samples", "speech", "topics"]

# Lazy: most programs need only one of these modules, and some import SciPy or TensorFlow Probability.
__getattr__ = lazy.attach(__name__, modules=__all__)


def __dir__():
    return sorted({*globals(), *__all__})
