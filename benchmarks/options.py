"""Flags shared by several benchmarks, and the smoke test of every benchmark.

absl allows only one flag per name, and a test imports all benchmarks, so shared flags are defined here.
"""

import contextlib
import pathlib
import tempfile
import time

from absl import app, flags

from benchmarks import results

_DATA = flags.DEFINE_string("data", None, "Path of the data set; see the benchmark's docstring.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of all random numbers.")
_MINUTES = flags.DEFINE_float("minutes", None, "Training minutes per model, instead of the published setting.")
_PUBLISH = flags.DEFINE_bool("publish", False, "Replaces the app's model in saved_models with the one measured here.")
_ONLY = flags.DEFINE_list("only", None, "Runs to perform now; the table is written when all are complete.")
TRIAL = flags.DEFINE_bool(
    "trial", False, "Measure settings on validation data and print the results, for choosing them."
)
_RUNS = flags.DEFINE_string("runs", "runs/benchmarks", "Folder of finished runs, which are not repeated.")
_SMOKE = flags.DEFINE_bool(
    "smoke", False, "Runs the whole benchmark on tiny data with tiny settings, in under a minute, and writes nothing."
)

_SMOKE_MINUTES = 0.01
_smoke_folder = None  # folder of the running smoke test


def data(kind=None):
    """Returns the path of the data. Without `--data` the program exits, but a smoke test creates tiny data.

    Args:
        kind: name of the function in `benchmarks.tiny_data` that creates data of the kind that the benchmark needs.
    """
    if _DATA.value is not None:
        return _DATA.value
    if not smoking():
        raise SystemExit("error: --data: expected a path, see --help.")
    from benchmarks import tiny_data  # imported late: it imports TensorFlow, which some benchmarks must not

    folder = _smoke_folder / kind
    return str(folder if folder.exists() else getattr(tiny_data, kind)(folder))


def minutes(published):
    """Returns the training time of a model in minutes: `--minutes` if given, else `published`."""
    return _MINUTES.value or (_SMOKE_MINUTES if smoking() else published)


def publish():
    """Whether to replace the published model and its pages; a smoke test does so in its temporary folder."""
    return _PUBLISH.value or smoking()


def smoking():
    """Whether this is a smoke test."""
    return _smoke_folder is not None


def runs(benchmark):
    """Returns the folder of a benchmark's runs."""
    return (_smoke_folder or pathlib.Path(_RUNS.value)) / benchmark


def only(names):
    """Returns the `names` selected by `--only`, or all without the flag; the program exits if a name is unknown."""
    if unknown := set(_ONLY.value or ()) - set(names):
        raise SystemExit(f"error: --only: expected some of {', '.join(names)}; received {', '.join(sorted(unknown))}.")
    return [name for name in names if _ONLY.value is None or name in _ONLY.value]


def run(main):
    """Runs the `main` of a benchmark as a program, or its smoke test with `--smoke`."""

    def program(arguments):
        if _SMOKE.value:
            smoke_test(main)
        else:
            main(arguments)

    app.run(program)


def smoke_test(main):
    """Runs `main` with tiny settings; its output goes to a temporary folder and is deleted.

    The module of `main` defines the tiny settings: `SMOKE = {name of a constant of the module: value}`. The constants
    have these values while `main` runs. `minutes` and `data` are always tiny in a smoke test.

    Returns:
        the rows of all tables that `main` wrote.
    """
    global _smoke_folder
    constants, start = main.__globals__, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="smoke_") as folder:
        _smoke_folder = pathlib.Path(folder)
        places = {name: _smoke_folder / name.lower() for name in ("DIRECTORY", "DOCS", "SAVED_MODELS")}
        for place in places.values():
            place.mkdir()
        tiny = constants["SMOKE"] | {name: place for name, place in places.items() if name in constants}
        try:
            with _replaced(vars(results), places), _replaced(constants, tiny):
                main([])
                rows = [row for path in results.DIRECTORY.glob("*.json") for row in results.read(path.stem)]
        finally:
            _smoke_folder = None
    print(f"smoke test: {len(rows)} rows in {time.perf_counter() - start:.0f} s, nothing saved", flush=True)
    return rows


@contextlib.contextmanager
def _replaced(constants, values):
    """Temporarily replaces some of a module's constants."""
    before = {name: constants[name] for name in values}
    constants.update(values)
    try:
        yield
    finally:
        constants.update(before)
