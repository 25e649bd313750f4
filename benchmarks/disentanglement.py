"""Disentanglement of drawn shapes, VAE compared with beta-VAE and FactorVAE: `python -m benchmarks.disentanglement`.

The data are `ka.datasets.Shapes`: three kinds of shapes, six sizes, 40 angles, 16 x 16 positions, 32 x 32 pixels. All
models have the same networks and train on the same images for the same time, with three seeds. The scores of
`keras_ae.evaluation.disentanglement` are computed on held-out images. The FactorVAE and beta-VAE scores are exceptions:
they fix factors, so they draw from all images. The reconstruction term shows the cost of disentanglement.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae import plots
from keras_ae.evaluation import disentanglement

LATENT, FILTERS, HIDDEN, BATCH, RATE, MINUTES = 10, (32, 32, 64), (128,), 64, 1e-3, 6.0
SEEDS = (0, 1, 2)
PICTURES, SCORED = 100_000, 10_000
POINTS, VOTES = {}, {}  # arguments of the beta-VAE and FactorVAE scores; empty for their defaults
MODELS = {"vae": "VAE", "beta4": "beta-VAE, beta 4", "tc6": "beta-TC-VAE, beta 6", "gamma10": "FactorVAE, gamma 10"}
CRITIC = (256, 256, 256)  # of the FactorVAE; the other models have none
METRICS = {
    "beta_vae": "beta-VAE score",
    "factor_vae": "FactorVAE score",
    "mig": "mutual information gap",
    "dci": "DCI disentanglement",
    "sap": "SAP",
}
# The model and score by which disentanglement is judged, fixed before anything was measured. The gain over the VAE must
# be at least two of its standard errors; a tie does not count.
JUDGED, ABOVE = ("beta4", "mig"), 1e-3
COMMAND = "python -m benchmarks.disentanglement"
DOCS = results.DOCS
SMOKE = {"LATENT": 3, "FILTERS": (4, 4, 4), "HIDDEN": (16,), "SEEDS": (0, 1), "PICTURES": 500, "SCORED": 500}
SMOKE |= {"POINTS": {"points": 20, "test_points": 20}, "VOTES": {"votes": 20, "test_votes": 20}}
SMOKE |= {"MODELS": {name: MODELS[name] for name in ("vae", JUDGED[0], "gamma10")}, "CRITIC": (16,)}


def build(name, seed):
    shape = (32, 32, 1)
    encoder = ka.networks.conv_encoder(shape, LATENT, FILTERS, HIDDEN, parameters=2)
    decoder = ka.networks.conv_decoder(LATENT, shape, FILTERS[::-1], HIDDEN)
    if name == "vae":
        return ka.VAE(encoder, decoder, seed=seed)
    if name.startswith("beta"):
        return ka.BetaVAE(encoder, decoder, beta=float(name.removeprefix("beta")), seed=seed)
    if name.startswith("gamma"):
        critic = ka.networks.code_critic(LATENT, CRITIC, activation="leaky_relu")
        return ka.FactorVAE(encoder, decoder, critic, gamma=float(name.removeprefix("gamma")), seed=seed)
    return ka.BetaTCVAE(encoder, decoder, rows=PICTURES, beta=float(name.removeprefix("tc")), seed=seed)


def trained(run, folder):
    """Returns the trained model of a run named "name seed", the held-out factors, and the training report."""
    name, seed = run.split()[0], int(run.split()[1])
    keras.utils.set_random_seed(seed)
    shapes = ka.datasets.Shapes()
    order = np.random.default_rng(seed).permutation(len(shapes))
    x = shapes.images(shapes.rows(order[:PICTURES]))
    batches = runs.batches(x, BATCH, seed).map(lambda each: tf.cast(each, tf.float32) / 255)
    model = build(name, seed)
    report = runs.train(model, batches, RATE, options.minutes(MINUTES), folder)
    return model, shapes.rows(order[-SCORED:]), report


def measure(run, folder):
    """Trains the model of a run; returns its scores and terms on held-out images."""
    model, factors, report = trained(run, folder)
    seed, shapes = int(run.split()[1]), ka.datasets.Shapes()
    x = shapes.images(factors)
    z = model.encode(x / np.float32(255))
    terms = model.evaluate(x / np.float32(255), batch_size=500, verbose=0, return_dict=True)

    def encode(pictures):
        return model.encode(pictures / np.float32(255))

    return {
        "beta_vae": disentanglement.beta_vae_score(encode, shapes, seed, **POINTS),
        "factor_vae": disentanglement.factor_vae_score(encode, shapes, seed, **VOTES),
        "mig": disentanglement.mutual_information_gap(z, factors),
        "dci": disentanglement.dci(z, factors, seed=seed)["disentanglement"],
        "sap": disentanglement.sap(z, factors, seed=seed),
        "reconstruction": terms["reconstruction"],
        **report,
    }


def draw(folder):
    """Draws traversals of each latent dimension, for the VAE and the model that is judged."""
    for name in ("vae", JUDGED[0]):
        model, factors, _ = trained(f"{name} {SEEDS[0]}", folder / f"{name} {SEEDS[0]}")
        codes = model.encode(ka.datasets.Shapes().images(factors) / np.float32(255))
        plots.traversals(model.decode, codes, title=MODELS[name]).savefig(DOCS / f"shapes_{name}.png")


def rows(reports):
    """Returns the rows of the table, from reports by run: means over seeds, and mean differences from the VAE."""
    made = []
    for name, claim in MODELS.items():
        found = [reports[f"{name} {seed}"] for seed in SEEDS]
        shared = {"seeds": list(SEEDS), "command": COMMAND}
        shared |= {"seconds": sum(each["train_seconds"] for each in found)}
        shared |= {key: found[-1][key] for key in ("date", "versions")}
        for key, metric in (METRICS | {"reconstruction": "reconstruction, nats"}).items():
            values = np.array([each[key] for each in found])
            each = {"claim": claim, "metric": metric, "better": "lower" if key == "reconstruction" else "higher"}
            fixes_factors = key in ("beta_vae", "factor_vae")
            each["data"] = "drawn shapes" if fixes_factors else f"drawn shapes, {SCORED:,} new images"
            made.append(results.row(**each, **_mean(values), **shared))
            if name != "vae":
                gains = values - [reports[f"vae {seed}"][key] for seed in SEEDS]
                gain = _mean(gains)
                required = max(ABOVE, 2 * gain["standard_error"]) if (name, key) == JUDGED else None
                each |= {"claim": f"{claim}, minus the VAE with the same seed", "required": required}
                made.append(results.row(**each, **gain, **shared))
    return made


def _mean(values):
    return {"ours": values.mean(), "standard_error": values.std(ddof=1) / np.sqrt(len(values))}


def main(_):
    settings = {"latent": LATENT, "filters": FILTERS, "hidden": HIDDEN, "batch": BATCH, "rate": RATE}
    settings |= {"pictures": PICTURES, "scored": SCORED, "minutes": options.minutes(MINUTES)}
    of_model = {name: settings | ({"critic": CRITIC} if name.startswith("gamma") else {}) for name in MODELS}
    each = {f"{name} {seed}": of_model[name] for name in MODELS for seed in SEEDS}

    def drawn(reports):
        draw(options.runs("disentanglement"))
        return rows(reports)

    runs.publish_table("disentanglement", each, measure, drawn)


if __name__ == "__main__":
    options.run(main)
