import contextlib
import io
import json
import math
import os
import pathlib

import matplotlib.image
import numpy as np
import pytest

from apps import common
from apps.semantic_hashing import baselines, evaluate, served
from keras_ae.datasets import text
from keras_ae.evaluation import retrieval
from tests.apps import semantic_hashing_export

ROOT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(os.environ.get("KERAS_AE_DATA") or ROOT.parent / "shared" / "data")
NEWSGROUPS = DATA / "text" / "20_newsgroups.tar.xz"


# Baselines.


def test_tfidf_is_its_formula():
    database = ["apple apple pear", "apple plum", "pear plum plum apple", "the and apple pear plum fig"]
    made, asked = baselines.tfidf(database, ["pear apple apple apple fig", "the and of"])
    # "fig" is in one document, fewer than three; "the" and "of" are stop words.
    tf = np.array([[2, 1, 0], [1, 0, 1], [1, 1, 2], [1, 1, 1], [3, 1, 0]])  # apple, pear, plum
    idf = 1 + np.log(5 / (1 + np.array([4, 3, 3])))
    x = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) * idf
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(np.concatenate([made.toarray(), asked.toarray()]), [*x, [0, 0, 0]], rtol=1e-5)


def test_lsa_of_all_directions_keeps_the_cosines(rng):
    words = np.array(["apple", "pear", "plum", "fig", "quince", "lemon", "melon"])
    features = baselines.tfidf([" ".join(rng.choice(words, 5)) for _ in range(40)], ["apple fig", "melon"])
    dense = baselines.lsa(*features, seed=0)
    assert dense[0].shape == (40, 7)
    tfidf, lsa = (baselines.cosine_distances(q, d) for d, q in (features, dense))
    np.testing.assert_allclose(lsa, tfidf, atol=1e-5)
    np.testing.assert_allclose(tfidf, -(features[1].toarray() @ features[0].toarray().T), atol=1e-6)


def test_random_hyperplanes_estimate_the_angle():
    bits, angles = 8192, np.array([0.0, 0.3, 1.0, math.pi / 2, math.pi])
    rows = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    codes, query = baselines.random_hyperplanes(rows, rows[:1], bits, seed=0)
    share = retrieval.hamming(query, codes)[0] / bits
    p = angles / math.pi
    assert np.all(np.abs(share - p) <= 4 * np.sqrt(p * (1 - p) / bits) + 1e-12)


def test_itq_turns_its_hyperplanes_between_clusters(rng):
    corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    # Unequal variances, so that principal components are defined; they go through the corners, the worst case.
    turned = corners @ np.array([[1, 1], [1, -1]]) / math.sqrt(2) * [1.02, 1.0]
    lift = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    database, queries = ((np.repeat(turned, n, axis=0) + 0.05 * rng.normal(size=(4 * n, 2))) @ lift for n in (50, 5))
    codes, asked, bits = baselines.itq(database, queries, 2, seed=0)
    assert bits == 2
    distances = retrieval.hamming(asked, codes).reshape(4, 5, 4, 50)
    expected = np.sum(corners[:, None] != corners[None], axis=2)  # opposite corners differ in both bits
    np.testing.assert_array_equal(distances, np.broadcast_to(expected[:, None, :, None], (4, 5, 4, 50)))


def test_small_corpora_have_as_much_as_there_is():
    features = baselines.tfidf(["apple pear plum", "fig quince"], ["pear"])
    assert [part.shape for part in features] == [(2, 5), (1, 5)]
    dense = baselines.lsa(*features, seed=0)
    assert [part.shape for part in dense] == [(2, 2), (1, 2)]
    codes, asked, bits = baselines.itq(*dense, 32, seed=0)
    assert bits == 2 and codes.shape == (2, 1) and asked.shape == (1, 1)
    with pytest.raises(ValueError, match="at least two terms in the database"):
        baselines.tfidf(["apple apple", "the apple"], ["pear"])


@pytest.mark.skipif(not NEWSGROUPS.exists(), reason="KERAS_AE_DATA has no text/20_newsgroups.tar.xz")
def test_baselines_reach_the_reference_figures():
    """Known values for the corpus; the codes depend on the seed, with a standard deviation of 0.003 at 32 bits."""
    documents = list(text.Documents(NEWSGROUPS))
    queries = [document for document in documents if text.is_query(document.id)]
    database = [document for document in documents if not text.is_query(document.id)]
    features = baselines.tfidf(*([document.text for document in part] for part in (database, queries)))
    dense = baselines.lsa(*features, seed=0)
    *codes, _ = baselines.itq(*dense, 32, seed=0)
    labels = [np.array([document.label for document in part]) for part in (database, queries)]

    def precision(distances, of):
        found = []
        for i in range(0, len(queries), 512):
            rows = slice(i, i + 512)
            relevant = labels[1][rows, None] == labels[0]
            found.append(retrieval.precision_at(100, distances(of[1][rows], of[0]), relevant))
        return np.concatenate(found).mean()

    assert (len(database), len(queries)) == (14300, 3637)
    assert abs(precision(baselines.cosine_distances, features) - 0.489) < 0.002
    assert abs(precision(baselines.cosine_distances, dense) - 0.576) < 0.002
    assert abs(precision(retrieval.hamming, codes) - 0.553) < 0.01


