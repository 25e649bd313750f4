"""Names for the types of arguments that many functions share; type checkers treat those of other libraries as Any."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras

if TYPE_CHECKING:
    import tensorflow_probability as tfp

    Distribution: TypeAlias = tfp.distributions.Distribution
else:
    Distribution = Any  # not every module that imports this one needs TensorFlow Probability, which takes seconds

Rows: TypeAlias = Any
"""Rows of data: arrays, tensors, lists, tables or sparse matrices, or a source of batches such as `tf.data.Dataset`."""

Matrix: TypeAlias = Any
"""A NumPy array or a SciPy sparse matrix `(N, V)`."""

Network: TypeAlias = keras.layers.Layer
"""A Keras model, or a layer."""

Networks: TypeAlias = Network | Sequence[Network]
"""One network, or a list with one network for each stochastic layer."""

Activation: TypeAlias = str | Callable[..., Any]
"""A function from tensors to tensors of the same shape, or Keras's name of one."""

Shape: TypeAlias = tuple[int | None, ...]
"""A shape without the batch axis; None is a size that varies or is not known yet."""

Size: TypeAlias = int | Sequence[int]
"""Whole numbers, or a single one."""

Terms: TypeAlias = dict[str, Any]
"""Loss terms of one batch, `{name: (B,)}`, in the forms described at `Objective`."""

Columns: TypeAlias = tuple[Any, ...]
"""`(x, y, sample_weight)`, arrays or tensors with the same number of rows; None for absent ones."""

Logs: TypeAlias = dict[str, Any]
"""What a step or an epoch logs: `{name: number or scalar tensor}`, with the loss, the terms and the metrics."""

FilePath: TypeAlias = str | os.PathLike[str]
"""Path of a file or folder."""
