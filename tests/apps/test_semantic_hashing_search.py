import importlib
import inspect
import io
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from apps import common, semantic_hashing
from apps.semantic_hashing import index, search, served, store  # noqa: F401  index: by name
from tests.apps import semantic_hashing_export

ROOT = pathlib.Path(__file__).parents[2]
SUBJECTS = {
    "sky": "moon orbit rocket planet telescope comet satellite launch star",
    "kitchen": "flour butter oven recipe dough sugar yeast bake cake",
    "road": "engine wheel brake gear clutch petrol driver tyre road",
}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return semantic_hashing_export.write(tmp_path_factory.mktemp("model"), bits=64)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(SUBJECTS[each].split(), 6)) for each in SUBJECTS for _ in range(40)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory, export, texts):
    return _built(tmp_path_factory.mktemp("index"), export, texts)


@pytest.fixture(scope="module")
def searcher(export, directory):
    return search.Searcher(export, directory)


def _built(path, export, texts):
    encoder = served.Encoder(export)
    documents = [store.Entry(f"d{i}", None if i % 2 else f"Title {i}", text) for i, text in enumerate(texts)]
    with store.Writer(path, encoder.bits, encoder.fingerprint) as writer:
        writer.write([(documents, encoder.encode(texts)[0])])
    return path


def _run(export, directory, capsys, **flags):
    """Runs the program; returns the lines it printed and the message of its error, if any."""
    defaults = {"query": None, "top": 10, "rerank": 0, "json": False}
    try:
        search.run(model=str(export), index=str(directory), **defaults | flags)
        message = None
    except common.UserError as error:
        message = str(error)
    return capsys.readouterr().out.splitlines(), message


def test_the_nearest_are_those_of_least_hamming_distance(searcher, texts):
    query = "a comet near the moon"
    codes, _, _ = searcher.encoder.encode([query, *texts])
    distances = np.bitwise_count(codes[1:] ^ codes[0]).sum(axis=1)
    expected = np.argsort(distances, kind="stable")[:15]
    results = searcher.search(query, 15)
    assert [each["id"] for each in results] == [f"d{i}" for i in expected]
    assert [each["distance"] for each in results] == distances[expected].tolist()
    assert [each["rank"] for each in results] == list(range(1, 16))
    assert [each["title"] for each in results] == [None if i % 2 else f"Title {i}" for i in expected]
    assert all("cosine" not in each for each in results)


def test_a_document_finds_itself_first(searcher, texts):
    for i in (0, 57, 119):
        first = searcher.search(texts[i], 1)[0]
        assert first["distance"] == 0 and texts[int(first["id"][1:])] == texts[i]


def test_the_second_stage_orders_the_shortlist_by_cosine(searcher, texts, monkeypatch):
    monkeypatch.setattr(served, "BATCH", 7)
    query = "bake a cake"
    shortlist = [int(each["id"][1:]) for each in searcher.search(query, 30)]
    x = searcher.encoder.features([query, *texts])
    cosines = x[1:] @ x[0]
    expected = sorted(shortlist, key=lambda i: -cosines[i])  # a stable sort: ties stay in the order of their codes
    results = searcher.search(query, 10, rerank=30)
    assert [each["id"] for each in results] == [f"d{i}" for i in expected[:10]]
    np.testing.assert_allclose([each["cosine"] for each in results], cosines[expected[:10]], rtol=1e-5)
    assert expected != shortlist
    # With all documents in the shortlist, the first is the nearest by TF-IDF.
    assert searcher.search(query, 1, rerank=999)[0]["cosine"] == pytest.approx(cosines.max())
    assert len(searcher.search(query, 10, rerank=3)) == 10


@pytest.mark.parametrize(
    ("query", "reason"), [("", "empty"), (" \t", "empty"), ("1 2 3 \0 ?", "none of the query's words")]
)
def test_a_query_without_known_words_is_unanswerable(searcher, query, reason):
    with pytest.raises(search.Unanswerable, match=reason):
        searcher.search(query, 5)


def test_a_query_may_be_long_and_odd(searcher):
    for query in ("moon " * 200_000, "moon\0moon", "\ud800 moon", "moon\x1b[2J"):
        assert searcher.search(query, 3)[0]["rank"] == 1


# Snippets.


def test_a_snippet_shows_most_words_of_the_query():
    text = "Oven. " + "Filler of some kind. " * 40 + "In the oven a CAKE rises from dough. " + "More of it. " * 40
    found = search.snippet(text, "dough for a cake: oven?")
    assert "oven a CAKE rises from dough" in found
    assert found.startswith("… ") and found.endswith(" …") and len(found) <= search.SNIPPET + 4


def test_a_snippet_without_words_of_the_query_is_the_beginning():
    assert search.snippet("One\n two  three", "the and of") == "One two three"
    assert search.snippet("word " * 99, "absent").startswith("word word")
    assert search.snippet("word " * 99, "absent").endswith(" …")
    assert search.snippet("", "query") == ""
    # One word of a megabyte, and a text that becomes longer in lower case.
    assert len(search.snippet("x" * 10**6, "x")) <= search.SNIPPET + 4
    assert "end" in search.snippet("ß" * 999 + " İ" * 500 + " end", "end")


