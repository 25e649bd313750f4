"""Losses as pure functions."""

from keras_ae.losses import adversarial, contrastive, divergences, spectral

__all__ = ["adversarial", "contrastive", "divergences", "spectral"]
