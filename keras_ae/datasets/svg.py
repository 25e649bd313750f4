"""Drawings from SVG files and to SVG files.

A file from a stranger may hold scripts, links and entities that expand to gigabytes. Files with any of these are
refused; nothing is ever loaded from elsewhere, and the sizes of files and of what is drawn are bounded.
"""

import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from keras_ae.datasets import sketches
from keras_ae.typing import FilePath
from keras_ae.utils import extras, files

MAX_BYTES = 8_000_000
MAX_ELEMENTS = 50_000
MAX_DEPTH = 100
MAX_POINTS = 500_000

# What is not drawn where it stands.
_HIDDEN = {"defs", "clipPath", "mask", "marker", "pattern", "symbol", "metadata", "title", "desc", "style"}
_SHAPES = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"}
_ACTIVE = {"script", "foreignObject", "iframe", "handler", "listener"}
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_TRANSFORM = re.compile(r"\s*,?\s*(\w+)\s*\(([^()]*)\)")
_URL = re.compile(r"url\(\s*['\"]?(?!#)", re.IGNORECASE)


def read(path: FilePath, size: float | None = sketches.SIZE, epsilon: float = sketches.EPSILON) -> np.ndarray:
    """Reads the lines of an SVG file as one drawing in stroke-3, in the order of the file: float32 `(n, 3)`.

    Paths and the basic shapes are drawn, with their transforms; curves become lines. Fills, colours and text are not.

    Args:
        path: the file.
        size, epsilon: as in `sketches.in_box`.

    Raises:
        ValueError: if the file is too large, is no SVG, or has no lines; if it has scripts, references to anything
            outside the file, entities, or copies of other elements (`use`).
        ImportError: if the libraries of the extra `sketch` are not installed.

    Example:

        write("square.svg", [[0, 0, 0], [9, 0, 0], [0, 9, 0], [-9, 0, 0], [0, -9, 1]])
        read("square.svg").shape    # (5, 3)

    See also: `write`, the inverse; `sketches.simplify`.
    """
    path = pathlib.Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{str(path)!r} has {path.stat().st_size:,} bytes; expected at most {MAX_BYTES:,}.")
    try:
        return sketches.in_box(_lines(path), size, epsilon)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error


def _lines(path):
    etree = extras.library("defusedxml.ElementTree", "keras_ae.datasets.svg")
    common = extras.library("defusedxml.common", "keras_ae.datasets.svg")

    drawing, count, stack = _Drawing(), 0, []
    try:
        # Element by element, so that memory and time are bounded before the whole file is read.
        for event, element in etree.iterparse(str(path), events=("start", "end"), forbid_entities=True):
            if event == "end":
                stack.pop()
                element.clear()
                continue
            count += 1
            if count > MAX_ELEMENTS or len(stack) >= MAX_DEPTH:
                raise ValueError(f"more than {MAX_ELEMENTS:,} elements, or {MAX_DEPTH} inside each other.")
            stack.append(_entered(element, stack[-1] if stack else None, drawing))
    except common.DefusedXmlException as error:
        raise ValueError("entities are refused. Save the file as plain SVG.") from error
    except etree.ParseError as error:
        raise ValueError(f"it is no SVG file ({error}).") from error
    if not drawing.lines:
        raise ValueError("it has no lines. Convert text and pictures to paths first.")
    return drawing.lines


def _entered(element, outer, drawing):
    """Draws an element; returns its transform, or None if what is inside is hidden; `outer` is that of its parent."""
    tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    _refuse_active(tag, element.attrib)
    if outer is None and tag != "svg" and not drawing.started:
        raise ValueError(f"expected an svg element first; received {tag!r}.")
    is_first, drawing.started = not drawing.started, True
    if (outer is None and not is_first) or tag in _HIDDEN or _is_invisible(element.attrib):
        return None
    matrix = _matrix(element.attrib.get("transform", ""))
    if not is_first:
        matrix = outer @ matrix
    if tag in _SHAPES:
        drawing.add(element, matrix)
    return matrix


def _refuse_active(tag, attributes):
    if tag in _ACTIVE or any(name.rpartition("}")[2].lower().startswith("on") for name in attributes):
        raise ValueError("scripts are refused. Save the file as plain SVG.")
    if tag == "use":
        raise ValueError("copies of other elements (use) are refused. Unlink clones, then save the file again.")
    for name, value in attributes.items():
        linked = name.rpartition("}")[2] in ("href", "src") and not value.strip().startswith("#")
        # Hyperlinks and base64 pictures too: a drawing needs neither.
        if linked or _URL.search(value):
            raise ValueError(f"references are refused: {value[:60]!r}. Remove links and linked pictures.")


def _is_invisible(attributes):
    style = attributes.get("style", "").replace(" ", "")
    return "display:none" in style or attributes.get("display") == "none"


def _matrix(text):
    """The 3 x 3 matrix of a transform attribute."""
    made, end = np.eye(3), 0
    for match in _TRANSFORM.finditer(text):
        kind, numbers = match[1], [float(each) for each in _NUMBER.findall(match[2])]
        end = match.end()
        made = made @ _one_transform(kind, numbers)
    if text[end:].strip():
        raise ValueError(f"transform {text[:60]!r} cannot be read.")
    return made


