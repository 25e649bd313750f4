"""The command `keras-ae`, from a clone and from a wheel."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import keras_ae_command
from keras_ae.utils.extras import EXTRAS

ROOT = pathlib.Path(__file__).parents[2]
VERBS = {
    "audio_denoising": {"denoise", "evaluate", "train"},
    "manifold": {""},
    "own_data": {"encode", "reconstruct", "sample", "score", "train"},
    "quickstart": {""},
    "semantic_hashing": {"beam", "evaluate", "index", "search", "train"},
    "serving": {"serve"},
    "sketch_vae": {"draw", "evaluate", "train"},
}


def _main(monkeypatch, *arguments):
    """Runs the command until an app would start; returns the app, verb and arguments."""
    called = []
    monkeypatch.setattr(sys, "argv", ["keras-ae", *arguments])

    def run(*call):
        called.extend(call)
        sys.exit(0)

    monkeypatch.setattr(keras_ae_command, "_run", run)
    with pytest.raises(SystemExit) as ended:
        keras_ae_command.main()
    return called or str(ended.value.code)


def test_all_apps_and_their_verbs_are_found():
    found = keras_ae_command._apps()
    assert {app: set(verbs) for app, verbs in found.items()} == VERBS
    assert all(line.endswith(".") for verbs in found.values() for line in verbs.values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["audio_denoising", "train", "--seed=1"], ["audio_denoising", "train", ["--seed=1"]]),
        (["audio-denoising", "denoise"], ["audio_denoising", "denoise", []]),
        (["denoise", "--force"], ["audio_denoising", "denoise", ["--force"]]),
        (["draw", "--count=4"], ["sketch_vae", "draw", ["--count=4"]]),
        (["search", "--help"], ["semantic_hashing", "search", ["--help"]]),
        (["serve", "--port=0"], ["serving", "serve", ["--port=0"]]),
        (["train", "--data=faces"], ["own_data", "train", ["--data=faces"]]),
        (["sample"], ["own_data", "sample", []]),
        (["quickstart", "--kind=vae"], ["quickstart", "", ["--kind=vae"]]),
    ],
)
def test_a_call_reaches_its_app(monkeypatch, arguments, expected):
    assert _main(monkeypatch, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "several apps have evaluate: `keras-ae audio_denoising evaluate`"),
        (["paint"], "no app and no verb 'paint'"),
        (["audio_denoising", "paint"], "no verb 'paint'; it has denoise, evaluate, train"),
    ],
)
def test_a_call_that_is_not_clear_says_what_is(monkeypatch, arguments, message):
    assert message in _main(monkeypatch, *arguments)


def test_help_is_one_screen_and_imports_neither_tensorflow_nor_the_package():
    code = (
        "import sys, keras_ae_command; sys.argv = ['keras-ae', '--help']; keras_ae_command.main()\n"
        "print(sorted({'keras', 'keras_ae', 'numpy', 'tensorflow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *lines, imported = shown.splitlines()
    assert imported == "[]"
    assert len(lines) <= 24 and max(map(len, lines)) <= 120
    assert all(f"{app} {verb}" in shown for app, verbs in VERBS.items() for verb in verbs)


def _written_while_tensorflow_starts(capfd, *lines):
    with keras_ae_command._without_noise():
        for line in lines:
            os.write(2, line.encode() + b"\n")
    return capfd.readouterr().err.splitlines()


NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1.2 57 port.cc:153] oneDNN custom operations are on. You may see slightly different results",
    "I0000 0:0 57 cpu_feature_guard.cc:227] This TensorFlow binary is optimized to use available CPU instructions in",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the appropriate "
    "compiler flags.",
]
NO_GPU = "E0000 00:00:1.2 57 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (303)"


def test_noise_is_dropped_and_news_are_passed_on(capfd, monkeypatch):
    monkeypatch.setattr(keras_ae_command.glob, "glob", lambda pattern: [])
    news = "E0000 00:00:1.2 57 env.cc:1] Disk quota exceeded"
    assert _written_while_tensorflow_starts(capfd, *NOISE, news, NO_GPU) == [news]


def test_where_there_is_a_gpu_its_failure_is_news(capfd, monkeypatch):
    monkeypatch.setattr(keras_ae_command.glob, "glob", lambda pattern: ["/dev/nvidia0"])
    assert _written_while_tensorflow_starts(capfd, *NOISE, NO_GPU) == [NO_GPU]


def test_what_was_written_before_an_error_is_passed_on(capfd):
    with pytest.raises(ImportError), keras_ae_command._without_noise():
        os.write(2, b"libfoo.so: cannot open shared object file\n")
        raise ImportError
    assert "libfoo.so" in capfd.readouterr().err
    os.write(2, b"and it ends\n")
    assert capfd.readouterr().err == "and it ends\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The files of a wheel, as installed."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in ("README.md", "apps", "keras_ae", "keras_ae_command.py", "pyproject.toml", "saved_models", "setup.py"):
        ignore = shutil.ignore_patterns("__pycache__")
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name, **({"ignore": ignore} if copy is shutil.copytree else {}))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, f"--wheel-dir={folder}", str(folder / "source")], check=True, capture_output=True)
    shutil.rmtree(folder / "source")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_a_wheel_holds_what_a_clone_has(wheel):
    def files(folder):
        found = (path.relative_to(folder) for path in folder.rglob("*"))
        return {path for path in found if (folder / path).is_file() and path.suffix != ".pyc"}

    assert files(wheel / "keras_ae" / "apps") == files(ROOT / "apps")
    assert files(wheel / "keras_ae" / "pretrained") == files(ROOT / "saved_models")
    assert {path.name for path in wheel.glob("*.py")} == {"keras_ae_command.py"}


def _ended(wheel, folder, *arguments, program=None, **environment):
    """Runs the wheel's command in a folder, in a process of its own that does not see the clone."""
    command = [sys.executable, *(program or [str(wheel / "keras_ae_command.py")]), *arguments]
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=inherited | environment, capture_output=True, text=True)


