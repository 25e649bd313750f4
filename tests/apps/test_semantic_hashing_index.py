import contextlib
import io
import itertools
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc

import faiss
import numpy as np
import pytest

from apps import common
from apps.semantic_hashing import index, served, store
from tests import full_disk
from tests.apps import semantic_hashing_export

ROOT = pathlib.Path(__file__).parents[2]
BITS, FINGERPRINT = 16, "f" * 64


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return semantic_hashing_export.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(export):
    return served.Encoder(export)


def _documents(ids, text="text {}"):
    return [store.Entry(f"d{i}", f"Title {i}", text.format(i)) for i in ids]


def _codes(rng, n, bits=BITS):
    return rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)


def _write(path, documents, codes, append=False, batch=7, bits=BITS, fingerprint=FINGERPRINT):
    batches = ((documents[i : i + batch], codes[i : i + batch]) for i in range(0, len(documents), batch))
    with store.Writer(path, bits, fingerprint, append) as writer:
        return writer.write(batches)


def _nearest(codes, queries, k):
    """By definition: the rows with the smallest Hamming distance; ties in order."""
    distances = np.bitwise_count(queries[:, None] ^ codes[None]).sum(axis=2, dtype=np.int64)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, axis=1), rows


def _segments(path):
    return json.loads((path / store.MANIFEST).read_text())["segments"]


def _content(path):
    """Ids, texts and codes of all documents of an index in order, obtained by searching it."""
    found = store.Index(path)
    entries = [found.entry(row) for row in range(found.documents)]
    codes = np.concatenate([np.load(path / segment["name"] / "codes.npy") for segment in _segments(path)])
    distances, rows = found.search(codes, 1)
    assert (distances == 0).all() and (codes[rows[:, 0]] == codes).all()
    return [(entry.id, entry.text, code.tobytes()) for entry, code in zip(entries, codes, strict=True)]


def _expected(documents, codes):
    return [(entry.id, entry.text, code.tobytes()) for entry, code in zip(documents, codes, strict=True)]


# The index on disk.


