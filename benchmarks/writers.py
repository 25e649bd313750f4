"""Everything that writes files, on a full disk and killed at random moments, for `benchmarks.hostile`."""

import functools
import json
import os
import resource
import shutil
import signal
import time
import warnings
import zipfile

import numpy as np

import keras_ae as ka
from apps import checkpoints, common
from apps.audio_denoising import denoise
from apps.semantic_hashing import store
from benchmarks import damage, processes
from keras_ae import plots, serving
from keras_ae.datasets import audio, speech
from keras_ae.utils import files

_OLD = 7200.0  # seconds: older than what a writer may still use
_ERRORS = (ValueError, OSError, common.UserError)  # that programs show to users


def outcome(function, names):
    """Calls a function; returns "read", "refused" for an error that names one of `names`, or "traceback", and why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function()
    except Exception as error:
        named = isinstance(error, _ERRORS) and any(name in str(error) for name in names)
        return "refused" if named else "traceback", f"{type(error).__name__}: {str(error)[:300]}"
    return "read", ""


# Writers: functions of a folder that prepare all and return a function that writes.


def _model():
    encoder = ka.networks.mlp_encoder((6, 6, 1), latent_dim=2, hidden=(300,))
    decoder = ka.networks.mlp_decoder(latent_dim=2, output_shape=(6, 6, 1), hidden=(300,))
    return ka.Autoencoder(encoder, decoder)


def write_export(folder):
    model = _model()
    endpoints = {"encode": serving.model_endpoints(model)["encode"]}
    return lambda: ka.export(model, folder / "export", endpoints=endpoints)


def write_keras(folder):
    return functools.partial(_model().save, folder / "model.keras")


def write_weights(folder):
    return functools.partial(_model().save_weights, folder / "model.weights.h5")


def write_index(folder):
    random = np.random.default_rng()
    documents = [store.Entry(str(random.integers(10**9)), None, "orbit " * 50) for _ in range(3000)]

    def write():
        with store.Writer(folder / "index", 16, "f" * 64, append=True) as writer:
            writer.write([(documents, random.integers(0, 256, (3000, 2), np.uint8))])

    return write


def write_denoised(folder):
    clean, noise = (audio.read(audio.files(each)[0])[0][:, 0] for each in speech.embedded())
    samples = min(len(clean), len(noise))
    for i in range(3):
        audio.write(folder / "in" / f"{i}.wav", speech.mix(clean[:samples], noise[:samples], 5 * i), 16_000)
    flags = {"model": None, "input": str(folder / "in"), "output": str(folder / "out")}
    denoise.served.Denoiser()  # the system has its files in memory from now on
    return lambda: denoise.run(**flags, force=True, rate=16_000, channels=1)


def write_checkpoint(folder):
    state = {"variables": [np.random.default_rng(0).normal(size=10**6).astype("float32")]}
    return lambda: checkpoints.write(folder / "checkpoint", state)


def _sound(suffix, folder):
    x = np.random.default_rng(0).uniform(-1, 1, (200_000, 1)).astype("float32")
    return lambda: audio.write(folder / f"sound{suffix}", x, 16_000)


def write_report(folder):
    return lambda: common.keep({"figures": list(range(10**4))}, folder)


def write_figure(folder):
    figure = plots.image_grid(np.random.default_rng(0).random((16, 8, 8, 1)))
    return lambda: common.save_figure(figure, folder / "grid.png")


WRITERS = {
    **{"export": write_export, ".keras": write_keras, "weights": write_weights, "index": write_index},
    **{"denoise": write_denoised, "checkpoint": write_checkpoint, "report": write_report, "figure": write_figure},
    **{suffix: functools.partial(_sound, suffix) for suffix in (".wav", ".flac", ".ogg")},
}


def leftovers(folder):
    """Returns what nobody will read: hidden files and folders, except locks, and segments that no index lists."""
    left = [path for path in folder.rglob(".*") if path.name != ".lock"]
    manifest = folder / "index" / store.MANIFEST
    listed = {each["name"] for each in json.loads(manifest.read_text())["segments"]} if manifest.exists() else set()
    return left + [path for path in folder.glob("index/segment-*") if path.name not in listed]


def contents(folder):
    """Returns the bytes of all files, except reports, which say what failed."""
    return {name: data for name, data in damage.folder_files(folder).items() if not name.endswith("/report.json")}


def fill(report, writer, folder, share):
    """Writes twice, the second time to a disk that is full after a share of the largest file; reports the outcome."""
    folder.mkdir(parents=True)
    write = WRITERS[writer](folder)
    write()
    before = contents(folder)
    limit = int(share * max(len(data) for name, data in before.items() if not name.startswith("in/")))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    kind, why = outcome(write, [str(folder)])
    kind = {"read": "silent"}.get(kind, kind)
    if writer == "denoise" and why.startswith(("UserError", "SomeFailed")):
        kind = "refused"  # it names each file in its report and on standard error
    # Before the process ends, as one that was not killed has time to clean up.
    left = [str(path.relative_to(folder)) for path in leftovers(folder)]
    report({"kind": kind, "why": why, "left": left, "damaged": contents(folder) != before})


def full(writer, count, seed, folder):
    """Returns the outcomes of `count` writes to a full disk."""
    random, found = np.random.default_rng([seed, list(WRITERS).index(writer)]), []
    for number in range(count):
        own = folder / str(number)
        shutil.rmtree(own, ignore_errors=True)
        values = processes.run(fill, writer, own, 0.9 * random.random())
        found.append(values[-1] if values else {"kind": "crash", "why": ""})
        shutil.rmtree(own, ignore_errors=True)
    return {"found": found}


def written(report, writer, folder):
    """Runs a writer; reports when it begins and the seconds it took."""
    folder.mkdir(parents=True, exist_ok=True)
    write = WRITERS[writer](folder)
    report("begun")
    begun = time.perf_counter()
    write()
    report(time.perf_counter() - begun)


def check(report, folder):
    """Reads whatever a killed writer has made visible; reports nothing but an error if any of it is damaged."""
    for version in serving.versions(folder / "export"):
        files.read_json(folder / "export" / str(version) / serving.CARD_FILE)
        if not (folder / "export" / str(version) / "saved_model.pb").stat().st_size:
            raise ValueError("an empty model")
    if (folder / "model.keras").exists() and zipfile.ZipFile(folder / "model.keras").testzip():
        raise ValueError("a damaged archive")
    if (folder / "index" / store.MANIFEST).exists():
        store.Index(folder / "index").entry(0)
    for path in folder.glob("out/*.wav"):
        audio.read(path)
    if (folder / "checkpoint").exists():
        checkpoints.read(folder / "checkpoint")


def killed(writer, count, seed, folder):
    """Kills a writer `count` times; returns what was damaged, and what was left after the next run, each time."""
    random, found = np.random.default_rng([seed, 1, list(WRITERS).index(writer)]), []
    seconds = processes.run(written, writer, folder / "whole")[-1]
    for number in range(count):
        own = folder / str(number)
        shutil.rmtree(own, ignore_errors=True)
        process, values = processes.start(written, writer, own)
        with values:
            values.readline()
            time.sleep(random.uniform(0.0, seconds))
            os.kill(process, signal.SIGKILL)
            ended = bool(values.readline())
        os.waitpid(process, 0)
        errors = processes.run(check, own)
        for path in (each for left in leftovers(own) for each in (left, *left.rglob("*"))):
            os.utime(path, (time.time() - _OLD,) * 2)
        hidden, again = len(leftovers(own)), processes.run(written, writer, own)
        left = [str(path.relative_to(own)) for path in leftovers(own)]
        errors += again if not isinstance(again[-1], float) else []
        found.append({"ended": ended, "damaged": errors, "hidden": hidden, "left": left})
        shutil.rmtree(own, ignore_errors=True)
    shutil.rmtree(folder / "whole", ignore_errors=True)
    return {"found": found}
