"""Adversarial losses: pairs of functions of the critic's scores, one for the critic and one for the generator."""

from collections import namedtuple

Adversary = namedtuple("Adversary", "critic generator")
Adversary.__doc__ = """The losses of a critic and its generator.

Attributes:
    critic: function of the scores `(B, ...)` of real and of generated rows.
    generator: function of the scores of generated rows.
"""

LEAST_SQUARES = Adversary(
    critic=lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * fake**2,
    generator=lambda fake: 0.5 * (fake - 1) ** 2,
)
"""Least squares (Mao 2017, equation 9): the critic's target is 1 for real and 0 for generated rows.

    critic = 1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2,    generator = 1/2 (D(G(z)) - 1)^2
"""
