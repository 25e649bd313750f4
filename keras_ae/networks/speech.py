"""Generators and critics for waveforms: Keras models from `(B, T)` float32 to `(B, T)`, or to scores.

T must be a multiple of a generator's attribute `multiple`. `SpectralGenerator` is also causal: it can process a live
stream frame by frame, carrying a state.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_ae.layers import stft
from keras_ae.layers.recurrent import QuasiRecurrent, linear_recurrence
from keras_ae.typing import Size
from keras_ae.utils import validation

# Absolute power per frequency bin below which a spectrum counts as silence.
_SILENCE = 1e-12

# The eleven layers of the paper, each with stride 2: 16,384 samples are mapped to a code of 8 x 1,024.
SEGAN_FILTERS = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)


@keras.saving.register_keras_serializable("keras_ae")
class WaveformGenerator(keras.Model):
    """SEGAN generator: strided convolutions to a code, concatenated noise, transposed convolutions, skip connections.

        c = (conv_K ... conv_1)(x),    y = tanh(deconv_1 ... deconv_K)([c, z]),    deconv_k also sees conv_k's output

    Args:
        filters: ints, channels of each stride-2 stage; the last is the number of channels of the code. A single int is
            one stage.
        kernel_size: int, in samples at the rate of each stage.

    Call it on x `(B, T)`, or on `[x, z]` with noise z `(B, T / multiple, filters[-1])`; z defaults to 0. Returns
    `(B, T)` in (-1, 1).

    Raises:
        ValueError: if an argument is not positive, or T is known and not a multiple of `multiple`.

    Example:

        generator = ka.networks.WaveformGenerator(filters=(16, 32, 64, 128))
        generator(tf.zeros([2, 16_384]))    # (2, 16384)

    Source: Pascual 2017, section 4.2. See also: `SpectralGenerator`, which is causal and works on spectra.
    """

    def __init__(self, filters: Size = SEGAN_FILTERS, kernel_size: int = 31, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = _checked_filters(filters)
        self.kernel_size = validation.positive_int("kernel_size", kernel_size)
        options = {"kernel_size": self.kernel_size, "strides": 2, "padding": "same", "data_format": "channels_last"}
        self.down = [layers.Conv1D(channels, **options) for channels in self.filters]
        self.up = [layers.Conv1DTranspose(channels, **options) for channels in (*self.filters[-2::-1], 1)]
        self.bends = [layers.PReLU(shared_axes=[1]) for _ in (*self.filters, *self.filters[1:])]
        self.multiple = 2 ** len(self.filters)
        self.build((None, None))

    def noise_shape(self, x: tf.Tensor) -> list[Any]:
        """Shape of the noise z for x `(B, T)`."""
        return [tf.shape(x)[0], tf.shape(x)[1] // self.multiple, self.filters[-1]]

    def call(self, inputs: tf.Tensor | Sequence[tf.Tensor]) -> tf.Tensor:
        x, z = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        _check_whole(x, self.multiple)
        h, skips, bends = x[..., None], [], iter(self.bends)
        for conv in self.down:
            linear = conv(h)
            skips.append(linear)
            h = next(bends)(linear)
        z = tf.zeros_like(h) if z is None else tf.cast(z, h.dtype)
        h = tf.concat([h, z], axis=-1)
        skips = [*skips[-2::-1], None]
        for deconv, skip in zip(self.up, skips, strict=True):
            h = deconv(h)
            if skip is not None:
                h = tf.concat([next(bends)(h), skip], axis=-1)
        return tf.tanh(h[..., 0])

    def build(self, input_shape: Any = None) -> None:
        self.call(tf.zeros([1, self.multiple]))
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the waveforms, that of the input x `(B, T)`."""
        return input_shape[0] if isinstance(input_shape, list) else input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"filters": self.filters, "kernel_size": self.kernel_size}


