"""The FactorVAE: a critic estimates how much the dimensions of the code depend on each other."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.distributions import likelihoods, priors
from keras_ae.losses import divergences
from keras_ae.losses.adversarial import cross_entropy, per_row
from keras_ae.models.base import critics
from keras_ae.models.deterministic.autoencoder import target
from keras_ae.models.variational.vae import VAE
from keras_ae.training import Objective
from keras_ae.training.term_weights import TermWeight
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation


@keras.saving.register_keras_serializable("keras_ae")
class FactorVAE(VAE):
    """A VAE that penalises the total correlation of its code, which a critic estimates.

        loss = reconstruction + kl + gamma total_correlation
        total_correlation = D(z),    at the critic's optimum log q(z) - sum_j log q(z_j)
        critic: discrimination = -log S(D(z)) - log(1 - S(D(z'))),    S = sigmoid

    z' is z with each dimension permuted by itself over the batch, which makes the dimensions independent. The mean of
    D(z) is the total correlation KL(q(z) || prod_j q(z_j)) in nats, once the critic has learned it.

    Args:
        encoder, decoder, likelihood, prior, seed: as in `VAE`; there is one sample of z per row.
        critic: Keras model from codes to scores `(B, 1)`, such as `networks.code_critic`.
        gamma: float, weight of the total correlation; assign `model.gamma` to change it at any time.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown, out of range or specific to `VAE`.

    Example:

        model = ka.FactorVAE(encoder, decoder, ka.networks.code_critic(32, hidden=(64, 64)), gamma=6.0)
        model.compile("adam")
        model.fit(x_train, epochs=1)

    Source: Kim & Mnih 2018, equations 2 and 3, algorithm 2; there a second batch is permuted, here the same one. See
    also: `BetaTCVAE`, which estimates the total correlation from the posteriors of a batch, without a critic.
    """

    terms: tuple[str, ...] = ("discrimination", "reconstruction", "kl", "total_correlation")
    least_rows = 2

    gamma = TermWeight()
    """float, the argument `gamma`; assigning it takes effect immediately, also during `fit`."""

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        critic: Network,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        gamma: float = 6.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        given = kwargs | ({"lists of networks": None} if isinstance(encoder, list | tuple) else {})
        others = {"beta", "num_samples", "free_bits", "lists of networks"}
        validation.refuse(given, others, "FactorVAE", "its terms are defined for one sample and the plain KL")
        super().__init__(encoder, decoder, likelihood, prior, seed=seed, **kwargs)
        self.critic = critic
        self._gamma = FactorVAE.gamma.variable(self, gamma)
        critics.check_critic("critic", critic, self.code_shape)

    @property
    def networks(self) -> list[keras.layers.Layer]:
        return [*super().networks, self.critic]

    def term_weights(self) -> dict[str, Any]:
        return {"total_correlation": self._gamma}

    def objectives(self) -> dict[str, Objective]:
        return {
            "critic": Objective(self.discriminate, [self.critic]),
            "autoencoder": Objective(self.loss_terms, super().networks, self.term_weights()),
        }

    def shared_pass(self, x: tf.Tensor, y: tf.Tensor | None, training: bool) -> tuple[Distribution, tf.Tensor]:
        q = self.posterior(x, training=training)
        return q, self.draw(q, 1, self.next_seed())

    def discriminate(self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[Any, tf.Tensor]) -> Terms:
        """The critic's loss term, `{"discrimination": (B,)}`."""
        z = shared[1][0]
        pair = critics.scores(self.critic, z, permuted(z, self.next_seed()), training=training)
        return {"discrimination": per_row(cross_entropy().critic(*pair))}

    def loss_terms(  # type: ignore[override]  # this model has a shared pass
        self, x: tf.Tensor, y: tf.Tensor | None, training: bool, shared: tuple[Any, tf.Tensor]
    ) -> Terms:
        q, z = shared
        return {
            "reconstruction": -self.likelihood(z, training=training).log_prob(target(x, y))[0],
            "kl": divergences.kl(q, self.prior, z),
            "total_correlation": per_row(critics.score(self.critic, z[0], training=training)),
        }


def permuted(z: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Codes `(B, D)` with each dimension permuted by itself over the rows.

    Example: `permuted(tf.reshape(tf.range(6.0), [3, 2]), [0, 1])    # (3, 2)`

    Source: Kim & Mnih 2018, algorithm 1.
    """
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(z), seed), axis=0)
    return tf.transpose(tf.gather(tf.transpose(z), tf.transpose(order), batch_dims=1))
