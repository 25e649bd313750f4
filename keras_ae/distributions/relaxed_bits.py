"""Binary codes: differentiable samples of bits, and packing bits into bytes."""

from collections.abc import Callable

import tensorflow as tf


def straight_through(logits: tf.Tensor, n: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Bits whose gradient is that of their probabilities.

        z ~ Bernoulli(p),    p = sigmoid(l),    dz/dl := dp/dl

    Values are exactly 0 or 1, so the decoder receives the same kind of input in training and inference.

    Args:
        logits: l, float32 `(B, D)`.
        n: int, samples.
        seed: int32 `(2,)`.

    Returns:
        z, float32 `(n, B, D)`.

    Example: `straight_through(tf.zeros([4, 8]), 3, [0, 1])    # (3, 4, 8) bits`

    Source: Bengio 2013, section 3. See also: `logistic`, whose gradients are unbiased but whose values are not bits.
    """
    p = tf.sigmoid(logits)
    z = tf.cast(_uniform(logits, n, seed) < p, p.dtype)
    return z + (p - tf.stop_gradient(p))


def logistic(logits: tf.Tensor, n: int | tf.Tensor, seed: tf.Tensor, temperature: float = 2 / 3) -> tf.Tensor:
    """Binary concrete samples.

        z = sigmoid((l + log u - log(1 - u)) / temperature),    u ~ U(0, 1)

    Values lie between 0 and 1, closer to 0 or 1 at lower temperatures. Args and shapes as in `straight_through`.

    Example: `logistic(tf.zeros([4, 8]), 3, [0, 1])    # (3, 4, 8) in (0, 1)`

    Source: Maddison 2017, equation 3; 2/3 as in its appendix C.3. See also: `straight_through`, whose samples are bits
    but whose gradients are biased.
    """
    u = _uniform(logits, n, seed)
    return tf.sigmoid((logits + tf.math.log(u) - tf.math.log1p(-u)) / temperature)


def noisy(logits: tf.Tensor, n: int | tf.Tensor, seed: tf.Tensor, scale: float = 4.0) -> tf.Tensor:
    """Sigmoids of noisy logits: logits grow to overcome the noise, until codes are binary.

        z = sigmoid(l + scale e),    e ~ N(0, I)

    Args and shapes as in `straight_through`.

    Example: `noisy(tf.zeros([4, 8]), 3, [0, 1])    # (3, 4, 8) in (0, 1)`

    Source: Salakhutdinov & Hinton 2009, who fix one e for each training document. Here e is redrawn at every step, so
    the model cannot memorise it. See also: `logistic`, whose noise is logistic rather than normal.
    """
    shape = tf.concat([[n], tf.shape(logits)], axis=0)
    return tf.sigmoid(logits + scale * tf.random.stateless_normal(shape, seed, alg="philox"))


RELAXATIONS: dict[str, Callable[..., tf.Tensor]] = {
    "straight_through": straight_through,
    "logistic": logistic,
    "noisy": noisy,
}


def pack(bits: tf.Tensor) -> tf.Tensor:
    """Packs bits `(B, D)` into bytes, uint8 `(B, ceil(D / 8))`, most significant bit first, as `numpy.packbits`.

    Example: `pack([[1, 0, 0, 0, 0, 0, 0, 1, 1]])    # [[129, 128]]`

    See also: `evaluation.retrieval.hamming`, which takes packed codes.
    """
    bits = tf.cast(bits, tf.uint8)
    bits = tf.pad(bits, [[0, 0], [0, -bits.shape[-1] % 8]])
    eights = tf.reshape(bits, [-1, bits.shape[-1] // 8, 8])
    return tf.reduce_sum(tf.bitwise.left_shift(eights, tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)), axis=-1)


def _uniform(logits, n, seed):
    """Uniform on (0, 1), clipped away from 0 and 1, where the logit is infinite."""
    shape = tf.concat([[n], tf.shape(logits)], axis=0)
    u = tf.random.stateless_uniform(shape, seed, alg="philox")
    return tf.clip_by_value(u, 1e-6, 1 - 1e-6)
