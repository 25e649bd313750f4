"""Dimension reduction of MNIST: `python -m benchmarks.dimension_reduction --data=<path of mnist.npz>`.

A linear autoencoder should find PCA's subspace, so its error and the largest principal angle between the subspaces
are compared with PCA's for 2, 10 and 32 codes. A deep one, 784-1000-500-250-30, is pretrained layer by layer and then
trained as a whole, as by Hinton and Salakhutdinov 2006, but with Adam in place of Boltzmann machines and conjugate
gradients; the error is summed over the pixels of a test image. With 2 codes, the error of a nearest-neighbour
classifier (10 neighbours among the 60,000 training images) and the trustworthiness (12 neighbours, 3,000 test images)
are compared with those of PCA, LDA and t-SNE. t-SNE cannot place new points: it is fitted to those 3,000 test images,
and each is classified by the others.

Models train on all 60,000 training images. `--trial` instead trains on 50,000 and prints the results on the other
10,000, which chose the settings.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import pathlib
import tempfile
import time

import keras
import numpy as np
import scipy.linalg
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import TSNE

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae.evaluation import manifold

TRAIN = 50_000  # with --trial
SEED, NEIGHBOURS, SHOWN = 0, 10, 3_000
TRUSTED = 12  # neighbours of the trustworthiness
LINEAR = {"batch": 1_000, "rate": 2e-3, "minutes": 1.0}
LINEAR_CODES = (2, 10, 32)
DEEP = {
    "units": (1000, 500, 250),
    "activation": "sigmoid",  # as in the paper
    "batch": 200,
    "rate": 1e-3,
    "pretrain_epochs": 8,  # per layer
}
DEEP_MINUTES = {30: 16.0, 2: 8.0}  # of training as a whole, by number of codes
BASELINES = "baselines"
COMMAND = "python -m benchmarks.dimension_reduction --data=mnist.npz"
SMOKE = {
    "TRAIN": 1_000,
    "SHOWN": 60,
    "LINEAR_CODES": (2,),
    "DEEP_MINUTES": {2: 1.0},
    "DEEP": DEEP | {"units": (16, 8), "pretrain_epochs": 1},
}


def digits():
    """Returns the images and labels to train on, and those to measure on: `(x, y), (x_test, y_test)`."""
    (x, y), test = (
        ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data("mnist"), labels=True, shuffle=False))
        for split in ("train", "test")
    )
    return ((x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])) if options.TRIAL.value else ((x, y), test)


def flat(x):
    return x.reshape(len(x), -1)


def measure(name, folder):
    kind, _, size = name.partition("_")
    keras.utils.set_random_seed(SEED)
    if name == BASELINES:
        return baselines()
    return linear(int(size), kind == "tied", folder) if kind in ("tied", "untied") else deep(int(size), folder)


def linear(k, tied, folder):
    """Trains a linear autoencoder of centred images; compares it with PCA on the test images."""
    (x, _), (test, _) = digits()
    mean = x.mean(axis=0)
    x, test = x - mean, test - mean
    model = ka.LinearAutoencoder(x.shape[1:], k, tied=tied, seed=SEED)
    batches = runs.batches(x, LINEAR["batch"], SEED)
    found = runs.train(model, batches, LINEAR["rate"], options.minutes(LINEAR["minutes"]), folder, LINEAR)
    pca = PCA(k, svd_solver="covariance_eigh").fit(flat(x).astype("float64"))
    centred = flat(test) - pca.mean_
    best = float(np.mean(np.sum((centred - centred @ pca.components_.T @ pca.components_) ** 2, axis=1)))
    codes = np.eye(k, dtype="float32")
    directions = flat(model.decode(codes) - model.decode(np.zeros_like(codes)))
    angles = scipy.linalg.subspace_angles(directions.T.astype("float64"), pca.components_.T)
    error = manifold.reconstruction_error(test, model.reconstruct(test))
    return found | {"squared_error": error, "pca": best, "angle": float(angles.max())}


def deep(k, folder):
    """Pretrains and trains a deep autoencoder; returns its error, and the measures of its codes if there are two."""
    (x, y), (test, test_labels) = digits()
    units = (*DEEP["units"], k)
    encoder, decoder = ka.networks.chain(x.shape[1:], units, activation=DEEP["activation"])
    model = ka.Autoencoder(encoder, decoder, "bernoulli", seed=SEED)

    def pretrain(own):
        start = time.monotonic()
        ka.pretrain(model, x, epochs=DEEP["pretrain_epochs"], batch_size=DEEP["batch"], verbose=0)
        own.mkdir(parents=True, exist_ok=True)
        model.save_weights(own / "model.weights.h5")
        return {"seconds": time.monotonic() - start}

    pretrained = runs.kept(folder, "pretraining", pretrain, DEEP | {"codes": k})
    model.load_weights(folder / "pretraining" / "model.weights.h5")
    batches = runs.batches(x, DEEP["batch"], SEED)
    minutes = options.minutes(DEEP_MINUTES[k])
    found = runs.train(model, batches, DEEP["rate"], minutes, folder, DEEP | {"codes": k})
    found["train_seconds"] += pretrained["seconds"]
    del found["history"]
    found["squared_error"] = manifold.reconstruction_error(test, model.reconstruct(test))
    if k == 2:
        found |= of_codes(model.encode(x), y, model.encode(test), test_labels, test)
    return found


def of_codes(z, labels, z_test, labels_test, test):
    """Returns the error in percent of the nearest neighbours of test codes, and their trustworthiness."""
    error = 1 - manifold.knn_accuracy(z, labels, z_test, labels_test, NEIGHBOURS)
    trust = manifold.trustworthiness(test[:SHOWN], z_test[:SHOWN], TRUSTED)
    return {"knn_error": 100 * error, "trustworthiness": trust, "classified": len(z_test)}


def baselines():
    """Measures PCA, LDA and t-SNE in two dimensions."""
    (x, y), (test, test_labels) = digits()
    found, begin = {}, time.monotonic()
    for name, estimator in (("PCA", PCA(2)), ("LDA", LinearDiscriminantAnalysis(n_components=2))):
        start = time.monotonic()
        estimator.fit(flat(x), y)
        found[name] = of_codes(estimator.transform(flat(x)), y, estimator.transform(flat(test)), test_labels, test)
        found[name]["train_seconds"] = time.monotonic() - start
    start = time.monotonic()
    z = TSNE(2, init="pca", random_state=SEED, perplexity=min(30, SHOWN / 4)).fit_transform(flat(test[:SHOWN]))
    error = 1 - manifold.knn_accuracy(z, test_labels[:SHOWN], k=NEIGHBOURS)
    trust = manifold.trustworthiness(test[:SHOWN], z, TRUSTED)
    found["t-SNE"] = {"knn_error": 100 * error, "trustworthiness": trust, "classified": len(z)}
    found["t-SNE"]["train_seconds"] = time.monotonic() - start
    return {"methods": found, "train_seconds": time.monotonic() - begin}


def rows(reports):
    """Returns the rows of the table, from reports by run."""
    made = []
    test = "MNIST, 10,000 test images"

    def add(report, claim, metric, ours, data=test, better="lower", seconds=None, **marks):
        seconds = report["train_seconds"] if seconds is None else seconds
        shared = {"data": data, "seeds": [SEED], "seconds": seconds, "command": COMMAND, "better": better}
        shared |= {"date": report["date"], "versions": report["versions"]}
        made.append(results.row(claim=claim, metric=metric, ours=ours, **shared, **marks))

    for name, report in reports.items():
        kind, _, size = name.partition("_")
        if kind in ("tied", "untied"):
            claim = f"linear autoencoder, {kind}, {size} codes"
            excess = 100 * (report["squared_error"] / report["pca"] - 1)
            add(report, claim, "squared error above PCA's, percent", excess, required=0.1)
            add(report, claim, "largest principal angle to PCA, rad", report["angle"], required=0.01)
        elif kind == "deep":
            claim, metric = f"deep autoencoder, {size} codes", "squared error, summed over an image"
            marks = {"paper": 3.00, "required": 3.3, "target": 3.0} if size == "30" else {}
            add(report, claim, metric, report["squared_error"], **marks)
            if size == "2":
                shown(add, report, claim, report, required=20.0)
    for name, found in reports[BASELINES]["methods"].items():
        shown(add, reports[BASELINES], f"{name}, 2 codes", found, seconds=found["train_seconds"])
    return made


def shown(add, report, claim, found, seconds=None, **marks):
    """Adds the rows of the measures of two-dimensional codes."""
    count = found["classified"]
    error = np.sqrt(found["knn_error"] * (100 - found["knn_error"]) / count)  # of a share of `count` images
    data = f"MNIST, {count:,} test images"
    metric = f"error of {NEIGHBOURS} nearest neighbours, percent"
    options = {"standard_error": float(error), "data": data, "seconds": seconds}
    add(report, claim, metric, found["knn_error"], **options, **marks)
    options = {"data": f"MNIST, {SHOWN:,} test images", "better": "higher", "seconds": seconds}
    add(report, claim, f"trustworthiness, {TRUSTED} neighbours", found["trustworthiness"], **options)


def settings():
    """Returns `{run: the settings that its outcome depends on}`."""
    common = {"seed": SEED, "trial": options.TRIAL.value}
    each = LINEAR | {"minutes": options.minutes(LINEAR["minutes"])} | common
    made = {f"{kind}_{k}": each for k in LINEAR_CODES for kind in ("tied", "untied")}
    shown = {"neighbours": NEIGHBOURS, "shown": SHOWN, "trusted": TRUSTED}
    deep = {f"deep_{k}": DEEP | {"minutes": options.minutes(m)} | shown | common for k, m in DEEP_MINUTES.items()}
    return made | deep | {BASELINES: shown | common}


def main(_):
    if options.TRIAL.value:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only(settings()):
                found = measure(name, pathlib.Path(folder) / name)
                print(name, {key: value for key, value in found.items() if key != "history"}, flush=True)
        return
    runs.publish_table("dimension_reduction", settings(), measure, rows)


if __name__ == "__main__":
    options.run(main)
