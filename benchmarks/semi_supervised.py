"""Digits from a few labels, M1, M2 and M1+M2 on MNIST: `python -m benchmarks.semi_supervised --data=<mnist.npz>`.

The first 50,000 training images, of which 100, 600, 1,000 or 3,000 keep their labels, as many of each class. The last
10,000 are for validation: `--trial` measures settings on them, on a draw of labels that the table has not. Errors are
those of the 10,000 test images. With 100 labels the mean of five draws of labels, with more one draw.

M1 trains once, without labels. On its features of the labelled images stand nearest neighbours and a support vector
machine, whose settings a cross-validation among these images picks. On the features of all 50,000 labels spread from
neighbour to neighbour, which uses the other images as the paper's transductive SVM does. M1+M2 stands on the same M1.

Finished runs are kept in `--runs` and not repeated, so the same command goes on after a kill.
"""

import collections
import functools
import shutil

import keras
import numpy as np
from absl import app, flags
from sklearn.base import clone
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
SETTINGS = {
    "m1": {"hidden": (600, 600), "latent": 50, "rate": 1e-3, "batch": 100, "minutes": 20.0},
    "m2": {"hidden": (500,), "latent": 50, "rate": 1e-3, "batch": 200, "labelled": 20, "weight": 5.0, "minutes": 8.0},
    "m1m2": {"hidden": (500,), "latent": 50, "rate": 1e-3, "batch": 200, "labelled": 20, "weight": 5.0, "minutes": 8.0},
}
# Errors in percent: of the paper (M1 with a transductive SVM), and what was asked of this project with 100 labels.
PAPER = {
    "M1": {100: 11.82, 600: 5.72, 1_000: 4.24, 3_000: 3.49},
    "M2": {100: 11.97, 600: 4.94, 1_000: 3.60, 3_000: 3.92},
    "M1+M2": {100: 3.33, 600: 2.59, 1_000: 2.40, 3_000: 2.18},
}
LEAST = {"M1": 12.0, "M2": 8.0, "M1+M2": 4.5}
# On M1's features, and whether it sees those of all images or of the labelled ones alone.
CLASSIFIERS = {
    "nearest neighbours": (
        GridSearchCV(KNeighborsClassifier(weights="distance"), {"n_neighbors": [1, 3, 5]}, cv=5),
        False,
    ),
    "SVM": (GridSearchCV(SVC(), {"C": [1.0, 10.0, 100.0], "gamma": ["scale", 0.01, 0.05]}, cv=5), False),
    "labels spread over 10 neighbours": (LabelSpreading("knn", n_neighbors=10, alpha=0.9, max_iter=100), True),
}
COMMAND = "python -m benchmarks.semi_supervised --data=mnist.npz"


def digits():
    """The images and labels by part: `{"train": (x, y), "valid": ..., "test": ...}`, x float32 in [0, 1]."""
    load = functools.partial(ka.datasets.load, "mnist", data=options.data(), labels=True, shuffle=False)
    (x, y), test = (ka.datasets.arrays(load(split)) for split in ("train", "test"))
    return {"train": (x[:TRAIN], y[:TRAIN]), "valid": (x[TRAIN:], y[TRAIN:]), "test": test}


def dense(shape, width, chosen, **arguments):
    """A network from `shape` to `width` raw values with the hidden layers of the paper."""
    return ka.networks.mlp_encoder(shape, width, chosen["hidden"], activation="softplus", **arguments)


def build_m1(seed=0):
    chosen = SETTINGS["m1"]
    shape, latent = (28, 28, 1), chosen["latent"]
    decoder = ka.networks.mlp_decoder(latent, shape, chosen["hidden"], activation="softplus")
    return ka.M1(dense(shape, latent, chosen, parameters=2), decoder, seed=seed)


def build_m2(chosen, shape, likelihood, seed):
    """An M2 of x of `shape`, one hidden layer in each network."""
    parameters = 2 if likelihood == "gaussian_per_dimension" else 1
    condition = {"condition_shape": (CLASSES,)}
    return ka.M2(
        dense(shape, chosen["latent"], chosen, parameters=2, **condition),
        ka.networks.mlp_decoder(
            chosen["latent"], shape, chosen["hidden"], parameters, activation="softplus", **condition
        ),
        dense(shape, CLASSES, chosen, name="classifier"),
        CLASSES,
        likelihood,
        classification_weight=chosen["weight"],
        seed=seed,
    )


def settings(name):
    """What the outcome of a run depends on: M1+M2 and the classifiers stand on M1."""
    m1 = SETTINGS["m1"] | {"minutes": options.MINUTES.value or SETTINGS["m1"]["minutes"]}
    if name == "m1":
        return m1
    own = SETTINGS[name] | {"minutes": options.MINUTES.value or SETTINGS[name]["minutes"]}
    return {"m1": m1, name: own} if name == "m1m2" else own


