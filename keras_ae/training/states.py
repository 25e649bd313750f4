"""The state of a model in training: its weights with their averages, and what undoes a step with a bad batch."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf


class Weights(list):
    """The arrays of `model.get_weights()`, which keep the averages of the weights from the same moment.

    Attributes:
        averages: list of arrays, one per average; empty if the model keeps none.
    """

    def __init__(self, weights: Iterable[np.ndarray], averages: Iterable[np.ndarray]) -> None:
        super().__init__(weights)
        self.averages = list(averages)


def variables(model: keras.Model) -> list[keras.Variable]:
    """Returns all variables that a training step may change, each once."""
    changed = [*model.variables, *(v for optimizer in model.optimizers.values() for v in optimizer.variables)]
    return list({id(v): v for v in changed}.values())


def values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Returns the present values of variables; they share memory with the variables until these change."""
    return [tf.identity(variable.value) for variable in variables]


def restore(variables: Sequence[keras.Variable], before: Sequence[tf.Tensor]) -> None:
    """Gives variables earlier `values` back."""
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
