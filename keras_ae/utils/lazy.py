"""Imports on first use: a program then pays for what it uses, and not for the whole package."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras


def attach(
    package: str, *, modules: Iterable[str] | Mapping[str, str] = (), attributes: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are imported on first use (PEP 562).

    Args:
        package: str, its `__name__`.
        modules: `{name: module}`, modules relative to the package; or names of its own submodules.
        attributes: `{name: module}`, of classes and functions.

    Example:

        __getattr__ = lazy.attach(__name__, modules=["latent"], attributes={"VAE": "models.variational.vae"})
    """
    modules = modules if isinstance(modules, Mapping) else {name: name for name in modules}
    attributes = attributes or {}

    def __getattr__(name):
        if name in modules:
            value = importlib.import_module(f"{package}.{modules[name]}")
        elif name in attributes:
            value = getattr(importlib.import_module(f"{package}.{attributes[name]}"), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # the next use finds it without this function
        return value

    return __getattr__


class Deferred:
    """Stands for a class in Keras's registry until a file needs it.

    Keras asks a registered class for `from_config`: the class is imported then, registers itself, and answers.

    Args:
        module, name: str, of the class.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # of those who look at the registry, not of a file
            raise AttributeError(attribute)
        return getattr(self._load(), attribute)

    def __call__(self, *args, **kwargs):
        return self._load()(*args, **kwargs)

    def __repr__(self):
        return f"<{self._module}.{self._name}, not imported yet>"

    def _load(self):
        return getattr(importlib.import_module(self._module), self._name)


def register(package: str, classes: dict[str, str], renamed: dict[str, str], functions: dict[str, str]) -> None:
    """Registers with Keras, as `package>name`, what is not imported yet.

    Args:
        package: str.
        classes: `{name: module}`, modules relative to the package.
        renamed: `{old name: name}`, of classes.
        functions: `{name: module}`.
    """
    known = keras.saving.get_custom_objects()
    for old, new in ({name: name for name in classes} | renamed).items():
        known[f"{package}>{old}"] = Deferred(f"{package}.{classes[new]}", new)
    for name, module in functions.items():
        keras.saving.register_keras_serializable(package, name)(_deferred(f"{package}.{module}", name))


def _deferred(module, name):
    # Keras takes nothing but a function for a function.
    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call
