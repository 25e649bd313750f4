"""Divergences D(q||p) between posterior and prior: functions of distributions, in nats, one value per row."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions.sampling import is_diagonal
from keras_ae.typing import Distribution

tfd = tfp.distributions


def kl(q: Distribution, p: Distribution, z: tf.Tensor) -> tf.Tensor:
    """Kullback-Leibler divergence, in closed form if TFP has one, else estimated by Monte Carlo.

        KL(q||p) = E_q[log q(z) - log p(z)]  ~  1/L sum_l log q(z_l) - log p(z_l),    z_l ~ q

    Args:
        q: distribution, batch `(B,)`, event `(D,)`.
        p: distribution, batch `()` or `(B,)`, event `(D,)`.
        z: samples of q, `(L, B, D)`, for the Monte Carlo estimate.

    Returns:
        `(B,)` float32 nats. The estimate can be negative; the closed form cannot.

    Example:

        q = tfd.MultivariateNormalDiag(tf.ones([4, 8]))
        p = tfd.MultivariateNormalDiag(tf.zeros(8))
        kl(q, p, q.sample(1))    # (4,), 4 nats: half of |m|^2 = 8

    Source: Kullback & Leibler 1951; Kingma & Welling 2014, appendix B. See also: `kl_per_dimension`, its terms.
    """
    if is_diagonal(q) and is_diagonal(p):
        # TFP uses linear operators, a hundred small ops unless XLA fuses them.
        return tf.reduce_sum(kl_per_dimension(q, p), axis=range(-len(q.event_shape), 0))
    try:
        return tfd.kl_divergence(q, p)
    except NotImplementedError:
        return tf.reduce_mean(q.log_prob(z) - p.log_prob(z), axis=0)


def kl_per_dimension(q: Distribution, p: Distribution) -> tf.Tensor:
    """KL between two diagonal Gaussians for each latent dimension, `(B, D)` nats; its sum over D is `kl(q, p)`.

        KL_j = log(p_j.s / q_j.s) + (q_j.s^2 + (q_j.m - p_j.m)^2) / (2 p_j.s^2) - 1/2

    Args:
        q, p: diagonal Gaussians, batch `(B,)` or `()`, event `(D,)`.

    Raises:
        ValueError: if q or p is not a diagonal Gaussian.

    Example:

        q = tfd.MultivariateNormalDiag(tf.ones([4, 8]))
        kl_per_dimension(q, tfd.MultivariateNormalDiag(tf.zeros(8)))    # (4, 8), 1/2 each

    Source: Kingma & Welling 2014, appendix B. See also: `kl`, for any two distributions.
    """
    if not (is_diagonal(q) and is_diagonal(p)):
        raise ValueError(f"KL of each dimension (free_bits): expected diagonal Gaussians; received {q.name}, {p.name}.")
    return tfd.kl_divergence(tfd.Normal(q.mean(), q.stddev()), tfd.Normal(p.mean(), p.stddev()))