def _one_transform(kind, n):
    try:
        if kind == "matrix":
            a, b, c, d, e, f = n
            return np.array([[a, c, e], [b, d, f], [0, 0, 1.0]])
        if kind == "translate":
            x, y = n if len(n) == 2 else (n[0], 0.0)
            return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
        if kind == "scale":
            x, y = n if len(n) == 2 else (n[0], n[0])
            return np.diag([x, y, 1.0])
        if kind == "rotate":
            angle, x, y = n if len(n) == 3 else (n[0], 0.0, 0.0)
            c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
            return _one_transform("translate", [x, y]) @ turn @ _one_transform("translate", [-x, -y])
        if kind in ("skewX", "skewY"):
            made = np.eye(3)
            made[(0, 1) if kind == "skewX" else (1, 0)] = math.tan(math.radians(n[0]))
            return made
    except (ValueError, IndexError, TypeError) as error:
        raise ValueError(f"transform {kind} has {len(n)} numbers.") from error
    raise ValueError(f"transform {kind!r} is unknown.")


class _Drawing:
    """The lines so far; a pen of fontTools, which is called with the segments of a path."""

    def __init__(self):
        self.lines, self.points, self.started = [], 0, False
        self.line, self.matrix = [], np.eye(3)

    def add(self, element, matrix):
        path = extras.library("fontTools.svgLib.path", "keras_ae.datasets.svg")
        builder = extras.library("fontTools.svgLib.path.shapes", "keras_ae.datasets.svg").PathBuilder()
        element.attrib.pop("transform", None)
        self.matrix = matrix
        try:
            builder.add_path_from_element(element)
            for data in builder.paths:
                path.parse_path(data, self)
                self.endPath()
        except _TooMany:
            raise
        except (ValueError, TypeError, IndexError, OverflowError, NotImplementedError) as error:
            tag = element.tag.rpartition("}")[2]
            raise ValueError(f"a {tag} cannot be read ({str(error)[:80]}).") from error

    def _to(self, points):
        self.points += len(points)
        if self.points > MAX_POINTS:
            raise _TooMany(f"more than {MAX_POINTS:,} points.")
        self.line += list(points)

    def moveTo(self, point):
        self.endPath()
        self._to([point])

    def lineTo(self, point):
        self._to([point])

    def curveTo(self, *points):
        self._curve([self.line[-1], *points])

    def qCurveTo(self, *points):
        self._curve([self.line[-1], *points])

    def _curve(self, controls):
        """A Bezier curve, as lines between points at equal steps of its parameter."""
        p = np.array(controls)
        t = np.linspace(0.0, 1.0, _STEPS + 1)[1:, None]
        n = len(p) - 1
        made = sum(math.comb(n, k) * t**k * (1 - t) ** (n - k) * p[k] for k in range(n + 1))
        self._to([tuple(point) for point in made])

    def closePath(self):
        self._to([self.line[0]])
        self.endPath()

    def endPath(self):
        if self.line:
            points = np.array(self.line, "float64")
            if not np.isfinite(points).all():
                raise ValueError("NaN or infinity")
            self.lines.append(points @ self.matrix[:2, :2].T + self.matrix[:2, 2])
        self.line = []


_STEPS = 24  # lines for a curve, before they are simplified


class _TooMany(ValueError):
    pass


def text(drawings: Sequence[ArrayLike], columns: int | None = None, line_width: float = 0.012) -> str:
    """The SVG text of one drawing in stroke-3, or of several in a grid.

    A single drawing keeps its units; in a grid, each is scaled to its cell. Drawings without points leave an empty
    cell.

    Args:
        drawings: drawings in stroke-3.
        columns: int, of the grid; None for a square one.
        line_width: float, as a share of a drawing's larger side.

    Example: `text([[[0, 0, 0], [3, 4, 1]]])[:4]    # <svg`

    See also: `write`, to a file.
    """
    if len(drawings) == 1 and np.size(drawings[0]):
        lines = sketches.to_lines(drawings[0])
        points = np.concatenate(lines)
        low, side = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
        margin = 0.05 * side
        x, y = low - margin
        width, height = np.ptp(points, axis=0) + 2 * margin
        body = _path(lines, line_width * side)
        return _page(f"{_number(x)} {_number(y)} {_number(width)} {_number(height)}", body)
    columns = columns or max(1, math.ceil(math.sqrt(len(drawings))))
    rows = max(1, math.ceil(len(drawings) / columns))
    body = []
    for i, drawing in enumerate(drawings):
        if np.size(drawing):
            lines = sketches.to_lines(sketches.resized(drawing, 80.0))
            points = np.concatenate(lines)
            middle = (points.min(axis=0) + points.max(axis=0)) / 2
            cell = 100.0 * np.array([i % columns, i // columns]) + 50.0
            body.append(_path([line + cell - middle for line in lines], 80.0 * line_width))
    return _page(f"0 0 {100 * columns} {100 * rows}", "\n".join(body))


def write(path: FilePath, drawings: Any, columns: int | None = None) -> None:
    """Writes a drawing in stroke-3, or a list of them as a grid, to an SVG file, atomically.

    Args:
        path: the file.
        drawings: one drawing `(n, 3)`, or a list of drawings.
        columns: int, as in `text`.

    Example: `write("line.svg", [[0, 0, 0], [3, 4, 1]])`

    See also: `text`; `read`, the inverse.
    """
    is_one = not len(drawings) or np.ndim(drawings[0]) == 1
    files.write_text(os.fspath(path), text([drawings] if is_one else drawings, columns))


def _page(box, body):
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">\n{body}\n</svg>\n'


def _path(lines, width):
    def one(line):
        line = line if len(line) > 1 else np.repeat(line, 2, axis=0)  # a dot
        return "M" + "L".join(f"{_number(x)},{_number(y)}" for x, y in line)

    style = 'fill="none" stroke="black" stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{" ".join(map(one, lines))}" {style} stroke-width="{_number(width)}"/>'


def _number(x):
    return f"{float(x):.6g}"
