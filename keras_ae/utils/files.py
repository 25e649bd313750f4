"""Files that appear whole or not at all, and a count of files by their suffix."""

import contextlib
import os
import pathlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator

_SUFFIX = 16  # characters


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    It ends in the last two suffixes of `path`, by which Keras tells formats apart.
    """
    path = pathlib.Path(path)
    # Of a name such as "1. A long title.wav" the title is no suffix.
    suffixes = [suffix for suffix in path.suffixes[-2:] if len(suffix) <= _SUFFIX]
    beside = path.with_name(f".{uuid.uuid4().hex}{''.join(suffixes)}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path`, making its folder: a reader sees the old file or the new one, after a crash, too."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
        sync(beside)
    sync(path.parent)


def sync(path: str | os.PathLike) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count_suffixes(names: Iterable[str]) -> str:
    """Says how many files of each suffix there are, the most frequent first: `"3 .mp3, 1 .aif"`."""
    counts = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in names)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda each: (-each[1], each)))
