"""Readers of the data sets that users have."""

from keras_ae.datasets.images import arrays, load

__all__ = ["arrays", "load"]
