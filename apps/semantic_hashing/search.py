"""Finds the documents of an index that are nearest to a query.

keras-ae search --query="how do I read a compressed file"
keras-ae search --index=runs/news --rerank=200 < queries.txt

Without --json, the last line is a JSON object with the results of the run; with --json, each query prints one JSON
line. A query that is empty or contains no known word gets a message instead of documents; the exit code is then 2, or 1
if no query could be answered.
"""

import bisect
import json
import re
import signal
import statistics
import sys
import time

import numpy as np
from absl import flags
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from .. import common
from . import served, store

SNIPPET = 160  # characters: two lines of a terminal


def define_flags():
    return {
        "model": common.define_model("that encodes the query, which must be the one that built the index"),
        "index": flags.DEFINE_string("index", store.DIRECTORY, "Folder of the index that `keras-ae index` wrote."),
        "query": flags.DEFINE_string(
            "query",
            None,
            "The query, of any length. By default, each line of standard input is a query.",
        ),
        "top": flags.DEFINE_integer("top", 10, "Number of documents to show for each query.", lower_bound=1),
        "rerank": flags.DEFINE_integer(
            "rerank",
            0,
            "Reranks this many of the nearest documents by TF-IDF cosine similarity with the query, because Hamming "
            "distances have many ties and the features of a few documents are cheap. 0 keeps the order by distance.",
            lower_bound=0,
            upper_bound=10_000,
        ),
        "json": flags.DEFINE_bool("json", False, "Prints one JSON object per query, for programs, instead of text."),
    }


class Unanswerable(ValueError):
    """A query that the model cannot encode; the message says why."""


class Searcher:
    """A model and the index that was built with it.

    Args:
        model: path of the export folder.
        index: path of the index.

    Raises:
        ValueError: if either is missing, or the index was built with another model.
    """

    def __init__(self, model, index):
        self.index = store.Index(index)
        self.encoder = served.Encoder(model)
        for name in ("bits", "fingerprint"):
            theirs, ours = getattr(self.index, name), getattr(self.encoder, name)
            if theirs != ours:
                raise ValueError(
                    f"The index in {str(index)!r} was made by another model ({name}: {theirs}, --model has {ours}). "
                    f"Pass the model that made it, or build the index again."
                )

    def search(self, query, top, rerank=0):
        """Returns the documents nearest to a query.

        Equal distances are ordered by insertion, equal cosines by distance.

        Args:
            query: str.
            top: int, maximum number of documents.
            rerank: int. Unless 0, this many of the nearest documents, but at least `top`, are reranked by the TF-IDF
                cosine similarity with the query: semantic hashing as a filter (Salakhutdinov and Hinton 2009).

        Returns:
            list of dict: `rank` from 1, `distance` in bits, `id`, `title`, `snippet`, and `cosine` if reranked.

        Raises:
            Unanswerable: if the query is empty, or none of its words are in the model's vocabulary.
        """
        codes, _, valid = self.encoder.encode([query])
        if not valid[0]:
            raise Unanswerable(
                "none of the query's words are in the model's vocabulary" if query.strip() else "the query is empty"
            )
        distances, rows = (each[0] for each in self.index.search(codes, max(top, rerank)))
        found = [{"distance": int(distance), "row": int(row)} for distance, row in zip(distances, rows, strict=True)]
        if rerank:
            for each, cosine in zip(found, self._cosines(query, rows), strict=True):
                each["cosine"] = float(cosine)
            found.sort(key=lambda each: -each["cosine"])
        results = []
        for rank, each in enumerate(found[:top], 1):
            entry = self.index.entry(each.pop("row"))
            text = entry.text.removeprefix(f"{entry.title}\n")  # the title is shown separately
            described = {"id": entry.id, "title": entry.title, "snippet": snippet(text, query)}
            results.append({"rank": rank, **each, **described})
        return results

    def _cosines(self, query, rows):
        x = self.encoder.features([query])[0]
        texts = (self.index.entry(row).text for row in rows)
        return np.concatenate([self.encoder.features(batch) @ x for batch in served.batches(texts)])


def snippet(text, query):
    """Returns about `SNIPPET` characters of a text on one line: where most query words occur, or else the beginning."""
    text = line(text)
    words = set(re.findall(r"\w+", query.casefold())) - ENGLISH_STOP_WORDS
    found = [(m.start(), m[0].casefold()) for m in re.finditer(r"\w+", text) if m[0].casefold() in words]
    starts = [start for start, _ in found]

    def words_from(i):
        return len({word for _, word in found[i : bisect.bisect(starts, starts[i] + SNIPPET // 2)]})

    start = starts[max(range(len(starts)), key=words_from)] if starts else 0
    begin = text.rfind(" ", 0, max(start - SNIPPET // 4, 0)) + 1
    end = begin + SNIPPET
    return ("… " if begin else "") + text[begin:end].strip() + (" …" if end < len(text) else "")


def line(text):
    """Returns a text as one line, without control, escape and direction characters, which affect a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def run(model, index, query, top, rerank, json):
    """Answers one query, or each line of standard input. The arguments are the flags."""
    start = time.perf_counter()
    common.require("faiss")
    with common.user_input():
        searcher = Searcher(model, index)
    seconds, asked = [], 0
    for text in _lines() if query is None else [query]:
        asked += 1
        begin = time.perf_counter()
        try:
            answer = {"results": searcher.search(text, top, rerank)}
        except Unanswerable as error:
            answer = {"results": [], "error": str(error)}
        except ValueError as error:  # damaged index
            raise common.UserError(str(error)) from error
        answer["seconds"] = time.perf_counter() - begin
        if "error" not in answer:
            seconds.append(answer["seconds"])
        (_print_json if json else _print)(text, answer)
    if not json:
        figures = {"queries": asked, "answered": len(seconds), "documents": searcher.index.documents}
        figures |= {"bits": searcher.index.bits, "index_bytes": searcher.index.nbytes}
        figures["median_ms"] = 1000 * statistics.median(seconds) if seconds else None
        _print_object(figures | {"seconds": time.perf_counter() - start})
    if not seconds:
        raise common.UserError("No query could be answered.")
    if len(seconds) < asked:
        raise common.SomeFailed(f"{asked - len(seconds)} of {asked} queries could not be answered.")


def _lines():
    if sys.stdin.isatty():
        print("One query per line; end with Ctrl-D.", file=sys.stderr)
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return (text.rstrip("\r\n") for text in sys.stdin)


def _print(query, answer):
    print(f"Query: {line(query)[:SNIPPET]}")
    for each in answer["results"]:
        cosine = f"  cosine {each['cosine']:.3f}" if "cosine" in each else ""
        name = line(each["title"] or each["id"])
        print(f"{each['rank']:>4}  distance {each['distance']:>3}{cosine}  {name}\n      {each['snippet']}")
    if "error" in answer:
        print(f"      No answer: {answer['error']}.")
    print(flush=True)


def _print_json(query, answer):
    _print_object({"query": query, **answer})


def _print_object(value):
    print(json.dumps(value), flush=True)


def main():
    sys.stdout.reconfigure(errors="replace")  # a terminal may lack characters that documents have
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a reader such as head may close the pipe early
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