def test_a_snippet_does_not_repeat_the_title(tmp_path, export):
    texts = ["Re: moon\nOrbits of the moon.", "moon"]
    encoder = served.Encoder(export)
    with store.Writer(tmp_path, encoder.bits, encoder.fingerprint) as writer:
        documents = [store.Entry(text, text.split("\n")[0], text) for text in texts]
        writer.write([(documents, encoder.encode(texts)[0])])
    found = search.Searcher(export, tmp_path).search("moon", 2)
    assert [each["snippet"] for each in found] == ["moon", "Orbits of the moon."]


def test_nothing_that_a_document_holds_drives_the_terminal():
    hostile = "a\x1b[31mred\x1b]0;title\x07\r\nb\x9b2J\u202ereversed\u2066\u200b\ud800\x00\x7fend"
    for cleaned in (search.line(hostile), search.snippet(hostile, "reversed")):
        assert cleaned == "a [31mred ]0;title b 2J reversed end"
    assert search.line("Fußnote ½ 漢字 é") == "Fußnote ½ 漢字 é"


# The program.


def test_the_last_line_has_the_figures(export, directory, capsys):
    lines, message = _run(export, directory, capsys, query="moon orbit", top=2)
    assert message is None and lines[0] == "Query: moon orbit"
    assert lines[1].split()[:2] == ["1", "distance"] and len(lines) == 1 + 2 * 2 + 1 + 1
    figures = json.loads(lines[-1])
    assert figures["queries"] == figures["answered"] == 1 and figures["bits"] == 64
    assert figures["documents"] == 120 and figures["index_bytes"] >= 120 * 8
    assert {"median_ms", "seconds"} <= set(figures)


def test_lines_of_the_input_are_queries_and_bad_ones_do_not_stop_the_others(export, directory, capsys, monkeypatch):
    data = b"moon orbit\n\n1 2 3\nsugar caf\xe9\r\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    lines, message = _run(export, directory, capsys, json=True, top=3, rerank=20)
    answers = [json.loads(line) for line in lines]
    assert message == "2 of 4 queries could not be answered."
    assert [each["query"] for each in answers] == ["moon orbit", "", "1 2 3", "sugar caf�"]
    assert [len(each["results"]) for each in answers] == [3, 0, 0, 3]
    assert ["error" in each for each in answers] == [False, True, True, False]
    assert all("seconds" in each for each in answers)
    assert set(answers[0]["results"][0]) == {"rank", "distance", "cosine", "id", "title", "snippet"}


def test_it_fails_only_if_nothing_could_be_answered(export, directory, capsys):
    lines, message = _run(export, directory, capsys, query="1 2 3")
    assert message == "No query could be answered."
    assert "none of the query's words" in lines[1] and json.loads(lines[-1])["median_ms"] is None


def test_hostile_titles_are_printed_clean(tmp_path, export, capsys):
    encoder = served.Encoder(export)
    with store.Writer(tmp_path, encoder.bits, encoder.fingerprint) as writer:
        hostile = store.Entry("id\x1b[2J", "Title\x1b[2J\r\n", "moon\x1b[2J")
        writer.write([([hostile, hostile._replace(id="\x07", title=None)], encoder.encode(["moon", "moon"])[0])])
    lines, _ = _run(export, tmp_path, capsys, query="moon\x1b[2J")
    assert all(line.isprintable() for line in lines) and len(lines) == 7


def test_errors_of_users_are_one_line(tmp_path, export, directory, capsys):
    _, message = _run(export, tmp_path / "nowhere", capsys, query="moon")
    assert "There is no index" in message and "keras-ae index" in message
    _, message = _run(tmp_path / "nowhere", directory, capsys, query="moon")
    assert "No export found" in message
    for name, flags in (("fingerprint", {"bits": 64, "seed": 1}), ("bits", {"bits": 32})):
        other = semantic_hashing_export.write(tmp_path / name, **flags)
        _, message = _run(other, directory, capsys, query="moon")
        assert "made by another model" in message and f"({name}:" in message and "\n" not in message


@pytest.mark.parametrize("verb", ["index", "search"])
def test_without_faiss_the_extra_is_named_before_any_work(verb, tmp_path, monkeypatch):
    # As if it were not installed: modules are imported again, and neither the model nor the index is opened.
    monkeypatch.setitem(sys.modules, "faiss", None)
    for name in ("store", verb):
        monkeypatch.setattr(semantic_hashing, name, getattr(semantic_hashing, name))
        monkeypatch.delitem(sys.modules, f"apps.semantic_hashing.{name}")
    program = importlib.import_module(f"apps.semantic_hashing.{verb}")
    arguments = dict.fromkeys(inspect.signature(program.run).parameters) | {"index": str(tmp_path / "index")}
    with pytest.raises(common.UserError, match=r'faiss, which is not installed: pip install "keras_ae\[apps\]"'):
        program.run(**arguments)
    assert not list(tmp_path.iterdir())


def test_from_the_command_line(export, directory):
    command = [sys.executable, "-m", "apps.semantic_hashing.search", f"--model={export}", f"--index={directory}"]
    ended = subprocess.run([*command, "--top=1"], cwd=ROOT, input="moon\n\ncake\n", capture_output=True, text=True)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == "error: 1 of 3 queries could not be answered.\n"
    assert json.loads(ended.stdout.splitlines()[-1])["answered"] == 2
