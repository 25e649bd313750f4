"""Keras layers."""

from keras_ae.layers.made import MADE
from keras_ae.layers.recurrent import QuasiRecurrent
from keras_ae.layers.tfidf import TfIdf

__all__ = ["MADE", "QuasiRecurrent", "TfIdf"]
