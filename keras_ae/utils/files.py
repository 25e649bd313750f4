"""Atomic file writes, and counting files by suffix."""

import contextlib
import os
import pathlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator

_SUFFIX = 16  # characters


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Context manager with a temporary path that replaces `path` on success and is deleted on failure.

    It is in the same folder and keeps the last two suffixes of `path`, which Keras uses to recognise the format.
    """
    path = pathlib.Path(path)
    # In a name such as "1. A long title.wav", the title is not a suffix.
    suffixes = [suffix for suffix in path.suffixes[-2:] if len(suffix) <= _SUFFIX]
    beside = path.with_name(f".{uuid.uuid4().hex}{''.join(suffixes)}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` atomically, creating its folder; a crash leaves either the old or the new file."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
        sync(beside)
    sync(path.parent)


def sync(path: str | os.PathLike) -> None:
    """Flushes a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def count_suffixes(names: Iterable[str]) -> str:
    """Counts files by suffix, most frequent first: `"3 .mp3, 1 .aif"`."""
    counts = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in names)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda each: (-each[1], each)))
