"""Codes under critics, compared with a VAE's: `python -m benchmarks.adversarial_codes --data=<path of mnist.npz>`.

Shaped by labels. The critic of an adversarial autoencoder with two-dimensional codes sees labels, of which 10,000 of
50,000 training images keep theirs. Each digit should get its own wing of a ring of ten Gaussians, or its own stretch of
a swiss roll: the share of new images whose code lies in that of their digit is measured. Pictures of the codes, and of
images decoded along each wing, go to `docs`.

Nearness to the prior. An adversarial autoencoder and a VAE with the same networks have the same ring as prior, and see
no labels. Codes drawn for new images are compared with as many samples of the prior by the maximum mean discrepancy and
the energy distance.

Parzen windows around samples of an adversarial autoencoder with eight-dimensional codes, beside windows around real
training images. Samples that exceed these are smoother than digits, so this is a bad measure, kept for the comparison
with the paper.

Wasserstein autoencoders by MMD and by a critic beside a VAE with the same convolutional networks: MMD of the codes to
the prior, squared error of reconstructions, and the scores of `benchmarks.samples` of samples from the prior.

Adversarial variational Bayes beside a VAE: exact log likelihood, by integration over the plane of codes, of the paper's
four one-hot points; and on binarised digits with eight codes, log likelihood of new images by annealed importance
sampling, which needs no encoder, so that both models are measured in the same way.

Models train on the first 50,000 training images, for minutes where the papers train for days. `--trial` measures on the
last 10,000, which chose the settings; NOTES.md has what else was tried. Finished runs are saved in `--runs` and not
repeated, so the same command resumes after it was killed.
"""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow_probability as tfp

import keras_ae as ka
from benchmarks import mnist, options, results, runs, samples
from benchmarks.mnist import CLASSES, SHAPE
from benchmarks.semi_supervised import binarized
from keras_ae import plots, samplers
from keras_ae.evaluation import clusters, latent, likelihood, manifold, two_sample

TRAIN, LABELS, SEEDS = 50_000, 10_000, (0, 1, 2)
COMPARED = 5_000  # codes, and samples of the prior, in the two-sample tests
BETA_1 = 0.5  # of Adam, for all players
PRIORS = {"ring": "ring of ten Gaussians", "swiss_roll": "swiss roll"}
SHAPED = {"hidden": (300, 300), "critic": (300, 300), "dropout": 0.2, "rate": 1e-3, "batch": 100, "labelled": 20}
SHAPED |= {"minutes": 6.0}
NEAR = {"hidden": (300, 300), "critic": (300, 300), "rate": 5e-4, "batch": 100, "minutes": 5.0}
PARZEN = {"hidden": (500, 500), "critic": (500, 500), "latent": 8, "scale": 5.0, "dropout": 0.2}
PARZEN |= {"rate": 5e-4, "batch": 100, "minutes": 12.0, "samples": 10_000, "valid": 1_000}
WAE = {"latent": 16, "filters": (32, 64), "hidden": (256,), "critic": (256, 256), "batch": 128, "rate": 1e-3}
WAE |= {"mmd": 100.0, "gan": 20.0, "minutes": 6.0, "samples": 10_000, "covered": 5_000}  # mmd, gan: their weights
POINTS = {"hidden": (64, 64), "critic": (128, 128), "noise": 3, "rows": 1_000, "batch": 100, "rate": 1e-3}
POINTS |= {"minutes": 1.0, "drawn": 500, "grid": 401, "edge": 8.0}  # drawn: codes of each point; edge of the grid
AVB = {"hidden": (300, 300), "critic": (500, 500), "latent": 8, "noise": 32, "rate": 5e-4, "batch": 100}
AVB |= {"minutes": 8.0, "images": 200, "chains": 16, "temperatures": 300}