def _last_line(ended):
    """The JSON object that a program prints last."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_wheel_denoises_from_any_folder(wheel, tmp_path):
    ended = _ended(wheel, tmp_path, "denoise", "--output=out")
    report = _last_line(ended)
    assert pathlib.Path(report["model"]) == wheel / "keras_ae" / "pretrained" / "audio_denoising" / "1"
    assert (tmp_path / "out" / "denoised.wav").exists() and np.isfinite(report["real_time_factor"])
    assert "Traceback" not in ended.stderr and "I0000" not in ended.stderr


def test_a_wheel_has_the_help_of_a_clone(wheel, tmp_path):
    ended = _ended(wheel, tmp_path, "--help")
    described = keras_ae_command._described(keras_ae_command._apps())
    assert ended.returncode == 0 and ended.stdout == keras_ae_command.USAGE.format(apps=described) + "\n"


def test_a_wheel_indexes_and_searches(wheel, tmp_path):
    texts = {
        "hockey": "The goalie stopped the puck, so the hockey team won.",
        "space": "The comet passed the moon on its orbit around the sun.",
        "keys": "The government reads a message without encryption.",
    }
    lines = [json.dumps({"id": key, "text": text}) for key, text in texts.items()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    report = _last_line(_ended(wheel, tmp_path, "index", "--data=texts.jsonl", "--index=index"))
    assert pathlib.Path(report["model"]) == wheel / "keras_ae" / "pretrained" / "semantic_hashing" / "1"
    assert report["added"] == 3
    answer = _last_line(_ended(wheel, tmp_path, "search", "--index=index", "--json", f"--query={texts['space']}"))
    nearest = answer["results"][0]
    assert nearest["id"] == "space" and nearest["distance"] == 0


@pytest.mark.parametrize(
    ("verb", "missing", "extra"),
    [("denoise", "soundfile and soxr, which are", "audio"), ("quickstart", "matplotlib, which is", "apps")],
)
def test_a_wheel_without_extras_says_which_one_to_install(wheel, tmp_path, verb, missing, extra):
    for name in ("blocked", "work"):
        (tmp_path / name).mkdir()
    # Python runs a module of this name when it starts. A module that is None cannot be imported.
    (tmp_path / "blocked" / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({list(EXTRAS)}))\n"
    )
    ended = _ended(wheel, tmp_path / "work", verb, PYTHONPATH=str(tmp_path / "blocked"))
    assert ended.returncode == 1 and ended.stdout == "" and "Traceback" not in ended.stderr
    message = f'error: This needs {missing} not installed: pip install "keras_ae[{extra}]"'
    assert ended.stderr.splitlines()[-1].startswith(message)
    assert not list((tmp_path / "work").iterdir())
