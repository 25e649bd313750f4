"""Saves finished runs to files, so that a command of several hours can resume after it was killed."""

import datetime
import functools
import json
import multiprocessing
import os
import pathlib
import shutil
import time

import keras
import tensorflow as tf

from apps import checkpoints, common
from benchmarks import options, results
from keras_ae import serving
from keras_ae.utils import files, plain


def kept(folder, name, make, settings):
    """Returns the result of `make(folder/name)`, cached in `folder/name.json` for these settings.

    Args:
        folder: path.
        name: str, name of the run.
        make: function that takes the run's own folder, where it may resume a killed run, and returns a dict.
        settings: dict of JSON values that the outcome depends on. If they change, the run starts from scratch.

    Returns:
        the dict of `make`, with the `date` and `versions` of the run as in `results.row`.
    """
    path, own = pathlib.Path(folder) / f"{name}.json", pathlib.Path(folder) / name
    settings = json.loads(json.dumps(plain.json_values(settings)))
    started = own / "settings.json"
    if path.exists() and (found := json.loads(path.read_text()))["settings"] == settings:
        return found["made"]
    if own.exists() and not (started.exists() and json.loads(started.read_text()) == settings):
        shutil.rmtree(own)
    files.write_text(started, json.dumps(settings))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = plain.json_values(make(own)) | {"date": today, "versions": results.versions()}
    files.write_text(path, json.dumps({"settings": settings, "made": made}, indent=2))
    return made


def publish_table(benchmark, settings, measure, rows):
    """Makes the missing runs of a benchmark, and writes its table once all runs exist.

    Args:
        benchmark: str, name of the folder under `--runs` and of the table.
        settings: `{name of a run: settings as in kept}`; `--only` selects some of the runs.
        measure: function of the run's name and folder, as `make` in `kept`.
        rows: function that takes the reports by name and returns the rows of the table.
    """
    folder = options.runs(benchmark)
    reports = {
        name: kept(folder, name, functools.partial(measure, name), settings[name]) for name in options.only(settings)
    }
    if len(reports) == len(settings):
        results.write(benchmark, rows(reports))


def apart(function, *arguments, cores=None):
    """Calls a function in a separate process, pinned to the given cores (ints) if any; returns its result."""
    begin = () if cores is None else (os.sched_setaffinity, (0, cores))
    with multiprocessing.get_context("spawn").Pool(1, *begin) as pool:
        return pool.apply(function, arguments)


class ProcessorTime(common.CosineDecay):
    """A budget of CPU time divided by the number of cores.

    With a wall-clock budget, other programs and other guests on a virtual machine's host would make a worse model from
    the same settings. On an otherwise idle machine the wall time is the same if all cores are busy, and up to 1.7 times
    as long if, as in steps of small layers, 1.2 of two cores are busy.
    """

    @staticmethod
    def clock():
        return time.process_time() / len(os.sched_getaffinity(0))


def batches(x, size, seed):
    """Returns shuffled batches of the rows of an array: shuffles the row indices, and gathers the rows per batch."""
    rows = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed).batch(size)
    x = tf.constant(x)
    return rows.map(lambda numbers: tf.gather(x, numbers)).prefetch(tf.data.AUTOTUNE)


def train(model, batches, rate, minutes, folder, settings=None, beta_1=0.9):
    """Trains a model with Adam and cosine decay for a given time; a killed run resumes from `folder`.

    The learning rate decays to 0. Each player of a model with several has its own Adam, at `rate` times its factor in
    the model's `relative_rates`. If a model was trained in `folder` before with the same rate, minutes and `settings`,
    its weights are loaded instead. Time is measured as `ProcessorTime`.

    Returns:
        dict: `train_seconds`; `passes` over the batches; the Keras `history`, `{name: [one float per epoch]}`.
    """
    jit_compile = False if options.smoking() else "auto"  # compiling takes longer than a smoke test trains
    model.compile(keras.optimizers.Adam(rate, beta_1=beta_1), jit_compile=jit_compile)
    weights = folder / "training" / "model.weights.h5"

    def fit(own):
        epochs = 10_000  # more than the time allows, so the learning rate depends on the clock only
        budget = ProcessorTime(rate, epochs * len(batches), minutes)
        with checkpoints.opened(own, "checkpoint", {"rate": rate}, minutes) as checkpoint:
            seconds = common.fit(
                model, batches, epochs=epochs, shuffle=False, verbose=2, budget=budget, checkpoint=checkpoint
            )
            model.save_weights(weights)
            checkpoint.remove()  # although time ended the training
        passes = int(model.optimizer.iterations) / len(batches)
        return {"train_seconds": seconds, "passes": passes, "history": model.history.history}

    made = kept(folder, "training", fit, {"rate": rate, "minutes": minutes} | (settings or {}))
    model.load_weights(weights)
    return {key: made[key] for key in ("train_seconds", "passes", "history")}


def publish(export, target, numbers, **facts):
    """Copies the newest version of an export to `target`, and adds a benchmark's results to its card.

    Args:
        export: path of the export folder.
        target: path of the version under `saved_models`, which is replaced.
        numbers: dict of results, added to those of training.
        **facts: JSON values by name: the `command` that makes the model, with names of data instead of paths, the
            `limits` of its use, and its `licence` if the program cannot know it.
    """
    beside = target.with_name(f".{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(serving.newest(export), beside)
    card = json.loads((beside / serving.CARD_FILE).read_text())
    card |= facts | {"numbers": card["numbers"] | numbers}
    files.write_text(beside / serving.CARD_FILE, json.dumps(card, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
