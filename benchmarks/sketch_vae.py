"""Drawings as sequences of strokes: `python -m benchmarks.sketch_vae --data=<folder>`.

The folder has sketch-rnn's files `omniglot.npz` and `aaron_sheep.npz`.

1. Omniglot's characters: the VAE at three weights of the KL, and a decoder alone, 45 minutes each; a model of plain
   LSTMs of the same size in PyTorch, for as long, if it is installed.
2. Sheep, drawn by a program: the VAE and a decoder alone, 60 minutes each.
3. Speed of training on drawings of 100 points, compared with the same networks in PyTorch.
4. Drawing 64 sketches of 100 steps through the SavedModel, padding in batches, and the way from SVG to strokes and
back.

Minutes are CPU time divided by the number of cores. `--only=omniglot_1,...` makes some of the runs; a killed run
resumes; the table is written when all are there. `--publish` also copies the model and the figures.
"""

import importlib.util
import itertools
import json
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from apps import common
from apps.sketch_vae import evaluate, served, settings, train
from benchmarks import fit_speed, options, results, runs
from keras_ae import serving
from keras_ae.datasets import sketches, svg

COMMAND = "python -m benchmarks.sketch_vae --data=sketch"
DOCS = results.DOCS
ROOT = pathlib.Path(__file__).parents[1]

OMNIGLOT, SHEEP = "omniglot.npz", "aaron_sheep.npz"
WEIGHTS = {"omniglot_1": 1.0, "omniglot_0.5": 0.5, "omniglot_0.25": 0.25}
# Data, w_KL (None for a decoder alone), and minutes.
TRAINED = {
    **{name: (OMNIGLOT, weight, 45.0) for name, weight in WEIGHTS.items()},
    "omniglot_decoder": (OMNIGLOT, None, 45.0),
    "sheep": (SHEEP, 0.5, 60.0),
    "sheep_decoder": (SHEEP, None, 60.0),
}
BEST = "omniglot_0.5"
CHANGES = {OMNIGLOT: {"epochs": 200}, SHEEP: {"epochs": 200}}  # to the app's settings; time ends the training earlier
# Of the comparison of speed: those of the published program, except for the encoder's and the decoder's halves.
SIZES = {"units": 512, "encoder_units": 256, "latent_dim": 128, "mixtures": 20, "batch_size": 100}
STEPS, ROWS, ROUNDS, SECONDS = 100, 1_000, 5, 20.0
DRAWN, CALLS = 64, 5
SMOKE = {
    "CHANGES": {
        name: {"units": 8, "encoder_units": 4, "latent_dim": 2, "mixtures": 2, "batch_size": 4, "epochs": 1}
        for name in (OMNIGLOT, SHEEP)
    },
    "SIZES": {"units": 8, "encoder_units": 4, "latent_dim": 2, "mixtures": 2, "batch_size": 4},
    **{"STEPS": 5, "ROWS": 8, "ROUNDS": 1, "SECONDS": 0.1, "DRAWN": 2, "CALLS": 1},
}
# The paper's, for QuickDraw's cats: (L_R, L_KL) by w_KL, and L_R of a decoder alone.
PAPER = {"omniglot_1": (-0.98, 0.29), "omniglot_0.5": (-1.33, 0.70), "omniglot_0.25": (-1.46, 1.01)}
PAPER |= {"omniglot_decoder": (-0.57, None)}
LIMITS = (
    "Characters of 50 alphabets, one drawn by 20 people each, of up to 157 points. It knows nothing but handwriting: a "
    "drawing of anything else becomes a character."
)
LICENCE = "trained on Omniglot (Lake 2015), MIT licence, in the strokes of sketch-rnn's data sets"


def chosen_for(name):
    """Returns the settings of a training run."""
    data, weight, _ = TRAINED[name]
    return settings.SHARED | CHANGES[data] | ({} if weight is None else {"kl_weight": weight})


