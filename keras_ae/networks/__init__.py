"""Encoders, decoders, generators and critics as Keras models."""

from keras_ae.networks.adapters import from_mean_log_var
from keras_ae.networks.chains import chain, classifier, tied_decoder
from keras_ae.networks.critics import code_critic
from keras_ae.networks.images import (
    conv_decoder,
    conv_encoder,
    mlp_decoder,
    mlp_encoder,
    residual_decoder,
    residual_encoder,
)
from keras_ae.networks.patches import DepthToSpace, patch_decoder, patch_encoder, start_at_pca
from keras_ae.networks.speech import SEGAN_FILTERS, SpectralGenerator, WaveformGenerator, waveform_critic
from keras_ae.networks.strokes import StrokeDecoder, StrokeEncoder

__all__ = [
    "SEGAN_FILTERS",
    "DepthToSpace",
    "SpectralGenerator",
    "StrokeDecoder",
    "StrokeEncoder",
    "WaveformGenerator",
    "chain",
    "classifier",
    "code_critic",
    "conv_decoder",
    "conv_encoder",
    "from_mean_log_var",
    "mlp_decoder",
    "mlp_encoder",
    "patch_decoder",
    "patch_encoder",
    "residual_decoder",
    "residual_encoder",
    "start_at_pca",
    "tied_decoder",
    "waveform_critic",
]
