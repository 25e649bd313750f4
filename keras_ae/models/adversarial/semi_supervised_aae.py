"""The semi-supervised adversarial autoencoder: a code for the label and one for the style, and a critic of each."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors, sampling
from keras_ae.models.base import critics
from keras_ae.training import Objective, roles
from keras_ae.typing import Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class SemiSupervisedAAE(critics.CriticModel):
    """An adversarial autoencoder whose code is a style s and label probabilities y, with a critic of each.

        [s | l] = encoder(x),    y = softmax(l),    z = [s | y]
        critic:      discrimination of s from the style prior, label_discrimination of y from one-hot labels
        generator:   adversarial = -log S(D_s(s)),    label_adversarial = -log S(D_y(y)),    S = sigmoid
        classifier:  classification = -log y[label], over the labelled rows
        autoencoder: reconstruction = -log p(x|z)

    The critic of labels makes y nearly one-hot, with all classes equally frequent. Fitted without y, the model
    clusters: `predict_proba` then gives clusters, and `evaluation.clusters.cluster_error` compares them with labels.
    Every player has its own optimizer; `compile("adam")` gives all of them the same learning rate. With slower
    critics, all rows may end in one cluster.

    The code is one vector: `encode(x)[:, :D]` is the style, and `decode(np.concatenate([s, np.eye(K)[y]], axis=1))`
    decodes styles under labels y.

    Args:
        encoder: Keras model from x to `(B, D + num_classes)`, the style and the label's logits.
        decoder: Keras model from codes `(B, D + num_classes)` to the likelihood's params.
        critic: Keras model from styles `(B, D)` to scores.
        label_critic: Keras model from label probabilities `(B, num_classes)` to scores.
        num_classes: int, K, of labels or of clusters.
        likelihood, adversary, smoothing, instance_noise, critic_steps, classes, seed: as in `AAE`.
        prior: that of the style, as in `AAE`.
        classification_weight: float.

    In `fit(x, y)`, y are integer labels `(B,)`, -1 where unknown.

    Raises:
        ValueError: as in `AAE`.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=10 + 10)
        decoder = ka.networks.mlp_decoder(latent_dim=10 + 10, output_shape=(28, 28, 1))
        critics = (ka.networks.code_critic(10, hidden=(64,)) for _ in range(2))
        model = ka.SemiSupervisedAAE(encoder, decoder, *critics, num_classes=10)
        model.compile("adam")
        model.fit(x_train, ka.datasets.keep_labels(y_train, 100, seed=0), batch_size=100, epochs=1)
        model.predict_proba(x_test)    # (B, 10)

    Source: Makhzani 2015, sections 5 and 6. See also: `M2`, which sums over the labels; `ClusterHeadAAE`, whose code
    is the sum of both parts; `AAE` with `label_critic`, for labels without a code of their own.
    """

    terms: tuple[str, ...] = (
        *("discrimination", "label_discrimination", "adversarial", "label_adversarial"),
        *("classification", "accuracy", "reconstruction"),
    )

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        label_critic: Network,
        num_classes: int,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        classification_weight: float = 1.0,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["y_role"] = roles.OptionalLabel(validation.positive_int("num_classes", num_classes), classes)
        width = critics.width_of("encoder", encoder)
        posterior = self._code_of(num_classes, width)
        style = (posterior.style_dim(width),)
        style_prior = priors.get(prior, style)
        priors.check_can_be_sampled(style_prior)
        joint = self._prior_of(style_prior, posterior)
        super().__init__(encoder, decoder, likelihood, posterior, joint, seed=seed, **kwargs)
        self.style_prior, self.critic, self.label_critic = style_prior, critic, label_critic
        self.classification_weight = validation.non_negative("classification_weight", classification_weight)
        critics.check_critic("critic", critic, style)
        critics.check_critic("label_critic", label_critic, (self.num_classes,))

    def _code_of(self, num_classes: int, width: int) -> posteriors.StyleAndLabel:
        return posteriors.StyleAndLabel(num_classes)

    def _prior_of(self, style: priors.PriorSource, posterior: posteriors.StyleAndLabel) -> priors.PriorSource:
        return priors.StyleAndLabel(style, posterior.num_classes)

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, self.critic, self.label_critic]

    def objectives(self) -> dict[str, Objective]:
        weights = {"classification": self.classification_weight, "accuracy": 0.0}
        return {
            "critic": Objective(self.discriminate, [self.critic, self.label_critic], steps=self.critic_steps),
            "generator": Objective(self.generate, [self.encoder]),
            "classifier": Objective(self.classify, [self.encoder], weights),
            "autoencoder": Objective(self.loss_terms, super().networks),
        }

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        return self._posterior.split(self.encoder_params(x, training=training))

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        """The critics' loss terms, `{"discrimination": (B,), "label_discrimination": (B,)}`."""
        style = priors.draw(self.style_prior, tf.shape(x)[0], self.next_seed())
        numbers = sampling.integers(tf.shape(x)[:1], self.next_seed(), self.num_classes)
        label = tf.one_hot(numbers, self.num_classes)
        fake = tf.nn.softmax(shared[1])
        return {
            "discrimination": self.discrimination(self.critic, style, shared[0], training=training),
            "label_discrimination": self.discrimination(self.label_critic, label, fake, training=training),
        }

    def generate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        """The encoder's loss terms against the critics, `{"adversarial": (B,), "label_adversarial": (B,)}`."""
        fake = tf.nn.softmax(shared[1])
        return {
            "adversarial": self.deception(self.critic, shared[0], training=training),
            "label_adversarial": self.deception(self.label_critic, fake, training=training),
        }

    def classify(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        """The classifier's terms over the labelled rows, `{"classification": (B,), "accuracy": (B,)}`."""
        labels = roles.labels_or_unknown(x, y)
        known, log_y = tf.cast(labels >= 0, tf.float32), tf.nn.log_softmax(shared[1])
        missed = -tf.reduce_sum(roles.one_hot(labels, self.num_classes, unknown=-1) * log_y, axis=-1)
        right = tf.cast(tf.argmax(log_y, axis=-1) == labels, tf.float32)
        return {"classification": (missed, known), "accuracy": (right, known)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        """The autoencoder's loss term, `{"reconstruction": (B,)}`."""
        p = self.likelihood(self._posterior.code(*shared), training=training)
        return {"reconstruction": -p.log_prob(tf.cast(x, tf.float32))}

    def log_label_posterior(self, x: tf.Tensor) -> tf.Tensor:
        """log q(y|x): `(B, K)`."""
        return tf.nn.log_softmax(self._posterior.split(self.encoder_params(x))[1])
