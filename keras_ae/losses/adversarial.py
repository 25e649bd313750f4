"""Losses of adversaries: pairs of functions of a critic's scores, what the critic minimises and what the generator."""

from collections import namedtuple

Adversary = namedtuple("Adversary", "critic generator")
Adversary.__doc__ = """The losses of one game.

Attributes:
    critic: function of the scores `(B, ...)` of real and of generated rows.
    generator: function of the scores of generated rows.
"""

LEAST_SQUARES = Adversary(
    critic=lambda real, fake: 0.5 * (real - 1) ** 2 + 0.5 * fake**2,
    generator=lambda fake: 0.5 * (fake - 1) ** 2,
)
"""Least squares (Mao 2017, equation 9): a real row has the score 1, a generated one 0.

    critic = 1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2,    generator = 1/2 (D(G(z)) - 1)^2
"""
