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
    """Log importance weights of samples of q: `(num_samples, B)` nats.

        log w_s = log p(x|z_s, y) + log p(z_s|y) - log q(z_s|x, y),    z_s ~ q

    Args:
        model: a model with `likelihood` and `conditional_prior`.
        q: the model's posterior at x, batch `(B,)`.
        x: `(B, ...)`.
        y: the condition of each x; None for unconditional models.
        num_samples: int, S.
        seed: int32 `(2,)`.

    Example: `log_weights(vae, vae.posterior(x_test), x_test, None, 5, [0, 1])    # (5, 120)`

    Source: Burda 2016, equation 8. See also: `log_marginal`, their mean.
    """
    z = sampling.draw(q, num_samples, seed)  # (S, B, D)
    log_p = model.likelihood(z, y).log_prob(tf.cast(x, tf.float32)) + model.conditional_prior(y).log_prob(z)
    return log_p - q.log_prob(z)


def log_marginal(
    model: keras.Model, x: tf.Tensor, y: tf.Tensor | None, num_samples: int, seed: int | tf.Tensor
) -> tf.Tensor:
    """Estimate of log p(x) from `num_samples` importance weights, `(B,)` nats, in chunks of bounded memory.

        log p(x) ~ log 1/S sum_s w_s,    w as in `log_weights`

    Example: `log_marginal(vae, x_test, None, 50, 0)    # (120,)`

    Source: Burda 2016, equation 8. See also: `LatentModel.log_prob`, the user-facing method; `log_marginal_rows`.
    """
    return log_sums(model, x, y, num_samples, seed)[0] - tf.math.log(float(num_samples))


def log_sums(
    model: keras.Model, x: tf.Tensor, y: tf.Tensor | None, num_samples: int, seed: int | tf.Tensor
) -> list[tf.Tensor]:
    """`log sum_s w_s` and `log sum_s w_s^2` over the weights of `log_marginal`: `(B,)` each.

    Raises:
        ValueError: if `num_samples` is not a positive integer.

    Example: `total, squares = log_sums(vae, x_test, None, 50, 0)`

    See also: `evaluation.likelihood.LogLikelihood`, whose effective sample size needs both.
    """
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
    """Like `log_marginal`, but draws each row's samples from its own int64 seed, one of `seeds` `(B,)`.

    Example: `log_marginal_rows(vae, tf.constant(x_test[:4]), None, 50, tf.range(4))    # (4,)`

    See also: `log_marginal`, faster, whose samples depend on the whole batch.
    """

    def one(row):
        seed, x, *y = (each[None] for each in row)
        y = y[0] if y else None
        q = model.posterior(x, y)
        weights = log_weights(model, q, x, y, num_samples, tf.bitcast(seed[0], tf.int32))  # (S, 1)
        return tf.reduce_logsumexp(weights) - tf.math.log(float(num_samples))

    rows = (tf.cast(seeds, tf.int64), x) if y is None else (tf.cast(seeds, tf.int64), x, y)
    return tf.map_fn(one, rows, fn_output_signature=tf.float32)


def path_log_prob(q: Distribution, z: tf.Tensor) -> tf.Tensor:
    """log q(z), whose gradient reaches the params of q only through z: `(S, B)`.

    Args:
        q: tfd, batch `(B,)`.
        z: samples of q, `(S, B, D)`.

    Example:

        q = tfp.distributions.MultivariateNormalDiag(tf.zeros([4, 8]))
        path_log_prob(q, q.sample(5))    # (5, 4)

    Source: Roeder 2017. See also: `doubly_reparameterised`, for importance weights.
    """
    score = q.log_prob(tf.stop_gradient(z))
    return q.log_prob(z) - (score - tf.stop_gradient(score))


def doubly_reparameterised(z: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], None]]:
    """Returns z `(S, B, D)` and a function that sets the factors `(S, B)` by which to scale the gradient through z.

        dz := v dz,    v_s = w_s / sum_r w_r, the normalised importance weights

    The factors depend on z, so set them after z but before the backward pass.

    Example:

        z, weigh = doubly_reparameterised(tf.zeros([5, 4, 8]))
        weigh(tf.fill([5, 4], 1 / 5))

    Source: Tucker 2019 (DReG), equation 8. See also: `path_log_prob`; `IWAE`, which uses both.
    """
    factors: list[tf.Tensor] = []

    @tf.custom_gradient
    def through(z):
        return tf.identity(z), lambda upstream: upstream * tf.stop_gradient(factors[0])[..., None]

    return through(z), factors.append
