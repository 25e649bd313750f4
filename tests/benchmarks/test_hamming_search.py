"""The timing measures a search that finds what is there."""

import numpy as np
import pytest

pytest.importorskip("faiss")
from benchmarks import hamming_search


def test_every_query_is_timed_on_an_index_of_the_codes_asked_for(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(hamming_search, "CODES", 400)
    monkeypatch.setattr(hamming_search, "BATCH", 100)
    monkeypatch.setattr(hamming_search, "NEAREST", 10)
    hamming_search.fill(tmp_path / "index", 32, "none", rng)
    index = hamming_search.store.Index(tmp_path / "index")
    assert (index.documents, index.bits) == (400, 32)
    opened, seconds, memory = hamming_search.measure(tmp_path / "index", hamming_search.random(rng, 7, 32))
    assert opened > 0 and len(seconds) == 7 and min(seconds) > 0 and np.isfinite(memory)
