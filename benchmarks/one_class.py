"""Anomalies among digits: `python -m benchmarks.one_class --data=<path of mnist.npz>`.

Each digit in turn is the anomaly, and the other nine are normal ("one digit held out"); or it alone is normal, and
the other nine are anomalies ("one normal digit"). Detectors see only normal training images; the area under the ROC
curve is that of normal against anomalous test images, mean over the ten digits. Compared are the squared
reconstruction error of an autoencoder, that of PCA with as many components as the autoencoder has codes, and
scikit-learn's IsolationForest, all on the same images. No setting was chosen by the anomalies.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import time

import keras
import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

import keras_ae as ka
from benchmarks import options, results, runs

DIGITS, SEED = tuple(range(10)), 0
HIDDEN, CODES, BATCH, RATE = (512, 256), 32, 128, 1e-3
MINUTES = {"one digit held out": 1.0, "one normal digit": 0.5}  # by task; the second one has a ninth of the images
TREES = 200
AUTOENCODER, PCA_ERROR, FOREST = "autoencoder, squared error", "PCA, squared error", "IsolationForest"
COMMAND = "python -m benchmarks.one_class --data=mnist.npz"
SMOKE = {"DIGITS": (0, 1), "HIDDEN": (16,), "CODES": 2, "TREES": 5}


def mnist(split):
    return ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data("mnist"), labels=True, shuffle=False))


def flat(x):
    return x.reshape(len(x), -1)


def areas(task, digit, folder):
    """Returns the area under the ROC curve of each detector for one anomalous, or one normal, digit."""
    (x, y), (test, test_labels) = mnist("train"), mnist("test")
    is_anomaly = test_labels == digit if task == "one digit held out" else test_labels != digit
    x = x[y != digit] if task == "one digit held out" else x[y == digit]
    encoder = ka.networks.mlp_encoder(x.shape[1:], CODES, HIDDEN)
    model = ka.Autoencoder(encoder, ka.networks.mlp_decoder(CODES, x.shape[1:], HIDDEN[::-1]), "bernoulli", seed=SEED)
    trained = runs.train(model, runs.batches(x, BATCH, SEED), RATE, options.minutes(MINUTES[task]), folder)
    start = time.monotonic()
    detector = ka.AnomalyDetector(model).fit(x)
    pca = PCA(CODES, svd_solver="covariance_eigh").fit(flat(x))
    forest = IsolationForest(n_estimators=TREES, random_state=SEED).fit(flat(x))
    back = pca.inverse_transform(pca.transform(flat(test)))
    scores = {
        AUTOENCODER: detector.decision_function(test),
        PCA_ERROR: np.sum((flat(test) - back) ** 2, axis=1),
        FOREST: -forest.score_samples(flat(test)),
    }
    seconds = trained["train_seconds"] + time.monotonic() - start
    return {"areas": {name: roc_auc_score(is_anomaly, s) for name, s in scores.items()}, "train_seconds": seconds}


def name_of(task, digit):
    return f"{task.replace(' ', '_')}_{digit}"


def rows(reports):
    """Returns the rows of the table, from reports by run."""
    made = []
    for task in MINUTES:
        found = [reports[name_of(task, digit)] for digit in DIGITS]
        for name in (AUTOENCODER, PCA_ERROR, FOREST):
            values = [each["areas"][name] for each in found]
            made.append(
                results.row(
                    claim=f"{name}, {task}",
                    data=f"MNIST, 10,000 test images, {len(DIGITS)} digits",
                    metric="mean area under the ROC curve",
                    better="higher",
                    ours=float(np.mean(values)),
                    standard_error=float(np.std(values, ddof=1) / np.sqrt(len(values))),
                    seeds=[SEED],
                    seconds=sum(each["train_seconds"] for each in found),
                    command=COMMAND,
                    date=found[-1]["date"],
                    versions=found[-1]["versions"],
                )
            )
    return made


def main(_):
    shared = {"hidden": HIDDEN, "codes": CODES, "batch": BATCH, "rate": RATE, "trees": TREES, "seed": SEED}
    tasks = {name_of(task, digit): (task, digit) for task in MINUTES for digit in DIGITS}

    def measure(name, folder):
        keras.utils.set_random_seed(SEED)
        return areas(*tasks[name], folder)

    settings = {name: shared | {"minutes": options.minutes(MINUTES[task])} for name, (task, _) in tasks.items()}
    runs.publish_table("one_class", settings, measure, rows)


if __name__ == "__main__":
    options.run(main)
