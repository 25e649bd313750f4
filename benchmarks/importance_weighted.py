"""VAE and IWAE of Burda 2016 on MNIST: `python -m benchmarks.importance_weighted --data=<path of mnist.npz>`.

One stochastic layer: 784-200-200-50 and back, tanh; pixels drawn anew at every visit. Where the paper takes 3,280
passes in batches of 20 with a falling rate, these runs take the minutes of `MODELS`, in batches of 100 with a cosine.
A pass with k = 50 draws ten times as many samples as one with k = 5, so that model begins with 5.
The likelihood is estimated with 5,000 samples on all test images, each binarised once; no setting was chosen by it.

Finished runs are kept in `--runs` and not repeated, so the same command goes on after a kill.
"""

import functools

import keras
from absl import app

import keras_ae as ka
from apps.quickstart import train as quickstart
from benchmarks import options, results, runs
from keras_ae.evaluation import latent, likelihood

HIDDEN, LATENT, BATCH, SEED, RATE = (200, 200), 50, 100, 0, 2e-3
SAMPLES = 5_000
# Figures of the paper's table 1, what was asked of this project, and phases of training: samples k and minutes.
MODELS = {
    "vae": {"claim": "VAE", "paper": 86.76, "least": 87.2, "units": 19, "phases": ((1, 25.0),)},
    "iwae5": {"claim": "IWAE, k = 5", "paper": 85.54, "least": 86.4, "units": 22, "phases": ((5, 35.0),)},
    "iwae50": {"claim": "IWAE, k = 50", "paper": 84.78, "least": 86.2, "units": 25, "phases": ((5, 15.0), (50, 25.0))},
}


def build(k):
    """An untrained model of the paper's size with k importance samples, a VAE for one."""
    encoder = ka.networks.mlp_encoder((28, 28, 1), LATENT, HIDDEN, parameters=2, activation="tanh")
    decoder = ka.networks.mlp_decoder(LATENT, (28, 28, 1), HIDDEN, activation="tanh")
    if k == 1:
        return ka.VAE(encoder, decoder, seed=SEED)
    return ka.IWAE(encoder, decoder, importance_samples=k, seed=SEED)


def data(split, **arguments):
    return ka.datasets.load("mnist", split, data=options.data(), seed=SEED, **arguments)


def settings(name):
    """What the outcome of a run depends on."""
    phases = MODELS[name]["phases"]
    share = 1.0 if options.MINUTES.value is None else options.MINUTES.value / sum(minutes for _, minutes in phases)
    phases = [(k, share * minutes) for k, minutes in phases]
    settings = {"hidden": HIDDEN, "latent": LATENT, "rate": RATE, "batch": BATCH, "phases": phases}
    return settings | {"samples": SAMPLES, "seed": SEED}


def measure(name, folder):
    """Trains one model for its minutes; returns its NLL, active units and passes over the data for each k."""
    batches = data("train", binarize="dynamic", batch_size=BATCH)
    model, reports = None, {}
    for k, minutes in settings(name)["phases"]:
        keras.utils.set_random_seed(SEED)
        before, model = model, build(k)
        if before is None:
            quickstart.start_at_mean(model, ka.datasets.arrays(data("train", shuffle=False)))
        else:
            model.set_weights(before.get_weights())
        reports[k] = runs.train(model, batches, RATE, minutes, folder / f"k{k}")
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
    """The rows of the table, from reports by name of the run."""
    made, below = [], None
    for name, report in reports.items():
        asked = MODELS[name]
        passes = ", then ".join(f"{passes:.0f} passes of k = {k}" for k, passes in report["passes"].items())
        claim = f"{asked['claim']}, 200-200-50 tanh, {passes}"
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"date": report["date"], "versions": report["versions"]}
        shared |= {"command": "python -m benchmarks.importance_weighted --data=mnist.npz"}
        nll = {"metric": "NLL, 5,000 samples, nats", "better": "lower", "ours": report["nll"]}
        nll |= {"standard_error": report["standard_error"], "paper": asked["paper"], "least": asked["least"]}
        units = {"metric": "active units", "better": "higher", "ours": report["active_units"], "paper": asked["units"]}
        units["least"] = None if below is None else below + 1  # they rise with k
        below = report["active_units"]
        made += [results.row(claim=claim, **each, **shared) for each in (nll, units)]
    return made


def main(_):
    folder = options.runs("importance_weighted")
    reports = {
        name: runs.kept(folder, name, functools.partial(measure, name), settings(name)) for name in options.only(MODELS)
    }
    if len(reports) == len(MODELS):
        results.write("importance_weighted", rows(reports))


if __name__ == "__main__":
    app.run(main)
