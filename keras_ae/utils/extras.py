"""Modules that only the package's extras install."""

import importlib
from types import ModuleType

EXTRAS = {
    "PIL": "apps",
    "apache_beam": "beam",
    "faiss": "apps",
    "grpc": "serving",
    "httptools": "serving",
    "matplotlib": "apps",
    "defusedxml": "sketch",
    "fontTools": "sketch",
    "noisereduce": "audio",
    "orjson": "serving",
    "pesq": "audio",
    "prometheus_client": "serving",
    "pyarrow": "tables",
    "pystoi": "audio",
    "soundfile": "audio",
    "soxr": "audio",
    "starlette": "serving",
    "tensorflow_serving": "serving",
    "uvicorn": "serving",
    "uvloop": "serving",
}
"""The extra that installs each module that this package or its apps may need, but not always."""


def library(name: str, user: str) -> ModuleType:
    """Imports a module of an extra, where it is used: packages that a program does not need may be missing.

    Args:
        name: str, the module, in `EXTRAS` by its first part.
        user: str, what needs it, for the error message.

    Raises:
        ImportError: if the module is not installed; the message names the extra.

    Example: `library("matplotlib.figure", "keras_ae.plots").Figure`
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        module = name.partition(".")[0]
        raise ImportError(f'{user} needs {module}: pip install "keras_ae[{EXTRAS[module]}]".') from error
