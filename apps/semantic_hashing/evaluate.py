"""Evaluates a semantic hashing model on documents, next to TF-IDF, LSA and other codes.

keras-ae semantic_hashing evaluate
keras-ae semantic_hashing evaluate --data=20_newsgroups.tar.xz
keras-ae semantic_hashing evaluate --database=old.jsonl --queries=new.jsonl
"""

import itertools
import os
import sys
import time
from collections import Counter, namedtuple

import numpy as np
from absl import flags

from keras_ae import plots
from keras_ae.datasets import text
from keras_ae.evaluation import retrieval

from .. import common
from ..progress import progress_bar
from . import baselines, served

# Maximum number of distances per block of queries; bounds memory to 64 MB per method.
_BLOCK_DISTANCES = 1 << 24
# Maximum number of queries per block, so that the progress bar moves.
_BLOCK_QUERIES = 256
_AT = 100
_NEIGHBOURS = 10
# Result counts that a user may look at, and larger ones for the shape of the curve.
_RETRIEVED = [m * 10**e for e in range(9) for m in (1, 2, 5)]

Encoded = namedtuple("Encoded", "labels codes valid")
Encoded.__doc__ = "An encoded corpus: list of N labels, str or None; codes, uint8 (N, bytes); valid, bool (N,)."

Method = namedtuple("Method", "name size distances")
Method.__doc__ = "A ranking method: name, size per document, function from a slice of queries to distances (Q, N)."

Ranking = namedtuple("Ranking", "precision recall agreement")
Ranking.__doc__ = "Results of a method: precision and recall (Q, K), agreement with the TF-IDF neighbours (Q,)."


def define_flags():
    return {
        "model": common.define_model("to evaluate"),
        "data": common.define_data(
            "One corpus (a folder or tar file of documents, or a .jsonl or .csv file): a hash of the id selects one "
            "document in five as a query; the rest are the database. Default: Python's standard library docstrings."
        ),
        "database": flags.DEFINE_string(
            "database", None, "Corpus to search, with --queries and instead of --data, for an existing split."
        ),
        "queries": flags.DEFINE_string("queries", None, "Corpus of the queries, with --database."),
        "text_column": flags.DEFINE_string("text_column", "text", "Key or column of the text in .jsonl or .csv files."),
        "output": flags.DEFINE_string(
            "output",
            "runs/semantic_hashing/evaluate",
            "Folder of report.json and the figure; not the model's, where they would overwrite those of training.",
        ),
        "seed": common.define_seed(),
    }


def run(model, data, database, queries, text_column, output, seed):
    """Evaluates the model, plots, prints and writes the report. The arguments are the flags."""
    start = time.perf_counter()
    common.require("matplotlib")
    folder = common.writable(output)
    with common.user_input():
        encoder = served.Encoder(model)
        corpora, parts = split(data, database, queries, text_column)
        base, asked = (encode(encoder, part, name) for name, part in parts.items())
        print(f"Fitting TF-IDF, LSA and ITQ to {len(base.labels)} documents.", file=sys.stderr)
        features = baselines.tfidf(*(Texts(part) for part in parts.values()))
    if not base.valid.any():
        raise common.UserError(f"None of the {len(base.valid)} documents contains a word from the model's vocabulary.")
    methods = compared(base, asked, features, encoder.bits, seed)
    n = len(base.valid)
    k = min(_AT, n)
    retrieved = sorted({k, n, *(each for each in _RETRIEVED if each < n)})
    rankings = ranked(methods, base, asked, retrieved)
    # A query without a known term has no TF-IDF neighbours.
    figures = measured(methods, rankings, retrieved, k, labelled(base, asked), features[1].getnnz(axis=1) > 0)
    figures |= {"bits": encoder.bits} | bits_of(base) | counts(base, asked, corpora)
    print(table(figures, methods), file=sys.stderr)
    figures |= {"model": encoder.path, "fingerprint": encoder.fingerprint, "seed": seed}
    figures |= {"data": [corpus.source for corpus in corpora]}
    common.keep(figures, folder)
    path = folder / "retrieval.png"
    common.save_figure(draw(figures, methods), path)
    common.report(figures | {"figure": path, "seconds": time.perf_counter() - start}, folder)


class Part:
    """The documents of a corpus whose id is `wanted`, read again on each iteration."""

    def __init__(self, corpus, wanted=lambda document_id: True):
        self.corpus, self.wanted = corpus, wanted

    def __iter__(self):
        return (document for document in self.corpus if self.wanted(document.id))


class Texts:
    """The texts of documents, read again on each iteration."""

    def __init__(self, documents):
        self.documents = documents

    def __iter__(self):
        return (document.text for document in self.documents)


