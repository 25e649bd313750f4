"""Trains on one's own data, from reading to the report."""

import datetime
import math
import pathlib
import sys
import time
import warnings
from collections import namedtuple

import keras
import numpy as np
import tensorflow as tf

from keras_ae.datasets import epochs
from keras_ae.training import optimizers
from keras_ae.utils import validation

from .. import checkpoints, common
from . import conclusion, models, settings, source

MIRRORED = 1.02  # flips are on if PCA finds mirrored pictures no more than 2 % worse

Parts = namedtuple("Parts", "train validation test")
Parts.__doc__ = """Numbers of the rows of each part, int arrays: for training, for choosing weights, and never seen."""


def run(data, size, kind, latent_dim, max_minutes, likelihood, labels, export_dir, seed, checkpoint_dir):
    """Reads, trains, evaluates, exports and reports; prints the report as JSON. The arguments are the flags."""
    start = time.perf_counter()
    if not data:
        raise common.UserError(
            "--data: expected a folder of pictures, a tar, a CSV, Parquet, .npz or .npy file, or a TFDS name. "
            "`keras-ae quickstart` needs no data."
        )
    common.require("matplotlib", *(["PIL"] if source.kind_of(data, size) == "pictures" else []))
    folder = common.writable(pathlib.Path(export_dir)).parent
    flags = {"data": str(data), "size": size, "kind": kind, "latent_dim": latent_dim, "likelihood": likelihood}
    flags |= {"labels": labels, "seed": seed}
    with checkpoints.opened(checkpoint_dir, "own_data", flags, max_minutes) as checkpoint:
        say(f"Reading {data}")
        rows = source.read(data, folder, size=size, labels=labels)
        models.check(kind, rows)
        parts = split(rows)
        tell(rows, parts)
        chosen = settings_of(rows, parts, max_minutes)
        with common.user_input():
            pca = models.axes_of(rows.x, parts.train, _most(latent_dim, chosen), seed)
            pca = models.first(pca, _latent_dim(latent_dim, pca, chosen))
        flips = mirrors(rows, parts, pca)
        chosen |= {"flips": flips, "latent_dim": len(pca.axes)}
        say(f"Code of {len(pca.axes)} numbers, of which PCA keeps {100 * models.shares(pca)[-1]:.0f} % of the variance")
        model, seconds, history = train(
            kind, likelihood, rows, parts, pca, chosen, folder, max_minutes, seed, checkpoint
        )
        facts = flags | {"settings": chosen, "train_seconds": seconds, "history": history, "max_minutes": max_minutes}
        conclusion.conclude(model, rows, parts, pca, facts, folder, export_dir, start)
        if checkpoint is not None:
            checkpoint.done()


def say(line):
    """Prints what is going on to standard error."""
    print(line, file=sys.stderr, flush=True)


def tell(rows, parts):
    """Prints counts, and what was left out."""
    shape = " x ".join(map(str, rows.x.shape[1:]))
    say(
        f"{len(rows.x)} rows of {shape}: {len(parts.train)} to train, {len(parts.validation)} to choose weights, "
        f"{len(parts.test)} to test"
    )
    for reason, names in rows.left_out.items():
        say(f"Left out: {source.described({reason: names})}")
    if duplicates := getattr(rows.x, "attributes", {}).get("duplicates"):
        say(f"Duplicates: {duplicates}, kept")
    for name, count in source.class_counts(rows).items():
        if count < 2:
            say(f"Class {name!r} has {count} row, too few to learn it")


def split(rows):
    """Returns the `Parts` of the rows."""
    test = np.asarray(rows.test, bool)
    rest = np.flatnonzero(~test)
    chosen = source.validation(rows.ids, rest, settings.VALIDATION, settings.VALIDATION_ROWS)
    validation = np.array(chosen, "int64")
    train = np.setdiff1d(rest, validation)
    if len(train) < 2:  # so few that all are needed
        train, validation = np.arange(len(rows.x)), np.array([], "int64")
    if len(train) < 2:
        raise common.UserError(
            "--data: one row is not enough to train on. Expected two at the very least, and better 200."
        )
    tests = np.flatnonzero(test)
    return Parts(train, validation if len(validation) else train[:1], tests if len(tests) else train[:1])


