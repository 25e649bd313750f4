"""The state of a model in training, so that a step with a bad batch can be undone."""

from collections.abc import Sequence

import keras
import tensorflow as tf


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
