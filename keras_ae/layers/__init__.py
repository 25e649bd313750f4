"""Keras layers."""

from keras_ae.layers.corruption import MaskingNoise, SaltAndPepperNoise
from keras_ae.layers.made import MADE
from keras_ae.layers.recurrent import QuasiRecurrent
from keras_ae.layers.tfidf import TfIdf
from keras_ae.layers.tied import TransposedDense

__all__ = ["MADE", "MaskingNoise", "QuasiRecurrent", "SaltAndPepperNoise", "TfIdf", "TransposedDense"]