CLAIMS = {
    "near_aae": "AAE, prior a ring",
    "near_vae": "VAE, prior a ring",
    "parzen": "AAE, samples of its prior",
    "wae_mmd": "WAE by MMD",
    "wae_gan": "WAE by a critic",
    "wae_vae": "VAE",
    "points_avb": "AVB",
    "points_vae": "VAE",
    "mnist_avb": "AVB, 8 codes",
    "mnist_vae": "VAE, 8 codes",
}
# Figures of the papers (Makhzani 2015, Mescheder 2017), and our marks.
MARKS = {
    "share": {"required": 95.0, "target": 98.0},
    "parzen": {"paper": 340.0, "required": 340.0},
    "frechet": {"required": 41.8, "target": 8.0},  # of the VAE's prior, and of a mixture fitted to its codes afterwards
    "points_avb": {"paper": -1.403, "required": -1.42},
    "points_vae": {"paper": -1.568},
}
COMMAND = "python -m benchmarks.adversarial_codes --data=mnist.npz"
DOCS = results.DOCS
_TINY = {"hidden": (16,), "critic": (16,)}
SMOKE = {
    "PRIORS": {"ring": PRIORS["ring"]},
    "TRAIN": 1_000,
    "LABELS": 200,
    "SEEDS": (0, 1),
    "COMPARED": 100,
    "SHAPED": SHAPED | _TINY,
    "NEAR": NEAR | _TINY,
    "PARZEN": PARZEN | _TINY | {"samples": 200, "valid": 50},
    "WAE": WAE | _TINY | {"latent": 3, "filters": (4, 4), "samples": 200, "covered": 200},
    "POINTS": POINTS | _TINY | {"rows": 100, "drawn": 50, "grid": 21},
    "AVB": AVB | _TINY | {"images": 2, "chains": 2, "temperatures": 2},
}


def networks(chosen, latent, parameters=1):
    """Returns an MLP from images to params of the codes, with dropout of pixels if chosen, and one back."""
    encoder = ka.networks.mlp_encoder(SHAPE, latent, chosen["hidden"], parameters)
    if chosen.get("dropout"):
        encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Dropout(chosen["dropout"]), encoder])
    return encoder, ka.networks.mlp_decoder(latent, SHAPE, chosen["hidden"][::-1])


def train(model, batches, chosen, folder):
    """Trains a model as `runs.train` does, with the chosen settings; returns the report without the history."""
    report = runs.train(model, batches, chosen["rate"], options.minutes(chosen["minutes"]), folder, chosen, BETA_1)
    return {key: report[key] for key in ("train_seconds", "passes")}


def measure(run, folder):
    """Trains and measures the model of a run named "kind seed"."""
    kind, seed = run.split()
    seed = int(seed)
    keras.utils.set_random_seed(seed)
    if kind in PRIORS:
        return shaped(kind, seed, folder)
    family, model = (*kind.split("_"), None)[:2]
    return FAMILIES[family](model, seed, folder)


# Codes in the plane


def shaped(prior, seed, folder):
    """Trains an AAE whose codes follow a prior with a part for each digit; measures codes of new images."""
    parts = mnist.parts(TRAIN)
    (x, y), (asked, right) = parts["train"], parts[mnist.asked()]
    some = ka.datasets.keep_labels(y, LABELS, seed)
    critic = ka.networks.code_critic(2, SHAPED["critic"], condition_shape=(CLASSES + 1,))
    model = ka.AAE(*networks(SHAPED, 2), critic, prior=prior, label_critic=True, seed=seed)
    batches = ka.datasets.semi_supervised(x, some, SHAPED["batch"], SHAPED["labelled"], CLASSES, seed)
    report = train(model, batches, SHAPED, folder)
    z = model.encode(asked)
    walks = [model.decode(each) for each in wings(ka.priors.get(prior, 2))]
    np.savez(folder / "codes.npz", z=z, p=drawn_prior(model, len(z)), labels=right, walks=walks)
    share = 100 * clusters.wing_share(z, right, prior)
    return report | {"share": share, "covered": clusters.mode_coverage(z, prior).covered}


def wings(prior, steps=12, draws=3_000):
    """Returns codes along the middle of each class's part of a prior, from the centre outwards: `(K, steps, 2)`."""
    found = []
    for label in range(CLASSES):
        p = prior.draw_labelled(np.full(draws, label), CLASSES, np.array([label, 0], "int32")).numpy()
        groups = np.array_split(p[np.argsort(np.linalg.norm(p, axis=1))], steps)
        found.append([each.mean(axis=0) for each in groups])
    return np.array(found, "float32")


def drawn_prior(model, rows):
    return model.prior.sample(rows, seed=[0, 0]).numpy()


def near(name, seed, folder):
    """Trains an AAE or a VAE with a ring as prior and without labels; compares codes with the prior."""
    parts = mnist.parts(TRAIN)
    (x, _), (asked, right) = parts["train"], parts[mnist.asked()]
    if name == "aae":
        critic = ka.networks.code_critic(2, NEAR["critic"])
        model = ka.AAE(*networks(NEAR, 2), critic, prior="ring", seed=seed)
    else:
        model = ka.VAE(*networks(NEAR, 2, parameters=2), prior="ring", seed=seed)
    report = train(model, runs.batches(x, NEAR["batch"], seed), NEAR, folder)
    asked, right = asked[:COMPARED], right[:COMPARED]
    np.savez(folder / "codes.npz", z=latent.sample_codes(model, asked), p=drawn_prior(model, len(asked)), labels=right)
    return report | to_prior(model, asked) | {"squared_error": squared_error(model, asked)}


