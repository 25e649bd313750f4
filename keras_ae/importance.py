"""Importance sampling of log p(x)."""

import tensorflow as tf
import tensorflow_probability as tfp

from keras_ae import sampling

# Raw outputs that one chunk of samples may hold: enough for full matrix products, little enough for a cache.
CHUNK_VALUES = 2 * 2**20


def log_weights(model, q, x, num_samples, seed):
    """`log p(x|z) + log p(z) - log q(z|x)` for samples of q: `(num_samples, B)` nats."""
    z = sampling.draw(q, num_samples, seed)  # (S, B, D)
    return model.likelihood(z).log_prob(tf.cast(x, tf.float32)) + model.prior.log_prob(z) - q.log_prob(z)


def log_marginal(model, x, num_samples, seed):
    """`log 1/S sum_s w_s` over `num_samples` importance weights, `(B,)` nats, in chunks of bounded memory."""
    if num_samples < 1:
        raise ValueError(f"num_samples: expected 1 or more, received {num_samples}.")
    q = model.posterior(x)
    seed = tf.bitcast(tf.cast(seed, tf.int64), tf.int32)
    chunk = tf.clip_by_value(CHUNK_VALUES // (tf.shape(x)[0] * model.raw_size), 1, num_samples)

    def accumulate(done, total):
        size = tf.minimum(chunk, num_samples - done)
        weights = log_weights(model, q, x, size, tf.random.experimental.stateless_fold_in(seed, done))
        return done + size, tfp.math.log_add_exp(total, tf.reduce_logsumexp(weights, axis=0))

    start = tf.fill(tf.shape(x)[:1], -float("inf"))
    _, total = tf.while_loop(lambda done, total: done < num_samples, accumulate, (0, start))
    return total - tf.math.log(float(num_samples))


def log_marginal_rows(model, x, num_samples, seeds):
    """As `log_marginal`, with every row's samples drawn from its own int64 seed of `(B,)`."""

    def one(row):
        x, seed = row
        q = model.posterior(x[None])
        weights = log_weights(model, q, x[None], num_samples, tf.bitcast(seed, tf.int32))  # (S, 1)
        return tf.reduce_logsumexp(weights) - tf.math.log(float(num_samples))

    return tf.map_fn(one, (x, tf.cast(seeds, tf.int64)), fn_output_signature=tf.float32)
