"""Digits from a few labels, M1, M2 and M1+M2 on MNIST: `python -m benchmarks.semi_supervised --data=<mnist.npz>`.

The first 50,000 training images, of which 100, 600, 1,000 or 3,000 keep their labels, as many of each class. The last
10,000 are for validation: `--trial` measures settings on them, on a draw of labels that the table has not. Errors are
those of the 10,000 test images. With 100 labels the mean of five draws of labels, with more one draw. Pixels are drawn
anew at every visit in training; what is classified are grey levels.

M1 trains once, without labels. On its features of the labelled images stand nearest neighbours and a support vector
machine, whose settings a cross-validation among these images picks. On the features of all 50,000 labels spread from
neighbour to neighbour, and a support vector machine learns 5,000 of them: so the other images take part, as in the
paper's transductive SVM. M1+M2 stands on the same M1. M2's classifier trained on the labelled images alone shows what
the others are worth.

Otherwise than in the paper, the style z of M2 and M1+M2 has 5 dimensions instead of 50; the classifier of M2 has
convolutions and dropout; hidden layers are narrower, with other activations; batches are of 50 rows, 5 of them
labelled; and training takes minutes instead of 3,000 passes. What each of these gave is in NOTES.md.

Finished runs are kept in `--runs` and not repeated, so the same command goes on after a kill.
"""

import collections
import functools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from keras import layers
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

import keras_ae as ka
from benchmarks import options, results, runs

_TRIAL = flags.DEFINE_bool(
    "trial", False, "Runs the first of --only on a draw of its own and prints its validation error."
)

TRAIN = 50_000
CLASSES = 10
DRAWS = {100: (0, 1, 2, 3, 4), 600: (0,), 1_000: (0,), 3_000: (0,)}
TRIAL_DRAW = 100
STYLE = {"hidden": (300,), "activation": "relu", "latent": 5}  # of the encoders and decoders of M2 and M1+M2
MIXED = {"batch": 50, "labelled": 5, "weight": 50.0}  # batches of theirs, and the weight of the classifier term
CLASSIFIER = {"filters": (16, 32), "units": 128, "dropout": 0.7}  # of images
SETTINGS = {
    "m1": {"hidden": (300, 300), "activation": "tanh", "latent": 50, "rate": 1e-3, "batch": 100, "minutes": 10.0},
    "m2": STYLE | MIXED | CLASSIFIER | {"rate": 2e-3, "minutes": 4.0},
    "m1m2": STYLE | MIXED | {"filters": (), "units": 500, "dropout": 0.0, "rate": 3e-3, "minutes": 6.0},
    "alone": CLASSIFIER | {"rate": 1e-3, "batch": 100, "steps": 1_500},
}
# Errors in percent: of the paper (M1 with a transductive SVM), and what was asked of this project with 100 labels.
PAPER = {
    "M1": {100: 11.82, 600: 5.72, 1_000: 4.24, 3_000: 3.49},
    "M2": {100: 11.97, 600: 4.94, 1_000: 3.60, 3_000: 3.92},
    "M1+M2": {100: 3.33, 600: 2.59, 1_000: 2.40, 3_000: 2.18},
}
ALONE = "M2's classifier on the labelled images alone"
REQUIRED = {"M1": 12.0, "M2": 8.0, "M1+M2": 4.5}
SPREAD = LabelSpreading("knn", n_neighbors=10, alpha=0.9, max_iter=100)


class SVMOfSpreadLabels(BaseEstimator):
    """A support vector machine of some of all rows, each with the label that has spread to it."""

    def __init__(self, spreading=SPREAD, rows=5_000, seed=0):
        self.spreading, self.rows, self.seed = spreading, rows, seed

    def fit(self, x, y):
        labels = clone(self.spreading).fit(x, y).transduction_
        some = np.random.default_rng(self.seed).permutation(len(x))[: self.rows]
        self.svm_ = SVC().fit(x[some], labels[some])
        return self

    def predict(self, x):
        return self.svm_.predict(x)


# On M1's features, and whether it sees those of all images or of the labelled ones alone.
CLASSIFIERS = {
    "nearest neighbours": (
        GridSearchCV(KNeighborsClassifier(weights="distance"), {"n_neighbors": [1, 3, 5]}, cv=5),
        False,
    ),
    "SVM": (GridSearchCV(SVC(), {"C": [1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 0.05]}, cv=5), False),
    "labels spread over 10 neighbours": (SPREAD, True),
    "SVM of labels spread over 10 neighbours": (SVMOfSpreadLabels(), True),
}
COMMAND = "python -m benchmarks.semi_supervised --data=mnist.npz"
SMOKE = {
    "TRAIN": 1_000,
    "DRAWS": {100: (0,)},
    "SETTINGS": {name: each | {"steps": 2, "hidden": (32,)} for name, each in SETTINGS.items()},
}


