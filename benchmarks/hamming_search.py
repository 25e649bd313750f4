"""Time and memory of a search among a million codes: `python -m benchmarks.hamming_search [--index=<folder>]`.

Uses the index on disk, as `apps.semantic_hashing.search` does. A query looks up the 100 nearest codes of one code, and
their ids, on one thread. The index is opened in a separate process, whose memory is read before opening and at the end.
"""

import functools
import json
import multiprocessing
import os
import pathlib
import shutil
import tempfile
import time
from types import SimpleNamespace

import faiss
import numpy as np
from absl import flags

from apps.semantic_hashing import store
from benchmarks import options, results

_INDEX = flags.DEFINE_string(
    "index", None, "An index made by apps.semantic_hashing.index, whose documents are searched among the random codes."
)

CODES, BITS, NEAREST, QUERIES, BATCH = 10**6, 64, 100, 250, 10**4
SMOKE = {"CODES": 1_000, "QUERIES": 20, "BATCH": 500}


def fill(directory, bits, fingerprint, rng):
    """Adds `CODES` random codes to an index, which is created if it does not exist."""

    def batches():
        for start in range(0, CODES, BATCH):
            documents = [SimpleNamespace(id=f"random/{i}", title=None, text="") for i in range(start, start + BATCH)]
            yield documents, random(rng, BATCH, bits)

    with store.Writer(directory, bits, fingerprint, append=True) as writer:
        writer.write(batches())


def random(rng, n, bits):
    return rng.integers(0, 256, (n, bits // 8), dtype=np.uint8)


def measure(directory, queries):
    """Searches the index; returns the seconds to open it, the seconds per query, and the memory growth in bytes."""
    faiss.omp_set_num_threads(1)
    before, start = _resident(), time.perf_counter()
    index = store.Index(directory)
    opened = time.perf_counter() - start
    seconds = []
    for query in queries:
        start = time.perf_counter()
        _, (rows,) = index.search(query[None], NEAREST)
        ids = [index.entry(row).id for row in rows]
        seconds.append(time.perf_counter() - start)
        assert len(set(ids)) == NEAREST
    return opened, seconds, _resident() - before


def rows(directory, bits, queries, data, command):
    """Returns the rows of one index."""
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        opened, seconds, memory = pool.apply(measure, (directory, queries))
    packed = store.Index(directory).documents * bits // 8
    row = functools.partial(
        results.row,
        better="lower",
        data=data,
        seeds=[options.SEED.value],
        seconds=time.perf_counter() - start,
        command=command,
        versions=results.versions(["faiss-cpu"]),
    )
    milliseconds = 1000 * np.array(seconds)
    claim = f"the {NEAREST} nearest codes and their ids, one thread, {len(queries)} queries"
    return [
        row(claim=claim, metric="milliseconds, median", required=5.0, ours=np.median(milliseconds)),
        row(claim=claim, metric="milliseconds, 95th percentile", ours=np.quantile(milliseconds, 0.95)),
        row(claim="opening the index", metric="milliseconds", ours=1000 * opened),
        row(
            claim="memory of the index after these queries",
            metric="ratio to the codes",
            required=3.0,
            ours=memory / packed,
        ),
    ]


def _resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(_):
    rng = np.random.default_rng(options.SEED.value)
    command = f"python -m benchmarks.hamming_search --seed={options.SEED.value}"
    made = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fill(folder / "random", BITS, "none", rng)
        data = f"{CODES:,} random codes of {BITS} bits"
        made += rows(folder / "random", BITS, random(rng, QUERIES, BITS), data, command)
        if _INDEX.value:
            shutil.copytree(_INDEX.value, folder / "corpus")
            index = store.Index(folder / "corpus")
            paths = (folder / "corpus").glob("segment-*/codes.npy")
            queries = rng.permutation(np.concatenate([np.load(path) for path in paths]))[:QUERIES]
            fill(folder / "corpus", index.bits, index.fingerprint, rng)
            data = f"{index.documents:,} documents, whose codes are the queries, and {CODES:,} random codes"
            made += rows(
                folder / "corpus", index.bits, queries, f"{data} of {index.bits} bits", command + " --index=<index>"
            )
    results.write("hamming_search", made)
    print(json.dumps({f"{row['data']}: {row['claim']}, {row['metric']}": float(row["ours"]) for row in made}))


if __name__ == "__main__":
    options.run(main)
