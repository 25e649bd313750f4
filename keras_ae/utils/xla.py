"""Operations that are chosen by whether XLA compiles them."""

import contextvars

import tensorflow as tf

compiling = contextvars.ContextVar("compiling", default=False)


def for_xla() -> bool:
    """Whether the operations that are made now belong to a loop that XLA compiles: other ones are fast there."""
    return compiling.get()


def softplus(x: tf.Tensor) -> tf.Tensor:
    """log(1 + exp(x)) by the operations that are fast where they run.

        softplus(x) = max(x, 0) + log(1 + e),    e = exp(-|x|)
        log(1 + e) = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...),    s = e / (2 + e) <= 1/3

    XLA's logarithm takes longer than seven terms, more than float32 can tell; TensorFlow's own operation is one pass.
    """
    if not for_xla():
        return tf.nn.softplus(x)
    e = tf.exp(-tf.abs(x))
    s = e / (2.0 + e)
    artanh = s * tf.math.polyval([1 / n for n in (13, 11, 9, 7, 5, 3, 1)], s * s)
    return tf.maximum(x, 0.0) + 2.0 * artanh
