"""The beta-TC-VAE: a VAE that penalises dependence between the dimensions of its code."""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import likelihoods, priors
from keras_ae.models.variational.vae import VAE
from keras_ae.typing import Distribution, Network, Terms
from keras_ae.utils import validation

tfd = tfp.distributions


@keras.saving.register_keras_serializable("keras_ae")
class BetaTCVAE(VAE):
    """A VAE that splits the KL to the prior into three terms and weights the total correlation.

        KL(q(z|x) || p(z)), averaged over the data = mutual_information + total_correlation + dimension_kl
        mutual_information = E[log q(z|x) - log q(z)]
        total_correlation = E[log q(z) - sum_j log q(z_j)]
        dimension_kl = E[sum_j log q(z_j) - log p(z)]
        loss = reconstruction + mutual_information + beta total_correlation + dimension_kl

    q(z) is the mixture of the posteriors of all N training rows. As in the paper, it is estimated from a batch of M
    rows: log q(z) ~ log 1/(N M) sum_b q(z|x_b), and likewise for each dimension. N only shifts a constant between the
    terms, whose sum is exact; larger batches cover more of the mixture.

    Args:
        encoder, decoder, likelihood, prior, seed: as in `VAE`; the posterior is a diagonal Gaussian.
        rows: int, number of training rows (N).
        beta: float, weight of the total correlation; assign `model.beta` to change it at any time.

    Raises:
        ValueError: if the network shapes do not match, or an argument is unknown, out of range or specific to `VAE`.

    Example: `ka.BetaTCVAE(encoder, decoder, rows=len(x), beta=6.0)`

    Source: Chen 2018, equations 2 and 4, section 4.1. See also: `BetaVAE`, which weights all three terms.
    """

    terms: tuple[str, ...] = ("reconstruction", "mutual_information", "total_correlation", "dimension_kl")

    def __init__(
        self,
        encoder: Network,
        decoder: Network,
        rows: int,
        likelihood: likelihoods.LikelihoodLike = "bernoulli",
        prior: priors.PriorLike | None = None,
        beta: float = 6.0,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        given = kwargs | ({"lists of networks": None} if isinstance(encoder, list | tuple) else {})
        others = {"posterior", "num_samples", "free_bits", "lists of networks"}
        validation.refuse(given, others, "BetaTCVAE", "its terms are defined for a diagonal Gaussian and one sample")
        super().__init__(encoder, decoder, likelihood, prior, beta=beta, seed=seed, **kwargs)
        self.rows = validation.positive_int("rows", rows)

    def term_weights(self) -> dict[str, Any]:
        return {"total_correlation": self._beta}

    def elbo_terms(self, q: Distribution, x: tf.Tensor, y: tf.Tensor | None = None, *, training: bool) -> Terms:
        z = self.draw(q, 1, self.next_seed())  # (1, B, D)
        each = tfd.Normal(q.mean(), q.stddev()).log_prob(z[0][:, None])  # (B of z, B of q, D)
        batch = tf.cast(tf.shape(z)[1], tf.float32)
        log_count = tf.math.log(batch * float(self.rows))
        log_q = tf.reduce_logsumexp(tf.reduce_sum(each, axis=-1), axis=1) - log_count
        log_q_dimensions = tf.reduce_sum(tf.reduce_logsumexp(each, axis=1) - log_count, axis=-1)
        return {
            "reconstruction": -self.likelihood(z, y, training=training).log_prob(x)[0],
            "mutual_information": q.log_prob(z)[0] - log_q,
            "total_correlation": log_q - log_q_dimensions,
            "dimension_kl": log_q_dimensions - self.conditional_prior(y).log_prob(z)[0],
        }
