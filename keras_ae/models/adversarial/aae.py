"""The adversarial autoencoder: a critic pulls the codes towards any prior that can be sampled."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.models.base import critics
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.training import Objective, roles
from keras_ae.typing import Network, Terms


@keras.saving.register_keras_serializable("keras_ae")
class AAE(critics.CriticModel):
    """An autoencoder whose encoder fools a critic that tells its codes from samples of the prior.

        z ~ q(z|x),    p ~ p(z)
        critic:      discrimination = -log S(D(p)) - log(1 - S(D(z))),    S = sigmoid
        generator:   adversarial = -log S(D(z)),    trains the encoder
        autoencoder: reconstruction = -log p(x|z),    trains the encoder and the decoder

    Each of the three players has its own optimizer. `compile("adam")` gives the critic half the others' learning
    rate: a critic that is always right has nothing to teach. If it cannot tell the two apart, `discrimination` is 2 log
    2 = 1.39 and `adversarial` log 2 = 0.69.

    With `label_critic`, the critic is also given a one-hot label, with one more class for rows without a label, and the
    prior's sample is of that class. Each class then has its own part of the prior, and equal places in these parts mean
    equal styles. In `fit(x, y)`, y are integer labels `(B,)`, -1 where unknown; no other method takes y.

    Args:
        encoder: Keras model from x to codes, or to the params of another posterior.
        decoder: Keras model from codes to the likelihood's params.
        critic: Keras model from codes to scores `(B, 1)`, such as `networks.code_critic`; with `label_critic` from
            `[codes, one-hot label]`, where the label has K + 1 entries for K classes.
        likelihood: as in `VAE`.
        prior: as in `VAE`, but it need not have a density, and nothing trains it. With `label_critic`, "ring",
            "swiss_roll", or a layer with the method `draw_labelled` of these.
        posterior: None (deterministic), or a name or layer as in `VAE`; "universal" makes noise an input of the
            encoder.
        label_critic: bool, whether the critic sees labels.
        adversary: str, a name in `losses.adversarial.NAMES`.
        smoothing: float, one-sided label smoothing of the critic's targets, see `losses.adversarial`.
        instance_noise: float, standard deviation of noise on both sides of the critic; assign `aae.instance_noise` to
            change it at any time, or let `callbacks.Annealing` lower it. 0 adds none, and cannot be changed.
        critic_steps: int, updates of the critic per step.
        classes: list of str, label names, so that y may hold names.
        seed: int or None, seeds all randomness in training.

    Raises:
        ValueError: if the network shapes do not match, an argument is unknown or out of range, the prior cannot be
            sampled or has weights, or labels are out of range.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=2, hidden=(1000, 1000))
        decoder = ka.networks.mlp_decoder(latent_dim=2, output_shape=(28, 28, 1), hidden=(1000, 1000))
        critic = ka.networks.code_critic(2, condition_shape=(11,))
        aae = ka.AAE(encoder, decoder, critic, prior="ring", label_critic=True)
        aae.compile("adam")
        aae.fit(x_train, y_train, epochs=1)
        images = aae.sample(16, seed=0)    # (16, 28, 28, 1)

    Source: Makhzani 2015, sections 2 and 2.3. See also: `WAE`, one player for encoder and decoder, or a distance
    instead of the critic; `SemiSupervisedAAE`, with a code for the label; `ConditionalAAE`.
    """

    terms: tuple[str, ...] = ("discrimination", "adversarial", "reconstruction")
    default_prior = "normal"
    relative_rates: Mapping[str, float] = {"critic": 0.5}

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        posterior: posteriors.PosteriorLike | None = None,
        label_critic: bool = False,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if label_critic:
            num_classes = critics.classes_seen(critic)
            kwargs["y_role"] = roles.OptionalLabel(num_classes, classes, required=True)
        super().__init__(encoder, decoder, likelihood, posterior, prior, seed=seed, **kwargs)
        self.critic, self.label_critic = critic, bool(label_critic)
        critics.check_critic("critic", critic, self.code_shape, (self.num_classes + 1,) if label_critic else None)
        if label_critic:
            priors.check_classes(critics.prior_of(self), self.num_classes)

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, self.critic]

    def objectives(self) -> dict[str, Objective]:
        return {
            "critic": Objective(self.discriminate, [self.critic], steps=self.critic_steps),
            "generator": Objective(self.generate, [self.encoder, self._posterior]),
            "autoencoder": Objective(self.loss_terms, super().networks),
        }

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tf.Tensor:
        q = self.posterior(x, y if self.conditional else None, training=training)
        return self.draw(q, 1, self.next_seed())[0]

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, z: tf.Tensor) -> Terms:
        """The critic's loss term, `{"discrimination": (B,)}`."""
        labels = roles.labels_or_unknown(x, y) if self.label_critic else None
        p = critics.draw_prior(self, tf.shape(z)[0], labels)
        loss = self.discrimination(self.critic, p, z, self._seen(x, y), training=training)
        return {"discrimination": loss}

    def generate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, z: tf.Tensor) -> Terms:
        """The encoder's loss term against the critic, `{"adversarial": (B,)}`."""
        return {"adversarial": self.deception(self.critic, z, self._seen(x, y), training=training)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, z: tf.Tensor) -> Terms:
        """The autoencoder's loss term, `{"reconstruction": (B,)}`."""
        p = self.likelihood(z, y if self.conditional else None, training=training)
        return {"reconstruction": -p.log_prob(target(x, None if self.num_classes else y))}

    def _seen(self, x, y):
        """What the critic is given with the codes: nothing, or the one-hot labels."""
        if not self.label_critic:
            return ()
        labels = roles.labels_or_unknown(x, y)
        return (roles.one_hot(tf.where(labels < 0, tf.cast(self.num_classes, tf.int64), labels), self.num_classes + 1),)