def settings_of(rows, parts, minutes):
    """Returns the dict of settings for these data."""
    if rows.schema["kind"] == "pictures":
        return dict(settings.for_pictures(len(parts.train), max(rows.x.shape[1:3]), minutes))
    return dict(settings.SERIES if rows.schema["kind"] == "series" else settings.TABLE)


def _most(latent_dim, chosen):
    return max(chosen["latent_dims"]) if latent_dim == "auto" else _whole(latent_dim)


def _latent_dim(latent_dim, pca, chosen):
    if latent_dim == "auto":
        return settings.latent_dim(models.shares(pca), chosen)
    if _whole(latent_dim) > len(pca.axes):
        raise ValueError(
            f"--latent_dim: expected at most {len(pca.axes)}, the most that PCA can have for these rows; received "
            f"{latent_dim}."
        )
    return _whole(latent_dim)


def _whole(latent_dim):
    with common.user_input():
        try:
            return validation.positive_int("--latent_dim", int(latent_dim))
        except ValueError:
            raise ValueError(
                f"--latent_dim: expected auto or a whole number of 1 or more; received {latent_dim!r}."
            ) from None


def mirrors(rows, parts, pca):
    """Returns whether to flip pictures at random: whether mirrored ones look like the data.

    They do if PCA of the training pictures reconstructs mirrored pictures that it has not seen with an error at most
    2 % larger. Faces pass, and digits do not.
    """
    if rows.schema["kind"] != "pictures":
        return False
    x = models.numbers(rows.x, parts.validation)
    errors = [float(np.mean(np.square(pca.reconstruct(each) - each))) for each in (x, x[:, :, ::-1])]
    flips = errors[1] <= MIRRORED * errors[0]
    say(
        f"Flips are {'on' if flips else 'off'}: PCA's error of mirrored pictures is "
        f"{errors[1] / max(errors[0], 1e-12):.2f} times that of the others"
    )
    return flips


