"""The training step, its loop, and what goes with it."""

from keras_ae.training.model import ObjectiveModel
from keras_ae.training.objective import Objective

__all__ = ["Objective", "ObjectiveModel"]
