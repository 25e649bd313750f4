"""Drawings: conversions between formats, simplification, augmentation, and batches of similar length.

A drawing in **stroke-3** is float32 `(n, 3)`, rows `(dx, dy, lift)`: the offset from the last point, and 1 where the
pen is lifted after the point. y points down. In **stroke-5**, `(T, 5)`, rows are `(dx, dy, p1, p2, p3)` with a one-hot
state
of the pen, and drawings of different lengths are padded to the same T: see `keras_ae.distributions.strokes`. As
**lines**, it is a list of `(k, 2)` arrays of points, one for each time that the pen is down.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_ae.datasets import epochs
from keras_ae.distributions.strokes import END, WIDTH
from keras_ae.utils import validation

LARGEST = 1e6
"""Largest offset in a file, in its units; anything larger is an error in the file."""

SIZE = 255.0
"""Units of the larger side of a drawing that is scaled to a box, as in QuickDraw."""

EPSILON = 2.0
"""Units by which simplified lines may leave the original ones, in a box of `SIZE`, as in QuickDraw."""

_STRETCH, _DROP = 0.15, 0.1  # of `augmented`, as in Sketch-RNN
_WINDOW = 50  # batches whose drawings are sorted by length together


class Sketches(NamedTuple):
    """Drawings that were read from files.

    Attributes:
        drawings: list of stroke-3 arrays.
        labels: int64 `(N,)`, the class of each; zeros if there is one class.
        classes: names of the classes.
        skipped: `{reason: number of drawings left out}`.
    """

    drawings: list[np.ndarray]
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: dict[str, int]


def check(drawing: ArrayLike, name: str = "drawing") -> np.ndarray:
    """Returns a drawing in stroke-3 as float32 `(n, 3)`.

    Raises:
        ValueError: if it has another shape, no points, NaN or infinity, offsets above `LARGEST`, or a pen that is
            neither 0 nor 1.

    Example: `check([[0, 0, 0], [3, 4, 1]]).shape    # (2, 3)`
    """
    x = np.asarray(drawing)
    if x.ndim != 2 or x.shape[1] != 3 or x.dtype.kind not in "iufb":
        raise ValueError(f"{name}: expected stroke-3, numbers of shape (n, 3); received {x.dtype} of shape {x.shape}.")
    if not len(x):
        raise ValueError(f"{name}: it is empty; expected one point or more.")
    x = x.astype("float64")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: it contains NaN or infinity; expected finite numbers.")
    if np.abs(x[:, :2]).max() > LARGEST:
        raise ValueError(f"{name}: an offset of {np.abs(x[:, :2]).max():.3g} exceeds {LARGEST:,.0f}. Scale it down.")
    if not np.isin(x[:, 2], (0, 1)).all():
        raise ValueError(f"{name}: expected 0 or 1 in the third column, whether the pen is lifted after the point.")
    return x.astype("float32")


def to_lines(drawing: ArrayLike) -> list[np.ndarray]:
    """The lines of a drawing in stroke-3, in absolute coordinates from the origin (0, 0): a list of `(k, 2)`.

    Example: `[line.tolist() for line in to_lines([[0, 0, 0], [3, 4, 1]])]    # [[[0, 0], [3, 4]]]`

    See also: `from_lines`, the inverse up to the place of the drawing.
    """
    x = check(drawing)
    points = np.cumsum(x[:, :2].astype("float64"), axis=0)
    ends = np.flatnonzero(x[:-1, 2] == 1) + 1
    return [part.astype("float32") for part in np.split(points, ends)]


def from_lines(lines: Iterable[ArrayLike]) -> np.ndarray:
    """A drawing in stroke-3 from lines; it begins at its first point, whose offset is 0: float32 `(n, 3)`.

    Lines without points are left out.

    Raises:
        ValueError: if there are no points, or as in `check`.

    Example: `from_lines([[[5, 5], [8, 9]]]).tolist()    # [[0, 0, 0], [3, 4, 1]]`

    See also: `to_lines`.
    """
    arrays = [np.asarray(line, "float64").reshape(-1, 2) for line in lines]
    arrays = [line for line in arrays if len(line)]
    if not arrays:
        raise ValueError("lines: the drawing is empty; expected one point or more.")
    points = np.concatenate(arrays)
    made = np.zeros((len(points), 3))
    made[1:, :2] = np.diff(points, axis=0)
    made[np.cumsum([len(line) for line in arrays]) - 1, 2] = 1
    return check(made)


def to_strokes5(drawings: Sequence[ArrayLike], length: int | None = None) -> np.ndarray:
    """Drawings in stroke-5, padded behind their ends: float32 `(N, T, 5)`.

    Args:
        drawings: drawings in stroke-3.
        length: int, T; None for one more than the longest drawing has points, so that each has an end.

    Raises:
        ValueError: if there are no drawings, one is invalid, see `check`, or one has `length` points or more.

    Example: `to_strokes5([[[0, 0, 0], [3, 4, 1]]]).shape    # (1, 3, 5)`

    See also: `to_strokes3`, the inverse.
    """
    checked = [check(each, f"drawing {i}") for i, each in enumerate(drawings)]
    if not checked:
        raise ValueError("drawings: expected one or more; received none.")
    longest = max(map(len, checked))
    length = longest + 1 if length is None else validation.positive_int("length", length)
    if longest >= length:
        raise ValueError(
            f"length: a drawing has {longest} points, and needs a row more for its end; received {length}. Leave it "
            "out, or split it: keras_ae.datasets.sketches.split."
        )
    made = np.tile(np.array(END, "float32"), (len(checked), length, 1))
    for row, x in zip(made, checked, strict=True):
        row[: len(x), :2] = x[:, :2]
        row[: len(x), 2], row[: len(x), 3], row[: len(x), 4] = 1 - x[:, 2], x[:, 2], 0
    return made


def to_strokes3(x: ArrayLike) -> list[np.ndarray]:
    """Drawings in stroke-3, a list of `(n, 3)`, from stroke-5 `(N, T, 5)`; an empty drawing has shape `(0, 3)`.

    Raises:
        ValueError: if x has another shape.

    Example: `len(to_strokes3(to_strokes5([[[0, 0, 0], [3, 4, 1]]]))[0])    # 2`

    See also: `to_strokes5`.
    """
    x = np.asarray(x, "float32")
    if x.ndim != 3 or x.shape[2] != WIDTH:
        raise ValueError(f"x: expected stroke-5, shape (N, T, 5); received {x.shape}.")
    points = (np.cumsum(x[..., 4], axis=1) < 0.5).sum(axis=1)
    return [row[:n, [0, 1, 3]] for row, n in zip(x, points, strict=True)]


def scale(drawings: Sequence[ArrayLike]) -> float:
    """The standard deviation of all offsets of drawings in stroke-3, which `SketchVAE` divides by.

    Raises:
        ValueError: if there are no drawings, or all offsets are equal.

    Example: `scale([[[0, 0, 0], [3, 4, 1]]])    # 1.79`

    Source: Ha & Eck 2017, section 3.1.
    """
    if not len(drawings):
        raise ValueError("drawings: expected one or more; received none.")
    made = float(np.std(np.concatenate([np.asarray(x)[:, :2].astype("float64") for x in drawings])))
    if not made:
        raise ValueError("drawings: all offsets are equal, so the drawings show nothing.")
    return made


def extent(drawing: ArrayLike) -> float:
    """The larger side of the box around a drawing in stroke-3.

    Example: `extent([[0, 0, 0], [3, 4, 1]])    # 4.0`
    """
    points = np.cumsum(np.asarray(drawing)[:, :2].astype("float64"), axis=0)
    return float(np.ptp(points, axis=0).max())


def resized(drawing: ArrayLike, size: float) -> np.ndarray:
    """A drawing in stroke-3 whose larger side is `size`; a drawing of a single place stays as it is.

    Example: `extent(resized([[0, 0, 0], [3, 4, 1]], 255.0))    # 255.0`
    """
    x = check(drawing)
    now = extent(x)
    return x * np.array([size / now, size / now, 1.0], "float32") if now else x


def simplify(line: ArrayLike, epsilon: float) -> np.ndarray:
    """Leaves out points of a line `(k, 2)` so that it moves by at most `epsilon`; both ends stay.

    Example: `simplify([[0, 0], [1, 0.1], [2, 0]], epsilon=0.5).tolist()    # [[0.0, 0.0], [2.0, 0.0]]`

    Source: Douglas & Peucker 1973.
    """
    points = np.asarray(line, "float64")
    kept = np.zeros(len(points), bool)
    kept[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        inner = points[first + 1 : last] - points[first]
        chord = points[last] - points[first]
        squared = chord @ chord
        along = np.clip(inner @ chord / squared, 0.0, 1.0) if squared else np.zeros(len(inner))
        distance = np.linalg.norm(inner - along[:, None] * chord, axis=1)
        farthest = int(distance.argmax())
        if distance[farthest] > epsilon:
            middle = first + 1 + farthest
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    return points[kept]


def in_box(lines: Iterable[ArrayLike], size: float | None = SIZE, epsilon: float = EPSILON) -> np.ndarray:
    """A simplified drawing in stroke-3 from lines.

    Args:
        lines: list of points `(k, 2)`.
        size: float, the larger side of the drawing; None leaves the units as they are.
        epsilon: float, as in `simplify`; in units of a box of `SIZE`, whatever `size` is.

    Raises:
        ValueError: if there are no points, or they are not finite.

    Example: `in_box([[[0, 0], [1, 0.001], [2, 1]]]).tolist()    # [[0, 0, 0], [255.0, 127.5, 1]]`
    """
    arrays = [line for line in (np.asarray(each, "float64").reshape(-1, 2) for each in lines) if len(line)]
    if not arrays:
        raise ValueError("lines: the drawing is empty; expected one point or more.")
    points = np.concatenate(arrays)
    if not np.isfinite(points).all():
        raise ValueError("lines: the drawing contains NaN or infinity; expected finite numbers.")
    now = float(np.ptp(points, axis=0).max())
    factor = 1.0 if size is None or not now else size / now
    tolerance = epsilon * (now or 1.0) / SIZE
    return from_lines([factor * simplify(line, tolerance) for line in arrays])


def split(drawing: ArrayLike, max_length: int) -> list[np.ndarray]:
    """Splits a drawing in stroke-3 into parts of at most `max_length` points, between lines where that is possible.

    Example: `[len(part) for part in split(np.zeros((5, 3)), 3)]    # [3, 2]`
    """
    x, max_length = check(drawing), validation.positive_int("max_length", max_length)
    parts = []
    while len(x) > max_length:
        lifts = np.flatnonzero(x[:max_length, 2] == 1)
        end = int(lifts[-1]) + 1 if len(lifts) else max_length
        parts.append(x[:end])
        x = x[end:]
    return [*parts, x] if len(x) else parts


def augmented(drawing: np.ndarray, rng: np.random.Generator, stretch: float = _STRETCH, drop: float = _DROP) -> Any:
    """A drawing in stroke-3, stretched in each direction by up to `stretch`, with points left out.

    A point inside a line is left out with probability `drop`; the offset of the next one then spans both.

    Example: `augmented(check([[0, 0, 0], [3, 4, 1]]), np.random.default_rng(0)).shape    # (2, 3)`

    Source: Ha & Eck 2017, section 4; the amounts are those of their program.
    """
    x = drawing
    inside = np.concatenate([[False], (x[1:, 2] == 0) & (x[:-1, 2] == 0)])
    kept = ~inside | (rng.random(len(x)) >= drop)
    made = x
    if not kept.all():
        places = np.cumsum(x[:, :2], axis=0, dtype="float64")[kept]
        offsets = np.diff(places, axis=0, prepend=np.zeros((1, 2)))
        made = np.concatenate([offsets, x[kept, 2:]], axis=1)
    factors = np.append(rng.uniform(1 - stretch, 1 + stretch, 2), 1.0)
    return (made * factors).astype("float32")


def batches(
    drawings: Sequence[ArrayLike],
    labels: ArrayLike | None = None,
    *,
    batch_size: int = 100,
    augment: bool = True,
    seed: int = 0,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Shuffled batches of drawings of similar length, in stroke-5: x `(B, T, 5)`, or `(x, labels)`.

    Each epoch is shuffled, and within some tens of batches drawings are sorted by length, so that few rows are padding.
    T varies; it is a multiple of 8.

    Args:
        drawings: drawings in stroke-3.
        labels: integers `(N,)`, or None.
        batch_size: int.
        augment: bool, whether to change the drawings as `augmented` does.
        seed: int; equal seeds give equal epochs.
        first_epoch: int, as in `epochs.numbered`.

    Returns:
        `tf.data.Dataset` of `ceil(N / batch_size)` batches per epoch.

    Raises:
        ValueError: if there are no drawings, one is invalid, or there is not one label for each.

    Example:

        data = batches(glyphs, batch_size=8)
        next(iter(data)).shape    # (8, T, 5)

    See also: `to_strokes5`, all drawings in one array; `padding`.
    """
    checked = [check(each, f"drawing {i}") for i, each in enumerate(drawings)]
    if not checked:
        raise ValueError("drawings: expected one or more; received none.")
    batch_size = validation.positive_int("batch_size", batch_size)
    seed = validation.positive_int("seed", seed, at_least=0)
    numbers = None if labels is None else np.asarray(labels, "int64")
    if numbers is not None and numbers.shape != (len(checked),):
        raise ValueError(f"labels: expected one for each of the {len(checked)} drawings; received {numbers.shape}.")

    def epoch_of(number):
        return epoch(checked, numbers, batch_size, augment, seed, number)

    x = tf.TensorSpec((None, None, WIDTH), tf.float32)
    signature = x if numbers is None else (x, tf.TensorSpec((None,), tf.int64))

    def make(epoch):
        return tf.data.Dataset.from_generator(epoch_of, output_signature=signature, args=(epoch,))

    window = _WINDOW * batch_size
    whole, left = divmod(len(checked), window)
    return epochs.numbered(make, whole * _WINDOW + -(-left // batch_size), first_epoch)


def epoch(
    drawings: Sequence[np.ndarray],
    labels: np.ndarray | None,
    batch_size: int,
    augment: bool,
    seed: int,
    number: int,
) -> Iterator[Any]:
    """Yields the batches of one epoch of `batches`, arrays, for programs without TensorFlow; `number` is the epoch's.

    Example: `next(epoch([check([[0, 0, 0], [3, 4, 1]])], None, 1, True, 0, 0)).shape    # (1, 8, 5)`

    See also: `batches`, the same as a data set.
    """
    rng = np.random.default_rng([seed, number])
    order, lengths = rng.permutation(len(drawings)), np.array([len(each) for each in drawings])
    window = _WINDOW * batch_size
    parts = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        parts += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    for i in rng.permutation(len(parts)):
        rows = [augmented(drawings[row], rng) if augment else drawings[row] for row in parts[i]]
        longest = max(map(len, rows)) + 1
        x = to_strokes5(rows, -(-longest // 8) * 8)
        yield x if labels is None else (x, labels[parts[i]])


def padding(data: Iterable[Any]) -> float:
    """The share of rows in batches of stroke-5 that are padding; one row for the end of each drawing counts as used.

    Example: `padding([to_strokes5([[[0, 0, 0], [3, 4, 1]]], 6)])    # 0.5`
    """
    used = total = 0
    for batch in data:
        x = np.asarray(batch[0] if isinstance(batch, tuple) else batch)
        used += int((np.cumsum(x[..., 4], axis=1) < 1.5).sum())
        total += x.shape[0] * x.shape[1]
    return 1.0 - used / total
