"""Rows of benchmark results: the claim, the required value and the measured value.

A row is a dict with exactly the keys `KEYS`; `benchmarks/results/<name>.json` contains a list of rows.
"""

import datetime
import importlib.metadata
import json
import math
import numbers
import pathlib
import platform
import sys

DIRECTORY = pathlib.Path(__file__).parent / "results"
DOCS = pathlib.Path(__file__).parents[1] / "docs"
SAVED_MODELS = pathlib.Path(__file__).parents[1] / "saved_models"

REQUIRED = ("claim", "data", "metric", "better", "ours", "seeds", "seconds", "command")
OPTIONAL = ("paper", "required", "target", "standard_error")
FILLED = ("versions", "date")  # filled in by `write`
KEYS = (
    *("claim", "data", "metric", "better", "paper", "required", "target", "ours", "standard_error"),
    *("seeds", "seconds", "command", "versions", "date"),
)

PACKAGES = ("tensorflow", "keras", "tensorflow_probability", "numpy")
EXTRA_PACKAGES = ("torch", "pythae")


def row(**fields):
    """Returns one row, with None for missing optional fields.

    Args:
        **fields: `claim`, `data`, `metric` (with its unit), `better` ("lower" or "higher"), `ours`, `seeds`,
            `seconds` (of wall time, or of `runs.ProcessorTime`), `command`; optionally `paper`, `required`, `target`,
            `standard_error`, and `versions` and `date`, which `write` fills in if absent.
    """
    missing = [key for key in REQUIRED if key not in fields]
    if missing:
        raise ValueError(f"A row needs {list(REQUIRED)}; missing: {missing}.")
    result = dict.fromkeys(OPTIONAL + FILLED) | fields
    validate(result)
    return {key: result[key] for key in KEYS}


def validate(row):
    """Raises a `ValueError` with the reason if `row` is invalid."""
    unknown = sorted(set(row) - set(KEYS))
    missing = [key for key in KEYS if key not in row]
    if unknown or missing:
        raise ValueError(f"A row has exactly the keys {list(KEYS)}; unknown: {unknown}, missing: {missing}.")
    if row["better"] not in ("lower", "higher"):
        raise ValueError(f'`better` is "lower" or "higher"; received {row["better"]!r}.')
    if not _is_finite(row["ours"]):
        raise ValueError(f"`ours` is a finite number; received {row['ours']!r} for {row['claim']!r}.")
    for key in ("required", "target", "standard_error"):
        if row[key] is not None and not _is_finite(row[key]):
            raise ValueError(f"`{key}` is a finite number or None; received {row[key]!r}.")


def outcome(row):
    """Returns "target met", "met" (the required value), "missed", or "measured" if no value is required."""
    if row["required"] is None:
        return "measured"
    for mark, words in (("target", "target met"), ("required", "met")):
        if row[mark] is not None and _meets(row["ours"], row[mark], row["better"]):
            return words
    return "missed"


def versions(packages=()):
    """Returns {package: version} for Python, the packages of all benchmarks, and torch and pythae if imported.

    Args:
        packages: names of more packages to list, such as those that only a subprocess imports.
    """
    imported = [name for name in EXTRA_PACKAGES if name in sys.modules]
    names = dict.fromkeys([*PACKAGES, *packages, *imported])
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def write(name, rows, directory=None):
    """Writes `<directory>/<name>.json` atomically, with `versions` and `date` (UTC), and returns its path.

    The default directory is `DIRECTORY`.
    """
    for each in rows:
        validate(each)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    filled = [{**each, "versions": each["versions"] or versions(), "date": each["date"] or today} for each in rows]
    text = json.dumps(filled, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    path = pathlib.Path(directory or DIRECTORY) / f"{name}.json"
    from keras_ae.utils import (
        files,  # imported late: it imports TensorFlow, which must not share a process with a PyTorch timing
    )

    files.write_text(path, text)
    return path


def read(name, directory=None):
    """Returns the rows of `<directory>/<name>.json`; the default directory is `DIRECTORY`."""
    path = pathlib.Path(directory or DIRECTORY) / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"There are no results at {path}: run `python -m benchmarks.{name}` first.")
    rows = json.loads(path.read_text(encoding="utf-8"))
    for each in rows:
        validate(each)
    return rows


def _meets(value, mark, better):
    return value >= mark if better == "higher" else value <= mark


def _is_finite(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value):
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return value.tolist()
    raise TypeError(f"A row takes plain values and NumPy numbers; received {type(value).__name__}.")
