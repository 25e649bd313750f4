"""Interpolation between codes."""

import numpy as np


def between(z1: np.ndarray, z2: np.ndarray, steps: int, spherical: bool = False) -> np.ndarray:
    """Interpolates codes from z1 to z2 `(B, ...)`: `(B, steps, ...)` float32.

        z(t) = (1 - t) z1 + t z2
        z(t) = (sin((1 - t) a) z1 + sin(t a) z2) / sin(a),    a = angle between z1 and z2, if spherical

    Example: `between(np.zeros((4, 2)), np.ones((4, 2)), steps=9)    # (4, 9, 2)`

    Source: White 2016, section 2.1, for the arc. See also: `LatentModel.interpolate`, which decodes the result.
    """
    ones = (1,) * (z1.ndim - 1)
    t = np.linspace(0, 1, steps, dtype="float32").reshape(1, steps, *ones)
    z1, z2 = z1[:, None], z2[:, None]
    if not spherical:
        return (1 - t) * z1 + t * z2
    axes = tuple(range(2, z1.ndim))
    norms = [np.maximum(np.sqrt(np.sum(z**2, axis=axes, keepdims=True)), 1e-12) for z in (z1, z2)]
    cosine = np.sum(z1 * z2, axis=axes, keepdims=True) / (norms[0] * norms[1])
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    near = sine < 1e-4  # parallel or antiparallel codes: use the straight line
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1 - t, np.sin((1 - t) * angle) / safe)
    second = np.where(near, t, np.sin(t * angle) / safe)
    return (first * z1 + second * z2).astype("float32")
