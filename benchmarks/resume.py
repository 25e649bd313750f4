"""Training that is killed and resumed, compared with training never killed: `python -m benchmarks.resume`.

Each application trains once without a kill. Then it trains `RUNS` times more with the same seed, and each time it is
killed with SIGKILL at `KILLS` random moments, anywhere from its start to its export, and started again. In the end all
variables of the model and of its optimizer must have the same bytes as those of the run never killed.

A killed benchmark resumes: finished runs are kept in `--runs`.
"""

import functools
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time

import keras
import numpy as np
import sklearn.neighbors  # noqa: F401  before the fork, as importing takes longest

import keras_ae as ka
from apps import checkpoints
from apps.audio_denoising import train as audio_denoising  # noqa: F401
from apps.quickstart import run as quickstart  # noqa: F401
from apps.semantic_hashing import train as semantic_hashing  # noqa: F401
from benchmarks import options, results, runs
from keras_ae.datasets import speech
from keras_ae.training import states

RUNS, KILLS = 10, 2
SETTINGS = {
    "quickstart": {"epochs": 12, "nll_samples": 10},
    "semantic_hashing": {"epochs": 12, "batch_size": 64, "hidden": (128,), "neighbours": 5},
    "audio_denoising": {
        **{"epochs": 8, "batches": 4, "validation": 1, "window": 8192, "batch_size": 4},
        **{"frame": 128, "hop": 64, "units": 32, "depth": 2},
    },
}
COMPILE = {}  # options of `compile`, which replace the application's
EXPORTS = True  # whether to evaluate and export too
DOCUMENTS = 400
SMOKE = {
    "RUNS": 1,
    "SETTINGS": {
        "quickstart": {"epochs": 3, "hidden": (8,), "batch_size": 750},
        "semantic_hashing": {"epochs": 3, "batch_size": 16, "hidden": (8,), "dimensions": 8, "neighbours": 3},
        "audio_denoising": {
            **{"epochs": 3, "batches": 2, "validation": 1, "window": 1024, "batch_size": 2},
            **{"frame": 128, "hop": 64, "units": 8, "depth": 1},
        },
    },
    "COMPILE": {"run_eagerly": True},
    "EXPORTS": False,
    "DOCUMENTS": 40,
}

_POLL = 1e-3  # seconds


def train(app, folder, seed):
    """Runs an application in this process, and writes its variables to `folder/variables.npz`."""
    module = importlib.import_module(f"apps.{app}.train")
    settings = importlib.import_module(f"apps.{app}.settings")
    changed = {"quickstart": "DIGITS", "semantic_hashing": "SHARED", "audio_denoising": "SHARED"}[app]
    getattr(settings, changed).update(SETTINGS[app])
    if app == "audio_denoising":
        settings.METHODS["causal"].update(SETTINGS[app])
    if COMPILE:
        ka.ObjectiveModel.compile = functools.partialmethod(ka.ObjectiveModel.compile, **COMPILE)
    program = importlib.import_module("apps.quickstart.run") if app == "quickstart" else module
    if not EXPORTS:
        for name in ("conclude", "export", "measured", "validated"):
            if hasattr(program, name):
                setattr(program, name, lambda *_: {})
    original = module.train

    def saving(*arguments, **keywords):
        model, seconds = original(*arguments, **keywords)
        found = [keras.ops.convert_to_numpy(each) for each in states.variables(model)]
        np.savez(folder / "variables.npz", *found)
        return model, seconds

    module.train = saving
    flags = {"max_minutes": None, "export_dir": str(folder / "export"), "seed": seed, "strategy": "default"}
    flags["checkpoint_dir"] = str(folder / "checkpoint")
    program.run(**flags | _own_flags(app, folder))


def _own_flags(app, folder):
    if app == "quickstart":
        return {"dataset": "digits", "data": None, "kind": "vae", "latent_dim": 2}
    if app == "audio_denoising":
        clean, noise = map(str, speech.embedded())
        return {"clean_dir": clean, "noise_dir": noise, "noisy_dir": None, "method": "causal"}
    path, random = folder / "documents.jsonl", np.random.default_rng(0)
    words = np.array(["".join(random.choice(list("abcdefghijklmnop"), 6)) for _ in range(300)])
    # Words near each other in the list occur together, so that there is something to learn.
    places = (random.integers(300, size=(DOCUMENTS, 1)) + random.integers(40, size=(DOCUMENTS, 30))) % 300
    path.write_text("".join(json.dumps({"text": " ".join(words[each])}) + "\n" for each in places))
    method = {"bits": 8, "method": "semantic_hashing", "all_documents": True}
    return {"data": str(path), "text_column": "text"} | method


