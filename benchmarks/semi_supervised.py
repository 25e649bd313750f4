"""Digits from a few labels, M1, M2 and M1+M2 on MNIST: `python -m benchmarks.semi_supervised --data=<mnist.npz>`.

Models train on the first 50,000 training images, of which 100, 600, 1,000 or 3,000 keep their labels, equally many of
each class. The last 10,000 are for validation: `--trial` measures the first model of `--only` on them, with a draw of
labels that is not in the table. Errors are those on the 10,000 test images: with 100 labels the mean of five draws of
labels, with more labels one draw. Training images are binarised again in every epoch; grey levels are classified.

M1 trains once, without labels. Nearest neighbours and a support vector machine learn from its features of the labelled
images; cross-validation on these images chooses their settings. Two more classifiers use the features of all 50,000
images: label spreading over neighbours, and a support vector machine trained on 5,000 of the spread labels. Thus
unlabelled images contribute, as in the paper's transductive SVM. M1+M2 is built on the same M1. With more than 100
labels, the validation images choose the weight of its classification term among `WEIGHTS`, for each number of labels,
with a draw of labels that is not in the table. M2's classifier trained only on the labelled images shows what the
unlabelled ones contribute.

Differences from the paper: the style z of M2 and M1+M2 has 5 dimensions instead of 50; the classifier of M2 has
convolutions and dropout; hidden layers are narrower, with other activations; batches have 50 rows, 5 of them labelled;
and training takes minutes instead of 3,000 passes. NOTES.md has the effect of each difference.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import collections
import functools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

import keras_ae as ka
from benchmarks import mnist, options, results, runs

TRAIN = 50_000
CLASSES = 10
DRAWS = {100: (0, 1, 2, 3, 4), 600: (0,), 1_000: (0,), 3_000: (0,)}
TRIAL_DRAW = 100
STYLE = {"hidden": (300,), "activation": "relu", "latent": 5}  # encoders and decoders of M2 and M1+M2
MIXED = {"batch": 50, "labelled": 5, "weight": 50.0}  # their batches, and the weight of the classification term
CLASSIFIER = {"filters": (16, 32), "units": 128, "dropout": 0.7}  # on images
SETTINGS = {
    "m1": {"hidden": (300, 300), "activation": "tanh", "latent": 50, "rate": 1e-3, "batch": 100, "minutes": 10.0},
    "m2": STYLE | MIXED | CLASSIFIER | {"rate": 2e-3, "minutes": 4.0},
    "m1m2": STYLE | MIXED | {"filters": (), "units": 500, "dropout": 0.0, "rate": 3e-3, "minutes": 6.0},
    "alone": CLASSIFIER | {"rate": 1e-3, "batch": 100, "steps": 1_500},
}
WEIGHTS = (15.0, 50.0, 150.0, 500.0)  # of M1+M2's classification term, where its number of labels is in CHOOSE
CHOOSE = (600, 1_000, 3_000)
# Errors in percent: those of the paper (M1 with a transductive SVM), and the requirements.
PAPER = {
    "M1": {100: 11.82, 600: 5.72, 1_000: 4.24, 3_000: 3.49},
    "M2": {100: 11.97, 600: 4.94, 1_000: 3.60, 3_000: 3.92},
    "M1+M2": {100: 3.33, 600: 2.59, 1_000: 2.40, 3_000: 2.18},
}
ALONE = "M2's classifier on the labelled images alone"
REQUIRED = {"M1": {100: 12.0}, "M2": {100: 8.0}, "M1+M2": {100: 4.5, 600: 3.0, 1_000: 2.7, 3_000: 2.4}}
SPREAD = LabelSpreading("knn", n_neighbors=10, alpha=0.9, max_iter=100)


class SVMOfSpreadLabels(BaseEstimator):
    """A support vector machine that learns from a subset of all rows, with the labels spread to them."""

    def __init__(self, spreading=SPREAD, rows=5_000, seed=0):
        self.spreading, self.rows, self.seed = spreading, rows, seed

    def fit(self, x, y):
        labels = clone(self.spreading).fit(x, y).transduction_
        some = np.random.default_rng(self.seed).permutation(len(x))[: self.rows]
        self.svm_ = SVC().fit(x[some], labels[some])
        return self

    def predict(self, x):
        return self.svm_.predict(x)


# Classifiers on M1's features, and whether they see the features of all images or only of the labelled ones.
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
    "DRAWS": {100: (0,), 600: (0,)},
    "CHOOSE": (600,),
    "WEIGHTS": (15.0, 50.0),
    "SETTINGS": {name: each | {"steps": 2, "hidden": (32,)} for name, each in SETTINGS.items()},
}


def binarized(batches, seed):
    """Binarises batches of x, or of x and y, again in every epoch."""

    def draw(seed, row):
        x, *y = row if isinstance(row, tuple) else (row,)
        x = tf.cast(tf.random.stateless_uniform(tf.shape(x), seed) < x, tf.float32)
        return (x, *y) if y else x

    # A random operation inside `map` would restart with the same numbers in every epoch.
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    return tf.data.Dataset.zip(seeds, batches).map(draw).prefetch(tf.data.AUTOTUNE)


def build_m1():
    """Returns an untrained M1 for images."""
    shape = (28, 28, 1)
    latent, hidden, activation = (SETTINGS["m1"][key] for key in ("latent", "hidden", "activation"))
    return ka.M1(
        ka.networks.mlp_encoder(shape, latent, hidden, 2, activation),
        ka.networks.mlp_decoder(latent, shape, hidden, 1, activation),
        seed=0,
    )


def build_m2(chosen, shape, likelihood, seed):
    """Returns an untrained M2 for x of `shape`."""
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
    """Returns a network of logits: convolution and max pooling per entry of `filters`, a dense layer; with dropout."""
    x = inputs = keras.Input(shape)
    for channels in chosen["filters"]:
        x = layers.Conv2D(channels, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dropout(chosen["dropout"])(layers.Flatten()(x))
    x = layers.Dense(chosen["units"], "relu")(x)
    x = layers.Dropout(chosen["dropout"])(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x), name="classifier")


def settings(name, weight=None):
    """Returns the settings that a run's outcome depends on: M1+M2 and the classifiers also depend on M1.

    Args:
        name: str, a key of `SETTINGS`.
        weight: float, of the classification term, or None for the one in `SETTINGS`.
    """
    chosen = {key: dict(SETTINGS[key]) for key in {"m1": ("m1",), "m1m2": ("m1", "m1m2")}.get(name, (name,))}
    if weight is not None:
        chosen[name]["weight"] = weight
    for each in chosen.values():
        if "minutes" in each:
            each["minutes"] = options.minutes(each["minutes"])
    return chosen | ({"by": str(CLASSIFIERS)} if name == "m1" else {})


def train_m1(parts, folder):
    """Returns M1 trained on all training images without labels, now or earlier, and the report of `runs.train`."""
    keras.utils.set_random_seed(0)
    model, chosen = build_m1(), settings("m1")["m1"]
    batches = binarized(runs.batches(parts["train"][0], chosen["batch"], 0), 0)
    return model, runs.train(model, batches, chosen["rate"], chosen["minutes"], folder, chosen)


def classify(parts, m1, count, draw, part="test"):
    """Returns errors of the classifiers on M1's features, with `count` labelled rows: `{claim: percent}`."""
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
    """Trains M2's classifier on only the labelled images of a draw; returns `{claim: percent}`."""
    keras.utils.set_random_seed(draw)
    chosen, (x, y) = SETTINGS["alone"], parts["train"]
    known = ka.datasets.keep_labels(y, count, draw) >= 0
    rows = tf.data.Dataset.from_tensor_slices((x[known], y[known])).shuffle(count, seed=draw).repeat()
    model = build_classifier(chosen, x.shape[1:])
    model.compile(keras.optimizers.Adam(chosen["rate"]), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(binarized(rows.batch(chosen["batch"]), draw), steps_per_epoch=chosen["steps"], verbose=0)
    asked, right = parts[part]
    return {ALONE: percent(model.predict(asked, verbose=0).argmax(axis=1), right)}


def train_m2(parts, name, m1, count, draw, folder, part="test", weight=None):
    """Trains M2, or M1+M2 on a trained M1, on one draw of labels; returns `{claim: percent}` and the report."""
    keras.utils.set_random_seed(draw)
    chosen, (x, y) = settings(name, weight)[name], parts["train"]
    if name == "m2":
        model = build_m2(chosen, x.shape[1:], "bernoulli", draw)
    else:
        units = m1.units(x)
        m2 = build_m2(chosen, (len(units),), "gaussian_per_dimension", draw)
        model = ka.M1M2(m1, m2, units)
    some = ka.datasets.keep_labels(y, count, draw)
    batches = ka.datasets.semi_supervised(x, some, chosen["batch"], chosen["labelled"], CLASSES, seed=draw)
    trained = runs.train(model, binarized(batches, draw), chosen["rate"], chosen["minutes"], folder)
    asked, right = parts[part]
    return {"M2" if name == "m2" else "M1+M2": percent(model.predict_proba(asked).argmax(axis=1), right)}, trained


def choose_weight(parts, m1, count, folder):
    """Returns the weight of `WEIGHTS` with which M1+M2 has the lowest error on validation images."""
    errors = {}
    for weight in WEIGHTS:

        def make(own, weight=weight):
            found, trained = train_m2(parts, "m1m2", m1[0], count, TRIAL_DRAW, own, "valid", weight)
            return {"errors": found} | trained

        made = runs.kept(folder, f"m1m2_{count}_weight_{weight:g}", make, settings("m1m2", weight))
        errors[weight] = made["errors"]["M1+M2"]
    print(f"{count} labels, error by weight on validation images: {errors}", flush=True)
    return min(errors, key=errors.get)


def measure(parts, name, m1, count, draw, folder, part="test", weight=None):
    """Returns errors of one run of `SETTINGS` with one draw of labels: `{"errors": {claim: percent}, ...}`.

    Args:
        parts: images and labels, as from `mnist.parts`.
        name: str, a key of `SETTINGS`.
        m1: trained M1 and its report; not used by "m2" and "alone".
        count: int, number of labels to keep.
        draw: int, seed of the draw of labels.
        folder: path, training folder.
        part: str, the part to measure errors on.
        weight: float, of the classification term, or None for the one in `SETTINGS`.
    """
    model, report = m1
    start = time.monotonic()
    if name == "alone":
        return {"errors": train_alone(parts, count, draw, part), "train_seconds": time.monotonic() - start}
    if name == "m1":
        found = {"errors": classify(parts, model, count, draw, part), "train_seconds": 0.0}
    else:
        errors, trained = train_m2(parts, name, model, count, draw, folder, part, weight)
        found = {"errors": errors} | trained
    if name != "m2":
        found["train_seconds"] += report["train_seconds"] / len(DRAWS[count])  # M1 trains once for all draws
    return found


def percent(predicted, right):
    """Returns the share of wrong predictions in percent."""
    return 100.0 * float(np.mean(predicted != right))


def rows(reports):
    """Returns the rows of the table.

    Args:
        reports: `{(claim, labels): list of dicts, one per draw}` with `error` in percent, `train_seconds`, `date` and
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
        each["required"] = REQUIRED.get(method, {}).get(count)
        if several:
            each["standard_error"] = np.std(errors, ddof=1) / np.sqrt(len(errors))
        made.append(results.row(**each))
    return made


def main(_):
    parts, folder, names = mnist.parts(TRAIN), options.runs("semi_supervised"), options.only(SETTINGS)
    m1 = train_m1(parts, folder / "m1") if {"m1", "m1m2"} & set(names) else (None, None)
    if options.TRIAL.value:
        with tempfile.TemporaryDirectory() as own:
            print(measure(parts, names[0], m1, 100, TRIAL_DRAW, pathlib.Path(own), "valid")["errors"])
        return
    reports = collections.defaultdict(list)
    for name in names:
        for count, draws in DRAWS.items():
            weight = choose_weight(parts, m1, count, folder) if name == "m1m2" and count in CHOOSE else None
            for draw in draws:
                make = functools.partial(measure, parts, name, m1, count, draw, weight=weight)
                found = runs.kept(folder, f"{name}_{count}_{draw}", make, settings(name, weight))
                for claim, error in found["errors"].items():
                    reports[claim, count].append(found | {"error": error})
    if set(names) == set(SETTINGS):
        results.write("semi_supervised", rows(reports))


if __name__ == "__main__":
    options.run(main)
