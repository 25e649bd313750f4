"""Saving a model's constructor arguments and its complete optimizers."""

import contextlib
import inspect
import os
import pathlib
import types

import keras

from keras_ae.utils import files, plain


def arguments(cls, model, args, kwargs):
    """Returns the constructor's arguments by name, as passed, in an immutable mapping."""
    bound = inspect.signature(cls.__init__).bind(model, *args, **kwargs).arguments
    extra = bound.pop("kwargs", {})
    # A mapping proxy, because Keras would track the contents of a dict and save them a second time.
    return types.MappingProxyType(
        {name: plain.to_python(value) for name, value in (bound | extra).items() if value is not model}
    )


def config_of(model):
    """Serializes the arguments of a model's constructor."""
    config = {name: keras.saving.serialize_keras_object(value) for name, value in model._arguments.items()}
    return {"name": model.name, "dtype": keras.saving.serialize_keras_object(model.dtype_policy)} | config


def from_config(cls, config, custom_objects=None):
    """Creates a model from a config; the inverse of `config_of`."""
    with keras.saving.custom_object_scope(custom_objects or {}):
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})


def check_arguments(model):
    """Raises a `ValueError` if an argument cannot be restored from a file, naming it and how to fix it."""
    for name, value in model._arguments.items():
        if isinstance(value, keras.layers.Layer | str | int | float | bool | None | list | tuple | dict):
            continue
        if callable(value) and keras.saving.get_registered_object(keras.saving.get_registered_name(value)) is value:
            continue
        raise ValueError(
            f"{type(model).__name__}({name}={value!r}) can be trained and exported, but not saved to a .keras file. "
            "Expected a name, a Keras layer that returns a distribution, or a function registered with "
            f"@keras.saving.register_keras_serializable(); received an object of type {type(value).__name__}."
        )


@contextlib.contextmanager
def replacing(filepath, suffix, overwrite):
    """Like `files.replacing`, but requires the given suffix and an existing folder."""
    path = pathlib.Path(filepath)
    if not path.name.endswith(suffix):
        raise ValueError(f"filepath: expected a path that ends in {suffix}; received {str(filepath)!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"filepath: there is no folder {str(path.parent)!r} to save {path.name} in. Create it.")
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{filepath} exists: expected a new path, or overwrite=True.")
    with files.replacing(path) as beside:
        yield beside


# Optimizers. Their configs do not record which variables are excluded from weight decay.

_EXCLUDED = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


def copy(optimizer):
    """Returns a fresh copy of an optimizer that excludes the same variables from weight decay."""
    made = type(optimizer).from_config(optimizer.get_config())
    source, target = (getattr(each, "inner_optimizer", each) for each in (optimizer, made))
    for name in _EXCLUDED:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
    return made


def serialize(optimizer):
    """Serializes an optimizer to JSON values.

    Raises:
        ValueError: if variables are excluded from weight decay by object, because a file cannot name them.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if getattr(inner, _EXCLUDED[0], None):
        raise ValueError(
            "exclude_from_weight_decay(var_list=...) cannot be saved, as a file cannot name these variables. Use "
            "exclude_from_weight_decay(var_names=[...])."
        )
    pattern = getattr(inner, _EXCLUDED[1], None)
    return keras.saving.serialize_keras_object(optimizer) | {
        "not_decayed": None if pattern is None else pattern.pattern
    }


def deserialize(config):
    """Creates an optimizer from a config; the inverse of `serialize`."""
    config = dict(config)
    pattern = config.pop("not_decayed", None)
    optimizer = keras.saving.deserialize_keras_object(config)
    if pattern is not None:
        getattr(optimizer, "inner_optimizer", optimizer).exclude_from_weight_decay(var_names=[pattern])
    return optimizer
