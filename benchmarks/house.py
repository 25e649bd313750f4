"""Measures the size of the code: `python -m benchmarks.house [--before=<checkout>] [--after=<checkout>]`.

Compares this checkout, or that of `--after`, with that of `--before`:

- number of classes of the package that each public model consists of, including itself and mixins, excluding
  `keras.Model`;
- share of the package's statement lines that only check and raise: `raise` statements, branches that only raise, and
  their conditions;
- number of lines of `keras_ae/training` (in a flat layout, of the modules that it was made from), and of the README;
- number of test functions;
- number of files and functions of the package that one batch passes through in an eager `VAE.fit`; `--walk` lists them.
"""

import ast
import io
import json
import os
import pathlib
import subprocess
import sys
import time
import tokenize

from absl import flags

from benchmarks import options, results

_BEFORE = flags.DEFINE_string("before", None, "A checkout of earlier code, for comparison.")
_AFTER = flags.DEFINE_string("after", None, "The checkout to measure; by default, this one.")
_WALK = flags.DEFINE_bool("walk", False, "Print the functions that one batch goes through, in the order of first call.")

HERE = pathlib.Path(__file__).parents[1]
PROBE = pathlib.Path(__file__).with_name("house_probe.py")
FLAT_TRAINING = ("training.py", "execution.py", "strategies.py", "callbacks.py")
SMOKE = {}  # it is quick


def probe(checkout):
    """Returns the output of `house_probe` for a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-P", str(PROBE)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if pathlib.Path(found["package"]) != checkout / "keras_ae":
        raise RuntimeError(f"Expected the keras_ae of {checkout}; {found['package']} was measured.")
    return found


def statement_lines(source):
    """Returns two sets of line numbers: lines with statements, and those among them that only check and raise.

    Docstrings, comments and blank lines do not count. Lines that only check and raise are those of a `raise`, of a
    branch that only raises (it may build the message first), and of its condition.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    unseen = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    code = {line for t in tokens if t.type not in unseen for line in range(t.start[0], t.end[0] + 1)}
    statements, defence = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise):
            defence.update(_lines(node))
        if isinstance(node, ast.If):
            if _only_raises(node.body):
                defence.update(_head(node), *map(_lines, node.body))
            if _only_raises(node.orelse):
                defence.update(*map(_lines, node.orelse))
        if isinstance(node, ast.ExceptHandler) and _only_raises(node.body):
            defence.update(_head(node), *map(_lines, node.body))
        if isinstance(node, ast.stmt | ast.ExceptHandler) and not _is_docstring(node):
            statements.update(_head(node) if hasattr(node, "body") else _lines(node))
    return statements & code, defence & statements & code


def _only_raises(branch):
    *before, last = branch or [None]
    return isinstance(last, ast.Raise) and all(isinstance(each, ast.Assign) for each in before)


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _lines(node):
    return range(node.lineno, node.end_lineno + 1)


def _head(node):
    """Returns the lines of a compound statement before its body."""
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return range(first, max(node.body[0].lineno, node.lineno + 1))


def defence_share(package):
    """Returns the share of statement lines that only check and raise, over all files of a folder."""
    found = [statement_lines(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))]
    return sum(len(defence) for _, defence in found) / sum(len(statements) for statements, _ in found)


def training_lines(package):
    folder = package / "training"
    files = folder.glob("*.py") if folder.is_dir() else [package / name for name in FLAT_TRAINING]
    return sum(_count(path) for path in files)


def count_tests(folder):
    """Returns the number of test functions below a folder; a parametrised one counts once."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("test_*.py"))
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return sum(node.name.startswith("test_") for node in functions)


def _count(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def figures(checkout):
    """Returns all results of a checkout, `{(claim, metric): number}`, and the functions that one batch calls."""
    found = probe(checkout)
    made = {(f"{name} and its bases", "classes below keras.Model"): len(of) for name, of in found["classes"].items()}
    made["lines that only check and raise", "percent of statement lines"] = 100 * defence_share(checkout / "keras_ae")
    made["the training step and its loop", "lines"] = training_lines(checkout / "keras_ae")
    made["README.md", "lines"] = _count(checkout / "README.md")
    made["tests", "functions"] = count_tests(checkout / "tests")
    made["one batch through VAE.fit", "files"] = len({file for file, _ in found["walk"]})
    made["one batch through VAE.fit", "functions"] = len(found["walk"])
    return made, found["walk"]


def rows(after, before, seconds):
    """Returns the rows of the table from the results of two checkouts; `before` may be empty."""
    shared = {"seeds": [], "seconds": seconds, "command": "python -m benchmarks.house"}
    shared["command"] += " --before=<earlier checkout>" if before else ""
    made = []
    for found, data in ((after, "keras_ae"), (before, "keras_ae, the earlier checkout")):
        for (claim, metric), value in found.items():
            better = "higher" if claim == "tests" else "lower"
            made.append(results.row(claim=claim, metric=metric, data=data, better=better, ours=value, **shared))
    return made


def table(after, before):
    """Returns the results of both checkouts side by side, as Markdown."""
    lines = ["| claim | metric | before | after |", "|---|---|---:|---:|"]
    for claim, metric in after | before:
        cells = ("" if (value := of.get((claim, metric))) is None else f"{value:.4g}" for of in (before, after))
        lines.append(f"| {claim} | {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(_):
    start = time.perf_counter()
    after, walk = figures(pathlib.Path(_AFTER.value or HERE).resolve())
    before, _ = figures(pathlib.Path(_BEFORE.value).resolve()) if _BEFORE.value else ({}, None)
    print(table(after, before))
    if _WALK.value:
        print("", *(f"{file}: {name}" for file, name in walk), sep="\n")
    results.write("house", rows(after, before, time.perf_counter() - start))


if __name__ == "__main__":
    options.run(main)
