"""SEGAN: an autoencoder from noisy to clean speech, trained against a critic."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.losses.adversarial import LEAST_SQUARES, per_row
from keras_ae.models.deterministic.speech_denoiser import SpeechDenoiser
from keras_ae.training import Objective
from keras_ae.typing import Network, Terms


@keras.saving.register_keras_serializable("keras_ae")
class SEGAN(SpeechDenoiser):
    """A `SpeechDenoiser` trained against a critic that tells denoised from clean speech, given the noisy speech.

        discrimination = 1/2 (D(y, x) - 1)^2 + 1/2 D(G(x, z), x)^2
        adversarial = 1/2 (D(G(x, z), x) - 1)^2
        loss = adversarial + l1_weight l1 + spectral_weight spectral

    Args:
        generator: as in `SpeechDenoiser`.
        critic: Keras model from `[waveforms, noisy waveforms]` to scores.
        l1_weight, spectral_weight, preemphasis, removal, seed: as in `SpeechDenoiser`.

    Raises:
        ValueError: as in `SpeechDenoiser`.

    Example:

        generator = ka.networks.WaveformGenerator(filters=(16, 32, 64, 128))
        critic = ka.networks.waveform_critic(16_384, filters=(16, 32, 64, 128))
        model = ka.SEGAN(generator, critic)
        model.compile(keras.optimizers.RMSprop(2e-4))
        model.fit(noisy, clean, batch_size=16, epochs=80)
        model.denoise(noisy)    # (B, T)

    Source: Pascual 2017, equations 3 to 5. See also: `SpeechDenoiser`, without a critic.
    """

    terms: tuple[str, ...] = ("discrimination", "adversarial", "l1")

    def __init__(
        self,
        generator: Network,
        critic: Network,
        l1_weight: float = 100.0,
        spectral_weight: float = 0.0,
        preemphasis: float = 0.95,
        removal: float = 0.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(generator, l1_weight, spectral_weight, preemphasis, removal, seed=seed, **kwargs)
        self.critic = critic

    def objectives(self) -> dict[str, Objective]:
        return {"critic": Objective(self.discriminate, [self.critic])} | super().objectives()

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tuple[tf.Tensor, ...]:
        x, y = self.emphasised(x), self.emphasised(x if y is None else y)
        return x, y, self.generated(x, training)

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        """The critic's loss term, `{"discrimination": (B,)}`."""
        x, y, made = shared
        scores = (self.critic([each, x], training=training) for each in (y, tf.stop_gradient(made)))
        return {"discrimination": per_row(LEAST_SQUARES.critic(*scores))}

    def generate(  # type: ignore[override]  # this model has a shared pass
        self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]
    ) -> Terms:
        x, y, made = shared
        adversarial = LEAST_SQUARES.generator(self.critic([made, x], training=training))
        return self.distances(made, y) | {"adversarial": per_row(adversarial)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> SpeechDenoiser:
        if config.get("critic") is None:  # saved by version 0.1, where the critic was optional
            config = {name: value for name, value in config.items() if name != "critic"}
            return SpeechDenoiser.from_config(config, custom_objects)
        return super().from_config(config, custom_objects)