def digits():
    """The images and labels by part: `{"train": (x, y), "valid": ..., "test": ...}`, x float32 in [0, 1]."""
    load = functools.partial(ka.datasets.load, "mnist", data=options.data("mnist"), labels=True, shuffle=False)
    (x, y), test = (ka.datasets.arrays(load(split)) for split in ("train", "test"))
    return {"train": (x[:TRAIN], y[:TRAIN]), "valid": (x[TRAIN:], y[TRAIN:]), "test": test}


def binarized(batches, seed):
    """Batches of x, or of x and y, whose pixels are drawn anew at every visit."""

    def draw(seed, row):
        x, *y = row if isinstance(row, tuple) else (row,)
        x = tf.cast(tf.random.stateless_uniform(tf.shape(x), seed) < x, tf.float32)
        return (x, *y) if y else x

    # A random operation inside `map` would begin anew, with the same numbers, at every epoch.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    return tf.data.Dataset.zip(seeds, batches).map(draw).prefetch(tf.data.AUTOTUNE)


def build_m1():
    """An untrained M1 of images."""
    shape = (28, 28, 1)
    latent, hidden, activation = (SETTINGS["m1"][key] for key in ("latent", "hidden", "activation"))
    return ka.M1(
        ka.networks.mlp_encoder(shape, latent, hidden, 2, activation),
        ka.networks.mlp_decoder(latent, shape, hidden, 1, activation),
        seed=0,
    )


def build_m2(chosen, shape, likelihood, seed):
    """An untrained M2 of x of `shape`."""
    latent, hidden, activation = (chosen[key] for key in ("latent", "hidden", "activation"))
    parameters, condition = 2 if likelihood == "gaussian_per_dimension" else 1, (CLASSES,)
    return ka.M2(
        ka.networks.mlp_encoder(shape, latent, hidden, 2, activation, condition),
        ka.networks.mlp_decoder(latent, shape, hidden, parameters, activation, condition),
        build_classifier(chosen, shape),
        CLASSES,
        likelihood,
        classification_weight=chosen["weight"],
        seed=seed,
    )


