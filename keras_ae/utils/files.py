"""Atomic file writes, sweeping what killed writers left, reading what strangers made, counting files by suffix."""

import contextlib
import errno
import functools
import json
import os
import pathlib
import re
import shutil
import stat
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

OLD = 3600.0
"""Seconds without a write after which hidden files and folders of this package belong to no living process."""

_SUFFIX = 16  # characters
_MAX_JSON_BYTES = 2**26
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HIDDEN = re.compile(r"\.keras_ae-[0-9a-f]{32}(\..*)?")
_swept: dict[str, float] = {}  # when this process swept a folder last; a folder of many files is not listed for each


def hidden(path: str | os.PathLike) -> pathlib.Path:
    """Returns a new path beside `path`, for its contents until they are complete; `sweep` recognises its name.

    It keeps the last two suffixes of `path`, which Keras uses to recognise the format.
    """
    path = pathlib.Path(path)
    # In a name such as "1. A long title.wav", the title is not a suffix.
    suffixes = [suffix for suffix in path.suffixes[-2:] if len(suffix) <= _SUFFIX]
    return path.with_name(f".keras_ae-{uuid.uuid4().hex}{''.join(suffixes)}")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Context manager with a temporary path that replaces `path` on success and is deleted on failure.

    It is in the same folder, see `hidden`. An existing file keeps its mode. A symbolic link stays, and its target is
    replaced. Old leftovers of killed processes in the folder are deleted, see `sweep`.

    Raises:
        OSError: if `path` is a device, a pipe, or a link to itself; errors of writing name `path`, see `naming`.
    """
    target = pathlib.Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(f"{os.fspath(path)!r} is a symbolic link that leads back to itself.")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    if mode is not None and not (target.is_file() or target.is_dir()):
        raise OSError(f"{os.fspath(path)!r} must be a regular file; it is a device or a pipe.")
    sweep_rarely(target.parent)
    beside = target.with_name(hidden(path).name)
    with naming(path, beside):
        try:
            if mode is not None and target.is_file():
                # Before anything is written, so that nobody else can read the contents meanwhile.
                os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))
                beside.chmod(mode | stat.S_IWUSR)
            yield beside
            if mode is not None:
                beside.chmod(mode)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike, beside: str | os.PathLike | None = None) -> Iterator[None]:
    """Context manager in which `path` is written: errors that name no file, or the temporary `beside`, name `path`.

    Raises:
        OSError: with the error number of the original one, and what to do if the disk is full.
    """
    try:
        yield
    except OSError as error:
        is_ours = error.filename is None or os.fspath(error.filename) == os.fspath(beside or "")
        if not is_ours or (error.errno is None and type(error) is not OSError):
            raise
        if error.errno is None:  # of NumPy, HDF5 and libsndfile, which only describe it
            raise OSError(f"{os.fspath(path)!r} could not be written: {error} (is the disk full?)") from error
        reason = error.strerror
        if error.errno in _FULL:  # HDF5 says more than a user can read
            reason = f"{os.strerror(error.errno)}. Free some space, or write to another disk"
        raise OSError(error.errno, reason, os.fspath(path)) from error


def is_regular(path: str | os.PathLike) -> bool:
    """Whether a path is a regular file of a disk, or a link to one.

    Reading a pipe or a device may block or never end, and so may some of the kernel's files in /proc and /sys, which
    claim to be regular.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # a ValueError for a NUL in the path
        return False
    return stat.S_ISREG(found.st_mode) and found.st_dev not in _kernel_devices()


@functools.cache
def _kernel_devices():
    return {os.stat(folder).st_dev for folder in ("/proc", "/sys") if os.path.ismount(folder)}


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a file that holds a JSON object.

    Raises:
        ValueError: if it is not a regular file, has more than 64 MB, or is not a JSON object; the message names it.
        OSError: if it cannot be opened.
    """
    if not is_regular(path):
        raise ValueError(f"{os.fspath(path)!r} is damaged: expected a regular file.")
    try:
        if os.path.getsize(path) > _MAX_JSON_BYTES:
            raise ValueError(f"more than {_MAX_JSON_BYTES} bytes")
        value = json.loads(pathlib.Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)!r} is damaged: expected JSON ({error}).") from error
    if not isinstance(value, dict):
        raise ValueError(f"{os.fspath(path)!r} is damaged: expected a JSON object.")
    return value


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` atomically, creating its folder; a crash leaves either the old or the new file."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
        sync(beside)
    sync(pathlib.Path(os.path.realpath(path)).parent)


def sync(path: str | os.PathLike) -> None:
    """Flushes a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: str | os.PathLike, older_than: float = OLD) -> None:
    """Deletes the hidden files and folders in `folder` that writers left when they were killed.

    Args:
        folder: path; sub-folders are not searched.
        older_than: float, seconds since the last write. Younger ones may be another process's unfinished work.
    """
    with contextlib.suppress(OSError):  # a folder that does not exist, or cannot be read, keeps what it has
        for path in pathlib.Path(folder).iterdir():
            if _HIDDEN.fullmatch(path.name) and time.time() - _last_write(path) >= older_than:
                _remove(path)


def sweep_rarely(folder: str | os.PathLike) -> None:
    """Calls `sweep`, unless this process has swept the folder within the last `OLD` seconds."""
    now, key = time.monotonic(), os.path.abspath(folder)
    if now - _swept.get(key, -OLD) >= OLD:
        _swept[key] = now
        sweep(folder)


def _last_write(path):
    """Returns the time of the last write to a file, or to anything in a folder."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return max(each.lstat().st_mtime for each in (path, *inside))


def _remove(path):
    with contextlib.suppress(OSError):  # another process may have been faster
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def count_suffixes(names: Iterable[str]) -> str:
    """Counts files by suffix, most frequent first: `"3 .mp3, 1 .aif"`."""
    counts = Counter(os.path.splitext(name)[1].lower() or "without suffix" for name in names)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda each: (-each[1], each)))
