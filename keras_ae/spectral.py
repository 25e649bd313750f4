"""Short-time Fourier transforms of waveforms, and losses on them: TensorFlow operations that stock servers have."""

import numpy as np
import tensorflow as tf

# Below this power a spectrum counts as silence, and gradients of roots stay finite. A sine of full scale has
# (frame / pi)^2: 124 dB more for 512 samples.
FLOOR = 1e-8


def window(frame):
    """The sine window, `(frame,)` float32: the root of a Hann window, its samples half a step beside the periodic's.

        w[n] = sin(pi (n + 1/2) / frame)

    Applied before and after a transform with frames that overlap by half, its squares sum to 1.
    """
    return np.sin(np.pi * (np.arange(frame) + 0.5) / frame).astype("float32")


def stft(x, frame, hop, centred=False):
    """Spectra of the windowed frames of x, `(B, N, frame / 2 + 1)` complex64.

        X[t, f] = sum_n w[n] (x[t hop + n] - m[t]) exp(-2 pi i f n / frame),    N = 1 + floor((T - frame) / hop)
        m[t] = sum_n w[n]^2 x[t hop + n] / sum_n w[n]^2    if centred, else 0

    Args:
        x: float32 `(B, T)`.
        frame: int, samples of a frame, even.
        hop: int, samples from one frame to the next.
        centred: bool; an offset of x leaves no trace then, and what is over two periods a frame hardly changes.

    Example: `X = spectral.stft(x, frame=512, hop=256)    # (B, N, 257)`
    """
    w = window(frame)
    frames = tf.signal.frame(x, frame, hop)
    if centred:
        frames -= tf.linalg.matvec(frames, w**2 / np.sum(w**2))[..., None]
    return tf.signal.rfft(frames * w)


def inverse_stft(spectra, frame, hop):
    """Waveforms of spectra `(B, N, frame / 2 + 1)`, `(B, (N - 1) hop + frame)` float32: overlapped and added.

        y[n] = 2 hop / frame sum_t w[n - t hop] irfft(Y[t])[n - t hop]

    The inverse of `stft` where all of the `frame / hop` frames that reach a sample are there.

    Example: `y = spectral.inverse_stft(X, frame=512, hop=256)`
    """
    frames = tf.signal.irfft(spectra, [frame]) * window(frame) * (2 * hop / frame)
    return tf.signal.overlap_and_add(frames, hop)


def compressed(spectra, exponent=0.3):
    """Spectra with their magnitudes raised to a power, which hears loudness more as ears do: complex, same shape.

        C = |X|^exponent X / |X|

    Example: `C = spectral.compressed(spectral.stft(x, 512, 256))`
    """
    power = tf.math.real(spectra) ** 2 + tf.math.imag(spectra) ** 2 + FLOOR
    gain = power ** ((exponent - 1) / 2)
    return spectra * tf.complex(gain, tf.zeros_like(gain))  # the gradient of a cast would warn at every start


def distance(x, y, frames=(256, 512, 1024), exponent=0.3, phase=0.3, removal=0.0):
    """How far waveforms are apart in their compressed spectra, at several resolutions: `(B,)`, not in nats.

        d = mean_r mean_tf (1 - phase) s + phase |C_x - C_y|^2,    C as in `compressed`
        s = (|C_x| - |C_y|)^2 + removal max(|C_y| - |C_x|, 0)^2

    Args:
        x, y: float32 `(B, T)`, T at least the longest frame.
        frames: ints, samples of a frame of each resolution; they overlap by three quarters.
        exponent: float, of the compression.
        phase: float, share of the term that hears phases; the other hears magnitudes alone.
        removal: float, how much more it counts where x has less than y: speech taken away, as against noise left.

    Raises:
        ValueError: if T is known and shorter than the longest frame.

    Example: `spectral.distance(denoised, clean, removal=1.0)    # (B,)`

    Source: Braun & Tashev 2021 for the compressed terms; Yamamoto 2020 for several resolutions; Wang 2020
    (VoiceFilter-Lite) for what is removed.
    """
    if x.shape[-1] is not None and x.shape[-1] < max(frames):
        raise ValueError(f"x: expected {max(frames)} samples or more, the longest frame; received {x.shape[-1]}.")
    total = 0.0
    for frame in frames:
        c_x, c_y = (compressed(stft(each, frame, frame // 4), exponent) for each in (x, y))
        # The root of a sum with a floor: the magnitude of silence has a gradient.
        m_x, m_y = (tf.sqrt(tf.math.real(c) ** 2 + tf.math.imag(c) ** 2 + FLOOR) for c in (c_x, c_y))
        apart = tf.math.real(c_x - c_y) ** 2 + tf.math.imag(c_x - c_y) ** 2
        sizes = (m_x - m_y) ** 2
        if removal:
            sizes += removal * tf.nn.relu(m_y - m_x) ** 2
        total += tf.reduce_mean((1 - phase) * sizes + phase * apart, axis=(1, 2))
    return total / len(frames)


def emphasise(x, factor):
    """Waveforms with their high frequencies raised, `y[n] = x[n] - factor x[n - 1]`: `(B, T)`."""
    return x - factor * tf.pad(x[:, :-1], [[0, 0], [1, 0]])


def deemphasise(y, factor):
    """The inverse of `emphasise`, `x[n] = sum_k factor^k y[n - k]`, cut where float32 no longer sees it: `(B, T)`."""
    if not factor:
        return y
    taps = int(np.ceil(np.log(1e-8) / np.log(factor)))
    kernel = (factor ** np.arange(taps)[::-1]).astype("float32")
    padded = tf.pad(y, [[0, 0], [taps - 1, 0]])
    return tf.nn.conv1d(padded[..., None], kernel[:, None, None], 1, "VALID")[..., 0]
