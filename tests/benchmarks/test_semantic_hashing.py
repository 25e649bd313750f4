"""The choice of the default and the rows of the tables, from small reports."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from apps.semantic_hashing import settings
from benchmarks import results, runs, search_without_words
from benchmarks import semantic_hashing as benchmark
from keras_ae import serving
from keras_ae.datasets import text

VERSIONED = {"date": "2026-01-02", "versions": {"python": "3.11"}}


def test_a_tenth_of_the_database_is_held_out_whatever_its_split_says():
    ids = [f"group/{i}" for i in range(20_000)]
    database = [each for each in ids if not text.is_query(each)]
    share = np.mean([benchmark.held_out(each) for each in database])
    assert abs(share - 0.1) < 4 * np.sqrt(0.09 / len(database))


def test_the_choice_ends_where_a_candidate_agrees_better_than_the_default():
    default = settings.of("semantic_hashing")
    own = [name for name, each in benchmark.CANDIDATES.items() if settings.of("semantic_hashing", **each) == default]
    assert len(own) == 1  # the default is one of them
    agreement = {name: {"agreement": 0.5} for name in benchmark.CANDIDATES} | {own[0]: {"agreement": 0.6}}
    half = agreement | {"30 epochs": {"agreement": 0.55}}
    benchmark.check_choice(half)
    with pytest.raises(ValueError, match="After 30 epochs, '30 epochs, temperature"):
        benchmark.check_choice(half | {"30 epochs, temperature 0.15": {"agreement": 0.56}})
    with pytest.raises(ValueError, match="After 60 epochs"):
        benchmark.check_choice(half | {"0.3 of LSA's dimensions dropped": {"agreement": 0.7}})


def test_a_candidate_that_learns_agrees_and_is_precise(monkeypatch):
    rng, subjects = np.random.default_rng(0), ("orbit shuttle moon rocket launch", "goal team puck ice season")
    documents = [
        text.Document(f"{label}/{i}", label, None, " ".join(rng.choice(words.split(), 8)), None)
        for label, words in enumerate(subjects)
        for i in range(150)
    ]
    monkeypatch.setattr(benchmark, "NEIGHBOURS", 3)
    chosen = settings.of("semantic_hashing", epochs=20, hidden=(32,), batch_size=32, max_words=50)
    found = benchmark.choose(chosen, documents)
    assert found["held_out"] > 5 and found["queries"] > 20
    assert found["agreement"] > 0.3 and found["p_at_100"] > 0.9 and found["p_at_100_standard_error"] < 0.05


def reports():
    """The app's reports, `{(bits, seed): report}`; precision is bits / 1000 + seed / 100."""
    made = {}
    for bits, seeds in benchmark.SEEDS.items():
        for seed in seeds:
            evaluated = {"p_at_100": bits / 1000 + seed / 100, "p_at_100_standard_error": 0.5, "seconds": 1.0}
            evaluated |= {"documents": 1200, "queries": 34, "bit_imbalance": 0.0, "bit_correlation": 0.0}
            beside = {"p_at_100": 0.25, "p_at_100_standard_error": 0.125}
            evaluated["methods"] = dict.fromkeys(benchmark.BESIDE, beside)
            trained = {"seconds": 2.0 + 60.0 * seed + bits / 1000, "documents": 1200}
            made[bits, seed] = {"train": trained, "evaluate": evaluated} | VERSIONED
    return made


def test_rows_of_the_figures():
    rows = {row["claim"]: row for row in benchmark.figure_rows(reports())}
    three = rows["semantic hashing, 32 bits"]
    assert three["ours"] == pytest.approx(0.042) and three["standard_error"] == pytest.approx(0.01 / np.sqrt(3))
    assert (
        three["seeds"] == (0, 1, 2)
        and three["seconds"] == pytest.approx(3 * 3.0 + 180 + 3 * 0.032)
        and results.outcome(three) == "missed"
    )
    assert three["data"] == "20 Newsgroups, 1,200 documents, 34 queries" and three["date"] == VERSIONED["date"]
    one = rows["semantic hashing, 16 bits"]
    assert (one["standard_error"], one["required"]) == (0.5, None)
    assert rows["ITQ on LSA, 128 bits"]["ours"] == 0.25
    assert sum(claim.startswith("LSA, 128 dimensions") for claim in rows) == 1
    training = rows["from raw text to the export, the longest run (64 bits, seed 2)"]
    assert training["ours"] == pytest.approx(122.064 / 60) and training["seeds"] == [2]


