"""VAE and IWAE of Burda 2016 on MNIST: `python -m benchmarks.importance_weighted --data=<path of mnist.npz>`.

One stochastic layer: 784-200-200-50 and back, tanh; training images are binarised in every epoch. The paper trains
for 3,280 passes for each k, from random weights. Here both IWAEs continue from the trained VAE (as in the paper's table
2), for the minutes in `STAGES`, because a pass with k = 50 draws fifty times as many samples as one of the VAE. Models
with more samples per image use smaller batches: a step costs no more per sample, and there are more steps. Learning
rates decay to 0 along a cosine. The likelihood is estimated with 5,000 samples on all test images, each binarised once;
it was not used to choose settings.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import keras

import keras_ae as ka
from apps.quickstart import train as quickstart
from benchmarks import options, results, runs
from keras_ae.evaluation import latent, likelihood

HIDDEN, LATENT, SEED = (200, 200), 50, 0
SAMPLES = 5_000
# How a model is trained with k samples, by k. The stages of a model may take 60 minutes in total, as for all models.
STAGES = {
    1: {"batch": 100, "rate": 2e-3, "minutes": 20.0},
    5: {"batch": 50, "rate": 1e-3, "minutes": 20.0},
    50: {"batch": 20, "rate": 5e-4, "minutes": 25.0},
}
# Samples k of the stages, the values in the paper's table 1, and this project's requirements.
MODELS = {
    "vae": {"claim": "VAE", "stages": (1,), "paper": 86.76, "required": 87.2, "units": 19},
    "iwae5": {"claim": "IWAE, k = 5", "stages": (1, 5), "paper": 85.54, "required": 86.4, "units": 22},
    "iwae50": {"claim": "IWAE, k = 50", "stages": (1, 50), "paper": 84.78, "required": 86.2, "units": 25},
}
SMOKE = {"SAMPLES": 5, "HIDDEN": (16,), "LATENT": 3}


def networks():
    """Returns an untrained encoder and decoder of the paper's size."""
    encoder = ka.networks.mlp_encoder((28, 28, 1), LATENT, HIDDEN, parameters=2, activation="tanh")
    return encoder, ka.networks.mlp_decoder(LATENT, (28, 28, 1), HIDDEN, activation="tanh")


def build(k, encoder, decoder):
    """Returns a model with k importance samples, which is a VAE if k is 1."""
    if k == 1:
        return ka.VAE(encoder, decoder, seed=SEED)
    return ka.IWAE(encoder, decoder, importance_samples=k, seed=SEED)


def data(split, **arguments):
    return ka.datasets.load("mnist", split, data=options.data("mnist"), seed=SEED, **arguments)


def stage(k):
    """Returns batch size, rate and minutes of training with k samples; `--minutes` applies to each stage."""
    return STAGES[k] | {"minutes": options.minutes(STAGES[k]["minutes"])}


def settings(name):
    """Returns the settings that the outcome of a run depends on."""
    stages = {str(k): stage(k) for k in MODELS[name]["stages"]}
    return {"hidden": HIDDEN, "latent": LATENT, "stages": stages, "samples": SAMPLES, "seed": SEED}


def measure(name, folder):
    """Trains one model in its stages, sharing the first; returns its NLL, active units and passes."""
    keras.utils.set_random_seed(SEED)
    encoder, decoder = networks()
    reports = {}
    for k in MODELS[name]["stages"]:
        model, chosen = build(k, encoder, decoder), stage(k)
        batches = data("train", binarize="dynamic", batch_size=chosen["batch"])
        if not reports:
            quickstart.start_at_mean(model, ka.datasets.arrays(data("train", shuffle=False)))
            own, known = folder.parent / "first", settings("vae")
        else:
            own, known = folder / f"k{k}", settings(name)
        reports[k] = runs.train(model, batches, chosen["rate"], chosen["minutes"], own, known)
    x = ka.datasets.arrays(data("test", binarize="static"))
    found = likelihood.negative_log_likelihood(model, x, num_samples=SAMPLES, seed=SEED)
    return {
        "nll": found.nll,
        "standard_error": found.standard_error,
        "effective_sample_size": found.effective_samples.mean(),
        "active_units": latent.active_units(model, x),
        "passes": {k: report["passes"] for k, report in reports.items()},
        "train_seconds": sum(report["train_seconds"] for report in reports.values()),
    }


def rows(reports):
    """Returns the rows of the table, from reports by name of the run."""
    made, below = [], None
    for name, report in reports.items():
        asked = MODELS[name]
        passes = ", then ".join(f"{passes:.0f} passes of k = {k}" for k, passes in report["passes"].items())
        claim = f"{asked['claim']}, 200-200-50 tanh, {passes}"
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"date": report["date"], "versions": report["versions"]}
        shared |= {"command": "python -m benchmarks.importance_weighted --data=mnist.npz"}
        nll = {"metric": "NLL, 5,000 samples, nats", "better": "lower", "ours": report["nll"]}
        nll |= {"standard_error": report["standard_error"], "paper": asked["paper"], "required": asked["required"]}
        effective = {"metric": "effective samples of 5,000, mean", "ours": report["effective_sample_size"]}
        effective["better"] = "higher"
        units = {"metric": "active units", "better": "higher", "ours": report["active_units"], "paper": asked["units"]}
        units["required"] = None if below is None else below + 1  # active units should increase with k
        below = report["active_units"]
        minutes = {"metric": "training, minutes on two cores", "better": "lower", "required": 60}
        minutes["ours"] = report["train_seconds"] / 60
        made += [results.row(claim=claim, **each, **shared) for each in (nll, effective, units, minutes)]
    return made


def main(_):
    runs.publish_table("importance_weighted", {name: settings(name) for name in MODELS}, measure, rows)


if __name__ == "__main__":
    options.run(main)
