import contextlib
import importlib
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from apps import common
from apps.semantic_hashing import index, served, store
from keras_ae.datasets import text
from tests.apps import semantic_hashing_export

pytest.importorskip("apache_beam")
from apache_beam.internal import pickler

from apps.semantic_hashing import beam

ROOT = pathlib.Path(__file__).parents[2]
BAD = {"malformed": 3, "text not a string": 2, "empty": 1, "no known words": 1}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A model, a corpus in two files, the folder of its codes, and the output of the program."""
    folder = tmp_path_factory.mktemp("beam")
    export = semantic_hashing_export.write(folder / "model")
    for part in range(2):
        lines = []
        for i in range(400 * part, 400 * part + 400):
            words = f"document {chr(97 + i % 26) * 3} of {chr(97 + i // 26) * 2} " + "long " * (10_000 if i == 7 else 1)
            lines.append(json.dumps({"id": f"d{i}", "title": f"On {i}", "body": words}).encode())
        (folder / f"{part}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with open(folder / "1.jsonl", "ab") as file:
        file.write(b'no json\n\n[1]\n{"a": \n{"body": 5}\n{"text": "elsewhere"}\n{"body": " "}\n{"body": "1 2 3"}\n')
        file.write(b'{"body": "caf\xe9 \\u0000 \\ud800 words"}\n')
    command = [sys.executable, "-m", "apps.semantic_hashing.beam", "--runner", "DirectRunner", f"--model={export}"]
    command += [f"--input={folder}/*.jsonl", f"--output={folder}/codes", "--text_column=body", "--direct_num_workers=1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return export, folder, folder / "codes", ended.stdout


def _records(folder, name):
    return [json.loads(line) for path in sorted(folder.glob(f"{name}-*.jsonl")) for line in path.open()]


def _index(export, path, **flags):
    defaults = {"data": None, "text_column": "text", "codes": None, "append": False}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        index.run(model=str(export), index=str(path), **defaults | flags)
    return json.loads(printed.getvalue().splitlines()[-1])


def test_codes_are_those_of_the_encoder(encoded):
    export, folder, codes, _ = encoded
    encoder = served.Encoder(export)
    documents = {}
    for part in range(2):
        for document in text.Documents(folder / f"{part}.jsonl", "body"):
            documents[document.id if document.id.startswith("d") else document.text] = document
    records = _records(codes, "codes")
    assert len(records) == 801
    for record in records:
        document = documents[record["id"] if record["id"].startswith("d") else record["text"]]
        assert record["title"] == document.title and record["text"] == document.text[: store.TEXT]
        assert record["fingerprint"] == encoder.fingerprint
    ordered = [documents[each["id"] if each["id"].startswith("d") else each["text"]].text for each in records]
    expected, _, _ = encoder.encode(ordered)
    np.testing.assert_array_equal([np.frombuffer(bytes.fromhex(each["code"]), np.uint8) for each in records], expected)


def test_bad_lines_are_kept_apart_and_counted(encoded):
    *_, codes, printed = encoded
    report = json.loads(printed.splitlines()[-1])
    assert json.loads((codes / "report.json").read_text()) == report
    assert report["documents"] == 801 and report["skipped"] == BAD and report["bits"] == 32
    bad = _records(codes, "bad")
    assert sorted(each["reason"] for each in bad) == sorted(reason for reason in BAD for _ in range(BAD[reason]))
    assert {"reason": "malformed", "line": "no json"} in bad


def test_an_index_is_built_from_codes_without_encoding(encoded, tmp_path, monkeypatch):
    export, _, codes, _ = encoded
    monkeypatch.setattr(served.Encoder, "encode", None)
    report = _index(export, tmp_path / "index", codes=f"{codes}/codes-*.jsonl")
    assert report["documents"] == report["added"] == 801 and report["skipped"] == {}
    found = store.Index(tmp_path / "index")
    records = _records(codes, "codes")
    for row in (0, 400, 800):
        assert found.entry(row)._asdict() == {key: records[row][key] for key in ("id", "title", "text")}
        distances, _ = found.search(np.frombuffer(bytes.fromhex(records[row]["code"]), np.uint8)[None], 1)
        assert distances[0, 0] == 0


def test_codes_of_another_model_or_an_incomplete_run_are_refused(encoded, tmp_path):
    export, _, codes, _ = encoded
    other = semantic_hashing_export.write(tmp_path / "other", seed=1)
    with pytest.raises(common.UserError, match=r"was encoded by the model"):
        _index(other, tmp_path / "index", codes=f"{codes}/codes-*.jsonl")
    shard = next(codes.glob("codes-*.jsonl"))
    for names in (["codes-00001-of-00002"], ["codes-00000-of-00001", "codes-00000-of-00002"], ["codes"]):
        folder = tmp_path / names[-1]
        folder.mkdir()
        for name in names:
            shutil.copy(shard, folder / f"{name}.jsonl")
        with pytest.raises(common.UserError, match="complete files of one run"):
            _index(export, tmp_path / "index", codes=f"{folder}/codes*.jsonl")
    assert not (tmp_path / "index" / store.MANIFEST).exists()


def test_workers_get_the_steps_by_pickle(encoded):
    handler, parse, written = pickler.loads(pickler.dumps((beam.Encoding(encoded[0]), beam.parse, beam.written)))
    entries = list(parse(b'{"text": "some words"}', "text"))
    (result,) = handler.run_inference(entries, handler.load_model())
    code = served.Encoder(encoded[0]).encode(["some words"])[0].tobytes().hex()
    assert [json.loads(line)["code"] for line in written(result)] == [code]


def test_the_default_id_is_that_of_the_line(encoded):
    first, again, other = (
        next(beam.parse(line, "text")).id for line in (b'{"text": "a"}', b'{"text": "a"}', b'{"text": "b"}')
    )
    assert first == again != other and len(first) == 40


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"input": None}, "--input and --output"),
        ({"model": "nowhere"}, "No export found"),
        ({"input": "nowhere/*.jsonl"}, "nowhere"),
        ({"output": "/dev/null/codes"}, "/dev/null"),
    ],
)
def test_errors_of_users_are_one_line(encoded, tmp_path, flags, message):
    export, folder, _, _ = encoded
    good = {"model": str(export), "input": f"{folder}/*.jsonl", "output": str(tmp_path), "text_column": "body"}
    with pytest.raises(common.UserError, match=message) as caught:
        beam.run(**good | flags)
    assert "\n" not in str(caught.value)


def test_without_beam_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, beam.__name__)
    with pytest.raises(ImportError, match=r"keras_ae\[beam\]"):
        importlib.import_module(beam.__name__)
