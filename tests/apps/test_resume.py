"""Every application: killed twice at random moments and resumed, training ends as if never killed, bit for bit."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# In its own process, because the benchmark forks, which TensorFlow allows only before its first operation.
RUN = """
import json, sys
from absl import flags
from benchmarks import options, resume
flags.FLAGS(["test"])
found = {}
rows = resume.rows
resume.rows = lambda measured: found.update(measured) or rows(measured)
options.smoke_test(resume.main)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.processes
@pytest.mark.parametrize("app", ["quickstart", "semantic_hashing", "audio_denoising"])
def test_a_run_killed_twice_ends_as_one_never_killed(found, app):
    (run,) = found[app]
    assert run["kills"] == 2
    assert (run["unequal"], run["largest"], run["left"]) == (0, 0.0, [])
