"""What noise, contraction and sparsity do to features: `python -m benchmarks.features --data=<path of mnist.npz>`.

Stacked autoencoders. The rotated set and the set with a noisy background are made as by Larochelle 2007: from the
70,000 images of MNIST in an order drawn with `SET_SEED`, 10,000 train, 2,000 validate and 50,000 test. A digit is
rotated by an angle uniform in 0 to 360 degrees, or each of its pixels is the larger one of the digit's and of a
uniform random number. A network of three hidden layers starts from random weights (MLP-3), from layers pretrained as
autoencoders (SAE-3) or as denoising ones (SDAE-3), and is then trained with labels; the epoch with the lowest
validation error counts. Differences between two of them are means over seeds, paired by seed.

One layer, on MNIST: 50,000 images train, 10,000 validate. A contractive, a denoising and a plain autoencoder with
tied weights train without labels, and then with labels. The Jacobian norms |dh/dx| of different models can only be
compared at equal reconstruction, so their squared error and norm on validation images are recorded after each epoch,
and the norms compared where each model first reaches the error that all of them reach.

Sparse features: the error of logistic regression on the codes of a k-sparse autoencoder, and the mean activity of the
units under a KL penalty. Score: the cosine between r(x) - x of a denoising autoencoder r and the gradient of log
p(x), for a mixture p of three Gaussians in the plane, over the 90 % of its samples with the highest density.

`--trial` prints validation errors only, which chose the settings; test images had no influence on them. A figure of
filters under growing noise is written to `docs`. Finished runs are saved in `--runs` and not repeated, so the same
command resumes after it was killed.
"""

import functools
import pathlib
import tempfile
import time

import keras
import numpy as np
import scipy.ndimage
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.linear_model import LogisticRegression

import keras_ae as ka
from benchmarks import options, results, runs
from keras_ae import plots
from keras_ae.evaluation import manifold

SETS = ("rotated", "noisy background")
SET_SEED = 2007
SPLIT = (10_000, 2_000, 50_000)  # train, validation, test
SEEDS = (0, 1, 2)
STACKED = {
    "units": (1000, 1000, 1000),
    "noise": {"rotated": 0.25, "noisy background": 0.4},  # share of masked values, at every layer
    "pretrain_epochs": 20,  # per layer
    "pretrain_rate": 1e-3,
    "batch": 100,
    "rate": 3e-4,
    "epochs": 60,
    "patience": 15,
}
METHODS = {"mlp": "MLP-3", "sae": "SAE-3", "sdae": "SDAE-3"}
# Test errors in percent of SDAE-3: Vincent 2010, table 3.
STACKED_PAPER = {"rotated": 9.53, "noisy background": 10.30}
STACKED_REQUIRED = {"rotated": 10.5}

TRAIN, SEED, MEASURED = 50_000, 0, 1_000  # images that train, of MNIST; validation images for the curves
ONE_LAYER = {
    "units": 1000,
    "contraction": 0.1,  # weight
    "noise": 0.25,  # share of masked pixels
    "pretrain_epochs": 50,
    "pretrain_rate": 1e-3,
    "batch": 100,
    "rate": 3e-4,
    "epochs": 60,
    "patience": 15,
}
# Test errors in percent: Rifai 2011, table 1, of a layer trained without labels and fine-tuned; DAE with masking noise.
ONE_LAYER_PAPER = {"cae": 1.14, "dae": 1.57, "ae": 1.78}
ONE_LAYER_NAMES = {"cae": "contractive", "dae": "denoising", "ae": "plain"}

SPARSE = {
    "units": 1000,
    "k": 25,
    "first_k": 100,  # falls to k over the first half of the epochs, so that no unit stays unused
    "alpha": 3.0,
    "epochs": 40,
    "rate": 1e-3,
    "batch": 100,
    "C": (0.1, 1.0, 10.0),  # chosen on the validation images
}
KL = {"units": 196, "target": 0.1, "weight": 10.0, "epochs": 30, "rate": 1e-3, "batch": 100}
SCORE = {"noise": 0.2, "rows": 200_000, "hidden": (128, 128), "code": 64, "rate": 1e-3, "batch": 500, "minutes": 4.0}
FILTERS = {"levels": (0.0, 0.1, 0.25, 0.5), "units": 400, "epochs": 15, "rate": 1e-3, "batch": 100}
COMMAND = "python -m benchmarks.features --data=mnist.npz"
DOCS = results.DOCS
_TINY = {"epochs": 1, "pretrain_epochs": 1}
SMOKE = {
    "SETS": ("noisy background",),
    "SPLIT": (500, 100, 200),
    "SEEDS": (0, 1),
    "STACKED": STACKED | _TINY | {"units": (16,)},
    "TRAIN": 1_000,
    "MEASURED": 100,
    "ONE_LAYER": ONE_LAYER | _TINY | {"units": 16},
    "SPARSE": SPARSE | {"units": 32, "k": 4, "first_k": 8, "epochs": 2, "C": (0.01,)},
    "KL": KL | {"units": 16, "epochs": 1},
    "SCORE": SCORE | {"rows": 1_000, "hidden": (16,), "code": 8},
    "FILTERS": FILTERS | {"levels": (0.25,), "units": 9, "epochs": 1},
}


