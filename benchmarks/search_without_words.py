"""Search results that share no word with the query: `python -m benchmarks.search_without_words --data=...`.

Each query is the subject line, without `Re:`, of a posting that is not in the database. Only subject lines with at
least three words that the model knows are used. The answer is the first document that the search returns, which is the
nearest by code; ties go to the first in the database, and no document is left out of the ranking. An answer shares no
word if it contains none of the query's known words. It is right if it is from the query's group. Queries are ordered by
the SHA-1 of their ids, and the page shows the first five right answers that share no word. The results are, over all
queries, the share of answers without a shared word, the share of right ones among these, and, for comparison, the share
of right ones among the other answers.
"""

import hashlib
import re
import time
from collections import namedtuple

import numpy as np
from absl import flags
from scipy import sparse

from apps.semantic_hashing import served
from benchmarks import options, results
from keras_ae.datasets import text
from keras_ae.evaluation import retrieval
from keras_ae.utils import files

_MODEL = flags.DEFINE_string("model", "saved_models/semantic_hashing", "Export folder of the model.")

SHOWN = 5
LEAST_WORDS = 3
PAGE = "search_without_words.md"
SMOKE = {}  # a tiny data set is enough

Answer = namedtuple("Answer", "query group distance title found_group shares_words")


def subject(title):
    return re.sub(r"^(\s*re\s*:)+", "", title or "", flags=re.IGNORECASE).strip()


def answers(encoder, database, asked):
    """Returns the `Answer` to each subject line in `asked` with enough known words, ordered by the hash of the id.

    Args:
        encoder: `served.Encoder`.
        database, asked: lists of `text.Document`.
    """
    asked = sorted(asked, key=lambda each: hashlib.sha1(each.id.encode()).hexdigest())
    queries = [subject(each.title) for each in asked]
    words = _nonzero(encoder, queries)  # (Q, V)
    enough = np.flatnonzero(words.getnnz(axis=1) >= LEAST_WORDS)
    codes, _, valid = encoder.encode([each.text for each in database])
    database = [each for each, known in zip(database, valid, strict=True) if known]
    holds = _nonzero(encoder, [each.text for each in database])  # (N, V)
    query_codes, _, _ = encoder.encode([queries[i] for i in enough])
    found = []
    for i, code in zip(enough, query_codes, strict=True):
        distances = retrieval.hamming(code[None], codes[valid])[0]
        best = int(np.argmin(distances))
        shares = words[i].multiply(holds[best]).nnz > 0
        titles = queries[i], asked[i].label, int(distances[best]), subject(database[best].title), database[best].label
        found.append(Answer(*titles, shares))
    return found


def is_right(answer):
    return answer.group == answer.found_group


def main(_):
    start = time.perf_counter()
    encoder = served.Encoder(_MODEL.value)
    documents = list(text.Documents(options.data("postings")))
    parts = [[each for each in documents if text.is_query(each.id) == wanted] for wanted in (False, True)]
    found = answers(encoder, *parts)
    files.write_text(results.DOCS / PAGE, page(found))
    shared = {
        "better": "higher",
        "seeds": [0],
        "seconds": time.perf_counter() - start,
        "command": "python -m benchmarks.search_without_words --data=20_newsgroups.tar.xz",
    }
    apart = [not each.shares_words for each in found]
    right = np.array([is_right(each) for each in found])
    made = []
    for claim, of in (
        ("top result shares no word with the query", apart),
        ("share of those from the query's newsgroup", right[apart]),
        ("share of the others from the query's newsgroup", right[~np.array(apart)]),
    ):
        share = float(np.mean(of))
        each = {"claim": f"{claim}, {encoder.bits} bits", "metric": "share", "ours": share}
        each |= {"data": f"20 Newsgroups, {len(of):,} subject lines, {len(parts[0]):,} documents"}
        made.append(results.row(**each, standard_error=float(np.sqrt(share * (1 - share) / len(of))), **shared))
    results.write("search_without_words", made)
    print(page(found))


def page(found):
    """Returns a Markdown page with the first right answers without a shared word."""
    places = [i for i, each in enumerate(found) if is_right(each) and not each.shares_words][:SHOWN]
    apart = [each for each in found if not each.shares_words]
    lines = [
        "# Found without a shared word",
        "",
        f"Of {len(found):,} subject lines used as queries, {len(apart):,} have a top result that contains none of the",
        f"query's known words; {sum(map(is_right, apart)):,} of those results come from the query's own newsgroup. The",
        f"table shows the first {len(places)} of them in a fixed order (see `benchmarks/search_without_words.py`,",
        "which writes this page).",
        "",
        "| query | newsgroup of both | rank of the result | distance, bits | subject of the result |",
        "|---|---|---|---|---|",
    ]
    shown = [(found[i].query, found[i].group, "1", str(found[i].distance), found[i].title) for i in places]
    return "\n".join([*lines, *(f"| {' | '.join(part.replace('|', '/') for part in row)} |" for row in shown), ""])


def _nonzero(encoder, texts):
    """Returns which words of the vocabulary each text contains, sparse `(N, V)` of ones."""
    blocks = (encoder.features(texts[i : i + 1024]) for i in range(0, len(texts), 1024))
    return sparse.vstack([sparse.csr_matrix(block > 0, dtype=np.int32) for block in blocks], format="csr")


if __name__ == "__main__":
    options.run(main)