def train_m1(parts, folder):
    """M1 trained on all training images, as grey levels, without labels, now or before; and `runs.train`'s report."""
    keras.utils.set_random_seed(0)
    model, chosen = build_m1(), settings("m1")
    batches = runs.batches(parts["train"][0], chosen["batch"], 0)
    return model, runs.train(model, batches, chosen["rate"], chosen["minutes"], folder, chosen)


def classify(parts, m1, count, draw, part="test"):
    """Errors in percent of the classifiers of M1's features, of which some rows keep their labels."""
    x, y = parts["train"]
    some = ka.datasets.keep_labels(y, count, draw)
    units = m1.units(x)
    features, asked = m1.features(x, units), m1.features(parts[part][0], units)
    errors = {}
    for name, (classifier, sees_all) in CLASSIFIERS.items():
        used = slice(None) if sees_all else some >= 0
        fitted = clone(classifier).fit(features[used], some[used])
        errors[name] = percent(fitted.predict(asked), parts[part][1])
    return errors


def train_m2(parts, name, m1, count, draw, folder, part="test"):
    """Trains M2, or M1+M2 on a trained M1, on one draw of labels; returns the error in percent beside the report."""
    keras.utils.set_random_seed(draw)
    chosen, (x, y) = SETTINGS[name], parts["train"]
    if name == "m2":
        model = build_m2(chosen, (28, 28, 1), "bernoulli", draw)
    else:
        units = m1.units(x)
        m2 = build_m2(chosen, (len(units),), "gaussian_per_dimension", draw)
        model = ka.M1M2(m1, m2, units, seed=draw)
    some = ka.datasets.keep_labels(y, count, draw)
    batches = ka.datasets.semi_supervised(x, some, chosen["batch"], chosen["labelled"], CLASSES, seed=draw)
    trained = runs.train(model, batches, chosen["rate"], options.MINUTES.value or chosen["minutes"], folder)
    asked, right = parts[part]
    return {"error": percent(model.predict_proba(asked).argmax(axis=1), right), **trained}


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
        paper = PAPER[claim.split(",")[0]]
        several, errors = len(found) > 1, [report["error"] for report in found]
        each = {"claim": f"{claim}, {count:,} labels", "metric": "error, percent", "better": "lower"}
        each |= {"data": f"MNIST, 10,000 test images, {len(found)} draw{'s' if several else ''} of labels"}
        each |= {"ours": np.mean(errors), "paper": paper[count], "seeds": list(DRAWS[count])}
        each |= {"seconds": sum(report["train_seconds"] for report in found), "command": COMMAND}
        each |= {key: found[-1][key] for key in ("date", "versions")}
        if several:
            each["standard_error"] = np.std(errors, ddof=1) / np.sqrt(len(errors))
            each["least"] = LEAST[claim.split(",")[0]]
        made.append(results.row(**each))
    return made


def main(_):
    parts, folder = digits(), options.runs("semi_supervised")
    names = options.only(SETTINGS)
    m1, m1_report = train_m1(parts, folder / "m1")
    m1_seconds = m1_report["train_seconds"]
    if _TRIAL.value:
        name, own = names[0], folder / "trial"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        if name == "m1":
            print(classify(parts, m1, 100, TRIAL_DRAW, "valid"))
        else:
            print(train_m2(parts, name, m1, 100, TRIAL_DRAW, own, "valid")["error"])
        return
    reports = collections.defaultdict(list)
    for name in names:
        for count, draws in DRAWS.items():
            for draw in draws:
                if name == "m1":
                    run = functools.partial(classify, parts, m1, count, draw)
                    found = runs.kept(
                        folder,
                        f"m1_{count}_{draw}",
                        lambda _, run=run: run(),
                        settings("m1") | {"by": str(CLASSIFIERS)},
                    )
                    for each in CLASSIFIERS:
                        seconds = m1_seconds / len(draws)  # once for all
                        reports[f"M1, {each}", count].append(found | {"error": found[each], "train_seconds": seconds})
                else:
                    run = functools.partial(train_m2, parts, name, m1, count, draw)
                    found = runs.kept(folder, f"{name}_{count}_{draw}", run, settings(name))
                    if name == "m1m2":
                        found["train_seconds"] += m1_seconds / len(draws)  # on which all stand
                    reports["M2" if name == "m2" else "M1+M2", count].append(found)
    if set(names) == set(SETTINGS):
        results.write("semi_supervised", rows(reports))


if __name__ == "__main__":
    app.run(main)
