"""Pictures of a folder, a tar, a CSV of names, an archive of arrays or a TFDS data set, as an array on disk.

Each file is decoded once, one after the other, into an array of uint8 on disk. Training reads batches from there, so
memory does not grow with the number of pictures.
"""

import contextlib
import csv
import hashlib
import os
import pathlib
import tarfile
import tempfile

import numpy as np

import keras_ae as ka
from keras_ae.datasets.images import read_picture

from ..progress import progress_bar
from . import settings, source, tables

_MAX_BYTES = 2**28  # of one file in a tar


def read(data, folder, *, size=None, labels=None, schema=None):
    """Reads pictures; see `source.read`. The schema has the keys "kind", "size", "channels" and "classes"."""
    path = pathlib.Path(data)
    if schema is not None:
        size = schema["size"]
    if path.is_dir():
        found = _of_files(_in_folder(path), folder, size)
    elif path.name.lower().endswith(source.TAR_SUFFIXES):
        found = _of_files(_in_tar(path), folder, size)
    elif path.suffix.lower() in (".csv", ".tsv"):
        found = _of_files(_in_table(path, labels), folder, size)
    else:
        found = _of_arrays(data, size)
    ids, x, names, test, left_out = found
    colour = schema["channels"] == 3 if schema is not None else bool(np.asarray(x.attributes["colour"]))
    x = x.with_channels(3 if colour else 1)
    classes = sorted({name for name in names if name is not None})
    if schema is not None:
        classes = schema["classes"]
    numbers = {name: i for i, name in enumerate(classes)}
    has_labels = len(classes) > 1 or (schema is not None and bool(classes))
    y = np.array([numbers.get(name, -1) for name in names], "int64") if has_labels else None
    made = {
        "kind": "pictures",
        "size": list(x.shape[1:3]),
        "channels": x.shape[3],
        "classes": classes if has_labels else [],
    }
    return source.Rows(ids, x, y, made["classes"], source.split(test, ids), left_out, made)


class Pictures:
    """An array `(N, H, W, C)` of uint8 that may be on disk: slices and lists of rows give NumPy arrays.

    Args:
        array: `(N, H, W, 3)` or `(N, H, W, 1)` uint8, such as a `numpy.memmap`.
        channels: int, 1 or 3; colours become grey, and grey becomes three equal channels. None leaves them.
        attributes: dict of facts.
    """

    dtype = np.dtype("uint8")

    def __init__(self, array, channels=None, attributes=None):
        self.array, self.attributes = array, attributes or {}
        self.channels = channels or array.shape[-1]
        self.shape = (*array.shape[:3], self.channels)

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        found = np.asarray(self.array[rows])
        if found.shape[-1] == self.channels:
            return found
        if self.channels == 3:
            return np.repeat(found, 3, axis=-1)
        # ITU-R 601-2 luma, as Pillow computes it; grey stays as it is.
        return ((found @ np.array([19595, 38470, 7471], "int64") + 0x8000) >> 16).astype(np.uint8)[..., None]

    def with_channels(self, channels):
        return Pictures(self.array, channels, self.attributes)


def _of_files(files, folder, size):
    """Decodes `(name, label, is test, path or reason)`; returns ids, `Pictures`, labels, test and what was left out."""
    side = settings.PICTURES["size"] if size is None else size
    height, width = (side, side) if isinstance(side, int) else side
    ids, labels, test, left_out, seen, colour = [], [], [], {}, {}, False
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    cache = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (has no name, and lives as long as the array)
    bar = progress_bar(desc="Reading pictures", unit=" pictures")
    for name, label, is_test, path in files:
        bar.update()
        try:
            if isinstance(path, ValueError):
                raise path
            picture, is_colour = read_picture(path, (height, width))
        except (ValueError, OSError) as error:
            reason = str(error) if isinstance(error, ValueError) else "cannot be opened"
            left_out.setdefault(reason, []).append(name)
            continue
        colour = colour or is_colour
        cache.write(picture.tobytes())
        ids.append(name)
        labels.append(label)
        test.append(is_test)
        digest = hashlib.sha1(picture.tobytes(), usedforsecurity=False).digest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
    bar.close()
    cache.flush()
    shape = (len(ids), height, width, 3)
    array = np.memmap(cache, np.uint8, "r", shape=shape) if ids else np.zeros(shape, np.uint8)
    facts = {"colour": colour, "duplicates": sum(count - 1 for count in seen.values())}
    return ids, Pictures(array, None, facts), labels, test, left_out


