"""Finished runs are kept in files, so that a command of hours goes on after a kill."""

import datetime
import functools
import json
import os
import pathlib
import shutil
import time

import keras
import tensorflow as tf

from apps import common
from benchmarks import options, results
from keras_ae import serving
from keras_ae.utils import files


def kept(folder, name, make, settings):
    """What `make(folder/name)` returned when this was first asked for with these settings, from `folder/name.json`.

    Args:
        folder: path.
        name: str, of the run.
        make: function of the run's own folder, in which it may go on where it was killed; returns a dict.
        settings: dict of JSON values, what the outcome depends on. With others the run is made again, from the start.

    Returns:
        the dict, and in it the `date` and `versions` of the run, as `results.row` takes them.
    """
    path, own = pathlib.Path(folder) / f"{name}.json", pathlib.Path(folder) / name
    settings = json.loads(json.dumps(common.plain(settings)))
    started = own / "settings.json"
    if path.exists() and (found := json.loads(path.read_text()))["settings"] == settings:
        return found["made"]
    if own.exists() and not (started.exists() and json.loads(started.read_text()) == settings):
        shutil.rmtree(own)
    files.write_text(started, json.dumps(settings))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    made = common.plain(make(own)) | {"date": today, "versions": results.versions()}
    files.write_text(path, json.dumps({"settings": settings, "made": made}, indent=2))
    return made


def publish_table(benchmark, settings, measure, rows):
    """Makes the runs of a benchmark that are not kept, and writes its table once all are there.

    Args:
        benchmark: str, name of the folder under `--runs` and of the table.
        settings: `{name of a run: dict, as of kept}`; `--only` leaves runs out.
        measure: function of a name and the run's folder, as `make` of `kept`.
        rows: function of the reports by name, returns the rows of the table.
    """
    folder = options.runs(benchmark)
    reports = {
        name: kept(folder, name, functools.partial(measure, name), settings[name]) for name in options.only(settings)
    }
    if len(reports) == len(settings):
        results.write(benchmark, rows(reports))


class ProcessorTime(common.CosineDecay):
    """A budget of processor time over the number of cores.

    By the wall clock, programs beside the training, and other guests of a virtual machine's host, would make a worse
    model of the same settings. A machine that does nothing else takes as long where all cores are busy, and up to 1.7
    times as long where, as in steps of small layers, 1.2 of two are.
    """

    @staticmethod
    def clock():
        return time.process_time() / len(os.sched_getaffinity(0))


def batches(x, size, seed):
    """Shuffled batches of the rows of an array; row numbers move, and rows are gathered a batch at a time."""
    rows = tf.data.Dataset.range(len(x)).shuffle(len(x), seed=seed).batch(size)
    x = tf.constant(x)
    return rows.map(lambda numbers: tf.gather(x, numbers)).prefetch(tf.data.AUTOTUNE)


def train(model, batches, rate, minutes, folder, settings=None):
    """Trains a model with Adam for a given time, the rate falling to 0 in a cosine; a killed run goes on from `folder`.

    A model that was trained there before, with this rate, these minutes and what else `settings` holds, gets its
    weights. Time is `ProcessorTime`.

    Returns:
        dict: `train_seconds`; `passes` over the batches; the `history` of Keras, `{name: a float an epoch}`.
    """
    model.compile(keras.optimizers.Adam(rate))
    weights = folder / "training" / "model.weights.h5"

    def fit(own):
        epochs = 10_000  # more than the time allows: the clock alone lowers the rate
        budget = ProcessorTime(rate, epochs * len(batches), minutes)
        seconds = common.fit(
            model, batches, epochs=epochs, shuffle=False, verbose=2, budget=budget, checkpoint_dir=str(own)
        )
        model.save_weights(weights)
        passes = int(model.optimizer.iterations) / len(batches)
        return {"train_seconds": seconds, "passes": passes, "history": model.history.history}

    made = kept(folder, "training", fit, {"rate": rate, "minutes": minutes} | (settings or {}))
    model.load_weights(weights)
    return {key: made[key] for key in ("train_seconds", "passes", "history")}


def publish(export, target, numbers, **facts):
    """Puts the newest version of an export at `target`, and into its card what a benchmark adds.

    Args:
        export: path of the export folder.
        target: path of the version under `saved_models`, which is replaced.
        numbers: dict of measured figures, which join those of training.
        **facts: JSON values by name: the `command` that makes the model, with names of data instead of paths, the
            `limits` of what it is for, its `licence` where the program cannot know it.
    """
    beside = target.with_name(f".{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(serving.newest(export), beside)
    card = json.loads((beside / serving.CARD_FILE).read_text())
    card |= facts | {"numbers": card["numbers"] | numbers}
    files.write_text(beside / serving.CARD_FILE, json.dumps(card, indent=2) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
