"""Losses as pure functions."""

from typing import TYPE_CHECKING

from keras_ae.utils import lazy

if TYPE_CHECKING:
    from keras_ae.losses import adversarial, contrastive, divergences, jacobian, mmd, sparsity, spectral

__all__ = ["adversarial", "contrastive", "divergences", "jacobian", "mmd", "sparsity", "spectral"]

# Imported lazily, because only some, such as divergences, need TensorFlow Probability.
__getattr__ = lazy.attach(__name__, modules=__all__)


def __dir__():
    return sorted({*globals(), *__all__})
