"""Readers of the data sets that users have."""

from keras_ae.datasets.images import arrays, load
from keras_ae.datasets.neighbours import nearest, pairs
from keras_ae.datasets.text import Document, Documents

__all__ = ["Document", "Documents", "arrays", "load", "nearest", "pairs"]
