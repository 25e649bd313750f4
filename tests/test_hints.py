"""Public functions of the modules that mypy checks have complete type hints."""

import ast
import pathlib
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LISTED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]["files"]
FILES = sorted(file for name in LISTED for file in ((ROOT / name).rglob("*.py") if "." not in name else [ROOT / name]))


def public_functions(tree):
    """The functions and methods that users see, by qualified name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for each in node.body:
                if isinstance(each, ast.FunctionDef) and (each.name == "__init__" or not each.name.startswith("_")):
                    yield f"{node.name}.{each.name}", each


def missing(function, is_method):
    """The parameters of a function without a hint."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][is_method:]
    every = [*positional, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    without = [each.arg for each in every if each is not None and each.annotation is None]
    return without + (["return"] if function.returns is None else [])


def test_what_lacks_a_hint_is_found():
    tree = ast.parse(
        "def f(a: int, *b, c=1): pass\nclass A:\n  def g(self, x: int) -> int: pass\n  def _h(self, y): pass"
    )
    found = {name: missing(function, "." in name) for name, function in public_functions(tree)}
    assert found == {"f": ["c", "b", "return"], "A.g": []}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_public_functions_have_complete_hints(file):
    functions = public_functions(ast.parse(file.read_text(encoding="utf-8")))
    lacking = {name: missing(function, "." in name) for name, function in functions}
    assert {name: without for name, without in lacking.items() if without} == {}