# The user's path.


def _documents(count, rng, labels=True):
    """Documents of three subjects, each with its own words, and some common words."""
    letters = [chr(97 + i) + chr(97 + j) for i in range(26) for j in range(26)]
    words = rng.permutation(letters).reshape(4, -1)[:, :40]
    for i in range(count):
        subject = i % 3
        chosen = [*rng.choice(words[subject], 12), *rng.choice(words[3], 12)]
        yield {"id": f"{i}", "text": " ".join(chosen)} | ({"label": f"subject {subject}"} if labels else {})


def _write(path, documents):
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return semantic_hashing_export.write(tmp_path_factory.mktemp("export"), bits=32)


def _evaluate(model, output, **flags):
    """Runs the script; returns its report and what it printed on stdout."""
    defaults = {"data": None, "database": None, "queries": None, "text_column": "text", "seed": 0}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        evaluate.run(model=model, output=output, **defaults | flags)
    return json.loads((pathlib.Path(output) / "report.json").read_text()), printed.getvalue()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return list(_documents(400, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def done(model, corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        report, printed = _evaluate(model, folder / "made", data=_write(folder / "corpus.jsonl", corpus))
    return report, printed, stderr.getvalue()


def _parts(corpus):
    return [[each for each in corpus if text.is_query(each["id"]) == wanted] for wanted in (False, True)]


def test_the_last_line_is_the_report(done, corpus):
    report, printed, _ = done
    assert json.loads(printed.splitlines()[-1]) == report
    database, queries = _parts(corpus)
    assert (report["documents"], report["queries"]) == (len(database), len(queries))
    assert report["bits"] == 32 and report["k"] == 100 and report["seed"] == 0
    assert report["labelled_queries"] == len(queries) and report["skipped"] == {} and "note" not in report
    assert report["invalid_documents"] == report["invalid_queries"] == 0


def test_precision_is_that_of_the_codes(done, corpus, model):
    report = done[0]
    encoder = served.Encoder(model)
    database, queries = _parts(corpus)
    bits = [np.unpackbits(encoder.encode([each["text"] for each in part])[0], axis=1) for part in (database, queries)]
    precision = []
    for code, query in zip(bits[1], queries, strict=True):
        left, found = 100, 0.0
        distances = np.sum(bits[0] != code, axis=1)
        for radius in range(33):  # documents at this distance: all, or an equal share of each
            shell = [
                each["label"] == query["label"] for each, d in zip(database, distances, strict=True) if d == radius
            ]
            if shell:
                found += sum(shell) * min(1, left / len(shell))
                left -= min(left, len(shell))
        precision.append(found / 100)
    assert math.isclose(report["p_at_100"], np.mean(precision), rel_tol=1e-9)
    assert math.isclose(report["p_at_100_standard_error"], np.std(precision, ddof=1) / math.sqrt(len(queries)))
    ones = bits[0].mean(axis=0)
    np.testing.assert_allclose(report["ones"], ones)
    assert math.isclose(report["bit_imbalance"], np.abs(ones - 0.5).mean())
    pairs = np.abs(np.corrcoef(bits[0].T)[np.triu_indices(32, 1)])
    assert math.isclose(report["bit_correlation"], pairs.mean(), rel_tol=1e-6)
    assert math.isclose(report["bit_correlation_max"], pairs.max(), rel_tol=1e-6)


def test_methods_stand_beside_the_model(done):
    report, _, stderr = done
    methods = report["methods"]
    assert list(methods) == ["semantic_hashing", "tfidf", "lsa", "random_hyperplanes", "itq"]
    for key in ("p_at_100", "p_at_100_standard_error", "neighbour_agreement"):
        assert methods["semantic_hashing"][key] == report[key]
    # LSA finds each subject's own words; by chance, a third of the documents would be relevant.
    assert methods["lsa"]["p_at_100"] > 0.8 > report["p_at_100"] > 0.34
    assert math.isclose(methods["tfidf"]["neighbour_agreement"], 1.0)
    curves = dict(report["precision_recall"])
    retrieved = curves.pop("retrieved")
    assert retrieved == [1, 2, 5, 10, 20, 50, 100, 200, report["documents"]]
    for key, curve in curves.items():
        assert math.isclose(curve["precision"][6], methods[key]["p_at_100"])
        assert curve["recall"] == sorted(curve["recall"]) and math.isclose(curve["recall"][-1], 1.0)
    names = ["semantic hashing", "TF-IDF", "LSA", "random hyperplanes", "ITQ", "Bits"]
    assert all(map(str.startswith, stderr.splitlines()[-6:], names))
    assert "precision at 100" in stderr and "will take about" in stderr


def test_the_figure_is_not_blank(done):
    assert matplotlib.image.imread(done[0]["figure"])[..., :3].var() > 1e-3


def test_two_corpora_give_the_figures_of_their_split(done, corpus, model, tmp_path):
    paths = [_write(tmp_path / f"{i}.jsonl", part) for i, part in enumerate(_parts(corpus))]
    report, _ = _evaluate(model, tmp_path / "made", database=paths[0], queries=paths[1])
    assert report["data"] == paths
    for key in ("p_at_100", "neighbour_agreement", "documents", "queries", "precision_recall", "fingerprint"):
        assert report[key] == done[0][key]


def test_without_labels_there_is_agreement_alone(model, tmp_path, capsys, rng):
    path = _write(tmp_path / "corpus.jsonl", _documents(60, rng, labels=False))
    report, _ = _evaluate(model, tmp_path / "made", data=path)
    assert report["p_at_100"] is None and report["labelled_queries"] == 0
    assert 0 < report["neighbour_agreement"] < 1
    assert report["precision_recall"] == {"retrieved": [1, 2, 5, 10, 20, 50, report["documents"]]}
    assert report["k"] == report["documents"] < 100
    assert "no labels" in report["note"] and "no labels" in capsys.readouterr().err
    assert matplotlib.image.imread(report["figure"])[..., :3].var() > 1e-3


def test_documents_without_a_known_word_are_never_found(model, tmp_path, rng):
    # The fixture's model only knows words of ASCII letters; the baselines also know Cyrillic ones.
    database = [*_documents(30, rng)] + [{"id": f"r{i}", "text": "слово дело", "label": "r"} for i in range(10)]
    queries = [{"id": "0", "text": database[0]["text"], "label": "subject 0"}]
    queries += [{"id": "1", "text": "слово дело", "label": "r"}, {"id": "2", "text": "слово", "label": "r"}]
    queries += [{"id": "3", "text": database[0]["text"]}, {"id": "4", "text": database[0]["text"], "label": "r"}]
    paths = [_write(tmp_path / f"{i}.jsonl", part) for i, part in enumerate((database, queries))]
    report, _ = _evaluate(model, tmp_path / "made", database=paths[0], queries=paths[1])
    assert (report["invalid_documents"], report["invalid_queries"]) == (10, 2)
    assert (report["queries"], report["labelled_queries"], report["k"]) == (5, 4, 40)
    # When 20 of the 30 valid documents are retrieved, none of the 10 invalid ones is, because they come last.
    at = report["precision_recall"]["retrieved"].index(20)
    ours, tfidf = (report["precision_recall"][key] for key in ("semantic_hashing", "tfidf"))
    assert tfidf["recall"][at] >= 0.5  # the two queries in Cyrillic find all ten
    assert ours["recall"][at] <= 0.25  # the first query's, of four
    # All documents retrieved: 10 of 40 for two labelled and valid queries, nothing for the two invalid ones.
    assert math.isclose(ours["precision"][-1], (10 / 40 + 0 + 0 + 10 / 40) / 4)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning:sklearn")  # one has no variance
def test_one_document_and_one_query(model, tmp_path):
    paths = [_write(tmp_path / f"{i}.jsonl", [{"text": "apple pear", "label": "fruit"}]) for i in range(2)]
    report, _ = _evaluate(model, tmp_path / "made", database=paths[0], queries=paths[1])
    assert report["p_at_100"] == 1.0 and report["p_at_100_standard_error"] is None and report["k"] == 1


def test_blocks_of_queries_change_nothing(done, corpus, model, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "_BLOCK_DISTANCES", 1000)
    report, _ = _evaluate(model, tmp_path / "made", data=_write(tmp_path / "corpus.jsonl", corpus))
    assert report["p_at_100"] == done[0]["p_at_100"]
    assert math.isclose(report["neighbour_agreement"], done[0]["neighbour_agreement"])


def test_what_users_get_wrong_is_one_line(model, tmp_path, rng):
    few = _write(tmp_path / "few.jsonl", [{"id": f"{i}", "text": "apple pear"} for i in (0, 1)])
    unknown = _write(tmp_path / "unknown.jsonl", [{"id": f"{i}", "text": "слово дело"} for i in range(9)])
    assert not any(text.is_query(f"{i}") for i in (0, 1))
    cases = [
        ({"data": few, "queries": few}, "--database and --queries together"),
        ({"database": few}, "--database and --queries together"),
        ({"data": few, "database": few, "queries": few}, "or none of the three"),
        ({"data": few}, "no queries"),
        ({"data": "/nowhere/corpus.jsonl"}, "/nowhere/corpus.jsonl"),
        ({"database": unknown, "queries": few}, "None of the 9 documents contains a word"),
        ({"database": few, "queries": few}, "a query would find itself"),
        ({"model": str(tmp_path / "none")}, "No export"),
        ({"output": "/dev/null/made"}, "/dev/null"),
    ]
    for flags, message in cases:
        with pytest.raises(common.UserError, match=message) as caught:
            _evaluate(**{"model": model, "output": tmp_path / "made"} | flags)
        assert "\n" not in str(caught.value)
