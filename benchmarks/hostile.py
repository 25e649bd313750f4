"""Damaged files, full disks, killed writers and bad requests: `python -m benchmarks.hostile`.

- Every reader reads damaged files: cut short, with flipped bits, with headers of others, with sizes that are far too
  large, one within another, and some made to harm. A file is handled if the reader reads it, skips and counts it, or
  raises an error of the kinds for users that names it, within `SECONDS` of processor time and `BYTES` of memory above
  what the process had before. Readers run in one process, which is started again if it hangs.
- Every writer writes to a disk that is full, by a limit on the size of files.
- Writers are killed with SIGKILL at random moments and run again; the leftovers of both are counted.
- Every endpoint of the committed models gets bad requests, in process, beside a good row whose answer must not change.

The last rows are from `python -m benchmarks.resume`. A killed benchmark resumes: finished parts are kept in `--runs`.
"""

import functools
import pathlib
import shutil
import sys
import time

import numpy as np
import tensorflow as tf
from absl import flags

import keras_ae as ka
from apps import checkpoints
from apps.audio_denoising import served as denoising
from apps.semantic_hashing import index, store
from benchmarks import damage, options, processes, results, runs, writers
from keras_ae import serving
from keras_ae.datasets import audio, text

_FILES = flags.DEFINE_integer("files", None, "Damaged files, over all readers; by default as published.")
_KILLS = flags.DEFINE_integer("kills", None, "Kills, over all writers; by default as published.")
_REQUESTS = flags.DEFINE_integer("requests", None, "Bad requests to each endpoint; by default as published.")

FILES, KILLS, REQUESTS, LIMITS = 12_000, 100, 1_000, 10
SECONDS, BYTES = 5.0, 500 * 10**6
# Shares of the files. A model takes long to load.
READERS = {
    **{"images": 0.16, "arrays": 0.1, "sounds": 0.2, "mails": 0.1, "archives": 0.1, "tables": 0.1},
    **{"index": 0.15, "cards": 0.01, "checkpoints": 0.04, "codes": 0.03, "exports": 0.01},
}
ENDPOINTS = {
    "semantic_hashing": ("serving_default", "features"),
    "audio_denoising": ("serving_default", "stream", "stream_blocks"),
}
FILLED = ("export", ".keras", "weights", "index", "denoise", "checkpoint", "report", "figure", ".wav", ".flac", ".ogg")
KILLED = ("export", ".keras", "index", "denoise", "checkpoint")
CHUNK = 200
SMOKE = {
    **{"FILES": 100, "KILLS": 2, "REQUESTS": 5, "LIMITS": 1},
    "READERS": {"arrays": 0.3, "sounds": 0.4, "tables": 0.3},
    "ENDPOINTS": {"semantic_hashing": ("serving_default",)},
    **{"FILLED": ("index", "report", ".flac"), "KILLED": ("index", "checkpoint")},
}

FAILURES = ("traceback", "silent", "hang", "memory", "crash")


# Readers: functions of the path of the damaged file, and of the folder to which it belongs.


def _drained(dataset):
    for _ in dataset:
        pass


def read_images(path, folder):
    _drained(ka.datasets.load(folder, "train", size=(8, 8)))
    _drained(ka.datasets.load(folder, "train"))


def read_arrays(path, folder):
    _drained(ka.datasets.load(path, "train", labels=True))


def read_sounds(path, folder):
    audio.header(path)
    audio.read(path, rate=8000)
    for _ in audio.blocks(path, seconds=0.1):
        pass


def read_documents(path, folder):
    for _ in text.Documents(path):
        pass


def read_corpus(path, folder):
    read_documents(folder, folder)