@pytest.mark.parametrize("segment", [1000, 100])
@pytest.mark.parametrize("bits", [16, 64, 128])
def test_search_is_exact_and_equal_distances_come_in_order(tmp_path, monkeypatch, rng, segment, bits):
    monkeypatch.setattr(store, "SEGMENT", segment)
    codes, queries = _codes(rng, 500, bits), _codes(rng, 20, bits)
    _write(tmp_path, _documents(range(500)), codes, bits=bits)
    found = store.Index(tmp_path)
    assert len(_segments(tmp_path)) == math.ceil(500 / segment / 1.07)
    for k in (1, 30, 500, 9999):
        for ours, expected in zip(found.search(queries, k), _nearest(codes, queries, min(k, 500)), strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_inverted_lists_that_are_all_visited_find_the_nearest(tmp_path, monkeypatch, rng):
    for name, value in {"SEGMENT": 300, "EXACT": 500, "LISTS": 4, "VISITED": 4, "_TRAINING": 256}.items():
        monkeypatch.setattr(store, name, value)
    codes, queries = _codes(rng, 1250), _codes(rng, 20)
    _write(tmp_path, _documents(range(1250)), codes)
    # Two flat segments reach `EXACT`; the last has too few codes for training.
    assert [segment["index"] for segment in _segments(tmp_path)] == ["flat", "flat", "ivf", "ivf", "flat"]
    for ours, expected in zip(store.Index(tmp_path).search(queries, 40), _nearest(codes, queries, 40), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_lists_that_hold_too_few_give_way_to_what_others_found(tmp_path, monkeypatch, rng):
    for name, value in {"SEGMENT": 300, "EXACT": 300, "LISTS": 64, "VISITED": 1, "_TRAINING": 256}.items():
        monkeypatch.setattr(store, name, value)
    codes, queries = _codes(rng, 600), _codes(rng, 20)
    _write(tmp_path, _documents(range(600)), codes)
    distances, rows = store.Index(tmp_path).search(queries, 100)
    assert (rows >= 0).all() and all(len(set(row)) == 100 for row in rows.tolist())
    np.testing.assert_array_equal(distances, np.bitwise_count(codes[rows] ^ queries[:, None]).sum(axis=2))


def test_the_loaded_index_takes_what_its_codes_take(tmp_path, rng):
    codes = _codes(rng, 50_000, 64)
    _write(tmp_path, _documents(range(50_000), ""), codes, bits=64, batch=5000)
    assert codes.nbytes <= store.Index(tmp_path).nbytes < 1.01 * codes.nbytes


def test_entries_come_back_whole_but_for_the_cut(tmp_path, rng):
    texts = [
        "",
        "a\0b",
        "two\nlines\r\x85\u2028",
        "\ud800 half a pair",
        '"}{',
        "ü" * (store.TEXT + 9),
        "𐍈" * store.TEXT,
    ]
    documents = [store.Entry(f"{text[:3]} {i}", None if i % 2 else text[:9], text) for i, text in enumerate(texts)]
    _write(tmp_path, documents, _codes(rng, len(texts)), batch=3)
    found = store.Index(tmp_path)
    for row, entry in enumerate(documents):
        assert found.entry(row) == entry._replace(text=entry.text[: store.TEXT])


def test_appending_equals_writing_at_once(tmp_path, rng):
    documents, codes = _documents(range(300)), _codes(rng, 300)
    for start, end in itertools.pairwise([0, 120, 121, 150, 300]):
        first = _segments(tmp_path)[0] if start else None
        counts = _write(tmp_path, documents[start:end], codes[start:end], append=True)
        assert counts == {"documents": end, "added": end - start, "replaced": 0}
        # Segments that are small compared with the new documents are merged with them; large ones stay.
        assert (first in _segments(tmp_path)) == (0 < end - start < 60)
    assert _content(tmp_path) == _expected(documents, codes)
    queries = _codes(rng, 10)
    for ours, expected in zip(store.Index(tmp_path).search(queries, 50), _nearest(codes, queries, 50), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_without_append_the_new_documents_replace_the_old(tmp_path, rng):
    _write(tmp_path, _documents(range(30)), _codes(rng, 30))
    documents, codes = _documents(range(20, 35)), _codes(rng, 15)
    assert _write(tmp_path, documents, codes, fingerprint="another")["documents"] == 15
    assert _content(tmp_path) == _expected(documents, codes)
    assert store.Index(tmp_path).fingerprint == "another"


def test_a_document_that_comes_again_replaces_the_earlier_one(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(store, "SEGMENT", 40)
    codes = _codes(rng, 100)
    _write(tmp_path, _documents(range(100)), codes)
    before = [segment["name"] for segment in _segments(tmp_path)]
    # 3 is in the first segment; 200 occurs twice in the run, in different segments.
    again = [3, 200, *range(300, 360), 200]
    newer, newer_codes = _documents(again, "newer {}"), _codes(rng, len(again))
    counts = _write(tmp_path, newer, newer_codes, append=True)
    assert counts == {"documents": 161, "added": 63, "replaced": 2}
    kept = [row for row in range(100) if row != 3]
    expected = _expected([_documents(range(100))[row] for row in kept], codes[kept])
    expected += [each for i, each in enumerate(_expected(newer, newer_codes)) if i != 1]
    assert _content(tmp_path) == expected
    after = [segment["name"] for segment in _segments(tmp_path)]
    assert before[0] not in after and before[1] in after  # only segments with a replaced document are copied


def test_keys_are_compared_in_parts(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(store, "SEGMENT", 16)  # so that the 64 keys of a part are fewer than the documents
    codes = _codes(rng, 400)
    ids = [*range(200), *range(0, 200, 2), *range(200, 300)]
    counts = _write(tmp_path, _documents(ids), codes)
    assert counts == {"documents": 300, "added": 400, "replaced": 100}
    last = {f"d{i}": row for row, i in enumerate(ids)}
    assert [entry[0] for entry in _content(tmp_path)] == sorted(last, key=last.get)


def test_many_small_appends_leave_few_segments(tmp_path, rng):
    codes = _codes(rng, 64)
    for i in range(64):
        _write(tmp_path, _documents([i]), codes[i : i + 1], append=True)
        sizes = [segment["documents"] for segment in _segments(tmp_path)]
        assert all(a > 2 * b for a, b in itertools.pairwise(sizes))
    assert _content(tmp_path) == _expected(_documents(range(64)), codes)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", store.MANIFEST} | {
        segment["name"] for segment in _segments(tmp_path)
    }


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(store, "SEGMENT", 500)
    peaks = []
    for n in (2_000, 20_000):
        batches = ((_documents(range(i, i + 100), "x" * 500), _codes(rng, 100)) for i in range(0, n, 100))
        with store.Writer(tmp_path, BITS, FINGERPRINT) as writer:
            tracemalloc.start()
            writer.write(batches)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    # Keys of 4 * SEGMENT documents are compared at a time either way.
    assert peaks[1] < 1.5 * peaks[0] < 1.5 * 2**20


# Damaged indexes.


def test_there_must_be_an_index(tmp_path):
    with pytest.raises(ValueError, match=r"no index in .*nowhere"):
        store.Index(tmp_path / "nowhere")


@pytest.mark.parametrize("flags", [{"bits": 24}, {"fingerprint": "another"}])
def test_an_index_of_another_model_is_not_appended_to(tmp_path, rng, flags):
    documents, codes = _documents(range(9)), _codes(rng, 9)
    _write(tmp_path, documents, codes)
    name, value = next(iter(flags.items()))
    with pytest.raises(ValueError, match=f"another model .{name}: .*{value}"):
        _write(tmp_path, documents, _codes(rng, 9, flags.get("bits", BITS)), append=True, **flags)
    assert _content(tmp_path) == _expected(documents, codes)


def test_nothing_to_write_leaves_the_index(tmp_path, rng):
    documents, codes = _documents(range(9)), _codes(rng, 9)
    _write(tmp_path, documents, codes)
    for batches in ([], [([], np.zeros((0, 2), np.uint8))]):
        with store.Writer(tmp_path, BITS, FINGERPRINT) as writer, pytest.raises(ValueError, match="no document"):
            writer.write(batches)
    assert _content(tmp_path) == _expected(documents, codes)


def test_one_process_writes_at_a_time(tmp_path):
    writer = store.Writer(tmp_path, BITS, FINGERPRINT)
    for _ in range(2):
        with writer, pytest.raises(ValueError, match="Another process"), store.Writer(tmp_path, BITS, FINGERPRINT):
            pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not an index"), store.Writer(tmp_path, BITS, FINGERPRINT):
        pass
    assert os.listdir(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("name", ["documents.jsonl", "index.faiss", "offsets.bin"])
@pytest.mark.parametrize("size", [None, 5])
def test_a_damaged_index_is_refused(tmp_path, rng, name, size):
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    path = tmp_path / _segments(tmp_path)[0]["name"] / name
    path.unlink() if size is None else os.truncate(path, size)
    with pytest.raises(ValueError, match="cannot be read"):
        store.Index(tmp_path)
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    assert store.Index(tmp_path).documents == 9


def test_damage_within_a_file_is_found_when_it_is_read(tmp_path, rng):
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    segment = tmp_path / _segments(tmp_path)[0]["name"]
    lines = segment / "documents.jsonl"
    lines.write_bytes(b"#" * lines.stat().st_size)
    with pytest.raises(ValueError, match="row 3 has no document"):
        store.Index(tmp_path).entry(3)
    (segment / "offsets.bin").write_bytes(np.array([0, 2**62, *[0] * 7, lines.stat().st_size], "<i8").tobytes())
    for row in (0, 1):
        with pytest.raises(ValueError, match=rf"row {row} has no document"):
            store.Index(tmp_path).entry(row)
    os.truncate(segment / "keys.npy", 0)
    with pytest.raises(ValueError, match=r"keys.npy' is damaged"):
        _write(tmp_path, _documents(range(9)), _codes(rng, 9), append=True)


def test_a_pipe_in_an_index_is_not_opened(tmp_path, rng):
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    path = tmp_path / _segments(tmp_path)[0]["name"] / "index.faiss"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"index\.faiss' is not a regular file"):
        store.Index(tmp_path)


@pytest.mark.parametrize(
    "name", ["documents.jsonl", "keys.npy", "codes.npy", "offsets.bin", "index.faiss", "manifest.json"]
)
def test_a_full_disk_is_named_and_leaves_the_index_as_it_was(tmp_path, rng, name, monkeypatch):
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    before = sorted(tmp_path.rglob("*"))
    with full_disk.when_written(name), pytest.raises(OSError, match=rf"{name}'.*full|full.*{name}'|space.*{name}'"):
        _write(tmp_path, _documents(range(9, 20)), _codes(rng, 11), append=True)
    assert sorted(tmp_path.rglob("*")) == before and store.Index(tmp_path).documents == 9


_LACKS_BITS = '{"format": 1, "documents": 9, "fingerprint": "", "created": "", "segments": []}'
_OUTSIDE = '[{"name": "../x", "documents": 9, "index": "flat"}]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ("[" * 10**5, "damaged"),
        (_LACKS_BITS, "damaged"),
        (_LACKS_BITS.replace("{", '{"bits": 16, '), "the numbers of documents differ"),
        (_LACKS_BITS.replace("{", '{"bits": 16, ').replace("[]", _OUTSIDE), "no segment has the name '../x'"),
        ('{"format": 99}', "format 99"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused_and_its_files_stay(tmp_path, rng, text, message):
    _write(tmp_path, _documents(range(9)), _codes(rng, 9))
    manifest = (tmp_path / store.MANIFEST).read_text()
    (tmp_path / store.MANIFEST).write_text(text)
    for append in (False, True):
        with pytest.raises(ValueError, match=message if append else "no document"):
            _write(tmp_path, [], _codes(rng, 0), append=append)
    with pytest.raises(ValueError, match=message):
        store.Index(tmp_path)
    (tmp_path / store.MANIFEST).write_text(manifest)
    assert store.Index(tmp_path).documents == 9


# Killed at any moment.


class _Killed(OSError):
    pass


class _Disk:
    """Counts the operations on files below a folder; from the nth on, all fail, as after a kill.

    If the nth operation opens a file for writing, the file is left empty, because a killed process loses its buffers.
    """

    folder = left = None

    def __call__(self, event, arguments):
        if self.folder is None or not event.startswith(("open", "os.", "shutil.")):
            return
        within = any(isinstance(each, str | os.PathLike) and str(each).startswith(self.folder) for each in arguments)
        # `rmtree` removes files by names relative to open folders.
        if within or (event in ("os.remove", "os.rmdir") and arguments[1] != -1):
            self.left -= 1
            if self.left == -1 and event == "open" and arguments[2] & os.O_TRUNC:
                folder, self.folder = self.folder, None
                os.close(os.open(arguments[0], arguments[2]))
                self.folder = folder
            if self.left < 0:
                raise _Killed(f"at {event}")

    @contextlib.contextmanager
    def dying(self, folder, steps):
        self.folder, self.left = str(folder), steps
        try:
            yield
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def disk():
    made = _Disk()
    sys.addaudithook(made)  # audit hooks cannot be removed
    return made


@pytest.mark.parametrize("append", [False, True])
def test_killed_at_any_step_the_index_is_the_old_or_the_new_one(tmp_path, monkeypatch, rng, disk, append):
    monkeypatch.setattr(store, "SEGMENT", 6)
    old, new = _documents(range(10)), _documents(range(8, 16), "newer {}")
    old_codes, new_codes = _codes(rng, 10), _codes(rng, 8)
    before, after = _expected(old, old_codes), _expected(new, new_codes)
    after = before[:8] + after if append else after
    states = []
    for step in itertools.count():
        path = tmp_path / str(step)
        _write(path, old, old_codes, batch=3)
        reader = store.Index(path)
        killed = False
        with disk.dying(path, step):
            try:
                _write(path, new, new_codes, append, batch=3)
            except (_Killed, ValueError) as error:
                killed = isinstance(error, _Killed) or isinstance(error.__cause__, _Killed)
                assert killed, error
        states.append(_content(path))
        assert states[-1] in (before, after)
        # Readers that opened the old one can still use it.
        assert [reader.entry(row).id for row in range(10)] == [entry.id for entry in old]
        np.testing.assert_array_equal(reader.search(old_codes, 3)[1], _nearest(old_codes, old_codes, 3)[1])
        _write(path, new, new_codes, append, batch=3)
        assert _content(path) == after
        assert {each.name for each in path.iterdir()} == {".lock", store.MANIFEST} | {
            segment["name"] for segment in _segments(path)
        }
        if not killed:
            break
    # Both outcomes occurred, and later kills never undo the change.
    committed = states.index(after)
    assert 10 < committed < len(states) - 1
    assert states == [before] * committed + [after] * (len(states) - committed)


def test_an_interrupt_right_after_the_commit_keeps_the_new_index(tmp_path, monkeypatch, rng):
    documents, codes = _documents(range(9)), _codes(rng, 9)
    _write(tmp_path, _documents(range(5)), _codes(rng, 5))
    write_text = store.files.write_text

    def interrupted(*arguments):
        write_text(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(store.files, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path, documents, codes)
    assert _content(tmp_path) == _expected(documents, codes)


def test_a_reader_takes_the_generation_that_replaces_its_own(tmp_path, monkeypatch, rng):
    _write(tmp_path, _documents(range(5)), _codes(rng, 5))
    documents, codes = _documents(range(9)), _codes(rng, 9)
    read = faiss.read_index_binary

    def replaced_meanwhile(*arguments):
        monkeypatch.setattr(faiss, "read_index_binary", read)
        _write(tmp_path, documents, codes)
        return read(*arguments)

    monkeypatch.setattr(faiss, "read_index_binary", replaced_meanwhile)
    assert store.Index(tmp_path).documents == 9


@pytest.mark.processes
def test_kill_9(tmp_path, export, encoder):
    old = tmp_path / "old.jsonl"
    old.write_text('{"id": "1", "text": "the old one"}\n')
    corpus = tmp_path / "new.jsonl"
    with open(corpus, "w") as file:
        for i in range(8_000):
            file.write(json.dumps({"text": f"number {i} " + "of many words " * 100}) + "\n")
    path = tmp_path / "index"
    _index(export, path, data=str(old))
    command = [sys.executable, "-m", "apps.semantic_hashing.index", f"--model={export}", f"--index={path}"]
    with subprocess.Popen([*command, f"--data={corpus}"], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        # It has written the part of the new segment that exceeds the buffer.
        while sum(each.stat().st_size > 2**13 for each in path.glob("segment-*/documents.jsonl")) < 1:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(list(path.glob("segment-*"))) == 2
    found = store.Index(path)
    assert found.documents == 1 and found.entry(0).text == "the old one"
    _index(export, path, data=str(corpus))
    assert store.Index(path).documents == 8_000
    assert len(list(path.glob("segment-*"))) == 1  # the killed run leaves nothing behind


# The program.


def _index(model, path, **flags):
    """Runs the program; returns its report."""
    defaults = {"data": None, "text_column": "text", "codes": None, "append": False}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        index.run(model=str(model), index=str(path), **defaults | flags)
    report = json.loads((pathlib.Path(path) / "report.json").read_text())
    assert json.loads(printed.getvalue().splitlines()[-1]) == report
    return report


def _jsonl(path, texts, start=0):
    lines = [json.dumps({"id": f"{i}", "text": text, "title": f"On {i}"}) for i, text in enumerate(texts, start)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_a_corpus_becomes_its_codes(tmp_path, export, encoder):
    texts = [f"document {chr(97 + i % 26) * 3} of {chr(97 + i // 26) * 2}" for i in range(600)]
    report = _index(export, tmp_path / "index", data=_jsonl(tmp_path / "a.jsonl", texts))
    assert report["documents"] == report["added"] == 600 and report["bits"] == encoder.bits == 32
    assert report["documents_per_second"] == pytest.approx(600 / report["seconds"])
    codes, _, _ = encoder.encode(texts)
    assert _content(tmp_path / "index") == [(f"{i}", text, codes[i].tobytes()) for i, text in enumerate(texts)]
    assert store.Index(tmp_path / "index").entry(599).title == "On 599"
    assert store.Index(tmp_path / "index").fingerprint == encoder.fingerprint


def test_bad_documents_are_counted_and_the_others_indexed(tmp_path, export):
    folder = tmp_path / "corpus"
    (folder / "label").mkdir(parents=True)
    for name, data in {
        "good": b"some words",
        "latin": b"caf\xe9 words",
        "empty": b" \n",
        "numbers": b"1 2 3",
        "binary": b"\x7fELF\0\0\1",
        "long": b"words " * 2**18,
    }.items():
        (folder / "label" / name).write_bytes(data)
    report = _index(export, tmp_path / "index", data=str(folder))
    assert report["documents"] == 3
    assert report["skipped"] == {"no known words": 1, "empty": 1, "binary": 1, "truncated": 1}
    ids = sorted(each[0] for each in _content(tmp_path / "index"))
    assert ids == ["corpus/label/good", "corpus/label/latin", "corpus/label/long"]


def test_a_tar_with_hostile_paths(tmp_path, export):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in ("/etc/cron", "../up", "news/sci/1"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"words"))
    report = _index(export, tmp_path / "index", data=str(tmp_path / "a.tar.gz"))
    assert report["documents"] == 1 and report["skipped"] == {"no known words": 0, "unsafe path": 2}


def test_append_adds_and_replaces(tmp_path, export):
    _index(export, tmp_path / "index", data=_jsonl(tmp_path / "a.jsonl", ["one", "two", "three"]))
    report = _index(export, tmp_path / "index", data=_jsonl(tmp_path / "b.jsonl", ["six", "four"], 2), append=True)
    assert (report["documents"], report["added"], report["replaced"]) == (4, 2, 1)
    assert [text for _, text, _ in _content(tmp_path / "index")] == ["one", "two", "six", "four"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "nowhere"}, "No export found.*nowhere"),
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"data": "a.jsonl", "codes": "b"}, "--data and --codes"),
        ({"codes": "codes-*.jsonl"}, "codes-00000-of-00002.jsonl"),
        ({"index": "/dev/null/index"}, "/dev/null"),
        ({"data": "numbers"}, "no document"),
    ],
)
def test_errors_of_users_are_one_line(tmp_path, export, flags, message):
    if flags.get("data") == "numbers":
        flags = {"data": _jsonl(tmp_path / "a.jsonl", ["1 2 3"])}
    with pytest.raises(common.UserError, match=message) as caught:
        _index(
            **{"model": export, "path": flags.get("index", tmp_path / "index")}
            | {{"index": "path"}.get(key, key): value for key, value in flags.items()}
        )
    assert "\n" not in str(caught.value)


def test_appending_with_another_model_is_an_error_of_the_user(tmp_path, export):
    data = _jsonl(tmp_path / "a.jsonl", ["one", "two"])
    _index(export, tmp_path / "index", data=data)
    for name, flags in (("bits", {"bits": 64}), ("fingerprint", {"seed": 1})):
        other = semantic_hashing_export.write(tmp_path / name, **flags)
        with pytest.raises(common.UserError, match=f"another model .{name}"):
            _index(other, tmp_path / "index", data=data, append=True)
    assert store.Index(tmp_path / "index").documents == 2


# The model, as served.


def test_codes_are_the_packed_probabilities_above_one_half(encoder):
    texts = [
        "Words of a text.",
        "",
        "1 2 \0 3",
        "a\0b " * 9,
        "\ud800 half",
        "words " * 20_000,
        *map(chr, range(97, 123)),
    ] * 20
    codes, probabilities, valid = encoder.encode(texts)
    assert codes.dtype == np.uint8 and probabilities.shape == (len(texts), 32) and len(texts) > 2 * served.BATCH
    np.testing.assert_array_equal(codes, np.packbits(probabilities > 0.5, axis=1))
    np.testing.assert_array_equal(valid[:6], [True, False, False, True, True, True])
    one_by_one = np.concatenate([encoder.encode([text])[0] for text in texts[:9]])
    np.testing.assert_array_equal(codes[:9], one_by_one)
    norms = np.linalg.norm(encoder.features(texts[:6]), axis=1)
    np.testing.assert_allclose(norms, valid[:6], rtol=1e-5)


def test_no_texts_have_no_codes(encoder):
    assert [each.shape for each in encoder.encode([])] == [(0, 4), (0, 32), (0,)]
    assert encoder.features([]).shape == (0, semantic_hashing_export.VOCABULARY)


def test_batches_are_bounded_by_characters(monkeypatch):
    monkeypatch.setattr(served, "BATCH_CHARACTERS", 10)
    assert list(served.batches(["123456", "1234", "1", "x" * 99, "y"])) == [
        ["123456", "1234"],
        ["1"],
        ["x" * 99],
        ["y"],
    ]
    assert [len(batch) for batch in served.batches([""] * 600)] == [256, 256, 88]


def test_the_fingerprint_is_that_of_the_model_not_of_its_place(tmp_path, encoder):
    same = served.Encoder(semantic_hashing_export.write(tmp_path / "same"))
    other = served.Encoder(semantic_hashing_export.write(tmp_path / "other", seed=1))
    assert same.card == {"bits": 32, "data": "none"}
    assert encoder.fingerprint != other.fingerprint and len(other.fingerprint) == 64
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", encoder.path.parent, copy], check=True)
    (copy / "1" / "card.json").write_text("{}")
    assert served.Encoder(copy).fingerprint == encoder.fingerprint


def test_something_else_than_a_hashing_model_is_refused(tmp_path):
    import tensorflow as tf

    with pytest.raises(ValueError, match="No export found"):
        served.Encoder(tmp_path)
    (tmp_path / "1").mkdir()
    with pytest.raises(ValueError, match="no readable SavedModel"):
        served.Encoder(tmp_path)
    module = tf.Module()
    module.f = tf.function(lambda x: {"z": x}, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(tmp_path / "2"), {"serving_default": module.f})
    with pytest.raises(ValueError, match=r"not a semantic hashing model.*serving_default"):
        served.Encoder(tmp_path)