def split(data, database, queries, text_column):
    """Returns the corpora, and their parts to search and to query with: `{"database": Part, "queries": Part}`."""
    if (database is None) != (queries is None) or (data is not None and database is not None):
        raise ValueError("Expected --data, or --database and --queries together, or none of the three.")
    if database is None:
        corpus = text.Documents(data or "docstrings", text_column)
        database = Part(corpus, lambda document_id: not text.is_query(document_id))
        return [corpus], {"database": database, "queries": Part(corpus, text.is_query)}
    if os.path.realpath(database) == os.path.realpath(queries):
        raise ValueError("--database and --queries are the same corpus: a query would find itself. Pass it as --data.")
    corpora = [text.Documents(source, text_column) for source in (database, queries)]
    return corpora, dict(zip(("database", "queries"), map(Part, corpora), strict=True))


def encode(encoder, documents, name):
    """Encodes a stream of documents."""
    documents = iter(documents)
    labels, codes, valid = [], [], []
    with progress_bar(desc=f"Encoding the {name}", unit=" documents") as bar:
        while batch := list(itertools.islice(documents, served.BATCH)):
            batch_codes, _, batch_valid = encoder.encode([document.text for document in batch])
            labels += [document.label for document in batch]
            codes.append(batch_codes)
            valid.append(batch_valid)
            bar.update(len(batch))
    if not labels:
        raise ValueError(f"There are no {name}: the corpus is too small to split. Pass --database and --queries.")
    return Encoded(labels, np.concatenate(codes), np.concatenate(valid))


def compared(base, asked, features, bits, seed):
    """Returns the model and the baselines, `{key: Method}`; the baselines' codes have the same number of bits.

    Documents that the model cannot encode would not be in its index, so it ranks them last.
    """
    dense = baselines.lsa(*features, seed)
    hyperplanes = baselines.random_hyperplanes(*dense, bits, seed)
    *itq, itq_bits = baselines.itq(*dense, bits, seed)

    def ours(rows):
        distances = retrieval.hamming(asked.codes[rows], base.codes)
        distances[:, ~base.valid] = bits + 1
        return distances

    def by_cosine(database, queries):
        return lambda rows: baselines.cosine_distances(queries[rows], database)

    def by_code(database, queries):
        return lambda rows: retrieval.hamming(queries[rows], database)

    terms, dimensions = (each[0].shape[1] for each in (features, dense))
    return {
        "semantic_hashing": Method("semantic hashing", f"{bits} bits", ours),
        "tfidf": Method("TF-IDF", f"{terms} terms", by_cosine(*features)),
        "lsa": Method("LSA", f"{dimensions} dimensions", by_cosine(*dense)),
        "random_hyperplanes": Method("random hyperplanes on LSA", f"{bits} bits", by_code(*hyperplanes)),
        "itq": Method("ITQ on LSA", f"{itq_bits} bits", by_code(*itq)),
    }


