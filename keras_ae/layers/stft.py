"""Short-time Fourier transforms of waveforms: TensorFlow operations that stock servers have."""

import numpy as np
import tensorflow as tf

# Below this power a spectrum counts as silence, and gradients of roots stay finite. A sine of full scale has
# (frame / pi)^2: 124 dB more for 512 samples.
FLOOR = 1e-8


def window(frame: int) -> np.ndarray:
    """The sine window, `(frame,)` float32: the root of a Hann window, its samples half a step beside the periodic's.

        w[n] = sin(pi (n + 1/2) / frame)

    Applied before and after a transform with frames that overlap by half, its squares sum to 1.
    """
    return np.sin(np.pi * (np.arange(frame) + 0.5) / frame).astype("float32")


def stft(x: tf.Tensor, frame: int, hop: int, centred: bool = False) -> tf.Tensor:
    """Spectra of the windowed frames of x, `(B, N, frame / 2 + 1)` complex64.

        X[t, f] = sum_n w[n] (x[t hop + n] - m[t]) exp(-2 pi i f n / frame),    N = 1 + floor((T - frame) / hop)
        m[t] = sum_n w[n]^2 x[t hop + n] / sum_n w[n]^2    if centred, else 0

    Args:
        x: float32 `(B, T)`.
        frame: int, samples of a frame, even.
        hop: int, samples from one frame to the next.
        centred: bool; an offset of x leaves no trace then, and what is over two periods a frame hardly changes.

    Example: `X = stft(x, frame=512, hop=256)    # (B, N, 257)`
    """
    w = window(frame)
    frames = tf.signal.frame(x, frame, hop)
    if centred:
        frames -= tf.linalg.matvec(frames, w**2 / np.sum(w**2))[..., None]
    return tf.signal.rfft(frames * w)


def inverse_stft(spectra: tf.Tensor, frame: int, hop: int) -> tf.Tensor:
    """Waveforms of spectra `(B, N, frame / 2 + 1)`, `(B, (N - 1) hop + frame)` float32: overlapped and added.

        y[n] = 2 hop / frame sum_t w[n - t hop] irfft(Y[t])[n - t hop]

    The inverse of `stft` where all of the `frame / hop` frames that reach a sample are there.

    Example: `y = inverse_stft(X, frame=512, hop=256)`
    """
    frames = tf.signal.irfft(spectra, [frame]) * window(frame) * (2 * hop / frame)
    return tf.signal.overlap_and_add(frames, hop)


def compressed(spectra: tf.Tensor, exponent: float = 0.3) -> tf.Tensor:
    """Spectra with their magnitudes raised to a power, which hears loudness more as ears do: complex, same shape.

        C = |X|^exponent X / |X|

    Example: `C = compressed(stft(x, 512, 256))`
    """
    power = tf.math.real(spectra) ** 2 + tf.math.imag(spectra) ** 2 + FLOOR
    gain = power ** ((exponent - 1) / 2)
    return spectra * tf.complex(gain, tf.zeros_like(gain))  # the gradient of a cast would warn at every start


def emphasise(x: tf.Tensor, factor: float) -> tf.Tensor:
    """Waveforms with their high frequencies raised, `y[n] = x[n] - factor x[n - 1]`: `(B, T)`."""
    return x - factor * tf.pad(x[:, :-1], [[0, 0], [1, 0]])


def deemphasise(y: tf.Tensor, factor: float) -> tf.Tensor:
    """The inverse of `emphasise`, `x[n] = sum_k factor^k y[n - k]`, cut where float32 no longer sees it: `(B, T)`."""
    if not factor:
        return y
    taps = int(np.ceil(np.log(1e-8) / np.log(factor)))
    kernel = (factor ** np.arange(taps)[::-1]).astype("float32")
    padded = tf.pad(y, [[0, 0], [taps - 1, 0]])
    return tf.nn.conv1d(padded[..., None], kernel[:, None, None], 1, "VALID")[..., 0]
