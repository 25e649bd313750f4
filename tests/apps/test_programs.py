"""Programs on the command line, each in its own process: flags, and one-line user errors."""

import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

from apps.audio_denoising import denoise, train
from apps.audio_denoising import evaluate as evaluate_denoising
from apps.semantic_hashing import evaluate, index, search
from apps.semantic_hashing import train as train_hashing
from apps.serving import serve
from apps.sketch_vae import draw
from apps.sketch_vae import evaluate as evaluate_sketches
from apps.sketch_vae import train as train_sketches

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = {
    script.__name__: script
    for script in (
        *(train, evaluate_denoising, denoise, train_hashing, evaluate, index, search, serve),
        *(train_sketches, evaluate_sketches, draw),
    )
}

# TensorFlow and the programs' modules are imported once, because that takes longest. Each program then runs in a forked
# process, whose garbage collector ignores the objects from before the fork.
RUN_ALL = """
import gc, importlib, json, os, runpy, sys
programs = json.loads(sys.argv[1])
for module in {module for module, *_ in programs} | {"apps.manifold.run", "apps.quickstart.run"}:
    importlib.import_module(module)
gc.freeze()
for i, (module, *arguments) in enumerate(programs):
    if not os.fork():
        for stream in (1, 2):
            os.dup2(os.open(f"{sys.argv[2]}/{i}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    status = os.waitstatus_to_exitcode(os.wait()[1])
    open(f"{sys.argv[2]}/{i}.status", "w").write(str(status))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """`{(module, last flag): (exit code, standard output, standard error)}`."""
    folder = tmp_path_factory.mktemp("programs")
    programs = [[name, "--help"] for name in SCRIPTS] + [
        ["apps.quickstart", f"--export_dir={folder}/export", "--data=/nowhere"],
        ["apps.manifold", f"--output={folder}/manifold", "--neighbours=800"],
        ["apps.semantic_hashing.beam", f"--model={folder}", f"--input={folder}/*.jsonl", f"--output={folder}/codes"],
        ["apps.audio_denoising.denoise", "--input=-", "--channels=1000000000"],
        ["apps.semantic_hashing.train", f"--seed={2**40}"],
    ]
    command = [sys.executable, "-c", RUN_ALL, json.dumps(programs), str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    return {
        (program[0], program[-1].partition("=")[0]): (
            int((folder / f"{i}.status").read_text()),
            *((folder / f"{i}.{s}").read_text() for s in (1, 2)),
        )
        for i, program in enumerate(programs)
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_have_ten_flags_at_most(ended, script):
    status, shown, _ = ended[script, "--help"]
    own = re.findall(r"^  --(?:\[no\])?(\w+)", shown, re.MULTILINE)
    assert status == 1  # absl's exit code after --help
    parameters = {*inspect.signature(SCRIPTS[script].run).parameters} - {"chosen"}  # settings, not a flag
    assert sorted(own) == sorted(parameters) and len(own) <= 10


@pytest.mark.parametrize(
    ("program", "flag", "message"),
    [
        ("apps.quickstart", "--data", "error: `data` must be None for 'digits'"),
        ("apps.manifold", "--neighbours", "error: --neighbours: expected less than half of the 1500 images"),
        ("apps.semantic_hashing.beam", "--output", "error: "),
    ],
)
def test_errors_of_users_are_one_line_and_a_code(ended, program, flag, message):
    status, shown, errors = ended[program, flag]
    assert status == 1 and shown == ""
    assert errors.splitlines()[-1].startswith(message)
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("program", "flag", "message"),
    [
        (
            "apps.audio_denoising.denoise",
            "--channels",
            "--channels=1000000000: 1000000000 is not an integer",
        ),
        ("apps.semantic_hashing.train", "--seed", f"--seed={2**40}: {2**40} is not an integer in the range"),
    ],
)
def test_flags_out_of_range_are_named(ended, program, flag, message):
    status, shown, errors = ended[program, flag]
    assert status == 1 and shown == "" and message in errors and "Traceback" not in errors
