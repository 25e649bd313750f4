"""Queries answered by documents that hold none of their words: `python -m benchmarks.search_without_words --data=...`.

The rule, fixed before anything was found by it: a query is the subject line of a posting that is not in the database,
without `Re:`, if the model knows three words of it or more. Its answer is the nearest document by code, of equally near
ones the first of the database, among those that hold none of the known words of the query. The five shown are the first
five by the SHA-1 of their ids, whatever they found. The figure is the share of answers, over all queries, that are from
the group of the query.
"""

import hashlib
import re
import time

import numpy as np
from absl import app, flags
from scipy import sparse

from apps.semantic_hashing import served
from benchmarks import results
from keras_ae import files
from keras_ae.datasets import text
from keras_ae.evaluation import retrieval

_DATA = flags.DEFINE_string("data", None, "20 Newsgroups, a tar or a folder.", required=True)
_MODEL = flags.DEFINE_string("model", "saved_models/semantic_hashing", "Export folder of the model.")

SHOWN = 5
LEAST_WORDS = 3
PAGE = results.DIRECTORY.parents[1] / "docs" / "search_without_words.md"


def subject(title):
    return re.sub(r"^(\s*re\s*:)+", "", title or "", flags=re.IGNORECASE).strip()


def main(_):
    start = time.perf_counter()
    encoder = served.Encoder(_MODEL.value)
    documents = list(text.Documents(_DATA.value))
    database = [each for each in documents if not text.is_query(each.id)]
    asked = [each for each in documents if text.is_query(each.id)]
    asked.sort(key=lambda each: hashlib.sha1(each.id.encode()).hexdigest())
    codes, _, valid = encoder.encode([each.text for each in database])
    holds = _nonzero(encoder, [each.text for each in database])  # (N, V)
    queries = [subject(each.title) for each in asked]
    words = _nonzero(encoder, queries)
    chosen = np.flatnonzero(words.getnnz(axis=1) >= LEAST_WORDS)
    query_codes, _, _ = encoder.encode([queries[i] for i in chosen])
    shown, right = [], []
    for i, code in zip(chosen, query_codes, strict=True):
        distances = retrieval.hamming(code[None], codes)[0]
        shares = np.asarray((holds @ words[i].T).todense()).ravel() > 0
        distances[shares | ~valid] = encoder.bits + 1
        best = int(np.argmin(distances))
        right.append(database[best].label == asked[i].label)
        if len(shown) < SHOWN:
            shown.append((queries[i], asked[i].label, subject(database[best].title), database[best].label))
    files.write_text(PAGE, page(shown))
    share = float(np.mean(right))
    row = results.row(
        claim=f"nearest document without a word of the query, {encoder.bits} bits: from the query's group",
        data=f"20 Newsgroups, {len(right):,} subject lines, 14,300 documents",
        metric="share",
        better="higher",
        ours=share,
        standard_error=float(np.sqrt(share * (1 - share) / len(right))),
        seeds=[0],
        seconds=time.perf_counter() - start,
        command="python -m benchmarks.search_without_words --data=20_newsgroups.tar.xz",
    )
    results.write("search_without_words", [row])
    print(page(shown), share)


def page(shown):
    """The page that shows them."""
    lines = [
        "# Found without a shared word",
        "",
        "The nearest document that holds none of the query's words, for the first five queries by a fixed rule:",
        "see `benchmarks/search_without_words.py`, which writes this page.",
        "",
        "| query | its group | subject of the document found | its group |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(part.replace('|', '/') for part in row)} |" for row in shown), ""])


def _nonzero(encoder, texts):
    """Which words of the vocabulary each text holds, sparse `(N, V)` of ones."""
    blocks = (encoder.features(texts[i : i + 1024]) for i in range(0, len(texts), 1024))
    return sparse.vstack([sparse.csr_matrix(block > 0, dtype=np.int32) for block in blocks], format="csr")


if __name__ == "__main__":
    app.run(main)
