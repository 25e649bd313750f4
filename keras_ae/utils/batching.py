"""One method for tensors in a graph, arrays of any length, and data sets."""

import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_ae.utils import validation


def in_batches(method: Callable) -> Callable:
    """Makes a method of tensors work in batches on arrays and `tf.data.Dataset`s, returning NumPy.

    The method's positional parameters are tensors that share their first axis; its keyword-only parameters are plain
    values. Called eagerly it is compiled once for each set of those, and takes `batch_size` besides. Inside a graph it
    is called as it is. A data set of tuples gives its first components to the positional parameters. An option `seed`
    reaches the method as an int64 tensor, raised by the rows already done, so that no two batches share their noise.
    """
    signature = inspect.signature(method)
    names = inspect.getfullargspec(method).args[1:]

    @functools.wraps(method)
    def batched(self, *args, batch_size=128, **kwargs):
        if not tf.executing_eagerly():
            return method(self, *args, **kwargs)
        options = signature.bind(self, *args, **kwargs).arguments
        arrays = {name: options.pop(name) for name in names if name in options}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        del options["self"]
        rows, outputs = 0, []
        conditional = getattr(self, "conditional", False)  # samplers, too, have such methods
        batch_size = validation.positive_int("batch_size", batch_size)
        for batch in _batches(arrays, batch_size, [name for name in names if name != "y" or conditional]):
            if conditional and "y" in names and "y" not in batch:
                raise ValueError(f"y: {type(self).__name__} is conditional. Give a condition for each row.")
            self.check_inputs(**batch)
            tensors = {name: tf.convert_to_tensor(array) for name, array in batch.items()}
            outputs.append(_call(self, method, signature, tensors, options, rows))
            rows += tensors[names[0]].shape[0]
        if not outputs:
            raise ValueError(f"{names[0]}: expected at least one row, received none.")
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    return batched


def _call(model, method, signature, tensors, options, rows):
    """Runs the method's graph for any number of rows, kept by the shapes and dtypes of a row and by the options."""
    named = {}
    if "seed" in signature.parameters:
        seed = options.get("seed", signature.parameters["seed"].default)
        named["seed"] = tf.constant(seed + rows, tf.int64)
    options = {name: value for name, value in options.items() if name != "seed"}
    specs = {name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for name, tensor in tensors.items()}
    key = (method.__qualname__, *specs.items(), *sorted(options.items()))
    cache = vars(model).setdefault("_compiled_methods", {})
    if key not in cache:
        function = tf.function(lambda **tensors: method(model, **tensors, **options), autograph=False)
        scalars = {name: tf.TensorSpec([], value.dtype) for name, value in named.items()}
        cache[key] = function.get_concrete_function(**specs, **scalars)
    return cache[key](**tensors, **named)


def _batches(arrays, batch_size, names):
    """Batches `{name: rows}` of arrays by name, or of a data set, whose first components go by `names`."""
    first = next(iter(arrays.values()))
    if isinstance(first, tf.data.Dataset):
        for element in first:
            yield dict(zip(names, element if isinstance(element, tuple) else (element,), strict=False))
        return
    arrays = {name: array if tf.is_tensor(array) else np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.shape[:1] != arrays[names[0]].shape[:1]:
            raise ValueError(
                f"{name}: expected as many rows as {names[0]}, {arrays[names[0]].shape[:1]}; received {array.shape}."
            )
    for start in range(0, arrays[names[0]].shape[0], batch_size):
        yield {name: array[start : start + batch_size] for name, array in arrays.items()}
