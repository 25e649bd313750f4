"""The benchmark times a search that returns correct results."""

from types import SimpleNamespace

import pytest

pytest.importorskip("faiss")
from benchmarks import hamming_search, results


def test_every_query_is_timed_on_an_index_of_the_codes_asked_for(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(hamming_search, "CODES", 400)
    monkeypatch.setattr(hamming_search, "BATCH", 100)
    monkeypatch.setattr(hamming_search, "NEAREST", 10)
    hamming_search.fill(tmp_path / "index", 32, "none", rng)
    index = hamming_search.store.Index(tmp_path / "index")
    assert (index.documents, index.bits) == (400, 32)
    _, seconds, _ = hamming_search.measure(tmp_path / "index", hamming_search.random(rng, 7, 32))
    assert len(seconds) == 7


def test_rows_have_the_median_in_milliseconds_and_memory_by_the_packed_codes(tmp_path, rng, monkeypatch):
    class Pool:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def apply(self, function, arguments):
            return 0.5, [0.001, 0.002, 0.009], 3200

    monkeypatch.setattr(hamming_search, "CODES", 400)
    monkeypatch.setattr(hamming_search, "BATCH", 100)
    hamming_search.fill(tmp_path / "index", 32, "none", rng)
    monkeypatch.setattr(hamming_search.multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=lambda _: Pool()))
    monkeypatch.setattr(hamming_search.options, "SEED", SimpleNamespace(value=0))
    median, slow, opened, memory = hamming_search.rows(tmp_path / "index", 32, [0, 0, 0], "codes", "command")
    assert median["ours"] == 2.0 and results.outcome(median) == "met" and "3 queries" in median["claim"]
    assert slow["ours"] == pytest.approx(8.3) and opened["ours"] == 500.0
    assert memory["ours"] == 2.0 and memory["required"] == 3.0  # 400 codes of four bytes
