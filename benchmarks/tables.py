"""Anomalies in tables, beside IsolationForest and PyOD: `python -m benchmarks.tables`.

A detector trains on 70 % of the normal rows, and ranks the other normal rows and all anomalous ones. What is anomalous:

    breast_cancer    malignant tumours
    wine             the third cultivar
    digits           the nine
    diabetes         progression above its 90th percentile

Each detector gets the same rows, standardised by the training rows, and trains with the defaults of its library: ours
are those of `keras-ae train`. The figure is the area under the ROC curve, mean over five seeds, which also select the
rows; then the mean rank over the data sets.
"""

import functools
import time

import numpy as np
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from apps.own_data import models, run, source
from apps.own_data import settings as own_settings
from benchmarks import options, results, runs

SEEDS, PASSES, PEERS = (0, 1, 2, 3, 4), None, True
TRAIN = 0.7
COMMAND = "python -m benchmarks.tables"
SMOKE = {"SEEDS": (0,), "PASSES": 2, "PEERS": False, "DATA": ("wine",)}
DATA = ("breast_cancer", "wine", "digits", "diabetes")


def rows_of(name):
    """Returns the rows `(N, D)` of a data set, and which are anomalous."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    anomalous = {"breast_cancer": y == 0, "wine": y == 2, "digits": y == 9, "diabetes": y > np.quantile(y, 0.9)}[name]
    return x, anomalous


def split(name, seed):
    """Returns standardised training rows, test rows, and which of the latter are anomalous."""
    x, anomalous = rows_of(name)
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(~anomalous))
    count = round(TRAIN * len(normal))
    train, rest = x[normal[:count]], np.concatenate([x[normal[count:]], x[anomalous]])
    deviation = train.std(axis=0)
    keep = deviation > 0
    moments = train[:, keep].mean(axis=0), deviation[keep]
    scaled = (((each[:, keep] - moments[0]) / moments[1]).astype("float32") for each in (train, rest))
    return *scaled, np.arange(len(rest)) >= len(normal) - count


def ours(kind, train, test, seed, folder):
    """Returns the anomaly scores of test rows by the model of `keras-ae train`."""
    ids = [str(i) for i in range(len(train))]
    rows = source.Rows(ids, train, None, [], np.zeros(len(train), bool), {}, {"kind": "table"})
    parts = run.split(rows)
    chosen = run.settings_of(rows, parts, None) | {"flips": False}
    chosen |= {} if PASSES is None else {"passes": PASSES}
    pca = models.axes_of(train, parts.train, max(chosen["latent_dims"]), seed)
    pca = models.first(pca, own_settings.latent_dim(models.shares(pca), chosen))
    model, _, _ = run.train(kind, "auto", rows, parts, pca, chosen, folder, None, seed, None)
    return model.squared_error(test)


def forest(train, test, seed, folder):
    """Returns the anomaly scores of scikit-learn's IsolationForest."""
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def pyod(kind, train, test, seed, folder):
    """Returns the anomaly scores of a detector of PyOD."""
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.vae import VAE

    detector = (AutoEncoder if kind == "AutoEncoder" else VAE)(random_state=seed, verbose=0)
    return detector.fit(train).decision_function(test)


DETECTORS = {
    "autoencoder": functools.partial(ours, "autoencoder"),
    "VAE": functools.partial(ours, "vae"),
    "IsolationForest (scikit-learn)": forest,
    "AutoEncoder (PyOD)": functools.partial(pyod, "AutoEncoder"),
    "VAE (PyOD)": functools.partial(pyod, "VAE"),
}


def measure(name, folder):
    """Returns `{detector: [AUROC per seed]}` for a data set, and the seconds each took."""
    folder.mkdir(parents=True, exist_ok=True)
    found, seconds = {}, {}
    for detector, scores in DETECTORS.items():
        if "PyOD" in detector and not PEERS:
            continue
        start = time.perf_counter()
        found[detector] = []
        for seed in SEEDS:
            train, test, anomalous = split(name, seed)
            found[detector].append(float(roc_auc_score(anomalous, scores(train, test, seed, folder))))
        seconds[detector] = time.perf_counter() - start
    return {"auroc": found, "seconds": seconds}


def ranks(reports):
    """Returns the mean rank of each detector over the data sets, by mean AUROC; 1 is the best."""
    places = {}
    for report in reports.values():
        means = {name: np.mean(values) for name, values in report["auroc"].items()}
        for name, mean in means.items():
            above = sum(other > mean for other in means.values())
            equal = sum(other == mean for other in means.values())
            places.setdefault(name, []).append(above + (equal + 1) / 2)
    return {name: float(np.mean(each)) for name, each in places.items()}


def table(reports):
    """Returns the rows of the table, from reports by data set."""
    made = []
    for data, report in reports.items():
        shared = {"data": data, "seeds": list(SEEDS), "command": COMMAND, "date": report["date"]}
        shared |= {"versions": report["versions"], "metric": "AUROC", "better": "higher"}
        for name, values in report["auroc"].items():
            error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
            figures = {"ours": float(np.mean(values)), "standard_error": error, "seconds": report["seconds"][name]}
            made.append(results.row(claim=name, **figures, **shared))
    for name, rank in ranks(reports).items():
        shared = {"data": "all four", "seeds": list(SEEDS), "command": COMMAND, "better": "lower"}
        seconds = sum(report["seconds"][name] for report in reports.values())
        made.append(results.row(claim=name, metric="mean rank by AUROC", ours=rank, seconds=seconds, **shared))
    return made


def main(_):
    settings = {"seeds": SEEDS, "passes": PASSES, "peers": PEERS, "train": TRAIN}
    runs.publish_table("tables", dict.fromkeys(DATA, settings), measure, table)


if __name__ == "__main__":
    options.run(main)
