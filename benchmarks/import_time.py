"""CPU time of imports and commands, each in its own process: `python -m benchmarks.import_time`.

Results are relative to `import tensorflow` in the same round (differences or ratios), because machines differ, and one
machine varies over time. A round runs each program once; the results are medians over the rounds.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile

import numpy as np

from benchmarks import options, results

ROUNDS = 3

ROOT = pathlib.Path(__file__).parents[1]
PYTHON = [sys.executable]
COMMAND = [*PYTHON, str(ROOT / "keras_ae_command.py")]
SECONDS = 2  # of audio to denoise
DOCUMENTS = 10  # in the index
TENSORFLOW, PACKAGE, HELP = "import tensorflow", "import keras_ae", "keras-ae --help"
DENOISE = f"keras-ae denoise, {SECONDS} s of audio"
VERBS = {
    DENOISE: ["denoise", "--input=audio.wav", "--output=denoised.wav", "--force"],
    f"keras-ae index, {DOCUMENTS} documents": ["index", "--data=documents.jsonl", "--index=index"],
    f"keras-ae search, 1 query in {DOCUMENTS} documents": ["search", "--query=moon", "--index=index"],
    "keras-ae audio_denoising evaluate, 1 recording": [
        *("audio_denoising", "evaluate", "--clean_dir=clean", "--noisy_dir=noisy", "--output=evaluated"),
    ],
    f"keras-ae semantic_hashing evaluate, {DOCUMENTS} documents": [
        *("semantic_hashing", "evaluate", "--database=documents.jsonl", "--queries=queries.jsonl"),
        "--output=evaluated",
    ],
    f"keras-ae semantic_hashing train, {DOCUMENTS} documents, no time": [
        *("semantic_hashing", "train", "--data=documents.jsonl", "--max_minutes=0"),
    ],
    # The smallest training of speech: on a CPU, XLA does not compile SEGAN's convolutions. On the embedded speech, the
    # first steps take a minute, which says nothing about imports.
    "keras-ae audio_denoising train, SEGAN, 2 recordings, no time": [
        *("audio_denoising", "train", "--method=segan", "--max_minutes=0"),
        *("--clean_dir=two/clean", "--noisy_dir=two/noisy"),
    ],
    # Beam's runner for one process; the default one first tries to download a server.
    f"keras-ae beam, {DOCUMENTS} documents": [
        *("beam", "--input=documents.jsonl", "--output=codes", "--runner=FnApiRunner"),
    ],
    "keras-ae quickstart, no time": ["quickstart", "--max_minutes=0"],
}
SMOKE = {"ROUNDS": 2, "VERBS": {DENOISE: VERBS[DENOISE]}}


def programs():
    """Returns `{name: command}` of everything that is measured, imports first."""
    imports = {TENSORFLOW: [*PYTHON, "-c", TENSORFLOW], PACKAGE: [*PYTHON, "-c", PACKAGE]}
    return imports | {HELP: [*COMMAND, "--help"]} | {name: [*COMMAND, *verb] for name, verb in VERBS.items()}


def write_inputs(folder):
    """Writes the smallest inputs that the verbs accept."""
    from keras_ae.datasets import audio

    clean = 0.1 * np.sin(np.arange(SECONDS * 16_000) / 20)[:, None] * np.linspace(0, 1, SECONDS * 16_000)[:, None]
    noisy = clean + 0.01 * np.random.default_rng(0).normal(size=clean.shape)
    for name, samples in (("audio.wav", noisy), ("clean/a.wav", clean), ("noisy/a.wav", noisy)):
        audio.write(folder / name, samples, 16_000)
    for name in ("a.wav", "b.wav"):  # training needs one more, to validate
        audio.write(folder / "two" / "clean" / name, clean, 16_000)
        audio.write(folder / "two" / "noisy" / name, noisy, 16_000)
    texts = [f"The moon and the comet number {'abcdefghij'[i] * 3} orbit together." for i in range(DOCUMENTS)]
    for name in ("documents", "queries"):
        lines = (json.dumps({"id": f"{name}{i}", "text": text}) for i, text in enumerate(texts))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def processor_seconds(command, folder):
    """Returns the CPU time of a program and its child processes, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def rows(measured):
    """Returns the rows of the table.

    Args:
        measured: `{name: list of seconds, one per round}`.
    """
    baseline = np.array(measured[TENSORFLOW])
    shared = {"better": "lower", "seeds": [], "command": "python -m benchmarks.import_time"}

    def row(claim, values, metric, **marks):
        error = statistics.stdev(values) / len(values) ** 0.5 * 1.2533  # standard error of the median of normal values
        own = {"claim": claim, "metric": metric, "ours": statistics.median(values), "standard_error": error}
        return results.row(data=f"{len(values)} rounds", seconds=sum(measured[claim]), **own, **marks, **shared)

    over = {name: list(np.array(seconds) - baseline) for name, seconds in measured.items()}
    metric = "s of CPU time beyond that of import tensorflow"
    return [
        row(TENSORFLOW, measured[TENSORFLOW], "s of CPU time"),
        row(HELP, measured[HELP], "s of CPU time", required=1.5),
        row(PACKAGE, over[PACKAGE], metric),
        *(row(name, over[name], metric, **({"required": 2.0} if name == DENOISE else {})) for name in VERBS),
    ]


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_inputs(folder)
        measured = {name: [] for name in programs()}
        for _ in range(ROUNDS):
            for name, command in programs().items():
                measured[name].append(processor_seconds(command, folder))
                print(f"{name}: {measured[name][-1]:.2f} s", file=sys.stderr, flush=True)
    made = rows(measured)
    results.write("import_time", made)
    print(json.dumps({each["claim"]: each["ours"] for each in made}))


if __name__ == "__main__":
    options.run(main)