def test_rows_of_the_choice():
    report = {"agreement": 0.75, "agreement_standard_error": 0.01, "p_at_100": 0.5, "p_at_100_standard_error": 0.02}
    report |= {"held_out": 1444, "queries": 3637, "seconds": 5.0} | VERSIONED
    agreement, precision = benchmark.choice_rows({"nash": report})
    assert (agreement["ours"], agreement["paper"], agreement["standard_error"]) == (0.75, None, 0.01)
    assert (precision["ours"], precision["paper"]) == (0.5, benchmark.PAPERS["nash"])
    assert "1,444" in agreement["data"] and "3,637" in precision["data"]


def test_a_published_export_replaces_the_old_one_and_tells_its_figures(tmp_path):
    export = tmp_path / "run" / "export" / "1"
    export.mkdir(parents=True)
    card = {"bits": 32, "numbers": {"words": 7}, "command": "python with a path of its own"}
    (export / serving.CARD_FILE).write_text(json.dumps(card))
    (export / "saved_model.pb").write_text("new")
    target = tmp_path / "saved" / "1"
    target.mkdir(parents=True)
    (target / "stale").write_text("old")
    facts = {"command": "python -m train --data=corpus.tar", "limits": "for tests alone"}
    runs.publish(export.parent, target, {"p_at_100": 0.5}, **facts)
    assert sorted(each.name for each in target.iterdir()) == sorted([serving.CARD_FILE, "saved_model.pb"])
    card = json.loads((target / serving.CARD_FILE).read_text())
    assert card["command"] == "python -m train --data=corpus.tar" and card["limits"] == "for tests alone"
    assert card["numbers"] == {"words": 7, "p_at_100": 0.5} and card["bits"] == 32
    assert [each.name for each in target.parent.iterdir()] == ["1"]


def test_a_finished_run_is_kept_as_long_as_its_settings_hold(tmp_path):
    made = []

    def make(folder):
        made.append(sorted(each.name for each in folder.iterdir()))
        (folder / "checkpoint").write_text("")
        if len(made) == 1:
            raise KeyboardInterrupt
        return {"figure": np.float32(len(made))}

    with pytest.raises(KeyboardInterrupt):
        runs.kept(tmp_path, "run", make, {"rate": 1})
    first = runs.kept(tmp_path, "run", make, {"rate": 1})
    assert first["figure"] == 2 and first["date"] and first["versions"]["numpy"]
    assert runs.kept(tmp_path, "run", make, {"rate": 1}) == first
    assert made == [["settings.json"], ["checkpoint", "settings.json"]]  # the second call resumed
    assert runs.kept(tmp_path, "run", make, {"rate": (2,)})["figure"] == 3
    assert made[-1] == ["settings.json"]  # started over


class Encoder:
    """Words are letters; the code of a text is how many letters come before `n`."""

    bits = 8

    def encode(self, texts):
        codes = [[(1 << sum(letter < "n" for letter in each)) - 1] for each in texts]
        return np.array(codes, np.uint8), None, np.array([bool(each.strip()) for each in texts])

    def features(self, texts):
        return np.array([[chr(97 + i) in each for i in range(26)] for each in texts], float)


def test_answers_are_the_first_documents_of_the_search():
    def document(name, title, group):
        return SimpleNamespace(id=name, title=title, text=title, label=group)

    database = [document("0", " ", "none"), document("1", "def", "near"), document("2", "abz", "far")]
    database.append(document("3", "abc", "later"))
    asked = [document("q", "Re: re: abc", "near"), document("r", "ab", "short"), document("s", "xyz", "far")]
    found = {each.query: each for each in search_without_words.answers(Encoder(), database, asked)}
    assert set(found) == {"abc", "xyz"}  # two words are too few
    # "def" and "abc" are equally near, so the first counts; "abz" is nearest to the other query.
    assert found["abc"][1:] == ("near", 0, "def", "near", False)
    assert found["xyz"][1:] == ("far", 2, "abz", "far", True)
    shown = search_without_words.page(list(found.values()))
    assert "Of 2 subject lines used as queries, 1 have" in shown and "| abc | near | 1 | 0 | def |" in shown
    assert "xyz" not in shown
