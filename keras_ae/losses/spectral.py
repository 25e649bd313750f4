"""Losses on the spectra of waveforms."""

from collections.abc import Sequence

import tensorflow as tf

from keras_ae.layers.stft import FLOOR, compressed, stft


def distance(
    x: tf.Tensor,
    y: tf.Tensor,
    frames: Sequence[int] = (256, 512, 1024),
    exponent: float = 0.3,
    phase: float = 0.3,
    removal: float = 0.0,
) -> tf.Tensor:
    """Distance between the compressed spectra of waveforms at several resolutions: `(B,)`, not in nats.

        d = mean_r mean_tf (1 - phase) s + phase |C_x - C_y|^2,    C as in `compressed`
        s = (|C_x| - |C_y|)^2 + removal max(|C_y| - |C_x|, 0)^2

    Args:
        x, y: float32 `(B, T)`, T at least the longest frame.
        frames: ints, frame length in samples of each resolution; frames overlap by three quarters.
        exponent: float, exponent of the compression.
        phase: float, weight of the phase-aware term; the other term only compares magnitudes.
        removal: float, extra penalty where x has less than y: removed speech, as opposed to residual noise.

    Raises:
        ValueError: if T is known and shorter than the longest frame.

    Example: `ka.losses.spectral.distance(denoised, clean, removal=1.0)    # (B,)`

    Source: Braun & Tashev 2021 for the compressed terms; Yamamoto 2020 for several resolutions; Wang 2020
    (VoiceFilter-Lite) for the removal penalty. See also: `evaluation.speech`, measures without gradients.
    """
    if x.shape[-1] is not None and x.shape[-1] < max(frames):
        raise ValueError(f"x: expected {max(frames)} samples or more, the longest frame; received {x.shape[-1]}.")
    total = 0.0
    for frame in frames:
        c_x, c_y = (compressed(stft(each, frame, frame // 4), exponent) for each in (x, y))
        # The floor under the root keeps the gradient finite at silence.
        m_x, m_y = (tf.sqrt(tf.math.real(c) ** 2 + tf.math.imag(c) ** 2 + FLOOR) for c in (c_x, c_y))
        apart = tf.math.real(c_x - c_y) ** 2 + tf.math.imag(c_x - c_y) ** 2
        sizes = (m_x - m_y) ** 2
        if removal:
            sizes += removal * tf.nn.relu(m_y - m_x) ** 2
        total += tf.reduce_mean((1 - phase) * sizes + phase * apart, axis=(1, 2))
    return total / len(frames)