def build_classifier(chosen, shape):
    """Logits of x: a convolution and a maximum for each of `filters`, and a dense layer, behind dropout."""
    x = inputs = keras.Input(shape)
    for channels in chosen["filters"]:
        x = layers.Conv2D(channels, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(chosen["dropout"])(layers.Flatten()(x))
    x = layers.Dense(chosen["units"], "relu")(x)
    x = layers.Dropout(chosen["dropout"])(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="classifier")


def settings(name):
    """What the outcome of a run depends on: M1+M2 and the classifiers stand on M1."""
    chosen = {key: dict(SETTINGS[key]) for key in {"m1": ("m1",), "m1m2": ("m1", "m1m2")}.get(name, (name,))}
    for each in chosen.values():
        if "minutes" in each:
            each["minutes"] = options.minutes(each["minutes"])
    return chosen | ({"by": str(CLASSIFIERS)} if name == "m1" else {})


def train_m1(parts, folder):
    """M1 trained on all training images, without labels, now or before; and `runs.train`'s report."""
    keras.utils.set_random_seed(0)
    model, chosen = build_m1(), settings("m1")["m1"]
    batches = binarized(runs.batches(parts["train"][0], chosen["batch"], 0), 0)
    return model, runs.train(model, batches, chosen["rate"], chosen["minutes"], folder, chosen)


def classify(parts, m1, count, draw, part="test"):
    """Errors of the classifiers of M1's features, of which some rows keep their labels: `{claim: percent}`."""
    x, y = parts["train"]
    some = ka.datasets.keep_labels(y, count, draw)
    units = m1.units(x)
    features, asked = m1.features(x, units), m1.features(parts[part][0], units)
    errors = {}
    for name, (classifier, sees_all) in CLASSIFIERS.items():
        used = slice(None) if sees_all else some >= 0
        fitted = clone(classifier).fit(features[used], some[used])
        errors[f"M1, {name}"] = percent(fitted.predict(asked), parts[part][1])
    return errors


def train_alone(parts, count, draw, part="test"):
    """Trains M2's classifier on the labelled images of a draw and no others; returns `{claim: percent}`."""
    keras.utils.set_random_seed(draw)
    chosen, (x, y) = SETTINGS["alone"], parts["train"]
    known = ka.datasets.keep_labels(y, count, draw) >= 0
    rows = tf.data.Dataset.from_tensor_slices((x[known], y[known])).shuffle(count, seed=draw).repeat()
    model = build_classifier(chosen, x.shape[1:])
    model.compile(keras.optimizers.Adam(chosen["rate"]), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(binarized(rows.batch(chosen["batch"]), draw), steps_per_epoch=chosen["steps"], verbose=0)
    asked, right = parts[part]
    return {ALONE: percent(model.predict(asked, verbose=0).argmax(axis=1), right)}


def train_m2(parts, name, m1, count, draw, folder, part="test"):
    """Trains M2, or M1+M2 on a trained M1, on one draw of labels; returns `{claim: percent}` and the report."""
    keras.utils.set_random_seed(draw)
    chosen, (x, y) = SETTINGS[name], parts["train"]
    if name == "m2":
        model = build_m2(chosen, x.shape[1:], "bernoulli", draw)
    else:
        units = m1.units(x)
        m2 = build_m2(chosen, (len(units),), "gaussian_per_dimension", draw)
        model = ka.M1M2(m1, m2, units)
    some = ka.datasets.keep_labels(y, count, draw)
    batches = ka.datasets.semi_supervised(x, some, chosen["batch"], chosen["labelled"], CLASSES, seed=draw)
    trained = runs.train(model, binarized(batches, draw), chosen["rate"], settings(name)[name]["minutes"], folder)
    asked, right = parts[part]
    return {"M2" if name == "m2" else "M1+M2": percent(model.predict_proba(asked).argmax(axis=1), right)}, trained


def measure(parts, name, m1, count, draw, folder, part="test"):
    """Errors of one of the runs of `SETTINGS` on one draw of labels: `{"errors": {claim: percent}, ...}`.

    Args:
        parts: as of `digits`.
        name: str.
        m1: trained M1, of which "m2" and "alone" make no use, and its report.
        count: int, labels kept.
        draw: int, seed of which.
        folder: path, of the training.
        part: str, on whose images.
    """
    model, report = m1
    start = time.monotonic()
    if name == "alone":
        return {"errors": train_alone(parts, count, draw, part), "train_seconds": time.monotonic() - start}
    if name == "m1":
        found = {"errors": classify(parts, model, count, draw, part), "train_seconds": 0.0}
    else:
        errors, trained = train_m2(parts, name, model, count, draw, folder, part)
        found = {"errors": errors} | trained
    if name != "m2":
        found["train_seconds"] += report["train_seconds"] / len(DRAWS[count])  # of M1, once for all draws
    return found


def percent(predicted, right):
    """The share of wrong predictions, percent."""
    return 100.0 * float(np.mean(predicted != right))


def rows(reports):
    """The rows of the table.

    Args:
        reports: `{(claim, labels): list of dicts, one a draw}` with `error` in percent, `train_seconds`, `date` and
            `versions`.
    """
    made = []
    for (claim, count), found in reports.items():
        method = claim.split(",")[0]
        several, errors = len(found) > 1, [report["error"] for report in found]
        each = {"claim": f"{claim}, {count:,} labels", "metric": "error, percent", "better": "lower"}
        each |= {"data": f"MNIST, 10,000 test images, {len(found)} draw{'s' if several else ''} of labels"}
        each |= {"ours": np.mean(errors), "paper": PAPER.get(method, {}).get(count), "seeds": list(DRAWS[count])}
        each |= {"seconds": sum(report["train_seconds"] for report in found), "command": COMMAND}
        each |= {key: found[-1][key] for key in ("date", "versions")}
        if several:
            each["standard_error"] = np.std(errors, ddof=1) / np.sqrt(len(errors))
            each["required"] = REQUIRED.get(method)
        made.append(results.row(**each))
    return made


def main(_):
    parts, folder, names = digits(), options.runs("semi_supervised"), options.only(SETTINGS)
    m1 = train_m1(parts, folder / "m1") if {"m1", "m1m2"} & set(names) else (None, None)
    if _TRIAL.value:
        with tempfile.TemporaryDirectory() as own:
            print(measure(parts, names[0], m1, 100, TRIAL_DRAW, pathlib.Path(own), "valid")["errors"])
        return
    reports = collections.defaultdict(list)
    for name in names:
        for count, draws in DRAWS.items():
            for draw in draws:
                make = functools.partial(measure, parts, name, m1, count, draw)
                found = runs.kept(folder, f"{name}_{count}_{draw}", make, settings(name))
                for claim, error in found["errors"].items():
                    reports[claim, count].append(found | {"error": error})
    if set(names) == set(SETTINGS):
        results.write("semi_supervised", rows(reports))


if __name__ == "__main__":
    options.run(main)