def ranked(methods, base, asked, retrieved):
    """Ranks the database for each query with each method, in blocks of queries; returns `{key: Ranking}`.

    A document is relevant to a query if their labels are equal. If the model cannot encode a query, it finds nothing.
    """
    q, n = len(asked.valid), len(base.valid)
    block = min(_BLOCK_QUERIES, max(1, _BLOCK_DISTANCES // n))
    queried, stored = _numbered(asked.labels, base.labels)
    done = {key: [] for key in methods}
    start = time.perf_counter()
    with progress_bar(total=q, desc="Ranking", unit=" queries") as bar:
        for i in range(0, q, block):
            rows = slice(i, i + block)
            distances = {key: method.distances(rows) for key, method in methods.items()}
            near = np.argpartition(distances["tfidf"], min(_NEIGHBOURS, n) - 1, axis=1)[:, :_NEIGHBOURS]
            relevant = (queried[rows, None] == stored) & (stored >= 0)
            for key, each in distances.items():
                agreement = retrieval.neighbour_agreement(each, near)
                done[key].append((*retrieval.precision_recall(each, relevant, retrieved), agreement))
            bar.update(len(near))
            if i == 0:
                expected = (time.perf_counter() - start) * q / len(near)
                bar.write(f"Ranking {n} documents for {q} queries will take about {expected:.0f} s.", file=sys.stderr)
    rankings = {key: Ranking(*map(np.concatenate, zip(*blocks, strict=True))) for key, blocks in done.items()}
    for each in rankings["semantic_hashing"]:
        each[~asked.valid] = 0.0
    return rankings


def labelled(base, asked):
    """Returns which queries have a label, bool `(Q,)`; all False if the database has no labels."""
    queried, stored = _numbered(asked.labels, base.labels)
    return (queried >= 0) & np.any(stored >= 0)


def measured(methods, rankings, retrieved, k, with_label, with_terms):
    """Returns the metrics of all methods, those of the model first.

    Args:
        methods: `{key: Method}`.
        rankings: `{key: Ranking}`.
        retrieved: list of K ints, result counts at which the rankings give precision and recall.
        k: int in `retrieved`, result count of the precision `p_at_100`.
        with_label: bool `(Q,)`, queries over which precision and recall are averaged.
        with_terms: bool `(Q,)`, queries over which agreement is averaged.
    """
    each, curves = {}, {"retrieved": retrieved}
    for key, ranking in rankings.items():
        precision, recall = ranking.precision[with_label], ranking.recall[with_label]  # (labelled, K)
        mean, error = _mean(precision[:, retrieved.index(k)])
        agreement, _ = _mean(ranking.agreement[with_terms])
        each[key] = {"size": methods[key].size, "p_at_100": mean, "p_at_100_standard_error": error}
        each[key]["neighbour_agreement"] = agreement
        if len(precision):
            curves[key] = {"precision": precision.mean(axis=0), "recall": recall.mean(axis=0)}
    figures = {key: value for key, value in each["semantic_hashing"].items() if key != "size"}
    figures |= {"k": k, "labelled_queries": int(with_label.sum())}
    if not with_label.any():
        figures["note"] = "The documents have no labels: precision is null. Agreement with the neighbours needs none."
    return figures | {"methods": each, "precision_recall": curves}


def bits_of(base):
    """Returns balance and correlation of the bits of the database codes, as means over bits and pairs of bits."""
    codes = base.codes[base.valid]
    ones, correlation = retrieval.bit_balance(codes), retrieval.bit_correlation(codes)
    pairs = np.abs(correlation[~np.eye(len(ones), dtype=bool)])
    return {
        "bit_imbalance": np.abs(ones - 0.5).mean(),
        "bit_correlation": pairs.mean(),
        "bit_correlation_max": pairs.max(),
        "ones": ones,
    }


def counts(base, asked, corpora):
    """Returns the numbers of documents, of unreadable ones, and of those without known words."""
    return {
        "documents": len(base.valid),
        "queries": len(asked.valid),
        "invalid_documents": int(np.sum(~base.valid)),
        "invalid_queries": int(np.sum(~asked.valid)),
        "skipped": sum((corpus.skipped for corpus in corpora), Counter()),
    }


def draw(figures, methods):
    """Plots precision-recall curves of all methods, if there are labels, and the balance of the bits."""
    found = figures["precision_recall"]
    curves = {
        f"{each.name}, {each.size}": (found[key]["recall"], found[key]["precision"])
        for key, each in methods.items()
        if key in found
    }
    title = f"{figures['labelled_queries']} labelled queries, {figures['documents']} documents"
    return plots.retrieval(curves, figures["ones"], title)


def table(figures, methods):
    """Formats the metrics as text, one line per method."""
    k = figures["k"]
    lines = [
        f"{figures['queries']} queries ({figures['invalid_queries']} without known words), "
        f"{figures['documents']} documents ({figures['invalid_documents']}), skipped: {dict(figures['skipped'])}",
        f"{'':28}{'':18}{f'precision at {k}':>22}{'TF-IDF neighbours':>20}",
    ]
    for key, each in figures["methods"].items():
        mean, error = each["p_at_100"], each["p_at_100_standard_error"]
        precision = "-" if mean is None else f"{mean:.3f}" + (f" +- {error:.3f}" if error is not None else "")
        agreement = "-" if each["neighbour_agreement"] is None else f"{each['neighbour_agreement']:.3f}"
        lines.append(f"{methods[key].name:28}{each['size']:18}{precision:>22}{agreement:>20}")
    lines.append(
        f"Bits: {figures['bit_imbalance']:.3f} from 1/2 on average, correlation {figures['bit_correlation']:.3f} on "
        f"average, {figures['bit_correlation_max']:.3f} at most."
    )
    return "\n".join([*lines, *([figures["note"]] if "note" in figures else [])])


def _numbered(*parts):
    """Maps labels to ints, -1 for None, with equal ints for equal labels; returns one array per list of labels."""
    numbers = {label: i for i, label in enumerate(dict.fromkeys(itertools.chain(*parts)))}
    return [np.array([-1 if label is None else numbers[label] for label in labels]) for labels in parts]


def _mean(values):
    """Returns the mean and its standard error; None if there are too few values."""
    mean = values.mean() if len(values) else None
    return mean, values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    # Not on import, because the scripts of this app share flag names.
    FLAGS = define_flags()
    common.main(main)