def start(app, folder, seed):
    """Starts `train` in a forked process, which writes what it prints to `folder/log`; returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    gc.freeze()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        train(app, folder, seed)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watched(app, folder, seed, saves=np.inf, delay=0.0):
    """Starts an application, and kills it `delay` seconds after it has saved `saves` checkpoints.

    Returns:
        whether it was killed, False if it ended before; the seconds from its start to each checkpoint and to its end.

    Raises:
        RuntimeError: if it failed.
    """
    begun, newest, times, due = time.monotonic(), _version(app, folder), [], np.inf
    process = start(app, folder, seed)
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        now = time.monotonic()
        if ended and status:
            raise RuntimeError(f"{app} failed: {(folder / 'log').read_text()[-2000:]}")
        if ended:
            return False, [*times, now - begun]
        version = _version(app, folder)
        if version not in (None, newest):
            newest = version
            times.append(now - begun)
        if len(times) >= saves and due == np.inf:
            due = now + delay
        if now >= due:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True, [*times, now - begun]
        time.sleep(_POLL)


def _checkpoint(app, folder):
    return folder / "checkpoint" / app / "checkpoint"


def _version(app, folder):
    try:
        found = _checkpoint(app, folder).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns  # a new file may have the number of an old one


def _epochs(app, folder):
    """Returns how many epochs the checkpoint holds."""
    path = _checkpoint(app, folder)
    return checkpoints.read(path)["epoch"] if path.exists() else 0


def whole(app, seed, folder):
    """Trains without a kill; returns the seconds to each checkpoint and to the end."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    return {"times": watched(app, folder / "run", seed)[1]}


def resumed(app, seed, number, reference, times, folder):
    """Trains with kills, and compares with the run in the folder `reference`, which took `times` as `whole` returns.

    Returns:
        dict: `kills`; the `epochs` that were complete at each kill; `unequal`, the number of variables that differ;
        `largest`, their largest difference; `left`, the files that the checkpoint left behind; `seconds`.
    """
    random, begun, own = np.random.default_rng([seed, number]), time.perf_counter(), folder / "run"
    epochs, done = SETTINGS[app]["epochs"], []
    waits = np.diff([0.0, *times])  # for the first checkpoint, from each to the next, and from the last to the end
    while len(done) < KILLS:
        if not done:
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir(parents=True)
        before = _epochs(app, own)
        saves = random.integers(0, epochs - before + EXPORTS) if epochs - before + EXPORTS else 0
        wait = waits[0] if saves == 0 else waits[min(before + saves, len(waits) - 1)]
        if watched(app, own, seed, saves, random.uniform(0.0, wait))[0]:
            done.append(_epochs(app, own))
        else:
            done = []  # it ended before the kill, so this was no test
    watched(app, own, seed)
    with np.load(reference / "run" / "variables.npz") as a, np.load(own / "variables.npz") as b:
        pairs = [(a[name], b[name]) for name in a.files]
    unequal = [pair for pair in pairs if pair[0].tobytes() != pair[1].tobytes()]
    largest = max((float(np.abs(x.astype("float64") - y).max()) for x, y in unequal), default=0.0)
    left = [each.name for each in _checkpoint(app, own).parent.iterdir()]
    made = {"kills": len(done), "epochs": done, "unequal": len(unequal), "largest": largest, "left": left}
    return made | {"seconds": time.perf_counter() - begun}


def measure(app):
    """Returns the results of all runs of an application, as `resumed` does."""
    folder, seed = options.runs("resume"), options.SEED.value
    chosen = {"settings": SETTINGS[app], "compile": COMPILE, "exports": EXPORTS, "seed": seed}
    reference = runs.kept(folder, f"{app}-whole", functools.partial(whole, app, seed), chosen)
    found = []
    for number in range(RUNS):
        name = f"{app}-{number}"
        make = functools.partial(resumed, app, seed, number, folder / f"{app}-whole", reference["times"])
        found.append(runs.kept(folder, name, make, chosen | {"number": number, "kills": KILLS}))
        print(f"{name}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def rows(measured):
    """Returns the rows of the table; `measured` is `{app: results of its runs}`."""
    shared = {"better": "lower", "required": 0, "seeds": [options.SEED.value], "command": "python -m benchmarks.resume"}
    made = []
    for app, found in measured.items():
        kills = sum(each["kills"] for each in found)
        data = f"{kills} kills at random moments, in {len(found)} runs"
        own = {"data": data, "seconds": sum(each["seconds"] for each in found), **shared}
        unequal = sum(each["unequal"] > 0 for each in found)
        largest = max(each["largest"] for each in found)
        left = sum(len(each["left"]) for each in found)
        claim = f"{app}: resumed runs that differ from the run never killed"
        made += [
            results.row(claim=claim, metric="runs, of which any bit of any variable differs", ours=unequal, **own),
            results.row(claim=f"{app}: largest difference of a variable", metric="weights", ours=largest, **own),
            results.row(claim=f"{app}: left behind by the checkpoints", metric="files", ours=left, **own),
        ]
    return made


def main(_):
    found = {app: measure(app) for app in options.only(SETTINGS)}
    if len(found) == len(SETTINGS):
        results.write("resume", rows(found))


if __name__ == "__main__":
    options.run(main)
