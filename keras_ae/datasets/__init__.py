"""Data set readers and input pipelines."""

from keras_ae.datasets.images import arrays, load
from keras_ae.datasets.neighbours import nearest, pairs
from keras_ae.datasets.semi_supervised import keep_labels, semi_supervised
from keras_ae.datasets.shapes import Shapes
from keras_ae.datasets.text import Document, Documents

__all__ = ["Document", "Documents", "Shapes", "arrays", "keep_labels", "load", "nearest", "pairs", "semi_supervised"]