def waveform_critic(
    window: int, filters: Size = SEGAN_FILTERS, kernel_size: int = 31, name: str = "critic"
) -> keras.Model:
    """Critic that scores a waveform given the noisy one: the generator's downsampling stages and a dense layer.

        h = [w, x],    h = leaky_relu(normalised(conv_k(h))), k = 1 ... K,    D(w, x) = dense(conv(h))

    Layers are normalised over time within each row. The virtual batch normalisation of the paper needs a reference
    batch, and plain batch normalisation mixes real and generated rows.

    Args:
        window: int, samples T of a waveform.
        filters: ints, channels of each stride-2 stage.
        kernel_size: int, in samples at the rate of each stage.
        name: str.

    Returns:
        Keras model from `[w, x]`, each `(B, T)`, to scores `(B, 1)`.

    Raises:
        ValueError: if an argument is not positive, or fewer than two samples remain after all stages (normalisation
            would map a single sample to 0).

    Example: `critic = ka.networks.waveform_critic(16_384, filters=(16, 32, 64, 128))`

    Source: Pascual 2017, section 4.2. See also: `WaveformGenerator`.
    """
    window, filters = validation.positive_int("window", window), _checked_filters(filters)
    kernel_size = validation.positive_int("kernel_size", kernel_size)
    if window < 2 ** (len(filters) + 1):
        raise ValueError(
            f"window: expected {2 ** (len(filters) + 1)} samples or more for {len(filters)} stages; received {window}."
        )
    inputs = [keras.Input((window,), name=each) for each in ("waveform", "noisy")]
    x = layers.Concatenate()([layers.Reshape((window, 1))(each) for each in inputs])
    for channels in filters:
        x = layers.Conv1D(channels, kernel_size, 2, padding="same", data_format="channels_last")(x)
        x = layers.LeakyReLU(0.3)(layers.GroupNormalization(groups=-1)(x))
    x = layers.Conv1D(1, 1, data_format="channels_last")(x)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten(data_format="channels_last")(x)), name=name)


