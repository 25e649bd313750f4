"""Flags that several benchmarks have: absl knows one of each name, and a test imports all benchmarks."""

import pathlib

from absl import flags

DATA = flags.DEFINE_string("data", None, "The data set that the benchmark is about, see the top of its file.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_RUNS = flags.DEFINE_string("runs", "runs/benchmarks", "Where finished runs are kept, so that none is repeated.")


def data():
    """The path of the data; the program ends where there is none."""
    if DATA.value is None:
        raise SystemExit("error: --data: expected a path, see --help.")
    return DATA.value


def runs(benchmark):
    """Folder of the runs of a benchmark."""
    return pathlib.Path(_RUNS.value) / benchmark