def batches(rows, numbers, chosen, seed, steps, labels):
    """Returns an endless stream of training batches as a data set of epochs of `steps` batches.

    The stream is one random order of the rows after another. Epoch e of a resumed run is that of a run that never
    stopped.
    """
    size, count = chosen["batch_size"], len(numbers)
    size = min(size, count)
    x = rows.x

    def order(number):
        return numbers[np.random.default_rng([seed, number]).permutation(count)]

    def of(epoch):
        first, kept = int(epoch) * steps * size, {}
        for step in range(steps):
            begin = first + step * size
            places = np.arange(begin, begin + size)
            passes = np.unique(places // count)
            kept = {each: kept[each] if each in kept else order(each) for each in passes}
            picked = np.array([kept[place // count][place % count] for place in places])
            made = models.numbers(x, picked)
            if chosen["flips"]:
                mirrored = np.random.default_rng([seed, 1, begin]).random(len(made)) < 0.5
                made[mirrored] = made[mirrored, :, ::-1]
            yield (made, rows.labels[picked]) if labels else made

    spec = tf.TensorSpec((size, *rows.x.shape[1:]), tf.float32)
    spec = (spec, tf.TensorSpec((size,), tf.int64)) if labels else spec

    def make(epoch):
        return tf.data.Dataset.from_generator(of, output_signature=spec, args=(epoch,))

    return epochs.numbered(make, steps)


def train(kind, likelihood, rows, parts, pca, chosen, folder, max_minutes, seed, checkpoint, budget=common.CosineDecay):
    """Trains a model; returns it, the seconds of training, and the history `{name: [one float per epoch]}`."""
    keras.utils.set_random_seed(seed)
    labels = models.KINDS[kind][1]
    shape = rows.x.shape[1:]
    model = models.build(kind, likelihood, shape, pca, chosen, seed, len(parts.train), rows.classes if labels else ())
    rate = chosen["learning_rate"]
    model.compile(keras.optimizers.Adam(rate, use_ema=True, ema_momentum=settings.AVERAGE))
    numbers = _known(rows, parts.train, labels)
    size = min(chosen["batch_size"], len(numbers))
    planned = max(1, math.ceil(chosen["passes"] * len(numbers) / size))
    steps = min(
        planned, max(settings.STEPS_PER_EPOCH, min(math.ceil(len(numbers) / size), 3 * settings.STEPS_PER_EPOCH))
    )
    rounds = math.ceil(planned / steps)
    data = batches(rows, numbers, chosen, seed, steps, labels)
    held_out = _rows(rows, parts, labels)
    say(_plan(model, len(parts.train), max_minutes, folder))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        seconds = common.fit(
            model,
            data,
            validation_data=held_out,
            epochs=rounds,
            shuffle=False,
            budget=budget(rate, planned, max_minutes, settings.WARM_UP),
            callbacks=[
                keras.callbacks.EarlyStopping("val_loss", patience=rounds, restore_best_weights=True),
                Preview(rows, parts, folder, labels),
            ],
            checkpoint=checkpoint,
        )
    history = {name: [float(each) for each in values] for name, values in model.history.history.items()}
    if hasattr(model._likelihood, "calibrate") and seconds:
        _calibrate(model, rows, parts, labels)
    return model, seconds, history


def _plan(model, count, max_minutes, folder):
    weights = sum(math.prod(each.shape) for each in model.trainable_variables)
    if max_minutes is None:
        until = "until it is done"
    else:
        end = datetime.datetime.now() + datetime.timedelta(minutes=max_minutes)
        until = f"until {end:%H:%M} at the latest"
    see = f"see {folder / 'progress.png'} meanwhile. Ctrl-C keeps the best weights"
    return f"Training {weights:,} weights on {count:,} rows {until}; {see}"


def _calibrate(model, rows, parts, labels):
    """Sets the scale of the likelihood to its optimum on rows that chose the weights: sigma-VAE's optimal sigma."""
    x, *y = _rows(rows, parts, labels) if labels else (_rows(rows, parts, labels),)
    if len(x) < 20 or "density" not in model.parts:
        return

    @tf.function(autograph=False)
    def error(x, *y):
        z = model.posterior(x, *y).sample(4, seed=(0, 1))
        made = model.likelihood(z, *y).mean()
        return tf.reduce_mean(tf.reduce_sum(tf.square(made - x[None]), axis=tf.range(2, tf.rank(made))))

    with model.averaged():
        found = [float(error(x[i : i + 100], *(each[i : i + 100] for each in y))) for i in range(0, len(x), 100)]
    layer = model._likelihood
    layer.calibrate(float(np.mean(found)), math.prod(x.shape[1:]))
    for optimizer in model.optimizers.values():
        for variable, average in optimizers.average(optimizer):
            if variable is layer.raw_scale:
                average.assign(variable)


def _known(rows, numbers, labels):
    """Returns the numbers of the rows that the model can use: those with a label, if it takes labels."""
    return numbers[rows.labels[numbers] >= 0] if labels else numbers


def _rows(rows, parts, labels):
    """Returns the rows that choose the weights, `x` or `(x, y)`."""
    numbers = _known(rows, parts.validation, labels)
    numbers = numbers if len(numbers) else _known(rows, parts.train, labels)[:1]
    x = models.numbers(rows.x, numbers)
    return (x, rows.labels[numbers]) if labels else x


class Preview(keras.callbacks.Callback):
    """Draws what the codes retain of a few pictures, at the start and then once a minute at most."""

    acts_on_every_step = False
    every = 60.0  # seconds

    def __init__(self, rows, parts, folder, labels):
        super().__init__()
        self.path, self.last = folder / "progress.png", None
        shown = parts.validation[:8] if rows.schema["kind"] == "pictures" else ()
        self.x = models.numbers(rows.x, shown) if len(shown) else None
        self.y = (np.maximum(rows.labels[shown], 0),) if labels and len(shown) else ()

    def on_train_begin(self, logs=None):
        self.on_epoch_end(-1)

    def on_epoch_end(self, epoch, logs=None):
        now = datetime.datetime.now()  # which checkpoints leave out, unlike numbers
        if self.x is None or (self.last is not None and (now - self.last).total_seconds() < self.every):
            return
        self.last = now
        from keras_ae import plots

        made = self.model.reconstruct(self.x, *self.y)
        title = f"after {epoch + 1} epochs: pictures, and what their codes retain"
        plots.reconstructions(self.x, {"code": np.clip(made, 0, 1)}, title).savefig(self.path)