def _in_folder(root):
    """Yields the pictures below a folder in sorted order: the label is the sub-folder, or None."""
    for name in sorted(_names(root)):
        yield name, _label(name), _in_test(name), root / name


def _names(root):
    for folder, subfolders, below in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in below:
            path = pathlib.Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in source.PICTURE_SUFFIXES and path.is_file():
                yield path.relative_to(root).as_posix()


def _label(name):
    parts = name.split("/")[:-1]
    if parts and parts[0].lower() in ("train", "test", "training", "testing", "validation", "val", "valid"):
        parts = parts[1:]
    return "/".join(parts) or None


def _in_test(name):
    """A picture in a folder `test` is of the test; in `train`, it is not; elsewhere the hash of its name decides."""
    first = name.split("/")[0].lower()
    return first in ("test", "testing") if first in ("test", "testing", "train", "training") else source.is_test(name)


def _in_tar(path):
    """Yields the pictures of a tar in its order; a folder that all have in common is not part of their names."""
    with tarfile.open(path) as names:
        files = [each.name for each in names if each.isfile() and not pathlib.Path(each.name).name.startswith(".")]
    common_folder = {name.split("/")[0] for name in files}
    start = len(common_folder.pop()) + 1 if len(common_folder) == 1 and all("/" in name for name in files) else 0
    with tempfile.TemporaryDirectory() as folder, tarfile.open(path) as archive:
        place = pathlib.Path(folder) / "picture"
        for member in archive:
            name = member.name[start:]
            suffix = pathlib.Path(name).suffix.lower()
            if not member.isfile() or suffix not in source.PICTURE_SUFFIXES or pathlib.Path(name).name.startswith("."):
                continue
            if member.size > _MAX_BYTES:
                yield name, None, False, ValueError(f"more than {_MAX_BYTES} bytes")
                continue
            place.write_bytes(archive.extractfile(member).read())  # under a name of ours, never its own
            yield name, _label(name), _in_test(name), place


def _in_table(path, labels):
    """Yields the pictures that a CSV names, relative to its folder."""
    column = tables.picture_column(path)
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter=tables.delimiter(path))
        chosen = labels or next((each for each in rows.fieldnames or () if each.lower() in ("label", "class")), None)
        if chosen is not None and chosen not in (rows.fieldnames or ()):
            raise ValueError(
                f"--labels: {str(path)!r} has no column {chosen!r}; it has {', '.join(rows.fieldnames or ())}."
            )
        for row in rows:
            name = (row[column] or "").strip()
            place = path.parent / name
            missing = None if name and place.is_file() else ValueError("named, but there is no such file")
            yield name, (row[chosen] or "").strip() or None if chosen else None, source.is_test(name), missing or place


def _of_arrays(data, size):
    """Pictures of an `.npz` file or a TFDS data set, with their own splits."""
    parts, ids, test = [], [], []
    side = None if size is None else (size, size) if isinstance(size, int) else tuple(size)
    for split in ("train", "test"):
        options = {"shuffle": False, "size": side, "batch_size": 500}
        with contextlib.suppress(ValueError):
            parts.append(ka.datasets.arrays(ka.datasets.load(data, split, labels=True, **options)))
        if len(parts) < 1 + (split == "test"):
            try:
                x = ka.datasets.arrays(ka.datasets.load(data, split, **options))
            except ValueError:
                if split == "train":
                    raise
                break
            parts.append((x, np.full(len(x), -1)))
        ids += [f"{split}/{i}" for i in range(len(parts[-1][0]))]
        test += [split == "test"] * len(parts[-1][0])
    x, y = (np.concatenate(column) for column in zip(*parts, strict=True))
    x = np.round(x * 255).astype(np.uint8)
    if x.shape[-1] not in (1, 3):
        raise ValueError(f"--data: expected pictures of 1 or 3 channels; {str(data)!r} has {x.shape[-1]}.")
    labels = [None if number < 0 else f"{number:0{len(str(max(y)))}d}" for number in y.tolist()]
    facts = {"colour": x.shape[-1] == 3, "duplicates": len(x) - len({each.tobytes() for each in x})}
    return ids, Pictures(x, None, facts), labels, test, {}
