"""SEGAN: an autoencoder from noisy to clean speech, against an adversary."""

import keras
import tensorflow as tf

from keras_ae.layers import stft
from keras_ae.losses import spectral
from keras_ae.losses.adversarial import LEAST_SQUARES
from keras_ae.training import Objective, ObjectiveModel
from keras_ae.utils import validation
from keras_ae.utils.batching import in_batches


@keras.saving.register_keras_serializable("keras_ae")
class SEGAN(ObjectiveModel):
    """A generator makes clean speech from noisy speech; a critic tells it from clean speech, given the noisy one.

        discrimination = 1/2 (D(y, x) - 1)^2 + 1/2 D(G(x, z), x)^2
        adversarial = 1/2 (D(G(x, z), x) - 1)^2
        l1 = mean_t |G(x, z)_t - y_t|
        spectral = spectral.distance(G(x, z), y, removal=removal)
        loss = adversarial + l1_weight l1 + spectral_weight spectral

    x is noisy and y clean speech, both with their high frequencies raised: x_t - preemphasis x_t-1. Terms are means
    over time, not sums, and not in nats.

    Args:
        generator: Keras model from waveforms `(B, T)` to waveforms `(B, T)`. One with a `noise_shape` receives
            `[x, z]` in training, z normal noise beside its code, as `networks.WaveformGenerator` does.
        critic: Keras model from `[waveforms, noisy waveforms]` to scores, or None: no adversary, no first two terms.
        l1_weight: float.
        spectral_weight: float; at 0 the term is left out.
        preemphasis: float, 0 to below 1.
        removal: float, how much more speech that is taken away counts in `spectral` than noise that is left.
        seed: int or None, of all randomness in training.

    In `fit(x, y)`, x is noisy and y the clean speech, float32 `(B, T)`, in [-1, 1]; without y, x itself.

    Raises:
        ValueError: if an argument is out of range, y is of another shape than x, or samples are integers, not finite
            or far outside [-1, 1].

    Example:

        generator = ka.networks.WaveformGenerator(filters=(16, 32, 64, 128))
        critic = ka.networks.waveform_critic(16_384, filters=(16, 32, 64, 128))
        model = ka.SEGAN(generator, critic)
        model.compile(keras.optimizers.RMSprop(2e-4))
        model.fit(noisy, clean, batch_size=16, epochs=80)
        model.denoise(noisy)    # (B, T)

    Source: Pascual 2017, equations 3 to 5. See also: `Autoencoder`, with a target y, a code and no adversary.
    """

    terms = ("l1",)

    def __init__(
        self,
        generator,
        critic=None,
        l1_weight=100.0,
        spectral_weight=0.0,
        preemphasis=0.95,
        removal=0.0,
        *,
        seed=None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        if not 0 <= preemphasis < 1:
            raise ValueError(f"preemphasis: expected 0 to below 1; received {preemphasis}.")
        self.generator, self.critic, self.preemphasis = generator, critic, preemphasis
        self.l1_weight = validation.non_negative("l1_weight", l1_weight)
        self.spectral_weight = validation.non_negative("spectral_weight", spectral_weight)
        self.removal = validation.non_negative("removal", removal)
        self.terms = (
            *(("discrimination", "adversarial") if critic is not None else ()),
            "l1",
            *(("spectral",) if spectral_weight else ()),
        )

    def objectives(self):
        players = {} if self.critic is None else {"critic": Objective(self.discriminate, [self.critic])}
        weights = {"l1": self.l1_weight, "spectral": self.spectral_weight}
        return players | {"generator": Objective(self.generate, [self.generator], weights)}

    def discriminate(self, x, y, training):
        x, y = self._emphasised(x), self._emphasised(x if y is None else y)
        fake = tf.stop_gradient(self._generated(x, training))
        scores = (self.critic([each, x], training=training) for each in (y, fake))
        return {"discrimination": _mean(LEAST_SQUARES.critic(*scores))}

    def generate(self, x, y, training):
        x, y = self._emphasised(x), self._emphasised(x if y is None else y)
        made = self._generated(x, training)
        terms = {"l1": tf.reduce_mean(tf.abs(made - y), axis=1)}
        if self.critic is not None:
            terms["adversarial"] = _mean(LEAST_SQUARES.generator(self.critic([made, x], training=training)))
        if self.spectral_weight:
            terms["spectral"] = spectral.distance(made, y, removal=self.removal)
        return terms

    @in_batches
    def denoise(self, x):
        """Clean speech of noisy waveforms `(B, T)` of any length, `(B, T)` float32; z is 0, its mean."""
        return self.call(x)

    def call(self, x):
        x = tf.cast(x, tf.float32)
        length = tf.shape(x)[1]
        # Strided layers need whole steps; what is padded is silence.
        padded = tf.pad(x, [[0, 0], [0, -length % getattr(self.generator, "multiple", 1)]])
        made = self._generated(self._emphasised(padded), False, noise=False)
        return tf.ensure_shape(stft.deemphasise(made, self.preemphasis)[:, :length], x.shape)

    def _generated(self, x, training, noise=True):
        if noise and hasattr(self.generator, "noise_shape"):
            z = tf.random.stateless_normal(self.generator.noise_shape(x), self.next_seed())
            return self.generator([x, z], training=training)
        return self.generator(x, training=training)

    def _emphasised(self, x):
        return stft.emphasise(tf.cast(x, tf.float32), self.preemphasis)

    @property
    def event_shape(self):
        """Shape of one waveform: of any length."""
        return (None,)

    def check_data(self, x, y):
        validation.check_waveforms("x", x)
        multiple = getattr(self.generator, "multiple", 1)
        if x.shape[1] % multiple:
            raise ValueError(
                f"x: the generator trains on windows of a multiple of {multiple} samples, received {x.shape[1]}."
            )
        if y is not None and tuple(y.shape) != tuple(x.shape):
            raise ValueError(f"y: expected clean speech of x's shape {tuple(x.shape)}, received {tuple(y.shape)}.")
        if y is not None:
            validation.check_waveforms("y", y)

    def check_inputs(self, x=None):
        validation.check_waveforms("x", x)


def _mean(scores):
    return tf.reduce_mean(scores, axis=tf.range(1, tf.rank(scores)))
