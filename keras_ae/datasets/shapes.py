"""Images of a single shape, generated from five known factors: ground truth for disentanglement scores."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_ae.utils import validation

_SUBPIXELS = 8  # samples along each edge of a pixel


class Shapes:
    """White shapes on black, one image for each combination of kind, size, angle, x and y.

        pixel = 255 * (fraction of the pixel that the shape covers, by 8 x 8 samples)
        radius = size / 8 ... size / 4,    angle = 0, 360 / angles, 2 * 360 / angles, ... degrees

    dSprites (Matthey 2017) has the same factors, but its squares and ellipses look the same after a quarter or half
    turn, so the angle cannot be determined from the image. Here each kind repeats only after a full turn:

    0. a heart; at angle 0 its tip points down;
    1. a corner, two bars like the letter L; at angle 0 the longer one is upright;
    2. a half disc; at angle 0 its straight edge is at the bottom.

    Shapes rotate counterclockwise about their centre of mass, whose position is given by x (0 is left) and y (0 is
    top), so translation, rotation and scale are independent. The radius is the distance from there to the farthest
    point. The whole shape is inside the frame at all levels, and positions are equally spaced, by multiples of an
    eighth of a pixel.

    Args:
        size: int, width and height of the frame in pixels, 16 or more.
        sizes: int, number of equally spaced levels of the radius.
        angles: int, number of levels of the angle.
        positions: int, number of levels of x and of y; at most `4 * size + 1`.

    Attributes:
        factors: `{name: number of levels}`, in the order of the columns of a factor array.
        factor_sizes: tuple of the numbers of levels.
        radii: `(sizes,)` float64, pixels.
        degrees: `(angles,)` float64.
        centres: `(positions,)` float64, pixels from the left or upper edge of the frame.

    Raises:
        ValueError: if the frame is too small, or a number of levels is not positive or too large.

    Example:

        shapes = ka.datasets.Shapes()    # 3 * 6 * 40 * 16 * 16 = 184,320 images
        x, factors = shapes.sample(1_000, seed=0)    # (1000, 32, 32, 1), (1000, 5)
        same = shapes.images(factors)    # equals x
        first = shapes.images(shapes.rows(range(1_000)))    # in the order of their numbers

    Source: Matthey 2017, dSprites, for the factors; the shapes are our own. See also: `evaluation.disentanglement`,
    whose scores take it.
    """

    def __init__(self, size: int = 32, *, sizes: int = 6, angles: int = 40, positions: int = 16) -> None:
        size = validation.positive_int("size", size, at_least=16)
        sizes, angles = validation.positive_int("sizes", sizes), validation.positive_int("angles", angles)
        positions = validation.positive_int("positions", positions, at_most=4 * size + 1)
        self.size = size
        self.factors = {"kind": len(_KINDS), "size": sizes, "angle": angles, "x": positions, "y": positions}
        self.factor_sizes = tuple(self.factors.values())
        self.radii = np.linspace(size / 4, size / 8, sizes)[::-1]
        self.degrees = 360 / angles * np.arange(angles)
        # The centres of the largest shape range over size / 2 pixels.
        step = _SUBPIXELS * size // 2 // max(positions - 1, 1)
        self._starts = (_SUBPIXELS * size - step * (positions - 1)) // 2 + step * np.arange(positions)
        self.centres = self._starts / _SUBPIXELS
        self._coverage = _coverage(self.radii, np.radians(self.degrees))

    def __len__(self):
        return math.prod(self.factor_sizes)

    def rows(self, indices: ArrayLike) -> np.ndarray:
        """Factors of the images with the given indices, 0 to `len(self) - 1`: `(N, 5)` int64; y varies fastest."""
        return np.stack(np.unravel_index(np.asarray(indices, "int64"), self.factor_sizes), axis=-1)

    def images(self, factors: ArrayLike) -> np.ndarray:
        """Generates images from factors.

        Args:
            factors: `(N, 5)` ints, from 0: the levels of kind, size, angle, x and y.

        Returns:
            `(N, size, size, 1)` uint8, 0 to 255.

        Raises:
            ValueError: if factors has the wrong shape or dtype, or a level is out of range.

        Example: `ka.datasets.Shapes().images([[0, 5, 0, 8, 8]])    # a large upright heart near the middle`
        """
        factors = np.asarray(factors)
        if factors.ndim != 2 or factors.shape[1] != 5 or factors.dtype.kind not in "iu":
            raise ValueError(
                f"factors: expected whole numbers (N, 5), the levels of {', '.join(self.factors)}; received "
                f"{factors.shape} {factors.dtype}."
            )
        if np.any(factors < 0) or np.any(factors >= self.factor_sizes):
            raise ValueError(f"factors: expected levels from 0 to below {self.factor_sizes}; some are out of range.")
        kind, size, angle, x, y = factors.T
        width = self._coverage.shape[-1]
        middle = (width + _SUBPIXELS - 1) // 2
        # Start of each pixel in the coverage array, which has the shape at its centre and a black border.
        pixels = _SUBPIXELS * np.arange(self.size) + middle
        left, top = (np.clip(pixels - self._starts[level][:, None], 0, width - 1) for level in (x, y))  # (N, size)
        kind, size, angle = (level[:, None, None] for level in (kind, size, angle))
        return self._coverage[kind, size, angle, top[:, :, None], left[:, None, :]][..., None]

    def sample(self, n: int, seed: int | np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples n independent images, with each factor uniform over its levels.

        Args:
            n: int, number of images.
            seed: int, or `np.random.Generator`.

        Returns:
            images `(n, size, size, 1)` uint8 and their factors `(n, 5)` int64.

        Example: `x, factors = ka.datasets.Shapes().sample(1_000, seed=0)`
        """
        factors = np.random.default_rng(seed).integers(0, self.factor_sizes, (n, 5))
        return self.images(factors), factors


