"""Contrastive losses between the rows of a batch."""

import tensorflow as tf


def contrast(u: tf.Tensor, v: tf.Tensor, scale: float) -> tf.Tensor:
    """The contrastive loss of matching each row of u `(B, D)` to its row of v, and vice versa: `(B,)` nats.

        contrast_i = -1/2 log softmax_b(u_i . v_b / scale)[i] - 1/2 log softmax_b(u_b . v_i / scale)[i]

    The loss is log B if all rows look the same, and 0 at best.

    Args:
        u, v: float32 `(B, D)`.
        scale: float above 0; lower values put more weight on the rows that are hardest to tell apart.

    Example: `ka.losses.contrastive.contrast(tf.eye(4), tf.eye(4), scale=0.1)    # (4,), near 0`

    Source: van den Oord 2018, equation 4, in both directions. See also: `SemanticHashing`, whose codes it keeps apart.
    """
    s = tf.matmul(u, v, transpose_b=True) / scale
    return tf.reduce_logsumexp(s, 1) / 2 + tf.reduce_logsumexp(s, 0) / 2 - tf.linalg.diag_part(s)
