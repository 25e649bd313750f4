"""Pictures of latent spaces of MNIST: `python -m benchmarks.latent_spaces --data=<path of mnist.npz>`.

An autoencoder and a VAE have two latent dimensions and the same networks. The figures show their codes side by side,
the images that the VAE decodes from a grid over the plane, traversals of each of its dimensions, and the two terms of
its bound during training. The table has the results of `latent.irregularity`. A CVAE with labels gives a grid with one
handwriting style per row and one digit per column. Figures are written to `docs`.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import keras
import numpy as np

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae import plots
from keras_ae.evaluation import latent

HIDDEN, BATCH, RATE, MINUTES, SEED = (512, 256), 100, 1e-3, 4.0, 0
LATENT = {"autoencoder": 2, "VAE": 2, "CVAE": 10}
STYLES = 8
DOCS = results.DOCS
METRICS = {
    "off_centre": "distance of the mean code from 0, in standard deviations of the codes",
    "uneven_areas": "area of the largest class, relative to the smallest",
    "gaps": "share of points drawn from among the codes that are far from every code",
}
COMMAND = "python -m benchmarks.latent_spaces --data=mnist.npz"
SMOKE = {"HIDDEN": (32,)}


def digits(split):
    return ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data("mnist"), labels=True, shuffle=False))


def build(name):
    shape, condition = (28, 28, 1), {"condition_shape": (10,) if name == "CVAE" else None}
    parameters = 1 if name == "autoencoder" else 2
    encoder = ka.networks.mlp_encoder(shape, LATENT[name], HIDDEN, parameters=parameters, **condition)
    decoder = ka.networks.mlp_decoder(LATENT[name], shape, HIDDEN[::-1], **condition)
    if name == "CVAE":
        return ka.CVAE(encoder, decoder, num_classes=10, seed=SEED)
    return (ka.VAE if name == "VAE" else ka.Autoencoder)(encoder, decoder, "bernoulli", seed=SEED)


def trained(name, folder):
    """Returns a model trained in `folder`, now or earlier, and the report of `runs.train`."""
    keras.utils.set_random_seed(SEED)
    model = build(name)
    batches = ka.datasets.load(
        "mnist", data=options.data("mnist"), labels=name == "CVAE", binarize="dynamic", batch_size=BATCH, seed=SEED
    )
    return model, runs.train(model, batches, RATE, options.minutes(MINUTES), folder)


def measure(name, folder):
    """Trains a model; returns the training report and the statistics of its latent space."""
    model, found = trained(name, folder)
    if name != "CVAE":
        x, y = digits("test")
        found |= latent.irregularity(model.encode(x), y)._asdict()
    return found


def draw(folder):
    """Draws the figures of the trained models."""
    x, y = digits("test")
    made = {name: trained(name, folder / name) for name in LATENT}
    models = {name: model for name, (model, _) in made.items()}
    plots.decomposition(made["VAE"][1]["history"]).savefig(DOCS / "bound.png")
    codes = {name: models[name].encode(x) for name in ("autoencoder", "VAE")}
    plots.latent_spaces(codes, y).savefig(DOCS / "latent_spaces.png")
    plots.latent_grid(models["VAE"].decode).savefig(DOCS / "latent_grid.png")
    plots.traversals(models["VAE"].decode, codes["VAE"]).savefig(DOCS / "traversals.png")
    styles = np.repeat(models["CVAE"].encode(x[:STYLES], y[:STYLES]), 10, axis=0)
    swept = models["CVAE"].decode(styles, np.tile(np.arange(10), STYLES))
    plots.image_grid(swept, columns=10).savefig(DOCS / "styles.png")


def rows(reports):
    """Returns the rows of the table, from the reports of the autoencoder and the VAE."""
    made = []
    for name in ("autoencoder", "VAE"):
        report = reports[name]
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"command": COMMAND, "date": report["date"], "versions": report["versions"], "better": "lower"}
        for key, metric in METRICS.items():
            required = reports["autoencoder"][key] if name == "VAE" else None
            each = {
                "claim": f"{name}, two latent dimensions",
                "metric": metric,
                "ours": report[key],
                "required": required,
            }
            made.append(results.row(**each, **shared))
    return made


def main(_):
    settings = {"hidden": HIDDEN, "batch": BATCH, "rate": RATE, "minutes": options.minutes(MINUTES)}

    def drawn(reports):
        draw(options.runs("latent_spaces"))
        return rows(reports)

    runs.publish_table("latent_spaces", dict.fromkeys(LATENT, settings), measure, drawn)


if __name__ == "__main__":
    options.run(main)
