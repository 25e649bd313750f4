"""The parts of MNIST that benchmarks train and measure on."""

import functools

import keras_ae as ka
from benchmarks import options

SHAPE, CLASSES = (28, 28, 1), 10


def parts(train):
    """Returns images and labels by part: `{"train": (x, y), "valid": ..., "test": ...}`, x float32 in [0, 1].

    Args:
        train: int, how many of the 60,000 training images train; the others validate.
    """
    load = functools.partial(ka.datasets.load, "mnist", data=options.data("mnist"), labels=True, shuffle=False)
    (x, y), test = (ka.datasets.arrays(load(split)) for split in ("train", "test"))
    return {"train": (x[:train], y[:train]), "valid": (x[train:], y[train:]), "test": test}


def asked():
    """Returns the name of the part to measure on: "valid" with `--trial`, else "test"."""
    return "valid" if options.TRIAL.value else "test"
