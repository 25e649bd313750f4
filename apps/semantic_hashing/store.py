"""An index on disk: packed codes, their FAISS index, ids, titles and texts.

    manifest.json                 lists the parts of the index; replacing it atomically commits a change
    segment-<hex>/codes.npy       uint8 (n, bits / 8)
                  keys.npy        uint64 (n,), 64 bits of BLAKE2b of the ids
                  offsets.bin     int64 (n + 1,), little-endian, start of each line of documents.jsonl
                  documents.jsonl one {"id", "title", "text"} per line, the text truncated to `TEXT` characters
                  index.faiss     the codes in the form that FAISS searches
    .lock                         locked by the writing process

A segment never changes once the manifest lists it. So if a writer is killed at any moment, the index stays as it was,
and the next writer removes the unfinished files. A reader opens all files at the start: if the index is replaced
meanwhile, the old files live on until the reader ends.
"""

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import types
import uuid
import weakref
from collections import namedtuple

import numpy as np

from keras_ae.utils import files

DIRECTORY = "runs/semantic_hashing/index"
FORMAT = 1
MANIFEST = "manifest.json"
TEXT = 20_000  # characters stored per text: enough for snippets and reranking; limits disk use
SEGMENT = 2**20  # documents: limits the writer's memory, which holds a segment's codes and FAISS index
# Exact search takes 0.7 ms per million 64-bit codes, so 3 ms up to this size. Later segments use inverted lists, and a
# query visits some of the lists: 0.1 ms per million. On a million codes around 2,000 centres with 12 % of the bits
# flipped, this finds 97 % of the 100 nearest (48 % on uniformly random codes, where no index helps), in twice the
# memory of the codes. Multi-hash (4 x 16 bits) needed 2.4 times that memory serialised and 7 times loaded, and took
# 0.2 ms for 84 % or 7 ms for 99.7 %.
EXACT = 2**22  # documents
LISTS, VISITED = 1024, 32
_TRAINING = 64 * LISTS  # number of codes used to train the lists' centres

_FILES = ("documents.jsonl", "index.faiss", "offsets.bin")  # that a reader opens
_MANIFEST_TYPES = {"bits": int, "documents": int, "fingerprint": str, "created": str, "segments": list}
_SEGMENT = re.compile(r"segment-[0-9a-f]{32}")
_OURS = re.compile(r"segment-[0-9a-f]{32}|\.(keras_ae-)?[0-9a-f]{32}\.json")  # the latter: unfinished manifests

Entry = namedtuple("Entry", "id title text")
Entry.__doc__ = "A stored document: str `id`, str `title` or None, and the first `TEXT` characters of its `text`."

Segment = namedtuple("Segment", "name documents index")
Segment.__doc__ = 'A folder of the index, its number of documents, and the type of its FAISS index, "flat" or "ivf".'