# Data


def mnist(split):
    return ka.datasets.arrays(ka.datasets.load("mnist", split, data=options.data("mnist"), labels=True, shuffle=False))


def digits():
    """Returns MNIST by part: `{"train": (x, y), "valid": ..., "test": ...}`."""
    (x, y), test = mnist("train"), mnist("test")
    return {"train": (x[:TRAIN], y[:TRAIN]), "valid": (x[TRAIN:], y[TRAIN:]), "test": test}


def variation(name):
    """Returns one of `SETS` by part, as `digits` does."""
    x, y = (np.concatenate(both) for both in zip(mnist("train"), mnist("test"), strict=True))
    rng = np.random.default_rng(SET_SEED)
    chosen = rng.permutation(len(x))[: sum(SPLIT)]
    x, y = x[chosen], y[chosen]
    x = rotated(x, rng) if name == "rotated" else np.maximum(x, rng.random(x.shape, dtype="float32"))
    ends = np.cumsum(SPLIT)[:2]
    return dict(zip(("train", "valid", "test"), zip(np.split(x, ends), np.split(y, ends), strict=True), strict=True))


def rotated(x, rng):
    """Rotates each image by its own angle, uniform in 0 to 360 degrees, with linear interpolation."""
    angles = rng.uniform(0, 360, len(x))
    turned = [scipy.ndimage.rotate(row, a, reshape=False, order=1) for row, a in zip(x[..., 0], angles, strict=True)]
    return np.stack(turned)[..., None].clip(0, 1)


# Networks with labels


