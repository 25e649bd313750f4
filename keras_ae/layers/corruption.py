"""Corruptions of a denoising autoencoder's input, active in training only; `keras.layers.GaussianNoise` is another."""

from typing import Any

import keras
import tensorflow as tf

from keras_ae.utils import validation


class Corruption(keras.layers.Layer):
    """Base class of corruptions that replace a share of the values.

        out_i = replacement(x_i, u_i) if u_i < rate, else x_i,    u_i ~ U(0, 1)

    Subclasses define `replacement(x, u)`.

    Args:
        rate: float, 0 to 1, the expected share of replaced values.
        seed: int or None.

    Raises:
        ValueError: if `rate` is out of range.

    Example:

        class Negative(Corruption):
            def replacement(self, x, u):
                return -x

        Negative(0.25)(x, training=True)    # of x's shape

    See also: `MaskingNoise` and `SaltAndPepperNoise`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = validation.fraction("rate", rate), seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def replacement(self, x: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns what replaces the values x where u, uniform on [0, 1], is below the rate; broadcasts to x."""
        raise NotImplementedError(f"{type(self).__name__} must define replacement(x, u).")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not (training and self.rate):
            return x
        u = keras.random.uniform(keras.ops.shape(x), dtype=x.dtype, seed=self.seed_generator)
        return tf.where(u < self.rate, self.replacement(x, u), x)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("keras_ae")
class MaskingNoise(Corruption):
    """Sets each value to 0 with probability `rate`, in training.

        out_i = m_i x_i,    m_i ~ Bernoulli(1 - rate)

    Args:
        rate: float, 0 to 1.
        seed: int or None.

    Raises:
        ValueError: if `rate` is out of range.

    Example: `MaskingNoise(0.25)(x, training=True)    # of x's shape`

    Source: Vincent 2008, section 2.3. See also: `SaltAndPepperNoise`; `keras.layers.Dropout`, which also divides by
    1 - rate.
    """

    def replacement(self, x: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(x)


@keras.saving.register_keras_serializable("keras_ae")
class SaltAndPepperNoise(Corruption):
    """Sets each value to the lowest or highest one with probability `rate`, in training; both are equally likely.

        out_i = low or high, each with probability rate / 2, else x_i

    Args:
        rate: float, 0 to 1.
        low, high: floats, the range of the data.
        seed: int or None.

    Raises:
        ValueError: if `rate` is out of range, `low` or `high` is not finite, or `low` is not below `high`.

    Example: `SaltAndPepperNoise(0.25)(x, training=True)    # of x's shape`

    Source: Vincent 2010, on types of corruption. See also: `MaskingNoise`, with 0 only.
    """

    def __init__(
        self, rate: float, low: float = 0.0, high: float = 1.0, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.low, self.high = validation.finite("low", low), validation.finite("high", high)
        if not self.low < self.high:
            raise ValueError(f"low and high: expected a number and a larger one; received {low} and {high}.")

    def replacement(self, x: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        low, high = tf.cast(self.low, x.dtype), tf.cast(self.high, x.dtype)
        return tf.where(u < self.rate / 2, low, high)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"low": self.low, "high": self.high}