def to_prior(model, x):
    """Returns the two-sample tests of codes of x and samples of the prior."""
    z = latent.sample_codes(model, x)
    p = drawn_prior(model, len(z))
    mmd = two_sample.mmd_test(z, p, bandwidth=of_prior(p), permutations=50)
    return {"mmd": mmd._asdict(), "energy": two_sample.energy_test(z, p, permutations=50)._asdict()}


def of_prior(p):
    """Returns a bandwidth that does not depend on the codes, so that models can be compared."""
    half = len(p) // 2
    return float(np.median(np.sum((p[:half] - p[half : 2 * half]) ** 2, axis=1)))


def squared_error(model, x):
    return manifold.reconstruction_error(x, model.reconstruct(x))


# Samples


def parzen(_, seed, folder):
    """Trains an AAE with codes of a wide normal prior; measures Parzen windows around its samples."""
    parts = mnist.parts(TRAIN)
    (x, _), (valid, _), (asked, _) = (parts[name] for name in ("train", "valid", mnist.asked()))
    latent_dim = PARZEN["latent"]
    scale = np.full(latent_dim, PARZEN["scale"], "float32")
    prior = tfp.distributions.MultivariateNormalDiag(np.zeros_like(scale), scale)
    critic = ka.networks.code_critic(latent_dim, PARZEN["critic"])
    model = ka.AAE(*networks(PARZEN, latent_dim), critic, prior=prior, seed=seed)
    report = train(model, runs.batches(x, PARZEN["batch"], seed), PARZEN, folder)
    count, valid = PARZEN["samples"], valid[: PARZEN["valid"]]
    windows = {"samples": model.sample(count, seed=seed), "training images": x[:count]}
    return report | {name: likelihood.parzen(each, valid, asked)._asdict() for name, each in windows.items()}


def wae(name, seed, folder):
    """Trains a WAE or a VAE; measures its codes, its reconstructions and samples of its prior."""
    parts = mnist.parts(TRAIN)
    (x, y), (asked, _) = parts["train"], parts[mnist.asked()]
    latent_dim, filters, hidden = WAE["latent"], WAE["filters"], WAE["hidden"]
    parameters = 2 if name == "vae" else 1
    encoder = ka.networks.conv_encoder(SHAPE, latent_dim, filters, hidden, parameters=parameters)
    decoder = ka.networks.conv_decoder(latent_dim, SHAPE, filters[::-1], hidden)
    if name == "vae":
        model = ka.VAE(encoder, decoder, seed=seed)
    else:
        divergence = "mmd" if name == "mmd" else ka.networks.code_critic(latent_dim, WAE["critic"])
        model = ka.WAE(encoder, decoder, divergence, "bernoulli", weight=WAE[name], seed=seed)
    report = train(model, runs.batches(x, WAE["batch"], seed), WAE, folder)
    report |= to_prior(model, asked[:COMPARED]) | {"squared_error": squared_error(model, asked)}
    features = samples.trained_features(x, y, folder.parent)
    real, made = features(asked), features(model.sample(WAE["samples"], seed=seed))
    report |= samples.compared(real, made, WAE["covered"])
    if name == "vae":
        fitted = samplers.MixtureSampler(model, components=10, seed=seed).fit(x)
        report["mixture"] = samples.compared(real, features(fitted.sample(WAE["samples"], seed=seed)), WAE["covered"])
    return report


# Adversarial variational Bayes


