"""Files of drawings: what is read, how it is split, and that nothing in a file runs."""

import io
import json
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_ae.datasets import pickles, sketch_files, sketches, svg
from keras_ae.datasets.sketch_rnn import SketchRnn
from tests.datasets import tfds_builders

SHEEP = pathlib.Path(os.environ.get("KERAS_AE_DATA", "../shared/data")) / "sketch" / "omniglot.npz"


def drawings(count=4, seed=0):
    rng = np.random.default_rng(seed)
    made, sizes = np.empty(count, object), range(2, count + 2)
    made[:] = [np.append(rng.integers(-9, 9, (n, 2)), np.ones((n, 1), int), 1).astype("int16") for n in sizes]
    return made


def write(folder, count=4):
    path = pathlib.Path(folder, "cat.npz")
    np.savez_compressed(path, train=drawings(count, 0), valid=drawings(2, 1), test=drawings(2, 2))
    return path


def with_pickle(path, data, shape=(1,)):
    """An .npz whose array `train` holds this pickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.npy", header.getvalue() + data)
    return path


def test_npz_is_read_as_numpy_reads_it(tmp_path):
    path = write(tmp_path)
    for split in ("train", "valid", "test"):
        with np.load(path, allow_pickle=True) as theirs:
            for one, two in zip(sketch_files.read_npz(path, split), theirs[split], strict=True):
                np.testing.assert_array_equal(one, two)
    np.savez(tmp_path / "plain.npz", train=np.arange(30.0).reshape(2, 5, 3))
    assert [x.shape for x in sketch_files.read_npz(tmp_path / "plain.npz")] == [(5, 3), (5, 3)]
    for protocol in range(2, 5):
        found = sketch_files.read_npz(with_pickle(tmp_path / "a.npz", pickle.dumps(drawings(), protocol), (4,)))
        assert [x.shape for x in found] == [x.shape for x in drawings()]


def test_a_file_from_python_2_is_read():
    if not SHEEP.exists():
        pytest.skip(f"needs {SHEEP}, or the folder of data in KERAS_AE_DATA")
    found = sketch_files.load(SHEEP, "test")
    with np.load(SHEEP, allow_pickle=True, encoding="latin1") as theirs:
        assert len(found.drawings) == len(theirs["test"]) == 1_000 and found.skipped == {}
        np.testing.assert_array_equal(found.drawings[7], theirs["test"][7])


class Runs:
    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


def test_nothing_in_a_pickle_runs(tmp_path):
    mark = tmp_path / "mark"
    hostile = np.empty(1, object)
    payloads = [
        Runs(os.mkdir, str(mark)),
        Runs(eval, f"__import__('os').mkdir({str(mark)!r})"),
        Runs(np.load, str(mark)),
        {"a": 1},
        "text",
    ]
    for payload in payloads:
        hostile[0] = payload
        for data in (pickle.dumps(hostile, 4), pickle.dumps(hostile, 2), pickle.dumps(payload, 4)):
            with pytest.raises(ValueError, match="The pickle was refused, and nothing in it ran"):
                sketch_files.read_npz(with_pickle(tmp_path / "a.npz", data))
    assert not mark.exists()
    np.savez(tmp_path / "a.npz", train=hostile)  # as np.load(allow_pickle=True) would run it
    with pytest.raises(ValueError, match="nothing in it ran"):
        sketch_files.load(tmp_path / "a.npz")


def _array(shape, data=b"", dtype=b"i2"):
    """The pickle of an array that claims a shape."""
    numbers = b"".join(b"J" + struct.pack("<i", n) for n in shape)
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    made += b"(K\x01(" + numbers + b"tcnumpy\ndtype\nX" + struct.pack("<I", len(dtype)) + dtype + b"K\x00K\x01\x87R"
    return b"\x80\x03" + made + b"\x89C" + bytes([len(data)]) + data + b"tb."


def test_pickles_that_claim_too_much_are_refused():
    assert pickles.read_array(io.BytesIO(_array([2, 1], b"\x01\x00\x02\x00"))).tolist() == [[1], [2]]
    wrong = {
        "cannot reshape": _array([2**30, 2**30], b"\x01\x00"),
        "not understood|dtype": _array([1], b"\x00" * 8, b"M8[s]"),
        "its objects are not all arrays|it is not an array|iterable": _array([1], b"\x00" * 8, b"O8"),
        "it uses BYTEARRAY8": b"\x80\x05\x96" + struct.pack("<Q", 0) + b".",
        "expected 9999999999 bytes|not enough|it uses": b"\x80\x04\x8e" + struct.pack("<Q", 9_999_999_999) + b"abc",
        "it uses BINPERSID": b"\x80\x02K\x01Q.",
        "exhausted|no end": b"\x80\x02" + b"]" * 50,
    }
    for message, data in wrong.items():
        with pytest.raises(ValueError, match=f"(?i)nothing in it ran: .*({message})"):
            pickles.read_array(io.BytesIO(data))


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_OPERATIONS", 40)
    with pytest.raises(ValueError, match="more than 40 steps"):
        pickles.read_array(io.BytesIO(pickle.dumps(drawings(40), 2)))
    monkeypatch.setattr(sketch_files, "MAX_BYTES", 200)
    np.savez_compressed(tmp_path / "a.npz", train=np.zeros((100, 5, 3)))  # some bytes, that unpack to more
    with pytest.raises(ValueError, match="expected at most 200"):
        sketch_files.read_npz(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="nothing in it ran"):
        sketch_files.read_npz(with_pickle(tmp_path / "b.npz", pickle.dumps(drawings(40), 2), (40,)))


def test_broken_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    np.savez(tmp_path / "c.npz", train=np.array(["a"]))
    for name, message in {"a": "zip", "b": "it has no 'train'; it has other", "c": "arrays of numbers"}.items():
        with pytest.raises(ValueError, match=f"{name}.npz': .*{message}"):
            sketch_files.read_npz(tmp_path / f"{name}.npz")
    with pytest.raises(ValueError, match="does not exist"):
        sketch_files.load(tmp_path / "d.npz")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "f.txt").write_text("")
    with pytest.raises(ValueError, match=r"expected .npz, .ndjson or .svg files; found 1 .txt"):
        sketch_files.load(tmp_path / "e")


def test_quickdraw_is_read_raw_and_simplified(tmp_path):
    rows = [
        {"word": "cat", "drawing": [[[0, 9, 9], [0, 0, 9]], [[3], [3]]]},
        {"word": "dog", "drawing": [[[0, 500, 1000], [0, 1, 0], [0, 10, 20]]]},
    ]
    path = tmp_path / "a.ndjson"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (cat, one), (dog, two) = sketch_files.read_ndjson(path)
    assert (cat, dog) == ("cat", "dog")
    np.testing.assert_array_equal(one, [[0, 0, 0], [9, 0, 0], [0, 9, 1], [-6, -6, 1]])
    np.testing.assert_allclose(two, [[0, 0, 0], [255, 0, 1]], atol=1e-4)


NO_DRAWINGS = ("{", "[]", '{"word": "cat"}', '{"drawing": [[[1, 2], [3]]]}', '{"drawing": [[["a"], [1]]]}')


@pytest.mark.parametrize("line", NO_DRAWINGS)
def test_a_line_that_is_no_drawing_is_named(tmp_path, line):
    path = tmp_path / "a.ndjson"
    path.write_text('{"drawing": [[[1, 2], [3, 4]]]}\n' + line)
    with pytest.raises(ValueError, match="line 2: expected a QuickDraw drawing"):
        list(sketch_files.read_ndjson(path))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sketch_files, "MAX_LINE", 20)
    (tmp_path / "a.ndjson").write_text('{"drawing": [[[1, 2], [3, 4]]]}')
    with pytest.raises(ValueError, match="line 1 has more than 20 bytes"):
        list(sketch_files.read_ndjson(tmp_path / "a.ndjson"))


def test_folders_have_classes_and_stable_splits(tmp_path):
    write(tmp_path)
    os.rename(write(tmp_path, 3), tmp_path / "dog.npz")
    write(tmp_path)
    found = sketch_files.load(tmp_path)
    assert found.classes == ("cat", "dog") and np.bincount(found.labels).tolist() == [4, 3]
    with pytest.raises(ValueError, match="'dog' is not one of the classes cat"):
        sketch_files.load(tmp_path, classes=["cat"])
    pytest.importorskip("defusedxml")
    for i in range(40):
        (tmp_path / "svg" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        svg.write(tmp_path / "svg" / "ab"[i % 2] / f"{i}.svg", [[0, 0, 0], [i + 1, 3, 0], [2, 9, 1]])
    parts = [sketch_files.load(tmp_path / "svg", split).drawings for split in sketch_files.SPLITS]
    assert sum(map(len, parts)) == 40 and len(parts[0]) > 25
    assert sketch_files.load(tmp_path / "svg").classes == ("a", "b")


def test_drawings_that_cannot_be_used_are_left_out_and_counted(tmp_path):
    rows = np.empty(4, object)
    rows[:] = [drawings()[0], np.zeros((0, 3)), np.full((2, 3), np.nan), np.array([[9e9, 0, 1.0]])]
    np.savez(tmp_path / "a.npz", train=rows)
    found = sketch_files.load(tmp_path / "a.npz")
    assert len(found.drawings) == 1 and sorted(found.skipped.values()) == [1, 1, 1]
    np.savez(tmp_path / "a.npz", train=rows[1:])
    with pytest.raises(ValueError, match=r"no drawings to train with. Left out: .*it is empty"):
        sketch_files.load(tmp_path / "a.npz")


def test_outlines_of_letters():
    pytest.importorskip("matplotlib")
    parts = [sketch_files.load(split=split) for split in sketch_files.SPLITS]
    assert [len(part.classes) for part in parts] == [62] * 3
    assert len(parts[0].drawings) > 600 and all(len(part.drawings) > 50 for part in parts[1:])
    assert {sketches.extent(each) for each in parts[1].drawings} == {255.0} or np.allclose(
        [sketches.extent(each) for each in parts[1].drawings], 255.0, atol=3
    )
    letter = parts[0].drawings[list(parts[0].labels).index(parts[0].classes.index("O"))]
    assert len(sketches.to_lines(letter)) == 2


class SketchRnnTest(tfds_builders.ManualFiles, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = SketchRnn
    SPLITS = {"train": 4, "validation": 2, "test": 2}  # noqa: RUF012 (as TFDS wants it)
    write = staticmethod(write)


def test_the_builder_needs_a_file(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no .npz files"):
        tfds_builders.load("sketch_rnn", tmp_path)
