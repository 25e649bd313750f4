"""Flags that several benchmarks share, and the smoke test that every benchmark has.

absl allows one flag of each name, and a test imports all benchmarks: so shared flags are defined here.
"""

import contextlib
import pathlib
import tempfile
import time

from absl import app, flags

from benchmarks import results

_DATA = flags.DEFINE_string("data", None, "The data set that the benchmark is about, see the top of its file.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_MINUTES = flags.DEFINE_float("minutes", None, "Minutes of training of each model, instead of those of record.")
_PUBLISH = flags.DEFINE_bool("publish", False, "Replaces the app's model under saved_models by the one measured here.")
_ONLY = flags.DEFINE_list("only", None, "Names of the runs to make now; the table is written once all are there.")
_RUNS = flags.DEFINE_string("runs", "runs/benchmarks", "Where finished runs are kept, so that none is repeated.")
_SMOKE = flags.DEFINE_bool(
    "smoke", False, "Runs the whole benchmark on tiny data with tiny settings, in under a minute, and writes nothing."
)

_SMOKE_MINUTES = 0.01
_smoke_folder = None  # of the smoke test that runs


def data(kind=None):
    """The path of the data. Without `--data` the program ends; a smoke test makes tiny data instead.

    Args:
        kind: name of a function of `benchmarks.tiny_data`, which makes data like those that the benchmark needs.
    """
    if _DATA.value is not None:
        return _DATA.value
    if not smoking():
        raise SystemExit("error: --data: expected a path, see --help.")
    from benchmarks import tiny_data  # late: it imports TensorFlow, which not every benchmark may

    folder = _smoke_folder / kind
    return str(folder if folder.exists() else getattr(tiny_data, kind)(folder))


def minutes(of_record):
    """Minutes of training of a model: those of `--minutes`, where given."""
    return _MINUTES.value or (_SMOKE_MINUTES if smoking() else of_record)


def publish():
    """Whether to replace the published model and its pages; a smoke test does, in its temporary folder."""
    return _PUBLISH.value or smoking()


def smoking():
    """Whether this is a smoke test."""
    return _smoke_folder is not None


def runs(benchmark):
    """Folder of the runs of a benchmark."""
    return (_smoke_folder or pathlib.Path(_RUNS.value)) / benchmark


def only(names):
    """Those of `names` that `--only` asks for, all of them without the flag; the program ends at an unknown one."""
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
    """Runs `main` with tiny settings; what it writes goes to a temporary folder and is deleted.

    The module of `main` says what is tiny: `SMOKE = {name of a constant of the module: value}`, with each name and
    value as `main` should find them. `minutes` and `data` are tiny without it.

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
    print(f"smoke test: {len(rows)} rows in {time.perf_counter() - start:.0f} s, nothing kept", flush=True)
    return rows


@contextlib.contextmanager
def _replaced(constants, values):
    """Other values for some of a module's constants."""
    before = {name: constants[name] for name in values}
    constants.update(values)
    try:
        yield
    finally:
        constants.update(before)