class Index:
    """An index opened for search.

    Args:
        directory: path written by a `Writer`.

    Attributes:
        documents: int, number of documents.
        bits: int, length of a code.
        fingerprint: str, fingerprint of the model that made the codes (`served.Encoder.fingerprint`).
        nbytes: int, size of the FAISS index, which is memory-mapped and shared between processes.

    Raises:
        ValueError: if there is no index, or it is damaged or has another format.

    Example:

        index = Index("runs/semantic_hashing/index")
        distances, rows = index.search(codes, 10)    # (Q, 10), (Q, 10)
        index.entry(rows[0, 0]).title
    """

    def __init__(self, directory):
        directory = pathlib.Path(directory)
        while True:
            manifest = _read_manifest(directory)
            try:
                self._open(directory, manifest)
                return
            except (OSError, RuntimeError, ValueError) as error:
                # A writer may have replaced the index and removed these files while they were being opened.
                if _read_manifest(directory) == manifest:
                    raise ValueError(
                        f"The index in {str(directory)!r} cannot be read ({error}). If it is damaged, build it again."
                    ) from error

    def _open(self, directory, manifest):
        import faiss  # imported late: an extra

        self.directory, self.documents, self.bits = directory, manifest["documents"], manifest["bits"]
        self.fingerprint = manifest["fingerprint"]
        self._parts, self.nbytes, starts = [], 0, [0]
        for segment in manifest["segments"]:
            path, documents = directory / segment.name, segment.documents
            for name in _FILES:
                if not files.is_regular(path / name):
                    raise ValueError(f"{str(path / name)!r} is not a regular file, or is missing")
            part = faiss.read_index_binary(str(path / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
            # Not memory-mapped: pages read would count as memory of this process.
            lines, offsets = (self._descriptor(path / name) for name in ("documents.jsonl", "offsets.bin"))
            lengths = part.ntotal, part.d, os.fstat(offsets).st_size, [os.fstat(lines).st_size]
            if lengths != (documents, self.bits, 8 * documents + 8, _int64(offsets, documents, 1)):
                raise ValueError(f"the files of {segment.name} differ in length")
            self._parts.append((part, offsets, lines))
            self.nbytes += os.path.getsize(path / "index.faiss")
            starts.append(starts[-1] + documents)
        self._starts = np.array(starts)

    def _descriptor(self, path):
        descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor

    def search(self, codes, k):
        """Finds the documents nearest to each code by Hamming distance; exact among the first `EXACT` documents.

        Equal distances are ordered by insertion.

        Args:
            codes: uint8 `(Q, bits / 8)`.
            k: int, at least 1; limited to the number of documents.

        Returns:
            distances and rows, int64 `(Q, min(k, documents))`, by ascending distance.
        """
        k = min(k, self.documents)
        keys = []
        for (part, _, _), start in zip(self._parts, self._starts, strict=False):
            distances, rows = part.search(np.ascontiguousarray(codes), min(k, part.ntotal))
            # A single key sorts by distance, then row. FAISS returns row -1 if the visited lists have fewer than k.
            key = distances.astype(np.int64) * self.documents + (rows + start)
            keys.append(np.where(rows < 0, np.iinfo(np.int64).max, key))
        keys = np.sort(np.concatenate(keys, axis=1), axis=1)[:, :k]
        return keys // self.documents, keys % self.documents

    def entry(self, row):
        """Reads the stored document of a row as an `Entry`; raises a ValueError if the index is damaged."""
        part = np.searchsorted(self._starts, row, side="right") - 1
        _, offsets, lines = self._parts[part]
        try:
            begin, end = _int64(offsets, row - self._starts[part], 2)
            if not 0 <= begin <= end <= os.fstat(lines).st_size:
                raise ValueError(f"it is said to lie from {begin} to {end}")
            entry = Entry(**json.loads(os.pread(lines, end - begin, begin)))
            if not (isinstance(entry.id, str) and isinstance(entry.text, str) and isinstance(entry.title, str | None)):
                raise ValueError("its id, title or text is no text")
            return entry
        except (OSError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"The index in {str(self.directory)!r} is damaged: row {row} has no document. Build it again."
            ) from error


class Writer:
    """Writes an index, or adds to one, while holding the lock of its folder.

    Args:
        directory: path, created if it does not exist.
        bits: int, length of a code.
        fingerprint: str, fingerprint of the model that makes the codes.
        append: bool. Whether to keep the documents of an existing index; otherwise, the new ones replace them.

    Raises:
        ValueError: if the folder contains anything other than an index, another process is writing to it, or `append`
            is set and the index was made by another model or has another number of bits.

    Example:

        with Writer("runs/semantic_hashing/index", encoder.bits, encoder.fingerprint) as writer:
            writer.write([(documents, codes)])    # any number of pairs
    """

    def __init__(self, directory, bits, fingerprint, append=False):
        self.directory = pathlib.Path(directory)
        self.bits, self.fingerprint, self.append = bits, fingerprint, append

    def __enter__(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = self.directory / ".lock"
        if not lock.exists() and not (self.directory / MANIFEST).exists() and any(self.directory.iterdir()):
            raise ValueError(
                f"{str(self.directory)!r} has files that are not an index; expected an empty or new folder."
            )
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(lock, "a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, even if killed
            except BlockingIOError as error:
                raise ValueError(f"Another process is writing to the index in {str(self.directory)!r}.") from error
            self._current()
            self._sweep()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def write(self, batches):
        """Writes documents and commits them; on failure, the index stays as it was.

        A document replaces any earlier one with the same id, in the index or in this call. Ids are compared by a
        64-bit hash: among a million ids, a collision has probability 3e-8.

        Args:
            batches: iterable of (documents, codes): objects with `id`, `title`, `text`; uint8 `(n, bits / 8)`.

        Returns:
            dict: `documents` in the index, `added` by this call, and `replaced`.

        Raises:
            ValueError: if there is no document.
            OSError: if the disk is full or not writable.
        """
        current = self._current()
        kept = current["segments"] if current else []
        try:
            new = list(self._write(map(_rows, batches)))
            if not new:
                raise ValueError("There were no documents to index; the index is unchanged.")
            segments = self._compact(kept + new)
            documents = sum(segment.documents for segment in segments)
            manifest = {"format": FORMAT, "bits": self.bits, "fingerprint": self.fingerprint, "documents": documents}
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            manifest["created"] = current["created"] if current else now
            manifest["segments"] = [segment._asdict() for segment in segments]
            files.write_text(self.directory / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        finally:
            self._sweep()
        added = sum(segment.documents for segment in new)
        before = sum(segment.documents for segment in kept)
        return {"documents": documents, "added": added, "replaced": before + added - documents}

    def _current(self):
        """Returns the manifest of the index to append to, or None."""
        if not (self.append and (self.directory / MANIFEST).exists()):
            return None
        manifest = _read_manifest(self.directory)
        for name in ("bits", "fingerprint"):
            theirs, ours = manifest[name], getattr(self, name)
            if theirs != ours:
                raise ValueError(
                    f"Cannot append to the index in {str(self.directory)!r}: it was made by another model ({name}: "
                    f"{theirs}, now {ours}). Use that model, or build a new index, without --append."
                )
        return manifest

    def _sweep(self):
        """Removes our files that the manifest does not list: leftovers of killed runs, and replaced segments."""
        # Read the manifest from disk: an interrupt may have arrived after the change was committed.
        names = set()
        if (self.directory / MANIFEST).exists():
            try:
                names = {segment.name for segment in _read_manifest(self.directory)["segments"]}
            except ValueError:  # perhaps written by another version of this program; a failed run must not delete it
                return
        for path in self.directory.iterdir():
            if _OURS.fullmatch(path.name) and path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _write(self, batches):
        """Writes batches of (lines, keys, codes) as segments, which have no FAISS index yet; yields the segments."""
        batches = (batch for batch in batches if batch[0])
        for first in batches:
            segment = f"segment-{uuid.uuid4().hex}"
            path, sizes, columns = self.directory / segment, [0], []
            path.mkdir()
            with _written(path / "documents.jsonl") as file:
                for lines, *arrays in itertools.chain([first], batches):
                    file.writelines(lines)
                    sizes += map(len, lines)
                    columns.append(arrays)
                    if len(sizes) > SEGMENT:
                        break
            keys, codes = map(np.concatenate, zip(*columns, strict=True))
            for name, column in (("keys.npy", keys), ("codes.npy", codes)):
                with _written(path / name) as file:
                    np.save(types.SimpleNamespace(write=file.write), column)
            with _written(path / "offsets.bin") as file:
                file.write(np.cumsum(sizes, dtype="<i8").tobytes())
            yield Segment(segment, len(keys), None)

    def _compact(self, segments):
        """Drops replaced documents, merges small adjacent segments, and adds missing FAISS indexes.

        Each run adds a segment, and each segment costs search time, so adjacent segments are merged until each is more
        than twice as large as the next. The number of segments, and the number of times that a document is copied, then
        grow with the logarithm of the index size.
        """
        stale = _stale([self.directory / segment.name for segment in segments])
        left = [segment.documents - len(rows) for segment, rows in zip(segments, stale, strict=True)]
        groups, sizes = [], []
        for each in reversed(range(len(segments))):
            if groups and left[each] <= 2 * sizes[0] and left[each] + sizes[0] <= SEGMENT:
                groups[0].insert(0, each)
                sizes[0] += left[each]
            elif left[each]:
                groups.insert(0, [each])
                sizes.insert(0, left[each])
        compacted = []
        for group in groups:
            if len(group) == 1 and not len(stale[group[0]]):
                made = [segments[group[0]]]
            else:
                rows = (_copies(self.directory / segments[each].name, stale[each]) for each in group)
                made = self._write(itertools.chain.from_iterable(rows))
            for segment in made:
                before = sum(each.documents for each in compacted)
                compacted.append(segment if segment.index else self._indexed(segment, before))
        return compacted

    def _indexed(self, segment, before):
        import faiss

        path = self.directory / segment.name
        codes = _column(path, "codes")
        index, kind = faiss.IndexBinaryFlat(self.bits), "flat"
        if before >= EXACT and len(codes) >= _TRAINING:
            index, kind = faiss.IndexBinaryIVF(index, self.bits, LISTS), "ivf"
            index.train(np.ascontiguousarray(codes[:: len(codes) // _TRAINING]))
            index.nprobe = VISITED
        index.add(np.ascontiguousarray(codes))
        with files.naming(path / "index.faiss"):
            try:
                faiss.write_index_binary(index, str(path / "index.faiss"))
                # The writer overlooks an error of the last bytes; the reader does not.
                faiss.read_index_binary(str(path / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
            except RuntimeError as error:
                raise OSError(f"FAISS: {error}") from error
        for each in (*path.iterdir(), path, path.parent):  # must be on disk before the manifest lists it
            with files.naming(each):
                files.sync(each)
        return segment._replace(index=kind)


@contextlib.contextmanager
def _written(path):
    """Context manager with a new file that Python writes, as NumPy's `tofile` overlooks errors of the last bytes."""
    with files.naming(path), open(path, "wb") as file:
        yield file


def _read_manifest(directory):
    path = pathlib.Path(directory) / MANIFEST
    if not path.exists():
        raise ValueError(f"There is no index in {str(directory)!r}. Build one with keras-ae index.")
    try:
        manifest = files.read_json(path)
        if manifest["format"] == FORMAT:
            for name, kind in _MANIFEST_TYPES.items():
                if not isinstance(manifest[name], kind):
                    raise TypeError(name)
            segments = [Segment(**segment) for segment in manifest["segments"]]
            for segment in segments:
                if not _SEGMENT.fullmatch(segment.name) or type(segment.documents) is not int:
                    raise ValueError(f"no segment has the name {segment.name!r}")
            if manifest["documents"] != sum(segment.documents for segment in segments) or not segments:
                raise ValueError("the numbers of documents differ")
            return manifest | {"segments": segments}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{str(path)!r} is not an index manifest, or is damaged ({error}). Build the index again."
        ) from error
    raise ValueError(
        f"The index in {str(directory)!r} has format {manifest['format']!r}; expected {FORMAT}. Build it again."
    )


def _int64(descriptor, row, n):
    return np.frombuffer(os.pread(descriptor, 8 * n, 8 * row), "<i8").tolist()


def _rows(batch):
    """Converts documents and codes to (lines, keys, codes)."""
    documents, codes = batch
    entries = [{"id": each.id, "title": each.title, "text": each.text[:TEXT]} for each in documents]
    # Unpaired surrogates, which JSON allows, survive the round trip.
    lines = [json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for entry in entries]
    return lines, np.array([_key(entry["id"]) for entry in entries], np.uint64), codes


def _key(document_id):
    digest = hashlib.blake2b(document_id.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest())


def _column(path, name):
    """Returns an array of a segment, memory-mapped."""
    file = path / f"{name}.npy"
    try:
        return np.load(file, mmap_mode="r")
    except (EOFError, OSError, ValueError) as error:
        raise ValueError(f"{str(file)!r} is damaged ({error}). Build the index again, without --append.") from error


def _stale(paths):
    """Returns the rows of each segment that a later document replaces, as integer arrays."""
    columns = [_column(path, "keys") for path in paths]
    parts = -(
        -sum(map(len, columns)) // (4 * SEGMENT)
    )  # partition by key: equal keys are in the same part, and memory is bounded
    found = [[] for _ in paths]
    for part in range(parts):
        rows = [np.flatnonzero(keys % np.uint64(parts) == part) for keys in columns]
        keys = np.concatenate([keys[chosen] for keys, chosen in zip(columns, rows, strict=True)])
        stale = np.ones(len(keys), bool)
        stale[len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]] = False  # keep the last row of each key
        ends = np.cumsum([len(chosen) for chosen in rows])
        for each, chosen, mask in zip(found, rows, np.split(stale, ends[:-1]), strict=True):
            each.append(chosen[mask])
    return [np.concatenate(each) for each in found]


def _copies(path, stale, size=1024):
    """Yields the rows of a segment that are not stale, as batches of (lines, keys, codes)."""
    keys, codes = (_column(path, name) for name in ("keys", "codes"))
    keep = np.ones(len(keys), bool)
    keep[stale] = False
    rows = np.flatnonzero(keep)
    with open(path / "documents.jsonl", "rb") as file:
        lines = itertools.compress(file, keep)
        for start in range(0, len(rows), size):
            chosen = rows[start : start + size]
            yield list(itertools.islice(lines, size)), keys[chosen], codes[chosen]
