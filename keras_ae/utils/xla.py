"""Tracing helpers: skipping AutoGraph, and choosing operations under XLA."""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

as_it_is = tf.autograph.experimental.do_not_convert
"""Decorator for functions passed to `tf.data`; AutoGraph would rewrite them, which takes a quarter of a second each."""

_compiling = contextvars.ContextVar("compiling", default=False)


def for_xla() -> bool:
    """Whether the code is being traced for a training step that XLA compiles, where different operations are fast."""
    return _compiling.get()


@contextlib.contextmanager
def tracing(jit_compile: bool) -> Iterator[None]:
    """Context in which `for_xla` returns `jit_compile`."""
    outside = _compiling.set(jit_compile)
    try:
        yield
    finally:
        _compiling.reset(outside)


def softplus(x: tf.Tensor) -> tf.Tensor:
    """Computes log(1 + exp(x)) with operations that are fast with or without XLA.

        softplus(x) = max(x, 0) + log(1 + e),    e = exp(-|x|)
        log(1 + e) = 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 + ...),    s = e / (2 + e) <= 1/3

    Under XLA, seven terms of the series exceed float32 precision and are faster than its logarithm. Otherwise
    TensorFlow's own softplus, a single operation, is used.
    """
    if not for_xla():
        return tf.nn.softplus(x)
    e = tf.exp(-tf.abs(x))
    s = e / (2.0 + e)
    artanh = s * tf.math.polyval([1 / n for n in (13, 11, 9, 7, 5, 3, 1)], s * s)
    return tf.maximum(x, 0.0) + 2.0 * artanh
