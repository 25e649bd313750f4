"""Importance sampling of log p(x)."""

from collections.abc import Callable

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae.distributions import sampling
from keras_ae.typing import Distribution
from keras_ae.utils import validation

# Maximum number of params per chunk of samples: enough for efficient matrix products, but small enough for the cache.
CHUNK_VALUES = 2 * 2**20


def log_weights(
    model: keras.Model,
    q: Distribution,
    x: tf.Tensor,
    y: tf.Tensor | None,
    num_samples: int | tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """`log p(x|z, y) + log p(z|y) - log q(z|x, y)` for samples of q: `(num_samples, B)` nats; y: condition or None."""
    z = sampling.draw(q, num_samples, seed)  # (S, B, D)
    log_p = model.likelihood(z, y).log_prob(tf.cast(x, tf.float32)) + model.conditional_prior(y).log_prob(z)
    return log_p - q.log_prob(z)


def log_marginal(
    model: keras.Model, x: tf.Tensor, y: tf.Tensor | None, num_samples: int, seed: int | tf.Tensor
) -> tf.Tensor:
    """`log 1/S sum_s w_s` over `num_samples` importance weights, `(B,)` nats, in chunks of bounded memory."""
    return log_sums(model, x, y, num_samples, seed)[0] - tf.math.log(float(num_samples))


def log_sums(
    model: keras.Model, x: tf.Tensor, y: tf.Tensor | None, num_samples: int, seed: int | tf.Tensor
) -> list[tf.Tensor]:
    """`log sum_s w_s` and `log sum_s w_s^2` over the weights of `log_marginal`: `(B,)` each."""
    num_samples = validation.positive_int("num_samples", num_samples)
    q = model.posterior(x, y)
    seed = tf.bitcast(tf.cast(seed, tf.int64), tf.int32)
    chunk = tf.clip_by_value(CHUNK_VALUES // (tf.shape(x)[0] * model.params_size), 1, num_samples)

    def accumulate(done, total, squares):
        size = tf.minimum(chunk, num_samples - done)
        weights = log_weights(model, q, x, y, size, tf.random.experimental.stateless_fold_in(seed, done))
        total = tfp.math.log_add_exp(total, tf.reduce_logsumexp(weights, axis=0))
        squares = tfp.math.log_add_exp(squares, tf.reduce_logsumexp(2 * weights, axis=0))
        return done + size, total, squares

    start = tf.fill(tf.shape(x)[:1], -float("inf"))
    _, *sums = tf.while_loop(lambda done, *_: done < num_samples, accumulate, (0, start, start))
    return sums


def log_marginal_rows(
    model: keras.Model, x: tf.Tensor, y: tf.Tensor | None, num_samples: int, seeds: tf.Tensor
) -> tf.Tensor:
    """Like `log_marginal`, but draws each row's samples from its own int64 seed, one of `seeds` `(B,)`."""

    def one(row):
        seed, x, *y = (each[None] for each in row)
        y = y[0] if y else None
        q = model.posterior(x, y)
        weights = log_weights(model, q, x, y, num_samples, tf.bitcast(seed[0], tf.int32))  # (S, 1)
        return tf.reduce_logsumexp(weights) - tf.math.log(float(num_samples))

    rows = (tf.cast(seeds, tf.int64), x) if y is None else (tf.cast(seeds, tf.int64), x, y)
    return tf.map_fn(one, rows, fn_output_signature=tf.float32)


def path_log_prob(q: Distribution, z: tf.Tensor) -> tf.Tensor:
    """log q(z), whose gradient reaches the params of q only through z: `(S, B)`."""
    score = q.log_prob(tf.stop_gradient(z))
    return q.log_prob(z) - (score - tf.stop_gradient(score))


def doubly_reparameterised(z: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], None]]:
    """Returns z `(S, B, D)` and a function that sets the factors `(S, B)` by which to scale the gradient through z.

    The factors are normalised importance weights. They depend on z, so set them after z but before the backward pass.
    """
    factors: list[tf.Tensor] = []

    @tf.custom_gradient
    def through(z):
        return tf.identity(z), lambda upstream: upstream * tf.stop_gradient(factors[0])[..., None]

    return through(z), factors.append
