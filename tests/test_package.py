"""The package as a whole: what an import costs and refuses, and the README's example."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


FIRST_IMPORT = """
import sys

import keras
import tensorflow
import tensorflow_probability as tfp

tfp.distributions  # loads what it imports itself
backend, keras.backend.backend = keras.backend.backend, lambda: "torch"
try:
    import keras_ae
except ImportError as error:
    print("refused:", error)
keras.backend.backend = backend
before = set(sys.modules)
import keras_ae

new = {name.partition(".")[0] for name in set(sys.modules) - before}
print("imported:", sorted(new - sys.stdlib_module_names))
"""


def test_an_import_refuses_another_backend_and_loads_nothing_heavy():
    # One new process for both facts, as starting TensorFlow takes longer than the rest of the test.
    result = subprocess.run(
        [sys.executable, "-c", FIRST_IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    refused, imported = result.stdout.splitlines()
    assert refused.startswith("refused:") and "KERAS_BACKEND=tensorflow" in refused
    # Extras such as matplotlib, scikit-learn, PIL and TFDS are imported by the functions that need them.
    assert imported == "imported: ['keras_ae']"


def test_the_readmes_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    names = {}
    exec(compile(code.replace("epochs=20", "epochs=2"), "README.md", "exec"), names)
    assert names["images"].shape == (16, 8, 8, 1)
    assert names["log_p"].shape == (297,)
    assert (tmp_path / "runs/digits/1/saved_model.pb").exists()


def test_a_model_file_stays_a_models_mathematics():
    files = sorted((ROOT / "keras_ae/models").rglob("*.py"))
    assert files
    for file in files:
        assert len(file.read_text().splitlines()) <= 160, file