def trained(name, folder):
    """Runs the app's `train` and `evaluate`; returns their reports."""
    data, weight, minutes = TRAINED[name]
    path = str(pathlib.Path(options.data("drawn")) / data)
    flags = {"data": path, "kl_weight": None, "decoder_only": weight is None, "long": "refuse", "strategy": "default"}
    flags |= {"max_minutes": options.minutes(minutes), "seed": options.SEED.value}
    flags |= {"export_dir": str(folder / "export"), "checkpoint_dir": str(folder / "checkpoint")}
    runs.apart(train_for_processor_time, flags, chosen_for(name))
    report = json.loads((folder / "report.json").read_text())
    runs.apart(evaluate_apart, folder, path, options.SEED.value)
    return {"train": report, "evaluate": json.loads((folder / "evaluate" / "report.json").read_text())}


def train_for_processor_time(flags, chosen):
    """Runs the app's `train` with `runs.ProcessorTime` minutes; needs its own process."""
    common.TimeBudget.clock = staticmethod(runs.ProcessorTime.clock)
    train.run(**flags, chosen=chosen)


def evaluate_apart(folder, data, seed):
    evaluate.run(str(folder / "export"), data, "test", seed, str(folder / "evaluate"))


def in_torch(folder):
    """Trains the plain LSTMs in PyTorch on Omniglot; returns its report, `{}` without PyTorch."""
    if importlib.util.find_spec("torch") is None:
        return {}
    data, _, minutes = TRAINED[BEST]
    folder.mkdir(parents=True, exist_ok=True)
    made = torch_program(
        "train",
        data=str(pathlib.Path(options.data("drawn")) / data),
        sizes=json.dumps(chosen_for(BEST)),
        minutes=options.minutes(minutes),
        folder=str(folder),
        seed=options.SEED.value,
    )
    return made


