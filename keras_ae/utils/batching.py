"""A decorator that lets a method on tensors also take arrays of any length and data sets."""

import contextlib
import functools
import inspect
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation


def in_batches(method: Callable | None = None, *, as_target: bool = False) -> Callable:
    """Decorator that makes a method on tensors run in batches on users' data and return NumPy arrays.

    The method's positional parameters are rows as accepted by `utils.rows`: arrays, tables, or one data set, generator
    or `PyDataset` of tuples whose first components are passed to the parameters in order. Its keyword-only parameters
    are plain values. In eager mode, the method is compiled once per combination of keyword values and also takes
    `batch_size`; inside a graph it is called directly. A `seed` parameter is passed to the method as an int64 tensor,
    increased by the number of rows already processed, so that no two batches share noise.

    The model validates each batch with `check_inputs`; with `as_target`, also as targets of its likelihood.
    """
    if method is None:
        return functools.partial(in_batches, as_target=as_target)
    signature = inspect.signature(method)
    target = {"as_target": True} if as_target else {}
    names = inspect.getfullargspec(method).args[1:]

    @functools.wraps(method)
    def batched(self, *args, batch_size=128, **kwargs):
        if not tf.executing_eagerly():
            return method(self, *args, **kwargs)
        options = signature.bind(self, *args, **kwargs).arguments
        arrays = {name: options.pop(name) for name in names if name in options}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        del options["self"]
        if "seed" in options:
            options["seed"] = validation.seed(options["seed"])
        rows, outputs = 0, []
        role = getattr(self, "y_role", None)  # samplers use this decorator but have no y_role
        conditional = role is not None and role.conditional and "y" in names
        if not conditional and "y" in arrays:
            raise ValueError(f"y: {type(self).__name__} is not conditional. Leave y out.")
        _check_alone(arrays)
        if conditional and role.num_classes and rows_of.is_single(arrays.get("y")):
            arrays["y"] = rows_of.for_each_row(arrays["y"], names[0], arrays.get(names[0]))
        batch_size = validation.positive_int("batch_size", batch_size)
        for batch in _batches(arrays, batch_size, [name for name in names if name != "y" or conditional]):
            if conditional:
                batch["y"] = role.standard(batch.get("y"))
            self.check_inputs(**batch, **target)
            tensors = {name: _tensor(array) for name, array in batch.items()}
            outputs.append(_call(self, method, signature, tensors, options, rows))
            rows += tensors[names[0]].shape[0]
        if not outputs:
            raise ValueError(f"{names[0]}: expected at least one row, received none.")
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    return batched


def _check_alone(arrays):
    """Raises a `ValueError` if a source of batches, which yields all rows itself, is not the only argument."""
    sources = [name for name, array in arrays.items() if rows_of.is_source(array)]
    if sources and len(arrays) > 1:
        *others, last = [name for name in arrays if name != sources[0]]
        raise ValueError(
            f"{' and '.join([*others, last])}: expected none, as {sources[0]} is a source of batches, which yields "
            f"tuples: ({', '.join(arrays)})."
        )


def _call(model, method, signature, tensors, options, rows):
    """Runs the method's graph, which takes any number of rows and is cached by row shapes, dtypes and options."""
    named = {}
    if "seed" in signature.parameters:
        seed = options.get("seed", signature.parameters["seed"].default)
        named["seed"] = tf.constant(seed + rows, tf.int64)
    options = {name: value for name, value in options.items() if name != "seed"}
    specs = {name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for name, tensor in tensors.items()}
    averaging = getattr(model, "averaging", ())
    key = (method.__qualname__, averaging, *specs.items(), *sorted(options.items()))
    cache = vars(model).setdefault("_compiled_methods", {})
    if key not in cache:
        for stale in [each for each in cache if each[1] not in ((), averaging)]:  # of earlier optimizers
            del cache[stale]

        def run(**tensors):
            with model.averaged() if averaging else contextlib.nullcontext():
                return method(model, **tensors, **options)

        function = tf.function(run, autograph=False)
        scalars = {name: tf.TensorSpec([], value.dtype) for name, value in named.items()}
        cache[key] = function.get_concrete_function(**specs, **scalars)
    return cache[key](**tensors, **named)


def _batches(arrays, batch_size, names):
    """Yields batches `{name: rows}` from arrays by name, or from a data set whose components are named by `names`."""
    if names[0] not in arrays:
        raise ValueError(f"{names[0]}: expected rows, received None.")
    first = next(iter(arrays.values()))
    if rows_of.is_source(first):
        for element in rows_of.batches_of(first):
            parts = element if isinstance(element, tuple | list) else (element,)
            yield {name: rows_of.dense(rows_of.to_rows(name, part)) for name, part in zip(names, parts, strict=False)}
        return
    arrays = {name: rows_of.to_rows(name, array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.shape[:1] != arrays[names[0]].shape[:1]:
            raise ValueError(
                f"{name}: expected as many rows as {names[0]}, {arrays[names[0]].shape[:1]}; received {array.shape}."
            )
    for start in range(0, arrays[names[0]].shape[0], batch_size):
        yield {name: rows_of.dense(array[start : start + batch_size]) for name, array in arrays.items()}


def _tensor(array):
    is_double = isinstance(array, np.ndarray) and array.dtype == np.float64
    return tf.convert_to_tensor(array.astype("float32") if is_double else array)
