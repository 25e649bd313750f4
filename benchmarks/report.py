"""Rewrites the tables of the documentation from benchmarks/results: `python -m benchmarks.report [--check]`.

The region between `<!-- table: name -->` and `<!-- end: name -->` is generated from `benchmarks/results/name.json`. It
has the rows with a required, target or paper value, and the rows to compare them with. docs/figures.md has all rows of
all results.
"""

import math
import re
import sys

from absl import app, flags

from benchmarks import results
from keras_ae.utils import files

_CHECK = flags.DEFINE_bool("check", False, "Write nothing; exit with 1 if a page is out of date.")

FIGURES = results.DOCS / "figures.md"

COLUMNS = ("claim", "data", "metric", "paper", "required", "target", "ours ± s.e.", "result")
RIGHT = ("paper", "required", "target", "ours ± s.e.")
MARKER = re.compile(r"^<!-- (table|end): (\S+) -->$", re.MULTILINE)


def pages():
    """Returns the paths of the documentation pages with such regions."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(results.DOCS.rglob("*.md"))}
    return [path for path, text in texts.items() if MARKER.search(text)]


def render(text, directory=results.DIRECTORY):
    """Returns `text` with every region replaced by the table of its results."""
    parts, position = [], 0
    for opening, closing in _regions(text):
        parts += [text[position : opening.end()], "\n\n", table(marked(results.read(opening[2], directory))), "\n"]
        position = closing.start()
    return "".join([*parts, text[position:]])


def figures(directory=results.DIRECTORY):
    """Returns the page with all results."""
    names = sorted(path.stem for path in directory.glob("*.json"))
    tables = (f"## {name.replace('_', ' ').capitalize()}\n\n{table(results.read(name, directory))}" for name in names)
    return "\n".join(["# All results\n\nWritten by `python -m benchmarks.report`.\n", *tables])


def marked(rows):
    """Returns rows with a mark and all others of the same metric on the same data; all rows if none has a mark."""
    marks = ("paper", "required", "target")
    beside = {(row["data"], row["metric"]) for row in rows if any(row[mark] is not None for mark in marks)}
    return [row for row in rows if (row["data"], row["metric"]) in beside] or rows


def table(rows):
    """Returns the rows as a Markdown table, followed by the commands that made them."""
    lines = [COLUMNS, tuple("---:" if column in RIGHT else "---" for column in COLUMNS), *map(_cells, rows)]
    commands = dict.fromkeys(row["command"] for row in rows)
    made = "Made by " + ", ".join(f"`{command}`" for command in commands) + "."
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{made}\n"


def _regions(text):
    markers = list(MARKER.finditer(text))
    pairs = list(zip(markers[::2], markers[1::2], strict=False))
    wellformed = all(a[1] == "table" and b[1] == "end" and a[2] == b[2] for a, b in pairs)
    if len(markers) % 2 or not wellformed:
        found = ", ".join(marker[0] for marker in markers)
        raise ValueError(f"Each `<!-- table: name -->` needs its `<!-- end: name -->` next; found: {found}.")
    return pairs


def _cells(row):
    sign = "≥ " if row["better"] == "higher" else "≤ "
    error = row["standard_error"]
    ours = _measured(row["ours"], error) + (f" ± {_measured(error, error)}" if error else "")
    outcome = results.outcome(row)
    cells = (
        *(row["claim"], row["data"], row["metric"], _given(row["paper"])),
        *(_given(row[mark], sign) for mark in ("required", "target")),
        *(ours, "**missed**" if outcome == "missed" else outcome),
    )
    return tuple(str(cell).replace("|", "\\|") for cell in cells)


def _given(value, sign=""):
    if value is None:
        return ""
    if isinstance(value, float):
        value = float(f"{value:.6g}")  # a mark may be another model's result, in full precision
    return sign + (value if isinstance(value, str) else f"{value:,}")


def _measured(value, error):
    """Formats a number to two significant digits of its error, or to four significant digits without an error."""
    decimals = 1 - _magnitude(error) if error else 3 - _magnitude(value)
    return f"{value:,.{max(decimals, 0)}f}"


def _magnitude(value):
    return math.floor(math.log10(abs(value))) if value else 0


def main(_):
    stale = []
    try:
        made = {path: render(path.read_text(encoding="utf-8")) for path in pages()}
        for path, new in (made | {FIGURES: figures()}).items():
            if not path.exists() or path.read_text(encoding="utf-8") != new:
                stale.append((path, new))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    if _CHECK.value and stale:
        names = ", ".join(path.name for path, _ in stale)
        sys.exit(f"{names}: out of date with benchmarks/results. Run `python -m benchmarks.report`.")
    for path, new in stale:
        files.write_text(path, new)


if __name__ == "__main__":
    app.run(main)
