"""Short-time Fourier transforms of waveforms, using only TensorFlow ops that stock model servers support."""

import numpy as np
import tensorflow as tf

# Spectra below this power count as silence; the floor keeps gradients of roots finite. A full-scale sine has a power of
# (frame / pi)^2: 124 dB more for 512 samples.
FLOOR = 1e-8


def window(frame: int) -> np.ndarray:
    """The sine window, `(frame,)` float32: the square root of the periodic Hann window, shifted by half a sample.

        w[n] = sin(pi (n + 1/2) / frame)

    Apply it before and after a transform: its squares sum to 1 if frames overlap by half.

    Example: `w = window(512)    # w[:256]**2 + w[256:]**2 is 1`

    See also: `stft` and `inverse_stft`, which apply it.
    """
    return np.sin(np.pi * (np.arange(frame) + 0.5) / frame).astype("float32")


def stft(x: tf.Tensor, frame: int, hop: int, centred: bool = False) -> tf.Tensor:
    """Spectra of the windowed frames of x, `(B, N, frame / 2 + 1)` complex64.

        X[t, f] = sum_n w[n] (x[t hop + n] - m[t]) exp(-2 pi i f n / frame),    N = 1 + floor((T - frame) / hop)
        m[t] = sum_n w[n]^2 x[t hop + n] / sum_n w[n]^2    if centred, else 0

    Args:
        x: float32 `(B, T)`.
        frame: int, samples per frame, even.
        hop: int, samples from one frame to the next.
        centred: bool, whether to remove a constant offset of x; hardly changes frequencies above two periods per frame.

    Example: `X = stft(x, frame=512, hop=256)    # (B, N, 257)`

    Source: Allen 1977. See also: `inverse_stft`; `tf.signal.stft`, with other windows.
    """
    w = window(frame)
    frames = tf.signal.frame(x, frame, hop)
    if centred:
        frames -= tf.linalg.matvec(frames, w**2 / np.sum(w**2))[..., None]
    return tf.signal.rfft(frames * w)


def inverse_stft(spectra: tf.Tensor, frame: int, hop: int) -> tf.Tensor:
    """Overlap-add of spectra `(B, N, frame / 2 + 1)` to waveforms `(B, (N - 1) hop + frame)` float32.

        y[n] = 2 hop / frame sum_t w[n - t hop] irfft(Y[t])[n - t hop]

    The inverse of `stft` at samples that are covered by all of their `frame / hop` frames.

    Example: `y = inverse_stft(X, frame=512, hop=256)`

    Source: Allen 1977. See also: `stft`.
    """
    frames = tf.signal.irfft(spectra, [frame]) * window(frame) * (2 * hop / frame)
    return tf.signal.overlap_and_add(frames, hop)


def compressed(spectra: tf.Tensor, exponent: float = 0.3) -> tf.Tensor:
    """Spectra with their magnitudes raised to a power, closer to perceived loudness: complex, same shape.

        C = |X|^exponent X / |X|

    Example: `C = compressed(stft(x, 512, 256))`

    Source: Braun & Tashev 2021. See also: `losses.spectral.distance`, which compares such spectra.
    """
    power = tf.math.real(spectra) ** 2 + tf.math.imag(spectra) ** 2 + FLOOR
    gain = power ** ((exponent - 1) / 2)
    return spectra * tf.complex(gain, tf.zeros_like(gain))  # the gradient of a cast would log a warning at every start


def emphasise(x: tf.Tensor, factor: float) -> tf.Tensor:
    """Pre-emphasis of waveforms, which boosts high frequencies: `(B, T)`.

        y[n] = x[n] - factor x[n - 1],    x[-1] = 0

    Args:
        x: float32 `(B, T)`.
        factor: float, 0 to below 1; 0 leaves x unchanged.

    Example: `y = emphasise(x, 0.95)    # (B, T)`

    Source: Pascual 2017, for 0.95. See also: `deemphasise`, the inverse.
    """
    return x - factor * tf.pad(x[:, :-1], [[0, 0], [1, 0]])


def deemphasise(y: tf.Tensor, factor: float) -> tf.Tensor:
    """The inverse of `emphasise`, truncated at float32 precision: `(B, T)`.

        x[n] = sum_k factor^k y[n - k]

    Args:
        y: float32 `(B, T)`.
        factor: float, as in `emphasise`.

    Example: `deemphasise(emphasise(x, 0.95), 0.95)    # x, (B, T)`

    See also: `emphasise`.
    """
    if not factor:
        return y
    taps = int(np.ceil(np.log(1e-8) / np.log(factor)))
    kernel = (factor ** np.arange(taps)[::-1]).astype("float32")
    padded = tf.pad(y, [[0, 0], [taps - 1, 0]])
    return tf.nn.conv1d(padded[..., None], kernel[:, None, None], 1, "VALID")[..., 0]