@keras.saving.register_keras_serializable("keras_ae")
class SpectralGenerator(keras.Model):
    """Recurrent layers that filter the spectrum: causal, with a short delay.

        X = stft(x), centred,    s_t^2 = sum_i a^i mean_f |X_t-i,f|^2 / sum_i a^i,    a = 1 - 1 / memory
        h = elu(V features(X / s)),    h += U_l recurrent_l(h), l = 1 ... depth
        Y_t-ahead,f = sum_k W_t,k,f X_t-k,f, k = 0 ... taps - 1,    y = inverse_stft(Y)

    W are complex filters over `taps` frames at every frequency, linear in h. They are initialised close to 1 for the
    output frame, k = ahead, and close to 0 for the others, so that x passes unchanged except for its offset. s is the
    running level, so the filters do not depend on the loudness of a recording. At inference, a fraction of x is kept,

        Y'_t-ahead = (1 - floor) Y_t-ahead + floor X_t-ahead

    so anything classified as noise is attenuated by at most -20 log10 floor dB. If it was speech after all, such as a
    voice unlike those in the training data, it remains audible.

    Args:
        frame: int, samples per frame, even.
        hop: int, samples between frames; frame is a multiple of it.
        units: int, units of each recurrent layer.
        depth: int, number of recurrent layers, each with layer normalisation before it and a residual connection.
        taps: int, number of most recent frames that a filter spans.
        ahead: int, number of these that follow the output frame, below taps. A sample waits for at most
            `frame + ahead hop` samples, which is the algorithmic delay.
        exponent: float, exponent of the magnitude compression in the features.
        memory: int, time constant of the level, in frames.
        floor: float, 0 to below 1, the fraction of x that is kept.

    Call it on x `(B, T)`; it returns `(B, T)`.

    Raises:
        ValueError: if an argument is out of range, or T is known and not a multiple of `hop`.

    Example:

        generator = ka.networks.SpectralGenerator(frame=512, hop=256, units=256, ahead=1)
        whole = generator(x)                              # (B, T), T a multiple of 256
        state = tf.zeros([1, generator.state_size])
        frame, state = generator.process(x[:1, :256], state)    # `generator.delay` samples late

    Source: Braun & Tashev 2021 for recurrent layers on compressed spectra, Bradbury 2017 for quasi-recurrent ones,
    Mack & Habets 2020 for filters over frames, Berouti 1979 for the floor. See also: `WaveformGenerator`, which is not
    causal.
    """

    def __init__(
        self,
        frame: int = 512,
        hop: int = 256,
        units: int = 256,
        depth: int = 2,
        taps: int = 3,
        ahead: int = 0,
        exponent: float = 0.3,
        memory: int = 250,
        floor: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        sizes = {"frame": frame, "hop": hop, "units": units, "depth": depth, "taps": taps, "memory": memory}
        frame, hop, units, depth, taps, memory = (validation.positive_int(*each) for each in sizes.items())
        if frame % hop or frame % 2 or frame == hop:
            raise ValueError(
                f"frame and hop: expected an even frame of at least two whole hops; received {frame} and {hop}."
            )
        if not 0 <= ahead < taps:
            raise ValueError(f"ahead: expected 0 to taps - 1 = {taps - 1}; received {ahead}.")
        if not 0 <= floor < 1:
            raise ValueError(f"floor: expected 0 to below 1; received {floor}.")
        self.frame, self.hop, self.units, self.depth = frame, hop, units, depth
        self.taps, self.ahead, self.exponent = taps, ahead, exponent
        self.memory, self.floor = memory, floor
        self.bins, self.multiple = frame // 2 + 1, hop
        self.enter = layers.Dense(units, activation="elu")
        self.norms = [layers.LayerNormalization() for _ in range(depth)]
        self.recurrent = [QuasiRecurrent(units) for _ in range(depth)]
        self.merges = [layers.Dense(units) for _ in range(depth)]
        self.leave = layers.Dense(2 * taps * self.bins, kernel_initializer=keras.initializers.RandomNormal(0.0, 1e-3))
        self.build((None, None))

    # A state consists of the end of the input, the past spectra that the filters still need, the two sums of the level,
    # the states of the recurrent layers, and the partial output that the next frames complete by overlap-add.

    @property
    def state_parts(self) -> dict[str, int]:
        """`{name: number of floats}` of the parts of a state, in order."""
        parts = {"input": self.frame - self.hop, "spectra": 2 * (self.taps - 1) * self.bins, "level": 2}
        return parts | {"recurrent": self.depth * self.units, "overlap": self.frame - self.hop}

    @property
    def state_size(self) -> int:
        """int, number of floats in the state of one row, the sum of `state_parts`."""
        return sum(self.state_parts.values())

    @property
    def delay(self) -> int:
        """int, delay of the output of `process` in samples; `call` removes it."""
        return self.frame - self.hop + self.ahead * self.hop

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Filters waveforms `(B, T)`, T a multiple of hop, and removes the delay."""
        _check_whole(x, self.hop)
        rows, lag = tf.shape(x)[0], self.delay
        padded = tf.pad(x, [[0, 0], [0, lag]])
        y, _ = self.process(padded, tf.zeros([rows, self.state_size]), training)
        return y[:, lag:]

    def process(self, x: tf.Tensor, state: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Processes any number of hops from a given state; the initial state is zeros.

        Args:
            x: float32 `(B, n hop)`.
            state: float32 `(B, state_size)`.
            training: bool; True disables the floor.

        Returns:
            y `(B, n hop)`, delayed by `delay` samples, and the new state.
        """
        _check_whole(x, self.hop)
        n = tf.shape(x)[1] // self.hop
        before, spectra, level, recurrent, overlap = tf.split(state, list(self.state_parts.values()), axis=1)
        x = tf.concat([before, x], axis=1)
        X = stft.stft(x, self.frame, self.hop, centred=True)  # (B, n, bins)
        shape = [-1, self.taps - 1, self.bins]
        past = tf.complex(*(tf.reshape(part, shape) for part in tf.split(spectra, 2, axis=1)))
        X = tf.concat([past, X], axis=1)  # (B, taps - 1 + n, bins)
        features, level = self._features(X[:, self.taps - 1 :], level)
        W, recurrent = self._filters(features, recurrent)
        seen = [X[:, self.taps - 1 - k :][:, :n] for k in range(self.taps)]
        Y = tf.add_n([W[..., k, :] * seen[k] for k in range(self.taps)])
        if self.floor and not training:
            Y = (1.0 - self.floor) * Y + self.floor * seen[self.ahead]
        y = stft.inverse_stft(Y, self.frame, self.hop)  # (B, (n - 1) hop + frame)
        y += tf.pad(overlap, [[0, 0], [0, n * self.hop]])
        spectra = X[:, n:]  # the last taps - 1
        spectra = [
            tf.reshape(part, [-1, (self.taps - 1) * self.bins])
            for part in (tf.math.real(spectra), tf.math.imag(spectra))
        ]
        kept = x[:, n * self.hop :]
        state = tf.concat([kept, *spectra, level, recurrent, y[:, n * self.hop :]], axis=1)
        return y[:, : n * self.hop], state

    def _features(self, X, level):
        """Features `(B, n, 3 bins)` of spectra `(B, n, bins)`, and the new sums of the level `(B, 2)`."""
        power = tf.reduce_mean(tf.math.real(X) ** 2 + tf.math.imag(X) ** 2, axis=-1, keepdims=True)
        new = tf.concat([power, tf.ones_like(power)], axis=-1)
        sums = linear_recurrence((1.0 - 1.0 / self.memory) * tf.ones_like(new), new, level)
        scale = tf.math.rsqrt(sums[..., :1] / sums[..., 1:] + _SILENCE)
        compressed = stft.compressed(X * tf.complex(scale, tf.zeros_like(scale)), self.exponent)
        features = [tf.abs(compressed), tf.math.real(compressed), tf.math.imag(compressed)]
        return tf.concat(features, axis=-1), sums[:, -1]

    def _filters(self, features, states):
        """Complex W `(B, n, taps, bins)` for features `(B, n, .)`, and the new states of the recurrent layers."""
        h = self.enter(features)
        new = []
        states = tf.split(states, self.depth, axis=1)
        for norm, recurrent, merge, state in zip(self.norms, self.recurrent, self.merges, states, strict=True):
            out, last = recurrent(norm(h), state)
            h, new = h + merge(out), [*new, last]
        raw = tf.reshape(self.leave(h), [*_sizes(h)[:2], 2, self.taps, self.bins])
        itself = np.zeros((self.taps, 1), "float32")
        itself[self.ahead] = 1.0
        return tf.complex(raw[:, :, 0] + itself, raw[:, :, 1]), tf.concat(new, axis=1)

    def build(self, input_shape: Any = None) -> None:
        self.call(tf.zeros([1, self.frame]))
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the waveforms, that of the input `(B, T)`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("frame", "hop", "units", "depth", "taps", "ahead", "exponent", "memory", "floor")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _checked_filters(filters: Any) -> tuple[int, ...]:
    filters = (filters,) if np.ndim(filters) == 0 else filters
    if not len(filters):
        raise ValueError("filters: expected one stage or more, received none.")
    return tuple(validation.positive_int("filters", channels) for channels in filters)


def _check_whole(x, step):
    size = x.shape[1]
    if size is not None and size % step:
        raise ValueError(f"x: expected a multiple of {step} samples, received {size}.")


def _sizes(tensor):
    return [tf.shape(tensor)[i] if size is None else size for i, size in enumerate(tensor.shape)]
