"""The beta-TC-VAE: a VAE that pays more for dimensions of the code that depend on each other."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.models.variational.vae import VAE
from keras_ae.utils import validation

tfd = tfp.distributions


@keras.saving.register_keras_serializable("keras_ae")
class BetaTCVAE(VAE):
    """The KL to the prior in three parts, of which the total correlation has a weight.

        KL(q(z|x) || p(z)), over the data = mutual_information + total_correlation + dimension_kl
        mutual_information = E[log q(z|x) - log q(z)]
        total_correlation = E[log q(z) - sum_j log q(z_j)]
        dimension_kl = E[sum_j log q(z_j) - log p(z)]
        loss = reconstruction + mutual_information + beta total_correlation + dimension_kl

    q(z) mixes the posteriors of all training rows. It is estimated from the M rows of a batch among N, as the paper
    does: log q(z) ~ log 1/(N M) sum_b q(z|x_b), and likewise for each dimension. N only moves a constant between the
    parts, whose sum is exact; larger batches see more of the mixture.

    Args:
        encoder, decoder, likelihood, prior, seed: as in `VAE`; the posterior is the diagonal Gaussian.
        rows: int, rows of the training data (N).
        beta: float, weight of the total correlation; assign `model.beta` at any time.

    Raises:
        ValueError: if the networks do not fit, or an argument is unknown, out of range or one that only `VAE` has.

    Example: `ka.BetaTCVAE(encoder, decoder, rows=len(x), beta=6.0)`

    Source: Chen 2018, equations 2 and 4, section 4.1. See also: `BetaVAE`, which weighs all three parts.
    """

    terms = ("reconstruction", "mutual_information", "total_correlation", "dimension_kl")

    def __init__(self, encoder, decoder, rows, likelihood="bernoulli", prior=None, beta=6.0, *, seed=None, **kwargs):
        given = kwargs | ({"lists of networks": None} if isinstance(encoder, list | tuple) else {})
        others = {"posterior", "num_samples", "free_bits", "lists of networks"}
        validation.refuse(given, others, "BetaTCVAE", "its parts are those of one diagonal Gaussian and one sample")
        super().__init__(encoder, decoder, likelihood, prior, beta=beta, seed=seed, **kwargs)
        self.rows = validation.positive_int("rows", rows)

    def term_weights(self):
        return {"total_correlation": self._beta}

    def elbo_terms(self, q, x, y=None, *, training):
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
