"""Numbers that several parts of the package must agree on, in a module that is cheap to import."""

SCALE_FLOOR = 1e-6
"""The least scale of a distribution: scale = softplus(raw) + SCALE_FLOOR."""