def _heart(u, v):
    # A square of side 2, standing on a corner, with a half disc on each of the two upper sides.
    centre = (np.pi / 2 + 2 / 3) / (4 + np.pi)  # of mass, along either side
    radius = math.sqrt(2) * (1 + centre)  # to the tip
    a, b = (radius / math.sqrt(2) * along + centre for along in (v + u, v - u))
    return ((np.abs(a) <= 1) & (np.abs(b) <= 1)) | (a**2 + (b - 1) ** 2 <= 1) | ((a - 1) ** 2 + b**2 <= 1)


def _corner(u, v):
    # Two bars of width 1 from (0, 0): one of length 3 upright, one of length 2 to the right.
    radius = math.hypot(0.75, 1.75)  # from the centre of mass, (0.75, 1.25), to the upper end
    a, b = radius * u + 0.75, radius * v + 1.25
    return (a >= 0) & (b >= 0) & (((a <= 1) & (b <= 3)) | ((a <= 2) & (b <= 1)))


def _half_disc(u, v):
    centre = 4 / (3 * np.pi)  # of mass, above the middle of the straight edge
    radius = math.hypot(1, centre)  # to an end of that edge
    a, b = radius * u, radius * v + centre
    return (b >= 0) & (a**2 + b**2 <= 1)


# Whether points are inside the shape, with its centre of mass at 0, its farthest point at 1, u to the right and v up.
_KINDS = (_heart, _corner, _half_disc)


def _coverage(radii, radians):
    """255 times the covered fraction of a pixel, for each start of the pixel: uint8 (kinds, sizes, angles, w, w)."""
    half = _SUBPIXELS * (math.ceil(radii.max()) + 1)
    offsets = ((np.arange(2 * half) + 0.5 - half) / _SUBPIXELS).astype("float32")  # pixels from the centre of the shape
    right, up = offsets[None, :], -offsets[:, None]
    cos, sin = (f(radians).astype("float32")[:, None, None] for f in (np.cos, np.sin))
    u, v = cos * right + sin * up, cos * up - sin * right  # rotated back, (angles, 2 half, 2 half)
    grey = np.round(np.arange(_SUBPIXELS**2 + 1) * 255 / _SUBPIXELS**2).astype("uint8")
    return np.stack(
        [[grey[_window(_window(kind(u / r, v / r), 1), 2)] for r in radii.astype("float32")] for kind in _KINDS]
    )


def _window(inside, axis):
    """Sums over `_SUBPIXELS` neighbours along an axis."""
    width = inside.shape[axis] - _SUBPIXELS + 1
    return sum(np.take(inside, range(i, i + width), axis).astype("uint8") for i in range(_SUBPIXELS))
