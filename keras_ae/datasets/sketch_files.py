"""Readers of drawings: sketch-rnn `.npz`, QuickDraw `.ndjson`, SVG files, and the outlines of fonts."""

import functools
import hashlib
import json
import pathlib
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from keras_ae.datasets import pickles, sketches, svg
from keras_ae.datasets.sketches import Sketches
from keras_ae.typing import FilePath
from keras_ae.utils import extras, files

MAX_BYTES = 1 << 29
"""Of one array in an `.npz`, unpacked."""

MAX_LINE = 1 << 20
"""Bytes of one drawing in an `.ndjson`."""

SPLITS = ("train", "valid", "test")
SUFFIXES = (".npz", ".ndjson", ".svg")

_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Of the fonts that matplotlib has, those with letters in the usual places.
_FONTS = ("DejaVuS*", "STIXGeneral*", "cmr10", "cmss10", "cmtt10", "cmb10")


def read_npz(path: FilePath, split: str = "train") -> list[np.ndarray]:
    """Reads the drawings of one split of a sketch-rnn `.npz`: a list of arrays, stroke-3 as they are in the file.

    These files hold pickled arrays of objects. Anything but arrays of numbers is refused, and nothing in the file runs.

    Args:
        path: the file.
        split: "train", "valid" or "test".

    Raises:
        ValueError: if the file is no `.npz`, has no such split, is too large, or holds anything but arrays.

    Example:

        np.savez("squares.npz", train=np.zeros((2, 5, 3)))
        len(read_npz("squares.npz"))    # 2

    See also: `load`, which also checks the drawings.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
            if split not in names:
                raise ValueError(f"it has no {split!r}; it has {', '.join(sorted(names)) or 'no arrays'}.")
            with archive.open(names[split]) as member:
                return _array(pickles.buffered(member, MAX_BYTES))
    except (ValueError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{str(path)!r}: {error}") from error


def _array(file):
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        found = pickles.read_array(file)
        return found if isinstance(found, list) else list(found)
    if dtype.kind not in "iufb":
        raise ValueError(f"expected arrays of numbers; received {dtype}.")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > MAX_BYTES:
        raise ValueError(f"an array of {size:,} bytes; expected at most {MAX_BYTES:,}.")
    return list(np.frombuffer(file.read(size), dtype).reshape(shape, order="F" if by_columns else "C"))


def read_ndjson(path: FilePath) -> Iterator[tuple[str, np.ndarray]]:
    """Yields `(word, drawing)` of a QuickDraw `.ndjson`, one drawing a line, raw or simplified; drawings are stroke-3.

    Raw drawings, which have times, are scaled and simplified like simplified ones.

    Raises:
        ValueError: for a line that is too long or no drawing; the message has its number.

    Example:

        pathlib.Path("a.ndjson").write_text(json.dumps({"word": "cat", "drawing": [[[0, 9], [0, 9]]]}))
        next(read_ndjson("a.ndjson"))[0]    # cat

    Source: the QuickDraw data set's description. See also: `load`, which leaves out drawings that cannot be used.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise ValueError(f"{str(path)!r}: line {number} has more than {MAX_LINE:,} bytes.")
            if line.strip():
                yield _of_json(line, f"{str(path)!r}: line {number}")


def _of_json(line, place):
    try:
        row = json.loads(line)
        lines = [np.stack([np.asarray(axis, "float64") for axis in each[:2]], axis=1) for each in row["drawing"]]
        is_raw = any(len(each) > 2 for each in row["drawing"])
        return str(row.get("word", "")), sketches.in_box(lines) if is_raw else sketches.from_lines(lines)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place}: expected a QuickDraw drawing ({error}).") from error


