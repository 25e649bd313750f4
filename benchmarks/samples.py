"""Samples of a trained model by three densities of its codes: `python -m benchmarks.samples --data=<mnist.npz>`.

An autoencoder has no prior: only a density fitted to its codes gives it samples. A VAE has one, which a fitted density
may still improve on. Images are compared with test images in the features of a classifier that this program trains on
the training images: precision and recall (Kynkaanniemi 2019, k = 3) and the Frechet distance; the training images
themselves, against the test images, are the figure that cannot be bettered.

Finished runs are kept in `--runs` and not repeated, so the same command goes on after a kill.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
from absl import app

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae import samplers
from keras_ae.evaluation import samples

LATENT, FILTERS, HIDDEN, BATCH, RATE, MINUTES, SEED = 16, (32, 64), (256,), 128, 1e-3, 6.0, 0
SAMPLES, COVERED = 10_000, 5_000  # the second for precision and recall, which compare all pairs
MODELS = {"autoencoder": ka.Autoencoder, "VAE": ka.VAE}
SAMPLERS = {
    "prior": samplers.PriorSampler,
    "mixture of 10 Gaussians": functools.partial(samplers.MixtureSampler, components=10, seed=SEED),
    "flow": functools.partial(samplers.FlowSampler, seed=SEED),
}
METRICS = {
    "frechet": ("Frechet distance", "lower"),
    "precision": ("precision", "higher"),
    "recall": ("recall", "higher"),
}
COMMAND = "python -m benchmarks.samples --data=mnist.npz"


def digits(split):
    return ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data(), labels=True, shuffle=False))


def build(name):
    shape = (28, 28, 1)
    parameters = 2 if name == "VAE" else 1
    encoder = ka.networks.conv_encoder(shape, LATENT, FILTERS, HIDDEN, parameters=parameters)
    decoder = ka.networks.conv_decoder(LATENT, shape, FILTERS[::-1], HIDDEN)
    return MODELS[name](encoder, decoder, likelihood="bernoulli", seed=SEED)


def compared(real, fake):
    """The scores of features `(N, D)` beside those of test images."""
    precision, recall = samples.precision_recall(real[:COVERED], fake[:COVERED])
    return {"frechet": samples.frechet_distance(real, fake), "precision": precision, "recall": recall}


def measure(name, folder):
    """Trains a model and fits the samplers; returns the scores of each, and of training images."""
    keras.utils.set_random_seed(SEED)
    (x, y), (x_test, _) = digits("train"), digits("test")
    features = samples.train_features(x, y, epochs=5)
    real = features(x_test)
    found = {"training images": compared(real, features(x[:SAMPLES]))}
    model = build(name)
    batches = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x), seed=SEED).batch(BATCH)
    seconds = runs.train(model, batches, RATE, options.MINUTES.value or MINUTES, folder)
    for way, sampler in SAMPLERS.items():
        if way != "prior" or hasattr(model, "prior"):
            images = sampler(model).fit(x).sample(SAMPLES, seed=SEED)
            found[way] = compared(real, features(np.asarray(images)))
    return {"scores": found, "train_seconds": seconds}


def rows(reports):
    """The rows of the table, from reports by model."""
    made = []
    for name, report in reports.items():
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"command": COMMAND, "date": report["date"], "versions": report["versions"]}
        for way, scores in report["scores"].items():
            if way == "training images" and name != "VAE":
                continue  # the same for both
            claim = way if way == "training images" else f"{name}, codes of the {way}"
            made += [
                results.row(claim=claim, metric=metric, better=better, ours=scores[key], **shared)
                for key, (metric, better) in METRICS.items()
            ]
    return made


def main(_):
    settings = {"latent": LATENT, "filters": FILTERS, "hidden": HIDDEN, "batch": BATCH, "rate": RATE}
    settings["minutes"] = options.MINUTES.value or MINUTES
    reports = runs.reports("samples", MODELS, measure, settings)
    if len(reports) == len(MODELS):
        results.write("samples", rows(reports))


if __name__ == "__main__":
    app.run(main)
