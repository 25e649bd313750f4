"""Adversarial losses: pairs of functions of the critic's scores, one for the critic and one for the generator."""

from collections import namedtuple

import tensorflow as tf

from keras_ae.utils.xla import softplus

Adversary = namedtuple("Adversary", "critic generator")
Adversary.__doc__ = """The losses of a critic and its generator.

Attributes:
    critic: function of the scores `(B, ...)` of real and of generated rows.
    generator: function of the scores of generated rows.
"""


def _checked(smoothing):
    if isinstance(smoothing, bool) or not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing: expected a number from 0 to below 0.5; received {smoothing!r}.")
    return float(smoothing)


def cross_entropy(smoothing: float = 0.0) -> Adversary:
    """Cross-entropy of scores that are logits: the original game, with the generator's loss that does not saturate.

        critic = -(1 - a) log S(D(x)) - a log(1 - S(D(x))) - log(1 - S(D(G(z)))),    generator = -log S(D(G(z)))

    S is the sigmoid and a the smoothing. At the critic's optimum without smoothing, D = log p_real - log p_generated.
    If the critic cannot tell both apart, critic = 2 log 2 and generator = log 2. With smoothing, the critic's target
    for real rows is 1 - a, so its scores stay small and its gradients alive.

    Args:
        smoothing: float, a, in [0, 0.5).

    Raises:
        ValueError: if the smoothing is out of range.

    Example: `cross_entropy().critic(tf.zeros([4, 1]), tf.zeros([4, 1]))    # (4, 1), 2 log 2`

    Source: Goodfellow 2014, equation 1 and section 3; Salimans 2016, section 3.4, for smoothing of one side. See also:
    `least_squares`, whose gradients do not vanish far from the decision.
    """
    a = _checked(smoothing)
    return Adversary(
        critic=lambda real, fake: softplus(-real) + a * real + softplus(fake), generator=lambda fake: softplus(-fake)
    )


def least_squares(smoothing: float = 0.0) -> Adversary:
    """Least squares: the critic's target is 1 for real and 0 for generated rows.

        critic = 1/2 (D(x) - 1 + a)^2 + 1/2 D(G(z))^2,    generator = 1/2 (D(G(z)) - 1)^2

    Args:
        smoothing: float, a, in [0, 0.5).

    Raises:
        ValueError: if the smoothing is out of range.

    Example: `least_squares().critic(tf.zeros([4, 1]), tf.zeros([4, 1]))    # (4, 1), 1/2`

    Source: Mao 2017, equation 9. See also: `cross_entropy`.
    """
    a = _checked(smoothing)
    return Adversary(
        critic=lambda real, fake: 0.5 * (real - 1 + a) ** 2 + 0.5 * fake**2,
        generator=lambda fake: 0.5 * (fake - 1) ** 2,
    )


LEAST_SQUARES = least_squares()
"""`least_squares` without smoothing."""

NAMES = {"cross_entropy": cross_entropy, "least_squares": least_squares}


def get(name: str, smoothing: float = 0.0) -> Adversary:
    """The `Adversary` of a name in `NAMES`.

    Raises:
        ValueError: for an unknown name, or a smoothing out of range.

    Example: `get("least_squares", smoothing=0.1)    # an Adversary`
    """
    if name not in NAMES:
        raise ValueError(f"Unknown adversary {name!r}: expected one of {', '.join(NAMES)}.")
    return NAMES[name](smoothing)


def per_row(values: tf.Tensor) -> tf.Tensor:
    """Means over all axes but the first: `(B,)`.

    Example: `per_row(tf.ones([4, 8, 1]))    # (4,)`
    """
    return tf.reduce_mean(values, axis=tf.range(1, tf.rank(values)))
