"""Draws from distributions: fast under XLA, or each from its row's own seed."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.utils import xla

tfd = tfp.distributions


def draw(distribution, n, seed):
    """`n` samples, `(n, *batch, *event)`, that follow from the int32 seed `(2,)`.

    Gaussians with diagonal covariance are reparameterised here, `m + s e`, with named algorithms for e: what XLA
    chooses for TFP's sampler took a quarter of a small VAE's training step. XLA's numbers differ from TensorFlow's.
    """
    if not is_diagonal(distribution):
        return distribution.sample(n, seed=seed)
    mean = distribution.mean()
    shape = tf.concat([[n], tf.shape(mean)], axis=0)
    # TensorFlow has no Threefry on CPUs; XLA makes Philox's numbers on one thread.
    e = tf.random.stateless_normal(shape, seed, alg="threefry" if xla.for_xla() else "philox")
    # Codes of a single dimension lose their static size where TFP broadcasts them.
    return tf.ensure_shape(
        mean + distribution.stddev() * e, [None, *distribution.batch_shape, *distribution.event_shape]
    )


def is_diagonal(distribution):
    """Whether a distribution is a Gaussian with independent dimensions."""
    return isinstance(distribution, tfd.MultivariateNormalDiag) or (
        isinstance(distribution, tfd.Independent) and isinstance(distribution.distribution, tfd.Normal)
    )


def draw_rows(distribution, seeds):
    """One sample for each int64 seed of `(B,)`, equal whatever the other rows are: `(B, *event)`.

    A distribution of batch `(B,)` has one for each seed; those are diagonal Gaussians, as conditional priors are.
    """
    if distribution.batch_shape.rank:
        shape = distribution.event_shape
        standard = tfd.Independent(tfd.Normal(tf.zeros(shape), tf.ones(shape)), len(shape))
        z = distribution.mean() + distribution.stddev() * draw_rows(standard, seeds)
        return tf.ensure_shape(z, [None, *distribution.event_shape])  # as in `draw`

    def one(seed):
        return draw(distribution, 1, tf.bitcast(seed, tf.int32))[0]

    signature = tf.TensorSpec(distribution.event_shape, distribution.dtype)
    return tf.map_fn(one, tf.cast(seeds, tf.int64), fn_output_signature=signature)
