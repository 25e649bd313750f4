"""Untrained baselines for audio denoising: spectral gating and the Wiener filter."""

import numpy as np
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from keras_ae.evaluation.speech import check_signal
from keras_ae.utils import extras

_GATING_WINDOW = 1024  # noisereduce's default, in samples
# The constants of the Wiener filter were tuned by PESQ on mixtures of training speech and training noise; PESQ is not
# sensitive to small changes.
_SECONDS = 0.032  # window length; the hop is a quarter of it
# Fraction of a recording in which speech is assumed to pause.
_QUIETEST = 0.1
# Corrects for the quietest frames having less noise than average.
_BIAS = 1.5
_SMOOTHING = 0.98  # as in the paper
# Residual noise at -14 dB masks the musical tones that the filter creates.
_LEAST_GAIN = 0.2


def spectral_gating(audio, rate):
    """Applies spectral gating (noisereduce with its defaults), which removes what is below a threshold in its band.

    The threshold follows the level of the band over 2 s.

    Args:
        audio: floats `(T,)`.
        rate: int, samples per second.

    Returns:
        floats `(T,)`, same dtype as audio; a copy of audio if it is silent or shorter than a window of 1,024 samples.

    Raises:
        ValueError: if audio is not a float array `(T,)` without NaN.
        ImportError: without the package `noisereduce`.

    Example: `spectral_gating(noisy, 16_000)`
    """
    audio = check_signal("audio", audio)
    noisereduce = extras.library("noisereduce", "Spectral gating")
    if not audio.any() or len(audio) < _GATING_WINDOW:
        return audio.copy()
    return noisereduce.reduce_noise(audio, rate).astype(audio.dtype, copy=False)


def wiener(audio, rate):
    """Applies the Wiener filter with the decision-directed a priori signal-to-noise ratio (Scalart and Filho 1996).

        S[t] = G[t] X[t],    G = max(xi / (1 + xi), 0.2)
        xi[t] = 0.98 |S[t-1]|^2 / N + 0.02 max(|X[t]|^2 / N - 1, 0)

    X is the short-time spectrum with windows of 32 ms. N, the noise power per frequency, is 1.5 times the mean of |X|^2
    over the quietest tenth of the frames, wherever they are. The noise is assumed to be stationary.

    Args:
        audio: floats `(T,)`.
        rate: int, samples per second.

    Returns:
        floats `(T,)`, same dtype as audio; a copy of audio if it is silent or shorter than a window.

    Raises:
        ValueError: if audio is not a float array `(T,)` without NaN.

    Example: `wiener(noisy, 16_000)`
    """
    audio = check_signal("audio", audio)
    hop = round(_SECONDS * rate / 4)
    window = np.sqrt(hann(4 * hop, sym=False))
    if not audio.any() or len(audio) < len(window):
        return audio.copy()
    transform = ShortTimeFFT(window, hop, rate)
    x = transform.stft(audio.astype("float64", copy=False))  # (frequencies, frames)
    power = np.square(np.abs(x))
    # Exclude frames that extend beyond the ends, which are quieter than the noise.
    inside = slice(
        transform.lower_border_end[1] - transform.p_min, transform.upper_border_begin(len(audio))[1] - transform.p_min
    )
    ratio = power / _noise(power[:, inside])
    kept = np.maximum(ratio[:, 0] - 1, 0)
    for t in range(x.shape[1]):
        xi = _SMOOTHING * kept + (1 - _SMOOTHING) * np.maximum(ratio[:, t] - 1, 0)
        gain = np.maximum(xi / (1 + xi), _LEAST_GAIN)
        kept = np.square(gain) * ratio[:, t]
        x[:, t] *= gain
    return transform.istft(x, k1=len(audio)).astype(audio.dtype)


def _noise(power):
    """Estimates noise power, positive, `(frequencies, 1)`, from power spectra `(frequencies, frames)`."""
    energy = power.sum(axis=0)
    # Digital silence is not noise: in a padded recording, estimate the noise from the rest.
    power, energy = power[:, energy > 0], energy[energy > 0]
    if not len(energy):
        return np.ones((len(power), 1))
    quietest = np.argsort(energy)[: max(1, round(_QUIETEST * len(energy)))]
    noise, limits = _BIAS * power[:, quietest].mean(axis=1, keepdims=True), np.finfo("float64")
    return np.maximum(noise, limits.eps * power.max() + limits.tiny)