def fine_tuned(encoder, parts, chosen, seed):
    """Trains an encoder and a softmax with labels; returns the errors in percent of the epoch with the best one."""
    network = ka.networks.classifier(encoder, 10)
    network.compile(keras.optimizers.Adam(chosen["rate"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
    best = keras.callbacks.EarlyStopping("val_accuracy", patience=chosen["patience"], restore_best_weights=True)
    keras.utils.set_random_seed(seed)  # of the order of rows, equal for all methods
    history = network.fit(
        *parts["train"],
        batch_size=chosen["batch"],
        epochs=chosen["epochs"],
        validation_data=parts["valid"],
        callbacks=[best],
        verbose=2,
    )
    errors = {part: percent(network, *parts[part]) for part in ("valid", "test")}
    return {"errors": errors, "epochs": len(history.epoch)}


def percent(network, x, y):
    return 100 * float(np.mean(network.predict(x, batch_size=1_000, verbose=0).argmax(axis=1) != y))


def stacked(which, method, seed, folder):
    """Trains one of `METHODS` on one of `SETS`; returns its errors."""
    parts, chosen = variation(which), STACKED
    keras.utils.set_random_seed(seed)
    x = parts["train"][0]
    options_of_units = {"activation": "sigmoid", "code_activation": "sigmoid", "tied": True}
    encoder, decoder = ka.networks.chain(x.shape[1:], chosen["units"], **options_of_units)
    if method != "mlp":
        model = ka.Autoencoder(encoder, decoder, "bernoulli", seed=seed)
        if method == "sdae":
            noise = ka.layers.MaskingNoise(chosen["noise"][which], seed=seed)
            model = ka.DenoisingAutoencoder(encoder, decoder, noise, "bernoulli", seed=seed)
        rate = keras.optimizers.Adam(chosen["pretrain_rate"])
        shared = {"batch_size": chosen["batch"], "optimizer": rate, "seed": seed, "verbose": 0}
        ka.pretrain(model, x, epochs=chosen["pretrain_epochs"], **shared)
    return fine_tuned(encoder, parts, chosen, seed)


# One layer


class Curve(keras.callbacks.Callback):
    """Records the squared error and the mean Jacobian norm on x before training and after each epoch."""

    def __init__(self, x):
        super().__init__()
        self.x, self.points = x, []

    def on_train_begin(self, logs=None):
        self.measure()

    def on_epoch_end(self, epoch, logs=None):
        self.measure()

    def measure(self):
        error = manifold.reconstruction_error(self.x, self.model.reconstruct(self.x))
        norms = np.sqrt(ka.losses.jacobian.squared_norm(self.model.encoder, tf.constant(self.x)))
        self.points.append([error, float(np.mean(norms))])


def one_layer(method, folder):
    """Trains a layer without labels, then with labels; returns its curve and errors."""
    parts, chosen = digits(), ONE_LAYER
    x = parts["train"][0]
    encoder = ka.networks.mlp_encoder(x.shape[1:], chosen["units"], hidden=(), code_activation="sigmoid")
    networks = encoder, ka.networks.tied_decoder(encoder)
    if method == "cae":
        model = ka.ContractiveAutoencoder(*networks, "bernoulli", weight=chosen["contraction"], seed=SEED)
    elif method == "dae":
        noise = ka.layers.MaskingNoise(chosen["noise"], seed=SEED)
        model = ka.DenoisingAutoencoder(*networks, noise, "bernoulli", seed=SEED)
    else:
        model = ka.Autoencoder(*networks, "bernoulli", seed=SEED)
    curve = Curve(parts["valid"][0][:MEASURED])
    fit(model, x, chosen | {"rate": chosen["pretrain_rate"], "epochs": chosen["pretrain_epochs"]}, [curve])
    return fine_tuned(encoder, parts, chosen, SEED) | {"curve": curve.points}


def fit(model, x, chosen, callbacks=()):
    """Trains a model without labels, while the learning rate decays to 0 along a cosine."""
    steps = chosen["epochs"] * -(-len(x) // chosen["batch"])
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(chosen["rate"], steps)))
    model.fit(x, batch_size=chosen["batch"], epochs=chosen["epochs"], callbacks=list(callbacks), verbose=2)
    return model


def norms_at_equal_error(curves):
    """Returns the lowest squared error that all models reach, and the Jacobian norm of each where it reaches it first.

    Args:
        curves: `{model: [(error, norm), ...]}`, in the order of training.
    """
    error = max(min(e for e, _ in curve) for curve in curves.values())
    found = {}
    for name, curve in curves.items():
        i = next(i for i, (e, _) in enumerate(curve) if e <= error)
        (e0, n0), (e1, n1) = curve[max(i - 1, 0)], curve[i]
        share = 1.0 if e0 <= e1 else (e0 - error) / (e0 - e1)  # linear between two epochs
        found[name] = n0 + share * (n1 - n0)
    return error, found


# Sparse features


class FallingK(keras.callbacks.Callback):
    """Lowers `model.k` from `first` to `last`, in equal steps over the first half of the epochs."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def on_epoch_begin(self, epoch, logs=None):
        progress = min(epoch / max(self.params["epochs"] // 2, 1), 1.0)
        self.model.k = round(self.first + progress * (self.last - self.first))


def sparse(folder):
    """Trains a k-sparse autoencoder; returns the errors of logistic regression on its codes."""
    parts, chosen = digits(), SPARSE
    x, y = parts["train"]
    encoder = ka.networks.mlp_encoder(x.shape[1:], chosen["units"], hidden=())
    decoder = ka.networks.tied_decoder(encoder)
    limits = {"sparsity": "k", "k": chosen["k"], "alpha": chosen["alpha"]}
    model = ka.SparseAutoencoder(encoder, decoder, "gaussian", **limits, seed=SEED)
    fit(model, x, chosen, [FallingK(chosen["first_k"], chosen["k"])])
    codes = {part: model.encode(x, batch_size=1_000) for part, (x, _) in parts.items()}
    scale = codes["train"].std()
    tried = {}
    for c in chosen["C"]:
        probe = LogisticRegression(C=c, max_iter=300).fit(codes["train"] / scale, y)
        tried[c] = {part: 100 * float(1 - probe.score(codes[part] / scale, parts[part][1])) for part in codes}
    best = min(tried, key=lambda c: tried[c]["valid"])
    return {"errors": tried[best], "C": best, "active": float(np.mean(codes["test"] != 0) * chosen["units"])}


def kl(folder):
    """Trains a sparse autoencoder with a KL penalty; returns the mean activity of its units on test images."""
    parts, chosen = digits(), KL
    x = parts["train"][0]
    encoder = ka.networks.mlp_encoder(x.shape[1:], chosen["units"], hidden=(), code_activation="sigmoid")
    decoder = ka.networks.mlp_decoder(chosen["units"], x.shape[1:], hidden=())
    penalty = {"sparsity": "kl", "target_activity": chosen["target"], "weight": chosen["weight"]}
    model = fit(ka.SparseAutoencoder(encoder, decoder, "bernoulli", **penalty, seed=SEED), x, chosen)
    z = model.encode(parts["valid" if options.TRIAL.value else "test"][0], batch_size=1_000)
    activity = z.mean(axis=0)
    within = float(np.mean(np.abs(activity / chosen["target"] - 1) <= 0.1))
    return {"activity": float(activity.mean()), "units_within": within}


# The score of a density


def mixture():
    """Returns the mixture of three Gaussians in the plane."""
    tfd, angles = tfp.distributions, 2 * np.pi * np.arange(3) / 3
    means = 1.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    scales = np.float32([[0.6, 0.3], [0.4, 0.4], [0.3, 0.6]])
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[1 / 3] * 3), tfd.MultivariateNormalDiag(means, scales))


def score(folder):
    """Trains a denoising autoencoder of samples; returns the mean cosine with the gradient of the log density."""
    chosen, p = SCORE, mixture()
    x = p.sample(chosen["rows"], seed=(SEED, 0)).numpy()
    encoder = ka.networks.mlp_encoder((2,), chosen["code"], chosen["hidden"], activation="tanh")
    decoder = ka.networks.mlp_decoder(chosen["code"], (2,), chosen["hidden"], activation="tanh")
    noise = keras.layers.GaussianNoise(chosen["noise"], seed=SEED)
    model = ka.DenoisingAutoencoder(encoder, decoder, noise, "gaussian", seed=SEED)
    batches = runs.batches(x, chosen["batch"], SEED)
    found = runs.train(model, batches, chosen["rate"], options.minutes(chosen["minutes"]), folder, chosen)
    asked = p.sample(10_000, seed=(SEED, 1))
    density, gradient = tfp.math.value_and_gradient(p.log_prob, asked)
    bulk = density > np.quantile(density, 0.1)
    a, b = (each.numpy()[bulk.numpy()] for each in (tf.constant(model.reconstruct(asked)) - asked, gradient))
    cosines = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    error = float(cosines.std(ddof=1) / np.sqrt(len(cosines)))
    return {"cosine": float(cosines.mean()), "standard_error": error, "train_seconds": found["train_seconds"]}


# Filters


def filters(folder):
    """Trains a layer at each level of noise; saves the weights for the figure."""
    x, chosen = digits()["train"][0], FILTERS
    kernels = {}
    for level in chosen["levels"]:
        keras.utils.set_random_seed(SEED)  # the same first weights, so that filters can be compared one by one
        encoder = ka.networks.mlp_encoder(x.shape[1:], chosen["units"], hidden=(), code_activation="sigmoid")
        noise = ka.layers.MaskingNoise(level, seed=SEED)
        decoder = ka.networks.tied_decoder(encoder)
        fit(ka.DenoisingAutoencoder(encoder, decoder, noise, "bernoulli", seed=SEED), x, chosen)
        kernels[str(level)] = encoder.get_weights()[0]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "filters.npz", **kernels)
    return {}


def draw(folder):
    """Draws the filters of finished runs."""
    with np.load(folder / "filters" / "filters.npz") as found:
        kernels = {float(level): found[level] for level in found}
    plots.noise_filters(kernels, (28, 28, 1), columns=10).savefig(DOCS / "denoising_filters.png")


# Runs


def all_runs():
    """Returns `{name: (function of a folder, settings)}`."""
    common = {"trial": options.TRIAL.value}
    made = {}
    for which in SETS:
        for method in METHODS:
            for seed in SEEDS:
                run = functools.partial(stacked, which, method, seed)
                each = STACKED | {"split": SPLIT, "set_seed": SET_SEED, "seed": seed}
                made[f"{which.split()[0]}_{method}_{seed}"] = run, each | common
    shared = {"train": TRAIN, "seed": SEED} | common
    for method in ONE_LAYER_NAMES:
        made[method] = functools.partial(one_layer, method), ONE_LAYER | {"measured": MEASURED} | shared
    minutes = {"minutes": options.minutes(SCORE["minutes"])}
    return made | {
        "sparse": (sparse, SPARSE | shared),
        "kl": (kl, KL | shared),
        "score": (score, SCORE | minutes | shared),
        "filters": (filters, FILTERS | shared),
    }


def measure(name, folder):
    keras.utils.set_random_seed(SEED)
    start = time.monotonic()
    found = all_runs()[name][0](folder)
    return {"train_seconds": time.monotonic() - start} | found


def rows(reports):
    """Returns the rows of the table, from reports by run."""
    return [*stacked_rows(reports), *one_layer_rows(reports), *other_rows(reports)]


def row(reports, **fields):
    """Returns a row of these reports, one per seed."""
    seconds = sum(report["train_seconds"] for report in reports)
    last = {key: reports[-1][key] for key in ("date", "versions")}
    return results.row(seconds=seconds, command=COMMAND, **{"better": "lower"} | fields | last)


def stacked_rows(reports):
    made = []
    for which in SETS:
        found = {method: [reports[f"{which.split()[0]}_{method}_{seed}"] for seed in SEEDS] for method in METHODS}
        errors = {method: np.array([each["errors"]["test"] for each in found[method]]) for method in METHODS}
        shared = {"data": f"MNIST, {which}, {SPLIT[2]:,} test images", "seeds": list(SEEDS)}
        for method, name in METHODS.items():
            marks = {"paper": STACKED_PAPER[which], "required": STACKED_REQUIRED.get(which)} if method == "sdae" else {}
            measured = {"ours": errors[method].mean(), "standard_error": deviation(errors[method])}
            made.append(row(found[method], claim=name, metric="error, percent", **measured, **marks, **shared))
        for better, worse in (("sdae", "sae"), ("sae", "mlp")):
            difference = errors[better] - errors[worse]
            measured = {"ours": difference.mean(), "standard_error": deviation(difference), "required": 0.0}
            claim = f"{METHODS[better]} minus {METHODS[worse]}, paired by seed"
            both = [*found[better], *found[worse]]
            made.append(row(both, claim=claim, metric="difference of errors, percent", **measured, **shared))
    return made


def deviation(values):
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def one_layer_rows(reports):
    made = []
    error, norms = norms_at_equal_error({method: reports[method]["curve"] for method in ONE_LAYER_NAMES})
    shared = {"seeds": [SEED]}
    for method, name in ONE_LAYER_NAMES.items():
        claim, report = f"one layer, {name} autoencoder", reports[method]
        marks = {"paper": ONE_LAYER_PAPER[method], "required": 1.4 if method == "cae" else None}
        made.append(error_row(report, claim=f"{claim}, fine-tuned", **marks))
        required = min(norms["ae"], norms["dae"]) if method == "cae" else None
        metric = f"mean Jacobian norm at the same squared error, {error:.3g}"
        data = f"MNIST, {MEASURED:,} validation images"
        measured = {"metric": metric, "ours": norms[method], "required": required, "data": data}
        made.append(row([report], claim=claim, **measured, **shared))
    return made


def error_row(report, **fields):
    """Returns a row of the error on the test images of MNIST, with the standard error of a share of so many images."""
    share = report["errors"]["test"]
    count = len(mnist("test")[1])
    fields |= {"ours": share, "standard_error": float(np.sqrt(share * (100 - share) / count)), "seeds": [SEED]}
    return row([report], metric="error, percent", data=f"MNIST, {count:,} test images", **fields)


def other_rows(reports):
    sparse, kl, score = (reports[name] for name in ("sparse", "kl", "score"))
    claim = f"k-sparse autoencoder, k = {SPARSE['k']}, logistic regression on the codes"
    made = [error_row(sparse, claim=claim, paper=1.35, required=2.0)]
    away = 100 * abs(kl["activity"] / KL["target"] - 1)
    shared = {"seeds": [SEED]}
    made.append(
        row(
            [kl],
            claim=f"sparse autoencoder, KL to an activity of {KL['target']}",
            metric="deviation of the mean activity, percent",
            data="MNIST, 10,000 test images",
            ours=away,
            required=10.0,
            **shared,
        )
    )
    made.append(
        row(
            [score],
            claim="denoising autoencoder, direction of r(x) - x",
            metric="mean cosine with the gradient of log p",
            data="three Gaussians in the plane, 9,000 samples in the bulk",
            ours=score["cosine"],
            standard_error=score["standard_error"],
            required=0.95,
            better="higher",
            **shared,
        )
    )
    return made


def main(_):
    settings = {name: chosen for name, (_, chosen) in all_runs().items()}
    if options.TRIAL.value:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only(settings):
                found = measure(name, pathlib.Path(folder) / name)
                found.get("errors", {}).pop("test", None)
                print(name, {key: value for key, value in found.items() if key != "curve"}, flush=True)
        return

    def drawn(reports):
        draw(options.runs("features"))
        return rows(reports)

    runs.publish_table("features", settings, measure, drawn)


if __name__ == "__main__":
    options.run(main)
