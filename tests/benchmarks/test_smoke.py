"""Every benchmark has a smoke test, which saves nothing."""

import importlib
import pathlib

import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks import options, results

FOLDER = pathlib.Path(options.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "options.run(main)" in path.read_text(encoding="utf-8"))


def benchmark(name):
    if name == "hamming_search":
        pytest.importorskip("faiss")
    return importlib.import_module(f"benchmarks.{name}")


def test_every_table_has_a_benchmark_and_every_benchmark_is_listed():
    assert {path.stem for path in results.DIRECTORY.glob("*.json")} <= set(NAMES)
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"| `python -m benchmarks.{name}` |" not in listed] == []


@pytest.mark.parametrize("name", NAMES)
def test_tiny_settings_replace_constants_that_exist(name):
    module = benchmark(name)
    assert callable(module.main)
    assert [constant for constant in module.SMOKE if not hasattr(module, constant)] == []


@pytest.fixture
def parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])


@pytest.mark.parametrize("name", ["search_without_words", "hamming_search"])
def test_a_smoke_test_makes_rows_and_keeps_nothing(parsed, name, tmp_path, monkeypatch):
    module = benchmark(name)
    monkeypatch.chdir(tmp_path)
    written = [results.DIRECTORY, results.DOCS]
    before = {path: path.read_bytes() for folder in written for path in folder.iterdir() if path.is_file()}
    constants = {constant: getattr(module, constant) for constant in module.SMOKE}
    saved = {"model": str(results.SAVED_MODELS / "semantic_hashing")} if name == "search_without_words" else {}
    with flagsaver.flagsaver(**saved):
        rows = options.smoke_test(module.main)
    assert rows and all(row["command"].startswith(f"python -m benchmarks.{name}") for row in rows)
    assert not options.smoking() and constants == {constant: getattr(module, constant) for constant in constants}
    assert written == [results.DIRECTORY, results.DOCS] and not list(tmp_path.iterdir())
    assert before == {path: path.read_bytes() for folder in written for path in folder.iterdir() if path.is_file()}


def test_a_smoke_test_that_fails_puts_the_settings_back():
    before = results.DIRECTORY, results.DOCS
    constants = {"SMOKE": {"ROWS": 1}, "ROWS": 1_000}
    exec("def main(_): raise KeyError(ROWS)", constants)
    with pytest.raises(KeyError, match=r"^1$"):
        options.smoke_test(constants["main"])
    assert constants["ROWS"] == 1_000 and before == (results.DIRECTORY, results.DOCS) and not options.smoking()
