"""Sampling from distributions: fast under XLA, or with one seed per row."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.typing import Distribution
from keras_ae.utils import xla

tfd = tfp.distributions


def draw(distribution: Distribution, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws `n` samples, `(n, *batch, *event)`, determined by the int32 seed `(2,)`.

        z = m + s e,    e ~ N(0, I)    for diagonal Gaussians

    Diagonal Gaussians are reparameterised here, with an explicit algorithm for e: XLA's default for TFP's sampler took
    a quarter of a small VAE's training step. XLA and TensorFlow give different numbers.

    Example: `draw(tfd.MultivariateNormalDiag(tf.zeros([4, 8])), 3, [0, 1])    # (3, 4, 8)`

    Source: Kingma & Welling 2014, section 2.4. See also: `draw_rows`, with one seed per row.
    """
    if not is_diagonal(distribution):
        return distribution.sample(n, seed=seed)
    mean = distribution.mean()
    e = normal(tf.concat([[n], tf.shape(mean)], axis=0), seed)
    # One-dimensional codes lose their static size in TFP's broadcasting.
    return tf.ensure_shape(
        mean + distribution.stddev() * e, [None, *distribution.batch_shape, *distribution.event_shape]
    )


def normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers of `shape`, determined by the int32 seed `(2,)`.

    Example: `normal([3, 8], [0, 1])    # (3, 8)`

    See also: `draw`, of a distribution; `integers`.
    """
    return tf.random.stateless_normal(shape, seed, alg=_algorithm())


def integers(shape: tf.Tensor, seed: tf.Tensor, upper: int | tf.Tensor) -> tf.Tensor:
    """Uniform int32 numbers of `shape` from 0 to `upper` - 1, determined by the int32 seed `(2,)`.

    Example: `integers([3], [0, 1], upper=10)    # (3,)`

    See also: `normal`.
    """
    uniform = tf.random.stateless_uniform(shape, seed, alg=_algorithm())
    upper = tf.cast(upper, tf.int32)
    # The product can round up to `upper` itself.
    return tf.minimum(tf.cast(uniform * tf.cast(upper, tf.float32), tf.int32), upper - 1)


def _algorithm():
    # TensorFlow has no Threefry on CPUs; XLA runs Philox on a single thread.
    return "threefry" if xla.for_xla() else "philox"


def is_diagonal(distribution: Distribution) -> bool:
    """Whether a distribution is a Gaussian with independent dimensions.

    Example: `is_diagonal(tfd.MultivariateNormalDiag(tf.zeros(8)))    # True`

    See also: `posteriors.check_is_diagonal`, for layers.
    """
    return isinstance(distribution, tfd.MultivariateNormalDiag) or (
        isinstance(distribution, tfd.Independent) and isinstance(distribution.distribution, tfd.Normal)
    )


def draw_rows(distribution: Distribution, seeds: tf.Tensor) -> tf.Tensor:
    """Draws one sample for each int64 seed `(B,)`, independent of the other rows: `(B, *event)`.

    A distribution with batch `(B,)` has one member per seed and must be a diagonal Gaussian, as conditional priors are.

    Example: `draw_rows(tfd.MultivariateNormalDiag(tf.zeros(8)), tf.range(4))    # (4, 8)`

    See also: `draw`, several samples from one seed.
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
