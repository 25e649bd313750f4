"""The package as a whole: the cost of importing it, its import errors, and the README's example."""

import ast
import importlib
import json
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import keras
import pytest

import keras_ae as ka
from keras_ae import names

ROOT = pathlib.Path(__file__).parents[1]


def python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


# In its own process, because here everything is already imported.
ALONE = """
import sys, tensorflow
before = set(sys.modules)
import keras_ae
new = sorted(set(sys.modules) - before)
import keras
model = keras.saving.load_model(sys.argv[1])
print(json.dumps({"new": new, "class": type(model).__name__, "is": type(model) is keras_ae.VAE}))
"""


def test_import_takes_keras_alone_and_still_loads_every_file(tmp_path):
    encoder = ka.networks.mlp_encoder((2, 2, 1), 2, (), parameters=2)
    decoder = ka.networks.mlp_decoder(2, (2, 2, 1), ())
    model = ka.VAE(encoder, decoder, prior=ka.priors.LearnedMixture(2, 3), likelihood="gaussian_learned_scale")
    model.compile("adam")
    model.save(tmp_path / "model.keras")
    result = python("import json" + ALONE, str(tmp_path / "model.keras"))
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["new"] == ["keras_ae", "keras_ae.names", "keras_ae.utils", "keras_ae.utils.lazy"]
    assert found["class"] == "VAE" and found["is"]


def test_the_public_names_are_in_one_table():
    tree = ast.parse((ROOT / "keras_ae" / "__init__.py").read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    for_editors = {alias.name for node in branch.body for alias in node.names}
    assert sorted(ka.__all__) == sorted(for_editors) == sorted(names.MODULES | names.ATTRIBUTES)
    assert set(ka.__all__) <= set(dir(ka))
    for name, module in names.MODULES.items():
        assert getattr(ka, name).__name__ == f"keras_ae.{module}"
    for name, module in names.ATTRIBUTES.items():
        assert getattr(ka, name).__module__ == f"keras_ae.{module}"
    with pytest.raises(AttributeError, match="no attribute 'Unknown'"):
        ka.Unknown  # noqa: B018


def test_everything_that_files_may_name_is_in_one_table():
    for module in pkgutil.walk_packages(ka.__path__, "keras_ae."):
        if "speech_sample" not in module.name:
            importlib.import_module(module.name)
    registered = keras.saving.get_custom_objects()
    found = {name: value for name, value in registered.items() if name.startswith("keras_ae>")}
    table = names.CLASSES | names.FUNCTIONS
    assert found.keys() == {f"keras_ae>{name}" for name in table.keys() | names.RENAMED.keys()}
    for name, module in table.items():
        assert found[f"keras_ae>{name}"] is getattr(importlib.import_module(f"keras_ae.{module}"), name)


def test_files_may_use_the_names_of_version_0_1():
    for old, new in names.RENAMED.items():
        args = {"latent_dim": 3} if old == "FairCoins" else {}
        config = {"class_name": old, "registered_name": f"keras_ae>{old}", "module": "keras_ae.old", "config": args}
        made = keras.saving.deserialize_keras_object(config)
        assert type(made).__name__ == new and made.get_config().items() >= args.items()


def test_committed_models_are_found_by_name():
    for name in sorted(path.name for path in (ROOT / "saved_models").iterdir()):
        served = ka.load_pretrained(name)
        assert "serving_default" in served.signatures and served.card["licence"]
    with pytest.raises(ValueError, match=r"audio_denoising.*semantic_hashing.*'nothing'"):
        ka.load_pretrained("nothing")


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
    files = [file for file in sorted((ROOT / "keras_ae/models").rglob("*.py")) if file.parent.name != "base"]
    assert files
    for file in files:
        assert len(file.read_text().splitlines()) <= 160, file
