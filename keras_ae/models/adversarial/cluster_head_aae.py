"""Dimension reduction by cluster heads: every cluster has a head, and a code is a head plus a style."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, posteriors, priors
from keras_ae.losses.mmd import squared_distances
from keras_ae.models.adversarial.semi_supervised_aae import SemiSupervisedAAE
from keras_ae.training import Objective
from keras_ae.typing import Network, Terms
from keras_ae.utils import validation

# Keeps the gradient of a distance finite where two heads are the same.
_TINY = 1e-6


@keras.saving.register_keras_serializable("keras_ae")
class ClusterHeadAAE(SemiSupervisedAAE):
    """A `SemiSupervisedAAE` whose code is the sum of a style and of the head of its cluster, for maps of the data.

        [s | l] = encoder(x),    y = softmax(l),    z = s + y W,    W = the heads (K, D)
        closeness = sum_{i < j} max(0, distance - |W_i - W_j|)

    `closeness` is a term of the player "autoencoder", which trains the heads, and keeps clusters apart. `encode(x)` is
    the map, z. Its prior is the mixture of standard normals around the heads.

    Args:
        encoder: Keras model from x to `(B, D + num_classes)`, the style and the cluster's logits.
        decoder: Keras model from codes `(B, D)` to the likelihood's params.
        critic, label_critic, num_classes, likelihood, classification_weight: as in `SemiSupervisedAAE`; the style's
            prior is the standard normal.
        adversary, smoothing, instance_noise, critic_steps, classes, seed: as in `SemiSupervisedAAE`.
        distance: float, that heads keep; in units of z, where a cluster has a standard deviation of 1.
        closeness_weight: float.

    Raises:
        ValueError: as in `SemiSupervisedAAE`.

    Example:

        encoder = ka.networks.mlp_encoder((28, 28, 1), latent_dim=2 + 20)
        decoder = ka.networks.mlp_decoder(latent_dim=2, output_shape=(28, 28, 1))
        critics = (ka.networks.code_critic(size, hidden=(64,)) for size in (2, 20))
        model = ka.ClusterHeadAAE(encoder, decoder, *critics, num_classes=20)
        model.compile("adam")
        model.fit(x_train, epochs=1)
        model.encode(x_test)    # (B, 2)

    Source: Makhzani 2015, section 7 and figure 10. See also: `SemiSupervisedAAE`, which keeps style and label apart.
    """

    terms: tuple[str, ...] = (*SemiSupervisedAAE.terms, "closeness")

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        label_critic: Network,
        num_classes: int,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        classification_weight: float = 1.0,
        distance: float = 6.0,
        closeness_weight: float = 1.0,
        classes: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        validation.refuse(kwargs, {"prior"}, "ClusterHeadAAE", "the prior of a style is the standard normal")
        options: dict[str, Any] = {"classification_weight": classification_weight, "classes": classes}
        super().__init__(
            encoder, decoder, critic, label_critic, num_classes, likelihood, **options, seed=seed, **kwargs
        )
        self.distance = validation.non_negative("distance", distance)
        self.closeness_weight = validation.non_negative("closeness_weight", closeness_weight)

    def _code_of(self, num_classes: int, width: int) -> posteriors.StyleAndLabel:
        style = posteriors.StyleAndLabel(num_classes).style_dim(width)
        return posteriors.ClusterHeads(num_classes, style)

    def _prior_of(self, style: priors.PriorSource, posterior: posteriors.StyleAndLabel) -> priors.PriorSource:
        return priors.AroundHeads(posterior.heads)

    @property
    def heads(self) -> Any:
        """The heads, float32 `(num_classes, D)`."""
        return self._posterior.heads.numpy()

    def objectives(self) -> dict[str, Objective]:
        players = super().objectives()
        weights = {"closeness": self.closeness_weight}
        return players | {"autoencoder": players["autoencoder"]._replace(weights=weights)}

    def loss_terms(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[tf.Tensor, ...]) -> Terms:
        heads = tf.convert_to_tensor(self._posterior.heads)
        apart = tf.sqrt(squared_distances(heads, heads) + _TINY)
        pairs = tf.linalg.band_part(tf.ones_like(apart), 0, -1) - tf.eye(self.num_classes)  # i < j
        closeness = tf.reduce_sum(pairs * tf.nn.relu(self.distance - apart))
        return super().loss_terms(x, y, training, shared) | {"closeness": closeness}
