"""Saving a model's constructor arguments and its complete optimizers."""

import contextlib
import functools
import inspect
import os
import pathlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src.backend.common import global_state

from keras_ae.layers import tied
from keras_ae.training import optimizers
from keras_ae.typing import FilePath
from keras_ae.utils import files, plain


def arguments(cls: type, model: keras.Model, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the constructor's arguments by name, as passed, in an immutable mapping."""
    bound = inspect.signature(cls.__init__).bind(model, *args, **kwargs).arguments  # type: ignore[misc]
    extra = bound.pop("kwargs", {})
    # A mapping proxy, because Keras would track the contents of a dict and save them a second time.
    return types.MappingProxyType(
        {name: plain.to_python(value) for name, value in (bound | extra).items() if value is not model}
    )


def config_of(model: keras.Model) -> dict[str, Any]:
    """Serializes the arguments of a model's constructor.

    Raises:
        ValueError: if Keras asks for it to write an HDF5 file, which it could not load.
    """
    if global_state.get_global_attribute("use_legacy_config"):
        raise ValueError(f"filepath: an .h5 file of a {type(model).__name__} cannot be loaded. Save it as .keras.")
    config = {name: keras.saving.serialize_keras_object(value) for name, value in model._arguments.items()}
    ties = tied.ties(model._arguments.values())
    config |= {_TIES: ties} if ties else {}
    return {"name": model.name, "dtype": keras.saving.serialize_keras_object(model.dtype_policy)} | config


def from_config(cls: type, config: Mapping[str, Any], custom_objects: dict[str, Any] | None = None) -> Any:
    """Creates a model from a config; the inverse of `config_of`."""
    values = {name: value for name, value in config.items() if name != _TIES}
    with keras.saving.custom_object_scope(custom_objects or {}):
        arguments = {name: keras.saving.deserialize_keras_object(value) for name, value in values.items()}
    tied.restore(arguments.values(), config.get(_TIES, []))
    return cls(**arguments)


_TIES = "ties"  # entry of a config: which layers of the networks share a kernel


_PLAIN = str | int | float | bool | None | list | tuple | dict


def check(model: keras.Model) -> None:
    """Raises a `ValueError` if a file of the model could not be loaded, naming the part that cannot be restored."""
    check_arguments(model)
    if model.compiled:
        _check_compiled(model)


def _check_compiled(model):
    for optimizer in model.optimizers.values():
        config = optimizers.serialize(optimizer)  # raises for variables that a file cannot name
        _check_restores(model, "optimizer", optimizer, functools.partial(optimizers.deserialize, config))
    for each in model._compile_arguments["metrics"]:
        config = keras.saving.serialize_keras_object(each)
        _check_restores(model, "metrics", each, functools.partial(keras.saving.deserialize_keras_object, config))


def _check_restores(model, name, value, restored):
    try:
        restored()
    except Exception as error:
        raise ValueError(
            f"compile({name}=...) of {type(model).__name__} received {value!r}, which can be trained and exported, but "
            "not saved to a .keras file. Expected a class or a function of Keras, or one registered with "
            "@keras.saving.register_keras_serializable()."
        ) from error


def check_arguments(model: keras.Model) -> None:
    """Raises a `ValueError` if an argument cannot be restored from a file, naming it and how to fix it."""
    for name, value in model._arguments.items():
        if isinstance(value, keras.layers.Layer | keras.DTypePolicy | _PLAIN):
            continue
        if callable(value) and keras.saving.get_registered_object(keras.saving.get_registered_name(value)) is value:
            continue
        raise ValueError(
            f"{type(model).__name__}({name}={value!r}) can be trained and exported, but not saved to a .keras file. "
            "Expected a name, a Keras layer that returns a distribution, or a function registered with "
            f"@keras.saving.register_keras_serializable(); received an object of type {type(value).__name__}."
        )


def check_options(options: Mapping[str, Any]) -> None:
    """Raises a `ValueError` if options of Keras's `save` or `save_weights` would write anything but one file."""
    if options.get("zipped") not in (None, True):
        raise ValueError("zipped: a .keras file is always a zip archive. Leave zipped out; unzip the file if needed.")
    if options.get("max_shard_size") is not None:
        raise ValueError("max_shard_size: weights are written to a single file. Leave it out.")


def check_checkpoints(model: keras.Model, callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Raises a `ValueError` if a `ModelCheckpoint` could not write the model, or would write what cannot be loaded."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            _check_suffix(callback.filepath, ".weights.h5" if callback.save_weights_only else ".keras")
            if not callback.save_weights_only:
                check(model)


def _check_suffix(path, suffix):
    if not os.fspath(path).endswith(suffix):
        raise ValueError(f"filepath: expected a path that ends in {suffix}; received {str(path)!r}.")


@contextlib.contextmanager
def replacing(filepath: FilePath, suffix: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """Like `files.replacing`, but requires the given suffix and an existing folder."""
    path = pathlib.Path(filepath)
    _check_suffix(path, suffix)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"filepath: there is no folder {str(path.parent)!r} to save {path.name} in. Create it.")
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{filepath} exists: expected a new path, or overwrite=True.")
    with files.replacing(path) as beside:
        yield beside
