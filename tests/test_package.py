"""The package as a whole: what an import costs and refuses, and the README's example."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_import_costs_little_over_tensorflow_and_tfp():
    code = (
        "import time, tensorflow, keras, tensorflow_probability as tfp; tfp.distributions\n"
        "start = time.process_time()\n"
        "import keras_ae; print(time.process_time() - start)"
    )
    # Processor time, the best of three: other programs on the machine do not count.
    seconds = min(float(python(code).stdout.split()[-1]) for _ in range(3))
    assert seconds < 0.3


def test_heavy_extras_are_imported_late():
    # TensorFlow Probability itself imports some of them where they are installed.
    code = (
        "import sys, keras, tensorflow, tensorflow_probability as tfp; tfp.distributions; before = set(sys.modules)\n"
        "import keras_ae; new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = {'matplotlib', 'tensorflow_datasets', 'sklearn', 'torch', 'tensorflow_serving', 'tqdm', 'PIL'}\n"
        "print('heavy:', sorted(new & heavy))"
    )
    assert python(code).stdout.strip().endswith("heavy: []")


def test_another_backend_is_refused():
    result = python(
        "import sys, types, keras\nkeras.backend.backend = lambda: 'torch'\nimport keras_ae", KERAS_BACKEND="tensorflow"
    )
    assert result.returncode != 0 and "KERAS_BACKEND=tensorflow" in result.stderr


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
