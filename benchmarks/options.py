"""Flags that several benchmarks have: absl knows one of each name, and a test imports all benchmarks."""

import pathlib

from absl import flags

DATA = flags.DEFINE_string("data", None, "The data set that the benchmark is about, see the top of its file.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_MINUTES = flags.DEFINE_float("minutes", None, "Minutes of training of each model, instead of those of record.")
PUBLISH = flags.DEFINE_bool("publish", False, "Replaces the app's model under saved_models by the one measured here.")
_ONLY = flags.DEFINE_list("only", None, "Names of the runs to make now; the table is written once all are there.")
_RUNS = flags.DEFINE_string("runs", "runs/benchmarks", "Where finished runs are kept, so that none is repeated.")


def data():
    """The path of the data; the program ends where there is none."""
    if DATA.value is None:
        raise SystemExit("error: --data: expected a path, see --help.")
    return DATA.value


def minutes(of_record):
    """Minutes of training of a model: those of `--minutes`, where given."""
    return _MINUTES.value or of_record


def runs(benchmark):
    """Folder of the runs of a benchmark."""
    return pathlib.Path(_RUNS.value) / benchmark


def only(names):
    """Those of `names` that `--only` asks for, all of them without the flag; the program ends at an unknown one."""
    if unknown := set(_ONLY.value or ()) - set(names):
        raise SystemExit(f"error: --only: expected some of {', '.join(names)}; received {', '.join(sorted(unknown))}.")
    return [name for name in names if _ONLY.value is None or name in _ONLY.value]