@functools.cache
def glyphs() -> Sketches:
    """Outlines of letters and digits in the fonts that matplotlib ships: about 1,000 drawings, a class a character.

    Raises:
        ImportError: if matplotlib is not installed.

    Example: `len(glyphs().classes)    # 62`

    See also: `load`, which splits them.
    """
    textpath = extras.library("matplotlib.textpath", "keras_ae.datasets.sketch_files.glyphs")
    font_manager = extras.library("matplotlib.font_manager", "keras_ae.datasets.sketch_files.glyphs")
    matplotlib = extras.library("matplotlib", "keras_ae.datasets.sketch_files.glyphs")
    folder = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawings, labels, names = [], [], []
    for font in sorted({path for pattern in _FONTS for path in folder.glob(f"{pattern}.ttf")}):
        if "Display" in font.stem:
            continue
        properties = font_manager.FontProperties(fname=str(font))
        for label, character in enumerate(_CHARACTERS):
            path = textpath.TextPath((0, 0), character, size=100, prop=properties)
            lines = [np.asarray(line) * (1, -1) for line in path.to_polygons(closed_only=False) if len(line) > 2]
            if lines:
                drawings.append(sketches.in_box(lines))
                labels.append(label)
                names.append(f"{font.stem} {character}")
    order = sorted(range(len(names)), key=lambda i: hashlib.sha1(names[i].encode(), usedforsecurity=False).digest())
    return Sketches([drawings[i] for i in order], np.array(labels)[order], tuple(_CHARACTERS), {})


def load(data: FilePath | None = None, split: str = "train", classes: Sequence[str] | None = None) -> Sketches:
    """Reads drawings: embedded outlines of letters, or a file or a folder of users.

    Sketch-rnn files (`.npz`) have splits of their own. All other drawings are split by a hash of their contents: 80 %
    to "train", 10 % each to "valid" and "test". In a folder, each `.npz` is a class, and so is each word of `.ndjson`
    files, and each sub-folder of SVG files. Drawings that cannot be used (empty, NaN, offsets above a million) are
    left out and counted; a file that cannot be read is an error.

    Args:
        data: a file that ends in `.npz`, `.ndjson` or `.svg`, a folder of them, or None for the outlines.
        split: "train", "valid" or "test".
        classes: names of the classes, in the order of their numbers, as of the training data; None for those found.

    Raises:
        ValueError: if the data cannot be read, have a class that is not in `classes`, or hold no drawings.

    Example: `len(load(split="test").drawings)    # about 100`

    See also: `sketches.batches`, which takes the drawings.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}; received {split!r}.")
    if data is None:
        every = glyphs()
        rows = [i for i, x in enumerate(every.drawings) if _split_of(x) == split]
        return Sketches([every.drawings[i] for i in rows], every.labels[rows], every.classes, {})
    path = pathlib.Path(data)
    if not path.exists():
        raise ValueError(f"{str(path)!r} does not exist.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not found or found[0].suffix.lower() not in SUFFIXES:
        there = files.count_suffixes(p.name for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.name
        raise ValueError(f"{str(path)!r}: expected .npz, .ndjson or .svg files; found {there or 'no files'}.")
    drawings, words, skipped = [], [], Counter()  # type: ignore[var-annotated]
    for file in found:
        for word, drawing, own in _drawings(file, split, path):
            try:
                checked = sketches.check(drawing)
            except ValueError as error:
                skipped[str(error).partition(": ")[2]] += 1
                continue
            if own or len(found) == 1 == len(drawings) or _split_of(checked) == split:
                drawings.append(checked)
                words.append(word)
    if not drawings:
        raise ValueError(f"{str(path)!r} has no drawings to {split} with. Left out: {dict(skipped) or 'none'}.")
    names = tuple(sorted(set(words))) if classes is None else tuple(classes)
    unknown = sorted(set(words) - set(names))
    if unknown:
        raise ValueError(f"{str(path)!r}: {unknown[0]!r} is not one of the classes {', '.join(names)}.")
    labels = np.array([names.index(word) for word in words], "int64")
    return Sketches(drawings, labels, names, dict(skipped))


def _drawings(file, split, root):
    """Yields `(class, drawing, whether the file has splits)`."""
    suffix = file.suffix.lower()
    if suffix == ".npz":
        yield from ((file.stem, drawing, True) for drawing in read_npz(file, split))
    elif suffix == ".ndjson":
        yield from ((word or file.stem, drawing, False) for word, drawing in read_ndjson(file))
    else:
        inside = file.parent != root and root.is_dir()
        yield file.parent.name if inside else root.stem, svg.read(file), False


def _split_of(drawing):
    tenth = int.from_bytes(hashlib.sha1(drawing.tobytes(), usedforsecurity=False).digest()[:4], "big") % 10
    return {8: "valid", 9: "test"}.get(tenth, "train")