def read_index(path, folder):
    found = store.Index(folder)
    _, rows = found.search(np.zeros((1, found.bits // 8), np.uint8), 50)
    for row in rows[0]:
        found.entry(row)


def read_cards(path, folder):
    denoising.Denoiser(folder)


def read_checkpoints(path, folder):
    with checkpoints.opened(folder, ".", {}):
        pass


class _Encoder:
    bits, fingerprint = 16, "f" * 64


def read_codes(path, folder):
    for _ in index.encoded(index.shards(path), _Encoder):
        pass


def read_exports(path, folder):
    _, loaded, _ = serving.load(folder)
    loaded.signatures["encode"](x=tf.zeros([1, 4, 4, 1]))


READ = {
    **{"images": read_images, "arrays": read_arrays, "sounds": read_sounds, "mails": read_corpus},
    **{"archives": read_documents, "tables": read_documents, "index": read_index, "cards": read_cards},
    **{"checkpoints": read_checkpoints, "codes": read_codes, "exports": read_exports},
}


_NAMES = {"checkpoints": "checkpoint", "codes": "codes-00000-of-00001.jsonl", "cards": "1/card.json"}


def placed(reader, name, data, bases, folder):
    """Writes a damaged file where its reader expects it; returns its path and the folder for `READ`."""
    shutil.rmtree(folder, ignore_errors=True)
    beside = {}
    if reader == "images":
        path, beside = f"train/x/{name}", {"train/x/good.png": bases["grey.png"]}
    elif reader == "mails":
        path, beside = "news/damaged", {"news/good": bases["plain"]}
    elif reader in ("index", "exports"):
        path, beside = name, bases
    else:
        path = _NAMES.get(reader, name)
    root = folder / "1" if reader == "exports" else folder
    if reader == "cards":
        shutil.copytree(results.SAVED_MODELS / "audio_denoising", folder)
    for each, content in {**beside, path: data}.items():
        (root / each).parent.mkdir(parents=True, exist_ok=True)
        (root / each).write_bytes(content)
    return root / path, folder


def read(reader, path, folder):
    """Reads a damaged file in this process; returns the kind of outcome and what it took."""
    before, begun = processes.reset_peak(), time.process_time()
    kind, why = writers.outcome(lambda: READ[reader](path, folder), (pathlib.Path(path).name, folder))
    return _judged(kind, why, before, begun)


def _judged(kind, why, before, begun):
    """Returns an outcome with what it took, which changes its kind if that is too much."""
    taken = {"bytes": max(0, processes.peak() - before), "seconds": time.process_time() - begun}
    if kind in ("read", "refused"):
        kind = "hang" if taken["seconds"] > SECONDS else "memory" if taken["bytes"] > BYTES else kind
    return {"kind": kind, "why": why, **taken}


# Damaged files.


def intact(reader, folder):
    """Returns the intact files of a reader, made in a forked process, as TensorFlow must not run before a fork."""

    def make(report):
        for name, data in getattr(damage, reader)(folder / "made").items():
            path = folder / "bases" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        report({})

    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        found = processes.run(make)
        if found != [{}]:
            raise RuntimeError(f"The intact files of {reader} could not be made: {found}.")
        (folder / "complete").touch()
    return damage.folder_files(folder / "bases")


def damaged(worker, reader, bases, first, count, seed, folder):
    """Reads `count` damaged files; returns as `counted` does."""

    def jobs():
        for number in range(first, first + count):
            name, data = damage.damaged(bases, number, [seed, list(READ).index(reader)])
            yield f"{name} {number}", ("read", reader, *placed(reader, name, data, bases, folder / "work"))

    try:
        return counted(worker, jobs())
    finally:
        shutil.rmtree(folder / "work", ignore_errors=True)


def counted(worker, jobs):
    """Does pairs of a name and a job; returns the numbers of each kind, the most that one took, and the failures."""
    made = {"tried": 0, "read": 0, "refused": 0, **dict.fromkeys(FAILURES, 0), "bytes": 0, "seconds": 0.0}
    failures = []
    for name, job in jobs:
        found = worker.ask(*job)
        if found["kind"] == "hang":  # the machine may have been busy
            found = worker.ask(*job)
        made |= {key: max(made[key], found[key]) for key in ("bytes", "seconds")}
        made |= {key: made[key] + 1 for key in ("tried", found["kind"])}
        if found["kind"] in FAILURES:
            failures.append({"name": name, **found})
    return made | {"failures": failures}


# Requests.


@functools.cache
def _served(name):
    return ka.load_pretrained(name)


def _good(spec, random):
    if spec.dtype == tf.string:
        return np.array([b"the shuttle reached its orbit"], object)
    if spec.dtype.is_integer:
        return np.array([1000], spec.dtype.as_numpy_dtype)
    return random.uniform(-0.5, 0.5, [1, *(size or 1024 for size in spec.shape[1:])]).astype(spec.dtype.as_numpy_dtype)


def _bad(good, random):
    """Returns a row of the same shape and dtype that no client should send."""
    if good.dtype == object:
        return np.array([_STRINGS[random.integers(len(_STRINGS))](random)], object)
    bad = good.copy()
    if good.dtype.kind == "i":
        info = np.iinfo(good.dtype)
        bad[0] = (-1, 0, info.min, info.max, 10**6)[random.integers(5)]
        return bad
    places = random.integers(bad.size, size=random.integers(1, bad.size + 1))
    bad.reshape(-1)[places] = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45)[random.integers(6)]
    return bad


_STRINGS = (
    lambda random: b"",
    lambda random: random.bytes(1000),
    lambda random: b"\0" * 1000,
    lambda random: b"\xed\xa0\x80 orbit \xff",
    lambda random: b"a" * 10**6,
    lambda random: b"orbit " * 10**5,
    lambda random: "\u202e\u0301\U0001f680 orbit".encode(),
)


def _mangled(inputs, random):
    """Returns inputs of a wrong type, rank or number, or with another name."""
    name = sorted(inputs)[random.integers(len(inputs))]
    value = inputs[name]
    changes = (
        lambda: {name: value[None]},
        lambda: {name: value[..., None]},
        lambda: {name: value[0]},
        lambda: {name: np.zeros(value.shape, "complex64")},
        lambda: {name: np.zeros(value.shape, "int16")},
        lambda: {name: None},
        lambda: {"other": value},
        lambda: {name: value[:0]},
        lambda: {name: np.concatenate([value, value])},
        lambda: {name: value[:, :0] if value.ndim > 1 else value[:0]},
    )
    changed = inputs | changes[random.integers(len(changes))]()
    return {key: each for key, each in changed.items() if each is not None}


def request(model, endpoint, number, seed):
    """Sends a bad request to an endpoint in this process; returns the kind of outcome and what it took."""
    random = np.random.default_rng([int(seed), int(number)])
    function = _served(model).signatures[endpoint]
    specs = function.structured_input_signature[1]
    good = {name: _good(spec, random) for name, spec in specs.items()}
    alone = {name: value.numpy() for name, value in function(**_tensors(good)).items()}
    before, begun, why = processes.reset_peak(), time.process_time(), ""
    rows = 1 if any(spec.shape[0] == 1 for spec in specs.values()) else 1 + int(random.integers(1, 4))
    bad = [{name: _bad(value, random) for name, value in good.items()} for _ in range(rows - 1 or 1)]
    batch = [good, *bad] if rows > 1 else bad
    inputs = {name: np.concatenate([row[name] for row in batch]) for name in good}
    is_mangled = int(number) % 2 == 1
    if is_mangled:
        inputs = _mangled(good, random)
    try:
        answer = {name: value.numpy() for name, value in function(**_tensors(inputs)).items()}
        kind = "read"
        for name, value in answer.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                kind, why = "silent", f"{name} is not finite"
            if rows > 1 and not is_mangled and not np.allclose(value[:1], alone[name], atol=1e-5, rtol=1e-5):
                kind, why = "silent", f"{name} of the good row changed"
    except (TypeError, ValueError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        kind, why = "refused", f"{type(error).__name__}: {str(error)[:300]}"
    except Exception as error:
        kind, why = "traceback", f"{type(error).__name__}: {str(error)[:300]}"
    return _judged(kind, why, before, begun)


def _tensors(inputs):
    return {name: tf.constant(value) for name, value in inputs.items()}


def requested(worker, model, endpoint, count, seed, folder):
    """Sends `count` bad requests; returns as `counted` does."""
    return counted(worker, ((number, ("request", model, endpoint, number, seed)) for number in range(count)))


# The table.


def measure(worker):
    """Returns `{part: {name: results}}`; finished ones are read from `--runs`."""
    folder, seed = options.runs("hostile"), options.SEED.value
    total, requests = _FILES.value or FILES, _REQUESTS.value or REQUESTS
    kills = max(1, (_KILLS.value or KILLS) // len(KILLED))
    found = {"files": {}, "full": {}, "kills": {}, "requests": {}}

    def kept(part, name, make, **chosen):
        begun = time.perf_counter()
        made = runs.kept(folder, f"{part}-{name}", lambda own: make(own) | _took(begun), chosen | {"seed": seed})
        print(f"{part} {name}: {_brief(made)}", file=sys.stderr, flush=True)
        return made

    for reader, share in READERS.items():
        bases, chunks = intact(reader, folder / "intact" / reader), []
        for first in range(0, round(share * total), CHUNK):
            count = min(CHUNK, round(share * total) - first)
            make = functools.partial(damaged, worker, reader, bases, first, count, seed)
            chunks.append(kept("files", f"{reader}-{first}", make, count=count, first=first))
        found["files"][reader] = _sum(chunks)
    for writer in FILLED:
        make = functools.partial(writers.full, writer, LIMITS, seed)
        found["full"][writer] = kept("full", writer, make, limits=LIMITS)
    for writer in KILLED:
        make = functools.partial(writers.killed, writer, kills, seed)
        found["kills"][writer] = kept("kills", writer, make, count=kills)
    for model, endpoints in ENDPOINTS.items():
        for endpoint in endpoints:
            make = functools.partial(requested, worker, model, endpoint, requests, seed)
            name = f"{model}-{endpoint}"
            found["requests"][f"{model}, {endpoint}"] = kept("requests", name, make, count=requests)
    return found


def _took(begun):
    return {"took": time.perf_counter() - begun}


def _brief(made):
    return {key: value for key, value in made.items() if key not in ("date", "versions")}


def _sum(chunks):
    made = {key: max(each[key] for each in chunks) for key in ("bytes", "seconds")}
    return made | {key: sum(each[key] for each in chunks) for key in ("tried", "read", "refused", "took", *FAILURES)}


def rows(found):
    """Returns the rows of the table."""
    shared = {"better": "lower", "required": 0, "seeds": [options.SEED.value]}
    chosen = [f" --{flag.name}={flag.value}" for flag in (_FILES, _KILLS, _REQUESTS) if flag.value is not None]
    shared |= {"command": "".join(["python -m benchmarks.hostile", *chosen])}

    def row(claim, data, metric, ours, seconds, **changed):
        fields = {"claim": claim, "data": data, "metric": metric, "ours": ours, "seconds": seconds}
        return results.row(**fields | shared | changed)

    made = []
    for part, of in (("files", "damaged files"), ("requests", "bad requests")):
        parts = found[part]
        for name, each in parts.items():
            tried, handled = each["tried"], each["read"] + each["refused"]
            data = f"{tried} {of}: {each['read']} read in full or in part, {each['refused']} refused"
            made.append(row(f"{name}: not handled", data, of, tried - handled, each["took"]))
        if not parts:
            continue
        took = sum(each["took"] for each in parts.values())
        data = f"{sum(each['tried'] for each in parts.values())} {of}"
        kinds = {"hang": f"over {SECONDS:g} s", "memory": f"over {BYTES // 10**6} MB", "crash": "ended the process"}
        kinds |= {"traceback": "raised another error, or did not name the file", "silent": "wrong answers"}
        for kind, words in kinds.items():
            made.append(row(f"{of}: {words}", data, of, sum(each[kind] for each in parts.values()), took))
        most = max(each["bytes"] for each in parts.values()) / 10**6
        slowest = max(each["seconds"] for each in parts.values())
        made.append(row(f"{of}: most memory above that before", data, "MB", most, took, required=BYTES / 10**6))
        made.append(row(f"{of}: slowest", data, "s of processor time", slowest, took, required=SECONDS))
    for name, each in found["full"].items():
        bad = [one for one in each["found"] if one["kind"] != "refused" or one["left"] or one["damaged"]]
        data = f"{len(each['found'])} writes to a full disk"
        words = "not named, left something behind, or damaged the old"
        made.append(row(f"{name}, disk full: {words}", data, "writes", len(bad), each["took"]))
    for name, each in found["kills"].items():
        kills, left = len(each["found"]), sum(len(one["left"]) for one in each["found"])
        hidden = sum(one["hidden"] for one in each["found"])
        data = f"{kills} kills, {sum(one['ended'] for one in each['found'])} of them after the last byte"
        broken = sum(bool(one["damaged"]) for one in each["found"])
        made.append(row(f"{name}, killed: damaged", data, "runs", broken, each["took"]))
        words = f"{name}, killed: left behind after the next run, of {hidden} before"
        made.append(row(words, data, "files and folders", left, each["took"]))
    if (results.DIRECTORY / "resume.json").exists():
        resumed = [each for each in results.read("resume") if "differ from the run never killed" in each["claim"]]
        made += [each | {"required": 0} for each in resumed]
    return made


def main(_):
    worker = processes.Worker({"read": read, "request": request}, SECONDS)
    try:
        found = measure(worker)
    finally:
        worker.stop()
    results.write("hostile", rows(found))


if __name__ == "__main__":
    options.run(main)
