"""Encodes a corpus and indexes it for search; the index appears once it is complete.

keras-ae index
keras-ae index --data=20_newsgroups.tar.xz --index=runs/news
keras-ae index --data=more.jsonl --index=runs/news --append
"""

import glob
import itertools
import operator
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from absl import flags

from keras_ae.datasets import text
from keras_ae.utils import files

from .. import common
from ..progress import progress_bar
from . import served, store

_SHARD = re.compile(r".*-(\d+)-of-(\d+)\.\w+")


def define_flags():
    return {
        "model": common.define_model("that makes the codes; queries need the same one"),
        "data": common.define_data(
            "What to index: a folder or tar file of documents, or a .jsonl or .csv file. By default, the embedded "
            "docstrings of Python's standard library."
        ),
        "text_column": flags.DEFINE_string("text_column", "text", "Key or column of the text in .jsonl or .csv files."),
        "codes": flags.DEFINE_string(
            "codes",
            None,
            "Glob pattern of local files written by `keras-ae beam` (codes-*.jsonl), instead of --data: documents that "
            "are already encoded are not encoded again.",
        ),
        "index": flags.DEFINE_string(
            "index",
            store.DIRECTORY,
            "Folder of the index. An existing index there answers queries until the new one replaces it.",
        ),
        "append": flags.DEFINE_bool(
            "append",
            False,
            "Adds to the index instead of replacing it; a new document replaces an existing one with the same id.",
        ),
    }


def run(model, data, text_column, codes, index, append):
    """Builds an index or adds to one; prints and writes the report. The arguments are the flags."""
    start = time.perf_counter()
    common.require("faiss")
    if data and codes:
        raise common.UserError("--data and --codes: expected only one of them, as each is a corpus.")
    data = data or "docstrings"
    skipped = Counter()
    with common.user_input():
        encoder = served.Encoder(model)
        if codes:
            batches = encoded(shards(codes), encoder)
        else:
            batches = encode(text.Documents(data, text_column), encoder, skipped)
        with store.Writer(index, encoder.bits, encoder.fingerprint, append) as writer:
            counts = writer.write(counted(batches))
            seconds = time.perf_counter() - start
            figures = {"index": index, "data": codes or data, "model": encoder.path, "bits": encoder.bits}
            figures |= {**counts, "skipped": skipped, "seconds": seconds}
            common.report(figures | {"documents_per_second": counts["added"] / seconds}, index)


def encode(documents, encoder, skipped):
    """Yields batches of (documents, codes) of a corpus; reads one batch while it encodes the previous one.

    Args:
        documents: `text.Documents`.
        encoder: `served.Encoder`.
        skipped: Counter; receives the number of unusable documents by reason, once all have been read.
    """

    def usable(batch, codes):
        codes, _, valid = codes.result()
        skipped["no known words"] += int((~valid).sum())
        return list(itertools.compress(batch, valid)), codes[valid]

    with ThreadPoolExecutor(1) as pool:
        before = None
        for batch in served.batches(documents, operator.attrgetter("text")):
            codes = pool.submit(encoder.encode, [document.text for document in batch])
            if before:
                yield usable(*before)
            before = batch, codes
        if before:
            yield usable(*before)
    skipped.update(documents.skipped)


def shards(pattern):
    """Returns the sorted paths that match a pattern; raises a ValueError if they are not exactly one run's files."""
    paths = sorted(path for path in glob.glob(pattern) if files.is_regular(path))
    numbers = [_SHARD.fullmatch(path) for path in paths]
    found = [(int(number[1]), int(number[2])) for number in numbers if number]
    if not paths or len(found) != len(paths) or found != [(i, len(paths)) for i in range(len(paths))]:
        raise ValueError(
            f"--codes: expected the complete files of one run of keras-ae beam, such as "
            f"codes-00000-of-00002.jsonl and codes-00001-of-00002.jsonl; {pattern!r} matches {paths[:5]}."
        )
    return paths


def encoded(paths, encoder):
    """Yields batches of (documents, codes) from files that `keras-ae beam` wrote with the model of `encoder`."""
    for batch in served.batches(_records(paths, encoder), lambda record: record["text"]):
        documents = [store.Entry(record["id"], record.get("title"), record["text"]) for record in batch]
        codes = b"".join(record["code"] for record in batch)
        yield documents, np.frombuffer(codes, np.uint8).reshape(len(batch), -1)


def counted(batches):
    """Yields the batches and shows a progress bar of the documents."""
    with progress_bar(unit=" documents") as bar:
        for documents, codes in batches:
            yield documents, codes
            bar.update(len(documents))


def _records(paths, encoder):
    fingerprint = encoder.fingerprint
    for path in paths:
        with open(path, "rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(text.MAX_LINE_BYTES), b""), 1):
                record = text.json_object(line) or {}
                if not all(isinstance(record.get(key), str) for key in ("id", "text", "code", "fingerprint")):
                    raise ValueError(
                        f"--codes: line {number} of {path!r} was not written by keras-ae beam: expected an object with "
                        "the strings id, text, code and fingerprint. Pass other .jsonl files as --data."
                    )
                try:
                    record["code"] = bytes.fromhex(record["code"])
                except ValueError:
                    record["code"] = b""
                if len(record["code"]) != encoder.bits // 8:
                    raise ValueError(f"--codes: line {number} of {path!r} has no code of {encoder.bits} bits.")
                if record["fingerprint"] != fingerprint:
                    raise ValueError(
                        f"{path!r} was encoded by the model {record['fingerprint']}; --model is {fingerprint}. "
                        "Queries and documents need the same model."
                    )
                yield record


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
