"""Losses that tell rows of a batch apart."""

import tensorflow as tf


def contrast(u: tf.Tensor, v: tf.Tensor, scale: float) -> tf.Tensor:
    """How badly each row of u `(B, D)` finds its own row of v, and the reverse, by inner product: `(B,)` nats.

        contrast_i = -1/2 log softmax_b(u_i . v_b / scale)[i] - 1/2 log softmax_b(u_b . v_i / scale)[i]

    log B where nothing is told apart, 0 at best (van den Oord 2018, equation 4, both ways).
    """
    s = tf.matmul(u, v, transpose_b=True) / scale
    return tf.reduce_logsumexp(s, 1) / 2 + tf.reduce_logsumexp(s, 0) / 2 - tf.linalg.diag_part(s)
