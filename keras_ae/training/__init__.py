"""The training step, the training loop, and their helpers."""

from keras_ae.training.model import ObjectiveModel
from keras_ae.training.objective import Objective

__all__ = ["Objective", "ObjectiveModel"]
