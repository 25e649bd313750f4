"""Collects what `benchmarks.house` can only learn by importing `keras_ae`, and prints it as one JSON object.

Uses only the public API of `keras_ae`, so it can examine another checkout on PYTHONPATH.
"""

import inspect
import json
import pathlib
import sys
import threading

import keras
import numpy as np

import keras_ae as ka

PACKAGE = pathlib.Path(ka.__file__).parent


def classes():
    """Returns the classes of this package that each public model consists of, itself first: `{model: [names]}`."""
    public = {name: getattr(ka, name) for name in ka.__all__ if name != "ObjectiveModel"}
    return {
        name: [each.__name__ for each in model.__mro__ if each.__module__.split(".")[0] == "keras_ae"]
        for name, model in public.items()
        if inspect.isclass(model) and issubclass(model, keras.Model)
    }


def walk():
    """Returns the functions that one eager batch of `VAE.fit` calls, in order of first call: [[file, name]]."""
    encoder = ka.networks.mlp_encoder((4,), 2, (3,), parameters=2)
    model = ka.VAE(encoder, ka.networks.mlp_decoder(2, (4,), (3,)))
    model.compile("adam", run_eagerly=True)
    x = np.zeros((8, 4), "float32")
    found = {}

    def called(frame, event, _):
        code = frame.f_code
        path = pathlib.Path(code.co_filename)
        # Comprehensions and lambdas count as part of the enclosing function.
        if event == "call" and PACKAGE in path.parents and not code.co_name.startswith("<"):
            found.setdefault((str(path.relative_to(PACKAGE)), code.co_qualname))

    threading.setprofile(called)  # for the threads of tf.data
    sys.setprofile(called)
    try:
        model.fit(x, batch_size=8, epochs=1, verbose=0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(found)


if __name__ == "__main__":
    print(json.dumps({"package": str(PACKAGE), "classes": classes(), "walk": walk()}))
