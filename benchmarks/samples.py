"""Samples of a trained model from three densities of its codes: `python -m benchmarks.samples --data=<mnist.npz>`.

An autoencoder has no prior, so it can only sample from a density fitted to its codes. A VAE has a prior, but a fitted
density may still give better samples. Samples are compared with test images in the features of a classifier. Both the
classifier and the models train on 50,000 training images. The scores are precision and recall (Kynkaanniemi 2019,
k = 3) and the Frechet distance. The other 10,000 training images, compared with the test images, show what samples from
the right distribution would score. Parzen windows around samples of the VAE's prior are compared with windows around
real training images: see `parzen` for why exceeding those is no merit.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import functools

import keras
import numpy as np

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae import samplers
from keras_ae.evaluation import likelihood, samples

LATENT, FILTERS, HIDDEN, BATCH, RATE, MINUTES, SEED = 16, (32, 64), (256,), 128, 1e-3, 6.0, 0
TRAIN, VALID = 50_000, 1_000  # VALID of the remaining images choose the sigma of the Parzen windows
SAMPLES, COVERED = 10_000, 5_000  # COVERED for precision and recall, which compare all pairs
EPOCHS, CLASSIFIER = 5, "classifier.keras"
FLOW = {"epochs": 50}  # for the sampler's `fit`
HELD_OUT = "held-out training images"
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
SMOKE = {"LATENT": 3, "FILTERS": (4, 4), "HIDDEN": (16,), "TRAIN": 1_000, "VALID": 50, "SAMPLES": 200, "COVERED": 200}
SMOKE |= {"EPOCHS": 1, "FLOW": {"epochs": 1}}


def digits(split):
    return ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data("mnist"), labels=True, shuffle=False))


def build(name):
    shape = (28, 28, 1)
    parameters = 2 if name == "VAE" else 1
    encoder = ka.networks.conv_encoder(shape, LATENT, FILTERS, HIDDEN, parameters=parameters)
    decoder = ka.networks.conv_decoder(LATENT, shape, FILTERS[::-1], HIDDEN)
    return MODELS[name](encoder, decoder, likelihood="bernoulli", seed=SEED)


def compared(real, fake, covered):
    """Returns the scores of features `(N, D)` against those of the test images, precision and recall of `covered`."""
    precision, recall = samples.precision_recall(real[:covered], fake[:covered])
    return {"frechet": samples.frechet_distance(real, fake), "precision": precision, "recall": recall}


def trained_features(x, y, folder):
    """Returns the classifier's features. It is trained once for all models, so that distances are comparable."""

    def make(own):
        keras.utils.set_random_seed(SEED)
        own.mkdir(parents=True, exist_ok=True)
        samples.train_features(x, y, epochs=EPOCHS).classifier.save(own / CLASSIFIER)
        return {}

    runs.kept(folder, "features", make, {"rows": len(x), "epochs": EPOCHS, "seed": SEED})
    return samples.features_of(keras.saving.load_model(folder / "features" / CLASSIFIER))


def measure(name, folder):
    """Trains a model and fits the samplers; returns the scores of each sampler and of real images."""
    keras.utils.set_random_seed(SEED)
    (x, y), (x_test, _) = digits("train"), digits("test")
    (x, held_out), y = np.split(x, [TRAIN]), y[:TRAIN]
    features = trained_features(x, y, folder.parent)
    real = features(x_test)
    found = {HELD_OUT: compared(real, features(held_out), COVERED)}
    model = build(name)
    trained = runs.train(model, runs.batches(x, BATCH, SEED), RATE, options.minutes(MINUTES), folder)
    for way, sampler in SAMPLERS.items():
        if way != "prior" or hasattr(model, "prior"):
            images = np.asarray(sampler(model).fit(x, **FLOW if way == "flow" else {}).sample(SAMPLES, seed=SEED))
            found[way] = compared(real, features(images), COVERED)
            if way == "prior":
                windows = {"VAE, samples of its prior": images, "training images": x[:SAMPLES]}
                trained["parzen"] = {
                    claim: likelihood.parzen(each, held_out[:VALID], x_test)._asdict()
                    for claim, each in windows.items()
                }
    return {"scores": found, **trained}


def rows(reports):
    """Returns the rows of the table, from reports by model."""
    made = []
    for name, report in reports.items():
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"command": COMMAND, "date": report["date"], "versions": report["versions"]}
        for way, scores in report["scores"].items():
            if way == HELD_OUT and name != "VAE":
                continue  # the same for both models
            claim = way if way == HELD_OUT else f"{name}, codes of the {way}"
            made += [
                results.row(claim=claim, metric=metric, better=better, ours=scores[key], **shared)
                for key, (metric, better) in METRICS.items()
            ]
        for claim, each in report.get("parzen", {}).items():
            figures = {"ours": each["log_prob"], "standard_error": each["standard_error"], "better": "higher"}
            metric = f"Parzen window, sigma {each['sigma']:.3f}, nats"
            made.append(results.row(claim=claim, metric=metric, **figures, **shared))
    return made


def main(_):
    settings = {"latent": LATENT, "filters": FILTERS, "hidden": HIDDEN, "batch": BATCH, "rate": RATE}
    settings |= {"train": TRAIN, "valid": VALID, "samples": SAMPLES, "covered": COVERED, "epochs": EPOCHS, "seed": SEED}
    settings["minutes"] = options.minutes(MINUTES)
    runs.publish_table("samples", dict.fromkeys(MODELS, settings), measure, rows)


if __name__ == "__main__":
    options.run(main)
