"""Evaluation measures for trained models."""

from typing import TYPE_CHECKING

from keras_ae.utils import lazy

if TYPE_CHECKING:
    from keras_ae.evaluation import (
        clusters,
        disentanglement,
        latent,
        likelihood,
        manifold,
        principal,
        retrieval,
        samples,
        speech,
        topics,
        two_sample,
    )

__all__ = [
    "clusters",
    "disentanglement",
    "latent",
    "likelihood",
    "manifold",
    "principal",
    "retrieval",
    "samples",
    "speech",
    "topics",
    "two_sample",
]

# Lazy: most programs need only one of these modules, and some import SciPy or TensorFlow Probability.
__getattr__ = lazy.attach(__name__, modules=__all__)


def __dir__():
    return sorted({*globals(), *__all__})
