"""Adversarial autoencoder, few labels or none: `python -m benchmarks.adversarial_labels --data=<path of mnist.npz>`.

A semi-supervised adversarial autoencoder trains on the first 50,000 training images of MNIST, of which 100 or 1,000
keep their labels, equally many of each class; the same draws of labels as in `benchmarks.semi_supervised`, whose
results for M1, M2 and M1+M2 are in the table, too. Fitted without labels, the same model finds 16 or 30 clusters. Each
cluster gets the label of its test image with the highest probability of the cluster, as in the paper; this is the only
use of labels. The lower error with the most frequent label of each cluster is given beside it.

Errors are those on the 10,000 test images, means over three draws of labels, or three seeds. `--trial` measures on the
last 10,000 training images, with draws of labels and seeds that are not in the table; they chose the settings, see
NOTES.md. The paper trains for 5,000 passes over the images; here each model has some minutes.

Finished runs are saved in `--runs` and not repeated, so the same command resumes after it was killed.
"""

import pathlib
import tempfile

import keras
import numpy as np

import keras_ae as ka
from benchmarks import mnist, options, results, runs
from benchmarks.mnist import CLASSES, SHAPE
from keras_ae.evaluation import clusters

TRAIN, SEEDS, TRIAL_SEEDS = 50_000, (0, 1, 2), (100, 101, 102)
BETA_1 = 0.5  # of Adam, for all players
SHARED = {"hidden": (500, 500), "critic": (500, 500), "dropout": 0.2, "batch": 100, "rate": 1e-3, "minutes": 7.0}
SETTINGS = {
    "labels": SHARED | {"style": 10, "labelled": 10},
    "clusters": SHARED | {"style": 5},
}
LABELS, CLUSTERS = (100, 1_000), (16, 30)
# Errors in percent: those of Makhzani 2015 (tables 2 and 3), and our marks.
MARKS = {
    "labels 100": {"paper": 1.90, "required": 4.0, "target": 2.0},
    "labels 1000": {"paper": 1.60, "required": 2.2, "target": 1.6},
    "clusters 16": {"paper": 9.55, "required": 15.0, "target": 9.55},
    "clusters 30": {"paper": 4.10, "required": 10.0, "target": 4.1},
}
BESIDE = results.DIRECTORY  # of the results of M1, M2 and M1+M2, also in a smoke test
COMMAND = "python -m benchmarks.adversarial_labels --data=mnist.npz"
_TINY = {"hidden": (16,), "critic": (16,)}
SMOKE = {
    "TRAIN": 1_000,
    "SEEDS": (0, 1),
    "LABELS": (100,),
    "CLUSTERS": (16,),
    "SETTINGS": {name: each | _TINY for name, each in SETTINGS.items()},
}


def build(chosen, classes, seed):
    """Returns an untrained model with a label or cluster for each of `classes`."""
    style, hidden = chosen["style"], chosen["hidden"]
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Dropout(chosen["dropout"])])
    encoder.add(ka.networks.mlp_encoder(SHAPE, style + classes, hidden))
    decoder = ka.networks.mlp_decoder(style + classes, SHAPE, hidden[::-1])
    critics = (ka.networks.code_critic(size, chosen["critic"]) for size in (style, classes))
    return ka.SemiSupervisedAAE(encoder, decoder, *critics, num_classes=classes, seed=seed)


def measure(run, folder):
    """Trains and measures the model of a run named "labels count draw" or "clusters count seed"."""
    kind, count, seed = run.split()
    count, seed, chosen = int(count), int(seed), SETTINGS[kind]
    keras.utils.set_random_seed(seed)
    parts = mnist.parts(TRAIN)
    (x, y), (asked, right) = parts["train"], parts[mnist.asked()]
    model = build(chosen, CLASSES if kind == "labels" else count, seed)
    if kind == "labels":
        some = ka.datasets.keep_labels(y, count, seed)
        batches = ka.datasets.semi_supervised(x, some, chosen["batch"], chosen["labelled"], CLASSES, seed)
    else:
        batches = runs.batches(x, chosen["batch"], seed)
    minutes = options.minutes(chosen["minutes"])
    report = runs.train(model, batches, chosen["rate"], minutes, folder, chosen, BETA_1)
    del report["history"]
    p = model.predict_proba(asked)
    report["sure"] = float(p.max(axis=1).mean())
    if kind == "labels":
        return report | {"error": 100 * float(np.mean(p.argmax(axis=1) != right))}
    found = {rule: 100 * clusters.cluster_error(p, right, rule).error for rule in ("confident", "majority")}
    return report | {"error": found["confident"], "majority": found["majority"]}


def rows(reports):
    """Returns the rows of the table, from reports by run, with the committed ones of other models."""
    made = []
    for kind, counts in (("labels", LABELS), ("clusters", CLUSTERS)):
        for count in counts:
            found = [reports[f"{kind} {count} {seed}"] for seed in SEEDS]
            shared = {"metric": "error, percent", "better": "lower", "seeds": list(SEEDS), "command": COMMAND}
            shared |= {"seconds": sum(each["train_seconds"] for each in found)}
            shared |= {key: found[-1][key] for key in ("date", "versions")}
            of = "draws of labels" if kind == "labels" else "seeds"
            shared["data"] = f"MNIST, 10,000 test images, {len(SEEDS)} {of}"
            claim = f"semi-supervised AAE, {count:,} labels" if kind == "labels" else f"AAE, {count} clusters"
            made.append(results.row(claim=claim, **_mean(found, "error"), **MARKS[f"{kind} {count}"], **shared))
            if kind == "clusters":
                claim += ", most frequent labels"
                made.append(results.row(claim=claim, **_mean(found, "majority"), **shared))
    ends = tuple(f", {count:,} labels" for count in LABELS)
    others = [row for row in results.read("semi_supervised", BESIDE) if row["claim"].endswith(ends)]
    return made + [row | {"required": None, "target": None} for row in others if row["claim"][0] == "M"]


def _mean(found, key):
    values = np.array([each[key] for each in found])
    return {"ours": values.mean(), "standard_error": values.std(ddof=1) / np.sqrt(len(values))}


def settings(seeds):
    """Returns `{run: the settings that its outcome depends on}`."""
    made = {}
    for kind, counts in (("labels", LABELS), ("clusters", CLUSTERS)):
        chosen = SETTINGS[kind] | {"minutes": options.minutes(SETTINGS[kind]["minutes"]), "train": TRAIN}
        chosen |= {"beta_1": BETA_1, "trial": options.TRIAL.value}
        made |= {f"{kind} {count} {seed}": chosen for count in counts for seed in seeds}
    return made


def main(_):
    if options.TRIAL.value:
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only(settings(TRIAL_SEEDS)):
                print(name, measure(name, pathlib.Path(folder) / name), flush=True)
        return
    runs.publish_table("adversarial_labels", settings(SEEDS), measure, rows)


if __name__ == "__main__":
    options.run(main)
