"""Imports on first use, so that a program only loads the parts of the package that it uses."""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras


def attach(
    package: str, *, modules: Iterable[str] | Mapping[str, str] = (), attributes: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """Returns a `__getattr__` for a package that imports names on first use (PEP 562).

    Args:
        package: str, the package's `__name__`.
        modules: `{name: module}`, with modules relative to the package, or names of its submodules.
        attributes: `{name: module}` for classes and functions.

    In the package's `__init__`:

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
        setattr(sys.modules[package], name, value)  # later lookups do not call this function
        return value

    return __getattr__


class Deferred:
    """Placeholder for a class in Keras's registry until a saved file needs it.

    Keras looks up `from_config` on the registered class. This imports the class, which then registers itself.

    Args:
        module, name: str, module and name of the class.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # a lookup while inspecting the registry, not while loading a file
            raise AttributeError(attribute)
        return getattr(self._load(), attribute)

    def __call__(self, *args, **kwargs):
        return self._load()(*args, **kwargs)

    def __repr__(self):
        return f"<{self._module}.{self._name}, not imported yet>"

    def _load(self):
        return getattr(importlib.import_module(self._module), self._name)


def register(package: str, classes: dict[str, str], renamed: dict[str, str], functions: dict[str, str]) -> None:
    """Registers classes and functions with Keras as `package>name`, without importing them.

    Args:
        package: str.
        classes: `{name: module}`, with modules relative to the package.
        renamed: `{old name: name}` for renamed classes.
        functions: `{name: module}`.
    """
    known = keras.saving.get_custom_objects()
    for old, new in ({name: name for name in classes} | renamed).items():
        known[f"{package}>{old}"] = Deferred(f"{package}.{classes[new]}", new)
    for name, module in functions.items():
        keras.saving.register_keras_serializable(package, name)(_deferred(f"{package}.{module}", name))


def _deferred(module, name):
    # Keras only accepts a real function here, so `Deferred` does not work.
    def call(*args, **kwargs):
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call
