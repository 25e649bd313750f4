"""VAE and IWAE of Burda 2016 on MNIST: `python -m benchmarks.importance_weighted --data=<path of mnist.npz>`.

One stochastic layer: 784-200-200-50 and back, tanh; pixels drawn anew at every visit. Where the paper takes 3,280
passes in batches of 20 with a falling rate, these runs take the time that `--minutes` gives each, in batches of 100
with a cosine. The likelihood is estimated with 5,000 samples on all test images, each binarised once.

Finished runs are kept in `--runs` and not repeated, so the same command goes on after a kill.
"""

import functools

import keras
from absl import app, flags

import keras_ae as ka
from apps import common
from apps.quickstart import train as quickstart
from benchmarks import options, results, runs
from keras_ae.evaluation import latent, likelihood

_MINUTES = flags.DEFINE_float("minutes", 55.0, "Minutes of training of each model.")
_ONLY = flags.DEFINE_list("only", None, "Names of the runs to make now; the table is written once all are there.")

HIDDEN, LATENT, BATCH, SEED = (200, 200), 50, 100, 0
SAMPLES = 5_000
# Figures of the paper's table 1, and what was asked of this project.
MODELS = {
    "vae": {"claim": "VAE", "paper": 86.76, "least": 87.2, "units": 19, "rate": 2e-3},
    "iwae5": {"claim": "IWAE, k = 5", "paper": 85.54, "least": 86.4, "units": 22, "rate": 2e-3},
    "iwae50": {"claim": "IWAE, k = 50", "paper": 84.78, "least": 86.2, "units": 25, "rate": 2e-3},
}


def build(name):
    """An untrained model of the paper's size."""
    encoder = ka.networks.mlp_encoder((28, 28, 1), LATENT, HIDDEN, parameters=2, activation="tanh")
    decoder = ka.networks.mlp_decoder(LATENT, (28, 28, 1), HIDDEN, activation="tanh")
    if name == "vae":
        return ka.VAE(encoder, decoder, seed=SEED)
    return ka.IWAE(encoder, decoder, importance_samples=int(name.removeprefix("iwae")), seed=SEED)


def data(split, **options):
    return ka.datasets.load("mnist", split, data=options.data(), seed=SEED, **options)


def measure(name, folder):
    """Trains one model for its minutes; returns its NLL, active units and passes over the data."""
    keras.utils.set_random_seed(SEED)
    model = build(name)
    quickstart.start_at_mean(model, ka.datasets.arrays(data("train", shuffle=False)))
    batches = data("train", binarize="dynamic", batch_size=BATCH)
    model.compile(keras.optimizers.Adam(MODELS[name]["rate"]))
    steps = 10_000 * len(batches)  # more than the time allows: the clock alone lowers the rate
    budget = common.CosineDecay(MODELS[name]["rate"], steps, _MINUTES.value)
    # A checkpoint costs a tenth of a second, and a killed run would lose an hour.
    seconds = common.fit(
        model, batches, epochs=10_000, shuffle=False, verbose=2, budget=budget, checkpoint_dir=str(folder)
    )
    model.save_weights(folder / "model.weights.h5")
    x = ka.datasets.arrays(data("test", binarize="static"))
    found = likelihood.negative_log_likelihood(model, x, num_samples=SAMPLES, seed=SEED)
    return {
        "nll": found.nll,
        "standard_error": found.standard_error,
        "effective_sample_size": found.effective_samples.mean(),
        "active_units": latent.active_units(model, x),
        "passes": int(model.optimizer.iterations) / len(batches),
        "train_seconds": seconds,
    }


def rows(reports):
    """The rows of the table, from reports by name of the run."""
    made = []
    for name, report in reports.items():
        asked = MODELS[name]
        claim = f"{asked['claim']}, 200-200-50 tanh, {report['passes']:.0f} passes"
        shared = {"data": "MNIST, 10,000 test images", "seeds": [SEED], "seconds": report["train_seconds"]}
        shared |= {"date": report["date"], "versions": report["versions"]}
        shared |= {"command": "python -m benchmarks.importance_weighted --data=mnist.npz"}
        nll = {"metric": "NLL, 5,000 samples, nats", "better": "lower", "ours": report["nll"]}
        nll |= {"standard_error": report["standard_error"], "paper": asked["paper"], "least": asked["least"]}
        units = {"metric": "active units", "better": "higher", "ours": report["active_units"], "paper": asked["units"]}
        made += [results.row(claim=claim, **each, **shared) for each in (nll, units)]
    return made


def main(_):
    folder, reports = options.runs("importance_weighted"), {}
    for name in _ONLY.value or MODELS:
        of = MODELS[name] | {
            "hidden": HIDDEN,
            "latent": LATENT,
            "batch": BATCH,
            "seed": SEED,
            "minutes": _MINUTES.value,
        }
        reports[name] = runs.kept(folder, name, functools.partial(measure, name), of)
    if set(reports) == set(MODELS):
        results.write("importance_weighted", rows(reports))


if __name__ == "__main__":
    app.run(main)
