"""What the layers that make distributions have in common."""

import re
from typing import Any

import keras


def options(layer: keras.layers.Layer, given: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a layer's constructor: those given, and defaults for the others.

    Densities stay in float32 under mixed precision. The name is that of the class, without a number: Keras would call
    the second one "bernoulli_1", also in messages and in a model's `repr`.

    Example: `options(keras.layers.Layer(), {})["name"]    # layer`
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(layer).__name__)
    return {"dtype": "float32", "name": words.lower()} | given
