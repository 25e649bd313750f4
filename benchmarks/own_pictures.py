"""`keras-ae train` on pictures, beside PCA of the same size: `python -m benchmarks.own_pictures --data=<folder>`.

The folder holds UTKFace.tar.gz, flowers/flowers.tar.gz, emoji/emoji.tar.gz and mnist.npz. Each file whose sha1 of the
relative path (first 8 hex digits) is divisible by 10 is a test picture; MNIST has its own test images. PCA is computed
from the same training files, without those that choose the weights that are kept. Squared errors are sums over an
image with pixels in [0, 1]. A VAE reconstructs from the mean of its posterior.

Samples of faces are compared with test faces by the Frechet distance in the features of a network that predicts by how
much a training face was rotated, beside samples of the defaults before: a VAE of Bernoulli draws at the same size, with
the same time.

Training time is processor time divided by the number of cores. Finished runs are saved in `--runs` and not repeated, so
the same command resumes after it was killed.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf

import keras_ae as ka
from apps import checkpoints
from apps.own_data import conclusion, models, run, source
from benchmarks import options, results, runs
from keras_ae.evaluation import samples

MINUTES, SEED, DIMENSIONS, SIZE, SAMPLES, ROWS, EPOCHS = 20.0, 0, 64, 64, 2_000, 8_000, 6
# Data: path, side of a picture, dimensions, and the required and target ratios of the VAE and the autoencoder.
DATA = {
    "faces": ("UTKFace.tar.gz", SIZE, DIMENSIONS, {"vae": (0.9, 0.75), "autoencoder": (0.85, 0.7)}),
    "flowers": ("flowers/flowers.tar.gz", SIZE, DIMENSIONS, {"vae": (1.05, 0.9), "autoencoder": (1.05, 0.9)}),
    "emoji": ("emoji/emoji.tar.gz", SIZE, DIMENSIONS, {"vae": (0.9, 0.7), "autoencoder": (0.9, 0.7)}),
    "mnist": ("mnist.npz", None, 16, {"vae": (0.6, 0.5), "autoencoder": (0.6, 0.5)}),
}
KINDS = ("vae", "autoencoder")
SAMPLED = "faces"  # whose samples are measured
BEFORE = "faces_before"  # the defaults before
COMMAND = "python -m benchmarks.own_pictures --data=<folder>"
SMOKE = {"SIZE": 8, "SAMPLES": 40, "ROWS": 200, "EPOCHS": 1, "DATA": {"faces": ("faces.tar", 8, 3, DATA["faces"][3])}}


def read(name, folder):
    """Returns the rows of a data set, their parts, and the PCA."""
    path, size, dimensions, _ = DATA[name]
    rows = source.read(pathlib.Path(options.data("pictures")) / path, folder, size=size)
    parts = run.split(rows)
    return rows, parts, models.axes_of(rows.x, parts.train, dimensions, SEED)


def trained(kind, rows, parts, pca, folder):
    """Returns a model trained for `MINUTES`, and what is reported of its training; a killed run resumes."""
    chosen = run.settings_of(rows, parts, MINUTES) | {"flips": run.mirrors(rows, parts, pca)}
    minutes = options.minutes(MINUTES)
    flags = {"kind": kind, "settings": chosen}
    with checkpoints.opened(folder, "checkpoint", flags, minutes) as checkpoint:
        model, seconds, _ = run.train(
            kind, "auto", rows, parts, pca, chosen, folder, minutes, SEED, checkpoint, runs.ProcessorTime
        )
        checkpoint.remove()
    passes = int(model.optimizer.iterations) * chosen["batch_size"] / len(parts.train)
    return model, {"train_seconds": seconds, "passes": passes, "settings": chosen}


def before(rows, parts, folder):
    """Returns a VAE with the networks, draws and rate of the defaults before, and what is reported of its training."""
    keras.utils.set_random_seed(SEED)
    shape = rows.x.shape[1:]
    encoder = ka.networks.conv_encoder(shape, DIMENSIONS, (32, 64), (256,), parameters=2)
    decoder = ka.networks.conv_decoder(DIMENSIONS, shape, (64, 32), (256,))
    chosen = {"batch_size": 128, "flips": False}
    data = run.batches(rows, parts.train, chosen, SEED, max(1, len(parts.train) // 128), False)
    drawn = data.map(lambda x: tf.cast(tf.random.uniform(tf.shape(x)) < x, tf.float32))
    model = ka.VAE(encoder, decoder, likelihood="bernoulli", seed=SEED)
    return model, runs.train(model, drawn, 1e-3, options.minutes(MINUTES), folder)


def measure(name, folder):
    """Trains the model of a run; returns its errors, and for the sampled data the distances of its samples."""
    data, _, kind = name.rpartition("_")
    rows, parts, pca = read(data, folder)
    if name == BEFORE:
        model, made = before(rows, parts, folder)
    else:
        model, made = trained(kind, rows, parts, pca, folder)
    made |= conclusion.errors(model, rows, parts, pca) | conclusion.density(model, rows, parts, SEED)
    made |= {"rows": len(rows.x), "test": len(parts.test)}
    if data == SAMPLED:
        sampler, scores = conclusion.best_sampler(model, rows, parts, SEED)
        features = rotation_features(rows, parts, folder.parent)
        real = features(models.numbers(rows.x, parts.test[:SAMPLES]))
        drawn = np.clip(sampler.sample(SAMPLES, seed=SEED), 0, 1)
        made["frechet"] = samples.frechet_distance(real, features(drawn))
        held_out = models.numbers(rows.x, parts.train[-SAMPLES:])
        made |= {"frechet_of_real": samples.frechet_distance(real, features(held_out)), "samplers": scores}
    return made


def rotation_features(rows, parts, folder):
    """Returns the features of a network that predicts by which quarter turn a training picture was rotated."""

    def make(own):
        keras.utils.set_random_seed(SEED)
        own.mkdir(parents=True, exist_ok=True)
        x = models.numbers(rows.x, parts.train[:ROWS])
        turns = np.random.default_rng(SEED).integers(4, size=len(x))
        turned = np.stack([np.rot90(each, turn) for each, turn in zip(x, turns, strict=True)])
        samples.train_features(turned, turns, epochs=EPOCHS).classifier.save(own / "classifier.keras")
        return {}

    runs.kept(folder, "features", make, {"rows": ROWS, "epochs": EPOCHS, "seed": SEED})
    return samples.features_of(keras.saving.load_model(folder / "features" / "classifier.keras"))


def table(reports):
    """Returns the rows of the table, from reports by run."""
    made = []
    for name, report in reports.items():
        data, _, kind = name.rpartition("_")
        dimensions = DATA[data][2]
        shared = {"data": f"{data}, {report['test']:,} test pictures", "seeds": [SEED], "command": COMMAND}
        shared |= {"seconds": report["train_seconds"], "date": report["date"], "versions": report["versions"]}
        claim = f"{kind}, {dimensions} dimensions"
        if name != BEFORE:
            required, target = DATA[data][3][kind]
            made.append(
                results.row(
                    claim=claim,
                    metric="squared error relative to PCA's",
                    better="lower",
                    ours=report["ratio_to_pca"],
                    required=required,
                    target=target,
                    **shared,
                )
            )
        error = {"metric": "squared error", "better": "lower"}
        made.append(results.row(claim=claim, ours=report["test_squared_error"], **error, **shared))
        if kind == "vae":
            ours = report["test_pca_squared_error"]
            made.append(results.row(claim=f"PCA, {dimensions} dimensions", ours=ours, **error, **shared))
        if report["bits_per_dimension"] is not None:
            bits = {"metric": "bits per dimension, at most", "better": "lower", "ours": report["bits_per_dimension"]}
            made.append(results.row(claim=claim, **bits, **shared))
        if "frechet" in report:
            best = next(iter(report["samplers"]))
            frechet = {"metric": "Frechet distance, rotation features", "better": "lower", **shared}
            made.append(results.row(claim=f"{claim}, samples of the {best}", ours=report["frechet"], **frechet))
            if kind == "vae":
                claim = "training faces in place of samples"
                made.append(results.row(claim=claim, ours=report["frechet_of_real"], **frechet))
    if BEFORE in reports and f"{SAMPLED}_vae" in reports:
        made.append(
            results.row(
                claim="samples of the VAE relative to those of the defaults before",
                metric="ratio of Frechet distances",
                better="lower",
                required=0.5,
                ours=reports[f"{SAMPLED}_vae"]["frechet"] / reports[BEFORE]["frechet"],
                data=SAMPLED,
                seeds=[SEED],
                seconds=reports[BEFORE]["train_seconds"],
                command=COMMAND,
            )
        )
    return made


def main(_):
    names = [f"{data}_{kind}" for data in DATA for kind in KINDS] + [BEFORE]
    settings = {"minutes": options.minutes(MINUTES), "seed": SEED, "samples": SAMPLES, "rows": ROWS, "epochs": EPOCHS}
    runs.publish_table(
        "own_pictures", {name: settings | {"data": DATA[name.rpartition("_")[0]]} for name in names}, measure, table
    )


if __name__ == "__main__":
    options.run(main)