def torch_program(what, **flags):
    """Runs `benchmarks/sketch_torch.py` in its own process; returns what it prints."""
    command = [sys.executable, str(ROOT / "benchmarks" / "sketch_torch.py"), what]
    command += [f"--{name}={value}" for name, value in flags.items()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def speeds(folder):
    """Returns steps a second of both programs in each round, and the largest share of other programs."""
    rng = np.random.default_rng(0)
    x = np.zeros((ROWS, STEPS + 1, 5), "float32")
    x[..., :2], x[..., 2] = rng.normal(size=(ROWS, STEPS + 1, 2)), 1.0
    x[:, -1] = (0, 0, 0, 0, 1)
    made, foreign = {"keras_ae": [], "keras_ae, dropout": []}, 0.0
    with_torch = importlib.util.find_spec("torch") is not None
    with tempfile.TemporaryDirectory() as place:
        data = str(pathlib.Path(place) / "x.npz")
        np.savez(data, x=x)
        for _ in range(ROUNDS):
            ways = {name: (runs.apart, speed_of_fit, x, SIZES, SECONDS, dropout) for name, dropout in DROPOUTS.items()}
            if with_torch:
                ways["PyTorch"] = (torch_speed, data)
            for name, (call, *arguments) in ways.items():
                before = fit_speed.machine_cpu_seconds()
                found = call(*arguments)
                share = fit_speed.foreign_share(
                    before, fit_speed.machine_cpu_seconds(), found["process_cpu"], found["process_seconds"]
                )
                foreign = max(foreign, share or 0.0)
                made.setdefault(name, []).append(found["steps_per_second"])
    return {"steps_per_second": made, "foreign": foreign, "seconds": SECONDS * ROUNDS * len(made)}


DROPOUTS = {"keras_ae": 0.0, "keras_ae, dropout": 0.1}


def torch_speed(data):
    start = time.perf_counter()
    children = os.times()
    found = torch_program("speed", data=data, sizes=json.dumps(SIZES), seconds=SECONDS)
    after = os.times()
    cpu = after.children_user + after.children_system - children.children_user - children.children_system
    return found | {"process_cpu": cpu, "process_seconds": time.perf_counter() - start}


def speed_of_fit(x, sizes, seconds, dropout):
    """Returns training steps a second of `fit` on rows in memory; needs its own process."""
    start = time.perf_counter()
    fit_speed.set_up_tensorflow()
    import keras

    import keras_ae as ka

    keras.utils.set_random_seed(0)
    encoder = ka.networks.StrokeEncoder(sizes["latent_dim"], sizes["encoder_units"], dropout=dropout)
    decoder = ka.networks.StrokeDecoder(sizes["latent_dim"], sizes["units"], sizes["mixtures"], dropout=dropout)
    model = ka.SketchVAE(encoder, decoder, beta=0.5, seed=0)
    model.compile(keras.optimizers.Adam(1e-3, clipvalue=100.0))
    model.fit(x, batch_size=sizes["batch_size"], epochs=1, verbose=0)
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        model.fit(x, batch_size=sizes["batch_size"], epochs=1, verbose=0)
        steps += math.ceil(len(x) / sizes["batch_size"])
    rate = steps / (time.perf_counter() - begun)
    spent = {"process_cpu": time.process_time(), "process_seconds": time.perf_counter() - start}
    return {"steps_per_second": rate, "parameters": encoder.count_params() + decoder.count_params()} | spent


def drawing_seconds(sizes, drawn, steps, calls):
    """Returns the median seconds to draw through a SavedModel whose drawings never end; needs its own process."""
    fit_speed.set_up_tensorflow()
    import tensorflow as tf

    import keras_ae as ka

    encoder = ka.networks.StrokeEncoder(sizes["latent_dim"], sizes["encoder_units"])
    decoder = ka.networks.StrokeDecoder(sizes["latent_dim"], sizes["units"], sizes["mixtures"], max_length=steps)
    bias = decoder.leave.bias
    bias.assign(tf.concat([bias[:-1], [-1e3]], axis=0))
    model = ka.SketchVAE(encoder, decoder, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        ka.export(model, folder, endpoints=served.endpoints(model), card={"extent": 1.0})
        artist = served.Artist(folder)
        z = np.random.default_rng(0).normal(size=(drawn, sizes["latent_dim"])).astype("float32")
        found = []
        for _ in range(calls + 1):
            start = time.perf_counter()
            points = [len(each) for each in artist.decode(z, 0.5)]
            found.append(time.perf_counter() - start)
    assert points == [steps] * drawn
    return statistics.median(found[1:])


def hausdorff():
    """Returns the distances of 20 SVG files with curves from what comes back, in sizes of a drawing."""
    from matplotlib import font_manager, textpath
    from scipy.spatial.distance import directed_hausdorff

    found = []
    fonts = ("DejaVu Sans", "STIXGeneral")
    with tempfile.TemporaryDirectory() as folder:
        file, again = pathlib.Path(folder) / "a.svg", pathlib.Path(folder) / "b.svg"
        for font in fonts:
            for character in "ABGOQSagks":
                outline = textpath.TextPath((0, 0), character, 100, font_manager.FontProperties(font))
                file.write_text(svg_of(outline))
                svg.write(again, svg.read(file))
                ends = [line * (1, -1) for line in outline.to_polygons(closed_only=False)]
                before = dense(ends)
                after = dense(sketches.to_lines(svg.read(again, epsilon=0.0)))
                ways = [directed_hausdorff(*pair)[0] for pair in ((before, after), (after, before))]
                found.append(max(ways))
    return found


def svg_of(outline):
    """Returns an SVG file with a Matplotlib path, whose curves stay curves."""
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for points, code in outline.iter_segments(curves=True, simplify=False):
        numbers = points.reshape(-1, 2) * (1, -1)
        parts.append(letters[int(code)] + ("" if code == 79 else " ".join(f"{x:.4f},{y:.4f}" for x, y in numbers)))
    return f'<svg xmlns="http://www.w3.org/2000/svg"><path d="{"".join(parts)}"/></svg>'


def dense(lines, gap=0.002):
    """Returns points along lines, about `gap` apart; the larger side of the box around them is 1, its corner 0."""
    corner = np.concatenate(lines).min(axis=0)
    side = np.ptp(np.concatenate(lines), axis=0).max()
    points = []
    for line in lines:
        line = (np.asarray(line, "float64") - corner) / side
        for a, b in itertools.pairwise(line):
            count = 2 + int(np.linalg.norm(b - a) / gap)
            points.append(a + (b - a) * np.linspace(0, 1, count)[:, None])
    return np.concatenate(points)


def others(_):
    """Returns the measures that need no training."""
    start = time.perf_counter()
    seconds = runs.apart(drawing_seconds, SIZES, DRAWN, STEPS, CALLS)
    return {"drawing_seconds": seconds, "hausdorff": hausdorff(), "seconds": time.perf_counter() - start}


RUNS = {**dict.fromkeys(TRAINED), "pytorch": in_torch, "speed": speeds, "others": others}


def of_run(name):
    """Returns the settings that a run depends on, as in `runs.kept`."""
    if name in TRAINED:
        return chosen_for(name) | {"minutes": options.minutes(TRAINED[name][2]), "seed": options.SEED.value}
    if name == "pytorch":
        return of_run(BEST)
    return {"sizes": SIZES, "steps": STEPS, "rows": ROWS, "rounds": ROUNDS, "seconds": SECONDS, "drawn": DRAWN}


def rows(reports):
    """Returns the rows of the table, from the reports by run."""
    made = []
    for name in TRAINED:
        made += rows_of_training(name, reports[name])
    made += trade_off(reports)
    for prefix, other in (("omniglot_0.5", "omniglot_decoder"), ("sheep", "sheep_decoder")):
        one, two = (reports[each]["evaluate"] for each in (prefix, other))
        gain = two["reconstruction_per_point"] - one["reconstruction_per_point"]
        error = math.hypot(*(each["reconstruction_per_point_standard_error"] for each in (one, two)))
        claim = f"{TITLES[TRAINED[prefix][0]]}, w_KL 0.5: reconstruction below that of the decoder alone"
        required = {"required": 0.2} if prefix.startswith("omniglot") else {}
        each = {"metric": "nats per point", "ours": gain, "standard_error": error, "better": "higher"}
        made.append(results.row(claim=claim, **each, **required, **shared(reports[prefix])))
    if reports["pytorch"].get("nats_per_sketch"):
        made += beside_torch(reports)
    made += rows_of_speed(reports["speed"])
    return made + rows_of_others(reports)


TITLES = {OMNIGLOT: "Omniglot", SHEEP: "sheep"}


def shared(report):
    found = report["evaluate"]
    return {
        **{"data": f"{found['drawings']:,} test drawings", "seeds": [report["train"]["seed"]], "command": COMMAND},
        **{"seconds": report["train"]["train_seconds"], "versions": report["versions"], "date": report["date"]},
    }


def named(name):
    data, weight, _ = TRAINED[name]
    return f"{TITLES[data]}, " + ("decoder alone" if weight is None else f"w_KL {weight:g}")


def rows_of_training(name, report):
    found, of = report["evaluate"], {"better": "lower"} | shared(report)
    paper = PAPER.get(name, (None, None))
    cats = [None if value is None else f"{value:g}, cats" for value in paper]
    make = [
        results.row(
            claim=named(name),
            metric=f"L_R: paper's sum, nats / N_max = {found['n_max']}",
            ours=found["reconstruction"],
            paper=cats[0],
            **of,
        ),
        results.row(claim=named(name), metric="L_R without the end's term", ours=found["reconstruction_masked"], **of),
        results.row(
            claim=named(name),
            metric="nats per sketch, with KL",
            ours=found["nats_per_sketch"],
            standard_error=found["nats_per_sketch_standard_error"],
            **of,
        ),
        results.row(
            claim=named(name),
            metric="reconstruction, nats per point",
            ours=found["reconstruction_per_point"],
            standard_error=found["reconstruction_per_point_standard_error"],
            **of,
        ),
    ]
    if TRAINED[name][1] is not None:
        make.append(
            results.row(
                claim=named(name), metric="L_KL: nats per dimension of the code", ours=found["kl"], paper=cats[1], **of
            )
        )
    return make


def trade_off(reports):
    """Returns rows on whether a smaller weight of the KL gives a larger KL and a better reconstruction."""
    made = []
    names = list(WEIGHTS)
    for one, two in itertools.pairwise(names):
        a, b = (reports[name]["evaluate"] for name in (one, two))
        claim = f"Omniglot, from w_KL {WEIGHTS[one]:g} to {WEIGHTS[two]:g}"
        of = {"better": "higher", "required": 0.0} | shared(reports[two])
        fall = a["reconstruction_per_point"] - b["reconstruction_per_point"]
        made += [
            results.row(claim=claim, metric="fall of the reconstruction, nats per point", ours=fall, **of),
            results.row(claim=claim, metric="rise of the KL, nats per dimension", ours=b["kl"] - a["kl"], **of),
        ]
    return made


def beside_torch(reports):
    ours, theirs = reports[BEST]["evaluate"], reports["pytorch"]
    of = shared(reports[BEST]) | {"better": "lower"}
    error = theirs["nats_per_sketch_standard_error"]
    claim = "Omniglot, w_KL 0.5: plain LSTMs of the same size in PyTorch, trained for as long"
    alone = {"ours": theirs["nats_per_sketch"], "standard_error": error, "seconds": theirs["train_seconds"]}
    difference = ours["nats_per_sketch"] - theirs["nats_per_sketch"]
    return [
        results.row(claim=claim, metric="nats per sketch, with KL", **of | alone),
        results.row(
            claim="Omniglot, w_KL 0.5: compared with plain LSTMs in PyTorch",
            metric="difference in nats per sketch",
            ours=difference,
            required=0.0,
            **of,
        ),
    ]


def rows_of_speed(report):
    of = {"data": f"{STEPS} points, batch {SIZES['batch_size']}", "seeds": [0], "better": "higher", "command": COMMAND}
    of |= {"seconds": report["seconds"], "versions": report["versions"], "date": report["date"]}
    rates, made = report["steps_per_second"], []
    sizes = f"LSTM {SIZES['encoder_units']} both ways, {SIZES['units']}"
    for name, values in rates.items():
        made.append(results.row(claim=f"{sizes}: {name}", metric="training steps/s", **_median(values), **of))
    if "PyTorch" in rates:
        ratios = [a / b for a, b in zip(rates["keras_ae"], rates["PyTorch"], strict=True)]
        marks = {"required": 1.0, "target": 1.3}
        made.append(results.row(claim=f"{sizes}: fit / PyTorch", metric="ratio", **_median(ratios), **marks, **of))
    return made


def _median(values):
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"ours": statistics.median(values), "standard_error": error}


def rows_of_others(reports):
    report = reports["others"]
    of = {"seeds": [0], "better": "lower", "command": COMMAND, "seconds": report["seconds"]}
    of |= {"versions": report["versions"], "date": report["date"]}
    made = [
        results.row(
            claim=f"SavedModel: {DRAWN} sketches of {STEPS} steps",
            data=f"LSTM {SIZES['units']}, random weights",
            metric="s, median of 5 calls",
            ours=report["drawing_seconds"],
            required=1.5,
            **of,
        ),
        results.row(
            claim="SVG to strokes to SVG: largest Hausdorff distance",
            data=f"{len(report['hausdorff'])} outlines of letters with curves",
            metric="share of the drawing's size",
            ours=max(report["hausdorff"]),
            required=0.02,
            **of,
        ),
    ]
    for name in (BEST, "sheep"):
        each = {"claim": f"{TITLES[TRAINED[name][0]]}: padding in batches", "metric": "share of rows"}
        each |= {"data": f"{reports[name]['train']['drawings']:,} training drawings"}
        made.append(results.row(**each, ours=reports[name]["train"]["padding"], required=0.25, **of))
    return made


def main(_):
    folder, reports = options.runs("sketch_vae"), {}
    for name in options.only(RUNS):
        make = RUNS[name] or (lambda own, name=name: trained(name, own))
        reports[name] = runs.kept(folder, name, make, of_run(name))
    if len(reports) < len(RUNS):
        return
    results.write("sketch_vae", rows(reports))
    if options.publish():
        export = folder / BEST / "export"
        found = reports[BEST]["evaluate"]
        names = (
            "reconstruction",
            "reconstruction_masked",
            "kl",
            "nats_per_sketch",
            "reconstruction_per_point",
            "n_max",
        )
        target = results.SAVED_MODELS / "sketch_vae" / "1"
        numbers = {name: found[name] for name in names}
        runs.publish(export, target, numbers, command=f"{COMMAND} --publish", limits=LIMITS, licence=LICENCE)
        for name in ("reconstructions", "interpolations", "arithmetic", "samples"):
            shutil.copy(folder / BEST / "evaluate" / f"{name}.png", DOCS / f"sketch_{name}.png")
        shutil.copy(folder / "sheep" / "evaluate" / "samples.png", DOCS / "sketch_sheep.png")
        assert serving.versions(target.parent) == [1]


if __name__ == "__main__":
    options.run(main)
