"""Penalties and constraints that make few units of a code active."""

import tensorflow as tf

from keras_ae.utils import validation

# Keeps the logarithm finite for units that are never active.
_TINY = 1e-7


def l1(z: tf.Tensor) -> tf.Tensor:
    """The sum of absolute activities of each row: `(B,)`.

        l1 = sum_j |z_j|

    Args:
        z: float32 `(B, ...)`.

    Example: `l1(tf.constant([[1.0, -2.0], [0.0, 0.5]]))    # [3.0, 0.5]`

    Source: Olshausen & Field 1996. See also: `kl`, a penalty on means over a batch; `top_k`, a hard limit.
    """
    return tf.reduce_sum(tf.abs(z), axis=tf.range(1, tf.rank(z)))


def kl(z: tf.Tensor, target_activity: float) -> tf.Tensor:
    """Divergence between the target and the mean activity of each unit, a scalar in nats.

        kl = sum_j rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j)),    r_j = mean_b z_bj

    Args:
        z: float32 `(B, ...)`, activities from 0 to 1.
        target_activity: float between 0 and 1, rho.

    Activities outside [0, 1] can make it NaN.

    Raises:
        ValueError: if `target_activity` is out of range.

    Example: `kl(tf.fill([8, 3], 0.05), 0.05)    # 0.0`

    Source: Ng 2011, CS294A lecture notes, section 3. See also: `l1`, a penalty on each row.
    """
    rho, r = validation.fraction("target_activity", target_activity, ends=False), tf.reduce_mean(z, axis=0)
    on = rho * (tf.math.log(rho) - tf.math.log(r + _TINY))
    off = (1 - rho) * (tf.math.log(1 - rho) - tf.math.log(1 - r + _TINY))
    return tf.reduce_sum(on + off)


def top_k(z: tf.Tensor, k: int | tf.Tensor) -> tf.Tensor:
    """Keeps the k largest values of each row and sets the others to 0: the shape of z.

    Of equal values, the first ones are kept, so exactly k are. The gradient is that of the kept values.

    Args:
        z: float32 `(..., D)`.
        k: int, or int32 scalar, from 1 to D.

    Raises:
        ValueError: if an int k is out of range.

    Example: `top_k(tf.constant([[0.1, 3.0, -1.0, 2.0]]), 2)    # [[0.0, 3.0, 0.0, 2.0]]`

    Source: Makhzani & Frey 2014, algorithm 1. See also: `l1`, a penalty instead.
    """
    k = k if tf.is_tensor(k) else validation.positive_int("k", k, at_most=z.shape[-1])
    ordered = tf.sort(z, axis=-1, direction="DESCENDING")
    least = tf.gather(ordered, [k - 1], axis=-1)  # (..., 1), the k-th largest value
    above, ties = z > least, z == least
    room = k - tf.reduce_sum(tf.cast(above, tf.int32), axis=-1, keepdims=True)
    kept = above | (ties & (tf.cumsum(tf.cast(ties, tf.int32), axis=-1) <= room))
    return tf.where(kept, z, tf.zeros_like(z))