def points(name, seed, folder):
    """Trains on four one-hot points; returns their exact mean log likelihood, and saves codes of each."""
    size = 4
    x = np.tile(np.eye(size, dtype="float32"), (POINTS["rows"] // size, 1))
    model = variational(name, (size,), 2, POINTS, seed)
    report = train(model, runs.batches(x, POINTS["batch"], seed), POINTS, folder)
    each = np.repeat(np.eye(size, dtype="float32"), POINTS["drawn"], axis=0)
    np.savez(folder / "codes.npz", z=latent.sample_codes(model, each), labels=each.argmax(axis=1))
    return report | {"log_prob": float(np.mean(integrated(model, np.eye(size, dtype="float32"))))}


def integrated(model, x):
    """Returns log p(x), `(B,)`, of a model with codes in the plane and a normal prior, by the midpoint rule."""
    line = np.linspace(-POINTS["edge"], POINTS["edge"], POINTS["grid"], dtype="float32")
    z = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    p = model.likelihood(z)
    log_p = np.stack([p.log_prob(each) for each in x], axis=1)
    log_joint = log_p + model.prior.log_prob(z).numpy()[:, None] + 2 * np.log(line[1] - line[0])
    return np.logaddexp.reduce(log_joint.astype("float64"), axis=0)


def variational(name, shape, latent_dim, chosen, seed):
    """Returns an untrained AVB with adaptive contrast, or the VAE with the same networks."""
    hidden = chosen["hidden"]
    decoder = ka.networks.mlp_decoder(latent_dim, shape, hidden)
    gaussian = ka.networks.mlp_encoder(shape, latent_dim, hidden, parameters=2)
    if name == "vae":
        return ka.VAE(gaussian, decoder, seed=seed)
    encoder = ka.networks.mlp_encoder(shape, latent_dim, hidden, condition_shape=(chosen["noise"],))
    critic = ka.networks.code_critic(latent_dim, chosen["critic"], condition_shape=shape)
    return ka.AVB(encoder, decoder, critic, contrast=gaussian, seed=seed)


def digits(name, seed, folder):
    """Trains on binarised digits; returns log likelihoods of some new ones, by annealed importance sampling."""
    parts = mnist.parts(TRAIN)
    (x, _), (asked, _) = parts["train"], parts[mnist.asked()]
    model = variational(name, SHAPE, AVB["latent"], AVB, seed)
    report = train(model, binarized(runs.batches(x, AVB["batch"], seed), seed), AVB, folder)
    asked = asked[: AVB["images"]]
    asked = (np.random.default_rng(0).random(asked.shape) < asked).astype("float32")
    found = likelihood.annealed_importance_sampling(model, asked, AVB["chains"], AVB["temperatures"], seed=seed)
    return report | {"log_prob": found.log_prob}


FAMILIES = {"near": near, "parzen": parzen, "wae": wae, "points": points, "mnist": digits}


# The table


def draw(folder):
    """Draws the codes of the first seed's models to `docs`."""

    def kept(run):
        return np.load(folder / run / "codes.npz")

    def save(figure, name):
        figure.savefig(DOCS / f"{name}.png", dpi=100)

    for prior in PRIORS:
        found = kept(f"{prior} {SEEDS[0]}")
        save(plots.codes_and_prior(found["z"], found["p"], found["labels"]), f"digits_{prior}")
        walks = found["walks"]
        save(plots.image_grid(walks.reshape(-1, *SHAPE), columns=walks.shape[1]), f"digits_{prior}_walks")
    for name in ("aae", "vae"):
        found = kept(f"near_{name} {SEEDS[0]}")
        save(plots.codes_and_prior(found["z"], found["p"], found["labels"]), f"ring_without_labels_{name}")
    found = {name: kept(f"points_{name} {SEEDS[0]}") for name in ("vae", "avb")}
    codes = {name.upper(): each["z"] for name, each in found.items()}
    save(plots.latent_spaces(codes, found["avb"]["labels"]), "four_points")


def rows(reports):
    """Returns the rows of the table, from reports by run."""
    made = []

    def add(names, claim, data, metric, ours, better="lower", **marks):
        found = [reports[name] for name in names]
        seeds = sorted({int(name.split()[1]) for name in names})
        shared = {"seeds": seeds, "seconds": sum(each["train_seconds"] for each in found), "command": COMMAND}
        shared |= {"date": found[-1]["date"], "versions": found[-1]["versions"]}
        made.append(results.row(claim=claim, data=data, metric=metric, ours=ours, better=better, **shared, **marks))

    def gain(names, claim, data, metric, difference, error):
        """A difference that should be at least two of its standard errors."""
        marks = {"standard_error": error, "required": 2 * error}
        add(names, claim, data, metric, difference, "higher", **marks)

    test = "MNIST, 10,000 test images"
    for prior, words in PRIORS.items():
        names = [f"{prior} {seed}" for seed in SEEDS]
        claim = f"AAE shaped by 10,000 labels, {words}"
        mean = _mean([reports[name]["share"] for name in names])
        add(names, claim, test, "codes in the part of their digit, percent", better="higher", **mean, **MARKS["share"])
        mean = _mean([100 * reports[name]["covered"] for name in names])
        add(names, claim, test, "parts with a fifth of their share of codes, percent", better="higher", **mean)

    first = SEEDS[0]
    compared = f"MNIST, {COMPARED:,} test images"
    for family, first_name, others in (("near", "vae", ("aae",)), ("wae", "vae", ("mmd", "gan"))):
        for name in (first_name, *others):
            run, beside = f"{family}_{name} {first}", f"{family}_{first_name} {first}"
            claim, report, vae = CLAIMS[f"{family}_{name}"], reports[run], reports[beside]
            for key, metric in (("mmd", "MMD^2 of codes to the prior"), ("energy", "energy distance to the prior")):
                value, error = (report[key][each] for each in ("statistic", "standard_error"))
                add([run], claim, compared, metric, value, standard_error=error)
                if name != first_name:
                    both = float(np.hypot(error, vae[key]["standard_error"]))
                    words = f"{claim}: nearer than the VAE by"
                    gain([run, beside], words, compared, metric, vae[key]["statistic"] - value, both)
            data = compared if family == "near" else test
            required = vae["squared_error"] if family == "wae" and name != first_name else None
            metric = "squared error, summed over an image"
            add([run], claim, data, metric, report["squared_error"], required=required)
            if family == "wae":
                scored = {f"{claim}, samples of the prior": report}
                scored |= {f"{claim}, mixture of 10 Gaussians": report["mixture"]} if "mixture" in report else {}
                for words, scores in scored.items():
                    for key, (metric, better) in samples.METRICS.items():
                        marks = MARKS["frechet"] if key == "frechet" and name != first_name else {}
                        add([run], words, test, metric, scores[key], better, **marks)

    run = f"parzen {first}"
    for key, claim, marks in (
        ("samples", CLAIMS["parzen"], MARKS["parzen"]),
        ("training images", "training images", {}),
    ):
        found = reports[run][key]
        figures = {"ours": found["log_prob"], "standard_error": found["standard_error"], "better": "higher"}
        add([run], claim, test, f"Parzen window, sigma {found['sigma']:.3f}, nats", **figures, **marks)

    for name in ("points_vae", "points_avb"):
        names = [f"{name} {seed}" for seed in SEEDS]
        mean = _mean([reports[each]["log_prob"] for each in names])
        data = "four one-hot points"
        add(names, CLAIMS[name], data, "exact log likelihood, nats", better="higher", **mean, **MARKS[name])
    found = {name: np.array(reports[f"mnist_{name} {first}"]["log_prob"]) for name in ("vae", "avb")}
    data, metric = f"MNIST, {AVB['images']} binarised test images", "log likelihood by AIS, nats"
    for name, values in found.items():
        add([f"mnist_{name} {first}"], CLAIMS[f"mnist_{name}"], data, metric, better="higher", **_mean(values))
    both, mean = [f"mnist_{name} {first}" for name in found], _mean(found["avb"] - found["vae"])
    gain(both, "AVB, 8 codes, minus the VAE on the same images", data, metric, mean["ours"], mean["standard_error"])
    return made


def _mean(values):
    values = np.asarray(values)
    return {"ours": float(values.mean()), "standard_error": float(values.std(ddof=1) / np.sqrt(len(values)))}


def settings():
    """Returns `{run: the settings that its outcome depends on}`."""
    first = SEEDS[:1]
    made = {prior: (SHAPED | {"labels": LABELS}, SEEDS) for prior in PRIORS}
    made |= dict.fromkeys(("near_aae", "near_vae"), (NEAR | {"compared": COMPARED}, first))
    made |= {"parzen": (PARZEN, first)}
    made |= dict.fromkeys(("wae_mmd", "wae_gan", "wae_vae"), (WAE | {"compared": COMPARED}, first))
    made |= dict.fromkeys(("points_avb", "points_vae"), (POINTS, SEEDS))
    made |= dict.fromkeys(("mnist_avb", "mnist_vae"), (AVB, first))
    common = {"train": TRAIN, "beta_1": BETA_1, "trial": options.TRIAL.value}
    return {
        f"{kind} {seed}": chosen | {"minutes": options.minutes(chosen["minutes"])} | common
        for kind, (chosen, seeds) in made.items()
        for seed in seeds
    }


def main(_):
    if options.TRIAL.value:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only(settings()):
                (pathlib.Path(folder) / name).mkdir()
                print(name, measure(name, pathlib.Path(folder) / name), flush=True)
        return

    def drawn(reports):
        draw(options.runs("adversarial_codes"))
        return rows(reports)

    runs.publish_table("adversarial_codes", settings(), measure, drawn)


if __name__ == "__main__":
    options.run(main)
