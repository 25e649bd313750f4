"""Tables as rows of numbers: standardised numbers, one-hot categories, and marks of missing values.

number      (v - mean) / deviation; 0 where missing, and another column, 1 where missing, if some were
category    one column for each value that training saw, scaled by 1 / sqrt(2); all 0 where missing or new
"""

import csv
import math
import pathlib

import numpy as np

from .. import common
from . import source

MOST_CATEGORIES = 50
NUMBERS = 0.9  # share of numbers among the cells that makes a column one of numbers
_LABELS = ("label", "class", "target")
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")


def read(data, folder, *, size=None, labels=None, schema=None):
    """Reads a table; see `source.read`. The schema has the keys "kind", "columns", "labels" and "classes"."""
    path = pathlib.Path(data)
    names, cells = columns_of(path)
    if not names or not len(cells[0]):
        return source.Rows(
            [], np.zeros((0, 0), "float32"), None, [], np.zeros(0, bool), {"table without rows": [path.name]}, {}
        )
    chosen = schema["labels"] if schema is not None else labels
    if chosen is None and schema is None:
        chosen = next((name for name in names if name.lower() in _LABELS), None)
    if chosen is not None and chosen not in names and schema is None:
        raise ValueError(f"--labels: {str(path)!r} has no column {chosen!r}; it has {', '.join(names)}.")
    table = dict(zip(names, cells, strict=True))
    ids = [str(i) for i in range(len(cells[0]))]
    test = source.split([source.is_test(name) for name in ids], ids)
    left_out = {}
    if schema is None:
        facts = [described(name, table[name], ~test, left_out) for name in names if name != chosen]
        facts = [each for each in facts if each is not None]
        if not facts:
            raise ValueError(f"--data: no column of {str(path)!r} can be used: {source.described(left_out)}.")
        values = sorted({str(each) for each in table[chosen] if not _is_missing(each)}) if chosen else []
        schema = {"kind": "table", "columns": facts, "labels": chosen, "classes": values}
    lacking = [each["name"] for each in schema["columns"] if each["name"] not in table]
    if lacking:
        raise ValueError(f"--data: {str(path)!r} lacks the columns {', '.join(lacking)}, which the model needs.")
    x = np.concatenate([encoded(each, table[each["name"]], left_out) for each in schema["columns"]], axis=1)
    y = None
    if schema["classes"] and schema["labels"] in table:
        numbers = {name: i for i, name in enumerate(schema["classes"])}
        y = np.array([numbers.get(str(each), -1) for each in table[schema["labels"]]], "int64")
    return source.Rows(ids, x, y, schema["classes"], test, left_out, schema)


def columns_of(path):
    """Returns the names of a table's columns, and their cells: lists or arrays."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        common.require("pyarrow")
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path)
        return table.column_names, [column.to_pylist() for column in table.columns]
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            key = next(
                (key for key in ("x", "x_train", *file.files) if key in file.files and file[key].ndim == 2), None
            )
            if key is None:
                raise ValueError(f"--data: expected a table (N, D) in {str(path)!r}; it has {', '.join(file.files)}.")
            x = file[key]
        return [str(i) for i in range(x.shape[1])], list(x.T)
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [row for row in csv.reader(file, delimiter=delimiter(path)) if row]
    if not rows:
        return [], []
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(rows[0])]
    if len(set(names)) < len(names):
        raise ValueError(f"--data: the columns of {str(path)!r} need different names; received {', '.join(names)}.")
    width = len(names)
    return names, [[row[i] if i < len(row) else "" for row in rows[1:]] for i in range(width)]


def delimiter(path):
    """Returns the delimiter of a CSV file: a tab, or the most frequent of comma and semicolon in its first line."""
    if pathlib.Path(path).suffix.lower() == ".tsv":
        return "\t"
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(2**20)
    return ";" if line.count(";") > line.count(",") else ","


def picture_column(path):
    """Returns the column of a CSV whose first rows are names of pictures, or None."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file, delimiter=delimiter(path))
        names = rows.fieldnames or ()
        first = [row for row, _ in zip(rows, range(20), strict=False)]
    for name in names:
        cells = [str(row[name]) for row in first if row[name]]
        if cells and all(pathlib.Path(cell).suffix.lower() in source.PICTURE_SUFFIXES for cell in cells):
            return name
    return None


def described(name, cells, train, left_out):
    """Returns the schema of a column, from its training rows; None, with the reason in `left_out`, if it is useless."""
    given = [cell for cell, chosen in zip(cells, train, strict=True) if chosen and not _is_missing(cell)]
    numbers = [number_of(cell) for cell in given]
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    parsed = sum(number is not None for number in numbers)
    if not given:
        return _leave_out(name, "column that is empty", left_out)
    if parsed >= NUMBERS * len(given) and not all(isinstance(cell, bool) for cell in given):
        if len(set(finite)) < 2:
            return _leave_out(name, "column that is constant", left_out)
        missing = len(finite) < sum(train)
        # Two passes in float64, and a scale that cannot overflow: columns may hold numbers up to 1e308.
        most = max(map(abs, finite))
        scaled = np.array(finite, "float64") / most
        facts = {"name": name, "is": "number", "mean": float(scaled.mean() * most), "missing": missing}
        return facts | {"deviation": float(scaled.std() * most)}
    values = sorted({str(cell) for cell in given})
    if len(values) < 2:
        return _leave_out(name, "column that is constant", left_out)
    if len(values) > MOST_CATEGORIES:
        return _leave_out(name, f"column of more than {MOST_CATEGORIES} different texts", left_out)
    return {"name": name, "is": "category", "values": values}


def encoded(facts, cells, left_out):
    """Returns the columns of numbers for the cells of a column: `(N, columns)` float32."""
    if facts["is"] == "category":
        places = {value: i for i, value in enumerate(facts["values"])}
        made = np.zeros((len(cells), len(places)), "float32")
        for row, cell in enumerate(cells):
            if not _is_missing(cell):
                place = places.get(str(cell))
                if place is None:
                    left_out.setdefault(f"value of {facts['name']} that training did not see", []).append(str(cell))
                else:
                    made[row, place] = math.sqrt(0.5)
        return made
    made = np.zeros((len(cells), 2 if facts["missing"] else 1), "float32")
    for row, cell in enumerate(cells):
        number = None if _is_missing(cell) else number_of(cell)
        if number is not None and math.isfinite(number):
            value = (number - facts["mean"]) / facts["deviation"]
            made[row, 0] = max(-1e4, min(1e4, value))
            continue
        if not _is_missing(cell):
            what = "text in a column of numbers" if number is None else "infinite number"
            left_out.setdefault(f"{what}, taken as missing", []).append(f"{facts['name']}[{row}]")
        made[row, 1:] = 1.0
    return made


def _leave_out(name, reason, left_out):
    left_out.setdefault(reason, []).append(name)


def _is_missing(cell):
    if cell is None:
        return True
    if isinstance(cell, str):
        return cell.strip().lower() in _MISSING
    return isinstance(cell, float | np.floating) and math.isnan(cell)


def number_of(cell):
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None
