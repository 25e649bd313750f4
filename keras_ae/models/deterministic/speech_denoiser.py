"""An autoencoder that maps noisy to clean speech."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ae.layers import stft
from keras_ae.losses import spectral
from keras_ae.training import Objective, ObjectiveModel, roles
from keras_ae.typing import Network, Rows, Shape, Terms
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class SpeechDenoiser(ObjectiveModel):
    """A generator trained to predict clean speech from noisy speech.

        l1 = mean_t |G(x)_t - y_t|
        spectral = spectral.distance(G(x), y, removal=removal)
        loss = l1_weight l1 + spectral_weight spectral

    x is the noisy and y the clean speech, both pre-emphasised: x_t - preemphasis x_t-1. The terms are means over time,
    not sums, and not in nats.

    Args:
        generator: Keras model from waveforms `(B, T)` to waveforms `(B, T)`. In training, a generator with a
            `noise_shape` receives `[x, z]`, where z is normal noise concatenated to its code, as in
            `networks.WaveformGenerator`.
        l1_weight: float.
        spectral_weight: float; 0 drops the term.
        preemphasis: float in [0, 1).
        removal: float, extra penalty in `spectral` for removed speech, compared to residual noise.
        seed: int or None, seeds all randomness in training.

    In `fit(x, y)`, x is the noisy and y the clean speech, float32 `(B, T)` in [-1, 1]; without y, the target is x.

    Raises:
        ValueError: if an argument is out of range, y and x differ in shape, or samples are integers, not finite or far
            outside [-1, 1].

    Example:

        generator = ka.networks.SpectralGenerator(frame=512, hop=256, units=256)
        model = ka.SpeechDenoiser(generator, l1_weight=10.0, spectral_weight=10.0, preemphasis=0.0)
        model.compile("adam")
        model.fit(noisy, clean, batch_size=16, epochs=80)
        model.denoise(noisy)    # (B, T)

    Source: Pascual 2017, for l1; Braun & Tashev 2021, for spectral. See also: `SEGAN`, which adds a critic;
    `Autoencoder`, which has a code.
    """

    terms: tuple[str, ...] = ("l1",)
    y_role = roles.Target()
    input_dtype = "float32"

    def __init__(
        self,
        generator: Network,
        l1_weight: float = 100.0,
        spectral_weight: float = 0.0,
        preemphasis: float = 0.95,
        removal: float = 0.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        if not 0 <= preemphasis < 1:
            raise ValueError(f"preemphasis: expected 0 to below 1; received {preemphasis}.")
        self.generator, self.preemphasis = generator, preemphasis
        self.l1_weight = validation.non_negative("l1_weight", l1_weight)
        self.spectral_weight = validation.non_negative("spectral_weight", spectral_weight)
        self.removal = validation.non_negative("removal", removal)
        self.terms = (*self.terms, *(("spectral",) if spectral_weight else ()))

    def objectives(self) -> dict[str, Objective]:
        weights = {"l1": self.l1_weight, "spectral": self.spectral_weight}
        return {"generator": Objective(self.generate, [self.generator], weights)}

    def generate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> Terms:
        """The loss terms of one batch, `{name: (B,)}`."""
        x, y = self.emphasised(x), self.emphasised(x if y is None else y)
        return self.distances(self.generated(x, training), y)

    def distances(self, made: tf.Tensor, y: tf.Tensor) -> Terms:
        """Distances between generated and clean waveforms, both pre-emphasised: `{name: (B,)}`."""
        terms = {"l1": tf.reduce_mean(tf.abs(made - y), axis=1)}
        if self.spectral_weight:
            terms["spectral"] = spectral.distance(made, y, removal=self.removal)
        return terms

    @in_batches
    def denoise(self, x: Rows) -> np.ndarray:
        """Denoises waveforms `(B, T)` of any length, returns `(B, T)` float32; the noise z is set to its mean, 0."""
        return self.call(x)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = tf.cast(x, tf.float32)
        length = tf.shape(x)[1]
        # Strided layers need a multiple of their total stride; the padding is silence.
        padded = tf.pad(x, [[0, 0], [0, -length % self.multiple]])
        with self.averaged():
            made = self.generated(self.emphasised(padded), False, noise=False)
        return tf.ensure_shape(stft.deemphasise(made, self.preemphasis)[:, :length], x.shape)

    def generated(self, x: tf.Tensor, training: bool, noise: bool = True) -> tf.Tensor:
        """The generator's output for pre-emphasised waveforms, with noise for its code if it takes any."""
        if noise and hasattr(self.generator, "noise_shape"):
            z = tf.random.stateless_normal(self.generator.noise_shape(x), self.next_seed())
            return self.generator([x, z], training=training)
        return self.generator(x, training=training)

    def emphasised(self, x: tf.Tensor) -> tf.Tensor:
        """Pre-emphasised waveforms, float32."""
        return stft.emphasise(tf.cast(x, tf.float32), self.preemphasis)

    @property
    def multiple(self) -> int:
        """int; the length of a training window must be a multiple of it."""
        return getattr(self.generator, "multiple", 1)

    @property
    def event_shape(self) -> Shape:
        """Shape of one waveform, of any length."""
        return (None,)

    target_shape = event_shape

    def check_x(self, x: Rows, name: str = "x") -> None:
        validation.check_waveforms(name, x)

    def check_target(self, x: Rows, name: str = "x") -> None:
        """Raises a `ValueError` unless the generator can train on these waveforms."""
        validation.check_waveforms(name, x)
        if x.shape[1] % self.multiple:
            raise ValueError(
                f"{name}: expected training windows of a multiple of {self.multiple} samples, received {x.shape[1]}."
            )

    def in_range(self, x: tf.Tensor, slack: bool = False) -> tf.Tensor:
        return validation.in_range(x, -validation.MAX_PEAK, validation.MAX_PEAK)

    def check_inputs(self, x: Rows) -> None:
        validation.check_waveforms("x", x)

    def valid(self, x: tf.Tensor) -> tf.Tensor:
        """Row mask of valid inputs of a served model: bool `(B,)`."""
        return roles.finite(x)

    valid_target = valid
