"""Evaluates a model of drawings on drawings it has not seen, and draws figures.

keras-ae sketch_vae evaluate
keras-ae sketch_vae evaluate --model=runs/sketch_vae/export --data=cat.npz

The report has the reconstruction term and the KL as the paper defines them (`reconstruction`, `kl`), and nats a drawing
(`nats_per_sketch`), each with and without (`_masked`) the term of the drawing's end. The figures show reconstructions
at several temperatures, walks between codes, and arithmetic of codes.
"""

import time

import numpy as np
from absl import flags

from keras_ae import plots
from keras_ae.datasets import sketch_files, svg
from keras_ae.models.base.walks import between

from .. import common
from . import measures, served, settings

SHOWN = 8  # drawings in a figure


def define_flags():
    return {
        "model": common.define_model("that is measured"),
        "data": common.define_data("Drawings, as for `train`. By default, outlines of letters."),
        "split": flags.DEFINE_enum("split", "test", sketch_files.SPLITS, "Which of them, as `train` splits them."),
        "seed": common.define_seed(),
        "output": flags.DEFINE_string(
            "output", "runs/sketch_vae/evaluate", "Folder for report.json and the figures, separate from the model."
        ),
    }


def run(model, data, split, seed, output):
    """Evaluates the model, draws the figures, and prints and writes the report. Arguments: the flags."""
    start = time.perf_counter()
    common.require("matplotlib", "fontTools", "defusedxml")
    folder = common.writable(output)
    with common.user_input():
        artist = served.Artist(model)
        found = sketch_files.load(data, split, artist.classes or None)
        kept = [i for i, each in enumerate(found.drawings) if len(each) <= artist.max_length]
        skipped = dict(found.skipped)
        if len(kept) < len(found.drawings):
            skipped[f"over {artist.max_length} points"] = len(found.drawings) - len(kept)
        if not kept:
            raise ValueError(f"--data: all drawings have over {artist.max_length} points, the longest for this model.")
        drawings, labels = [found.drawings[i] for i in kept], found.labels[kept]
        scores = measures.scores(artist.score, drawings, labels if artist.classes else None, seed)
    figures = measures.summary(scores, artist.latent_dim, int(artist.card.get("n_max", artist.max_length + 1)))
    figures |= {"split": split, "data": data or "glyphs", "skipped": skipped, "model": artist.path}
    common.keep(figures, folder)
    figures |= {"figures": drawn(artist, drawings, seed, folder)}
    common.report(figures | {"seconds": time.perf_counter() - start}, folder)


def drawn(artist, drawings, seed, folder):
    """Writes the figures; returns their paths."""
    made = {"samples": {f"{t:g}": artist.sample(SHOWN, t, seed) for t in settings.TEMPERATURES}}
    if artist.has_codes and not artist.classes:
        rows = np.random.default_rng(seed).permutation(len(drawings))[:SHOWN]
        shown = [drawings[i] for i in rows]
        z = artist.encode(shown)
        again = {f"temperature {t:g}": artist.decode(z, t, seed) for t in settings.TEMPERATURES}
        made["reconstructions"] = {"drawings": shown} | again
        if len(shown) >= 2:
            made["interpolations"] = walks(artist, shown)
        if len(shown) >= 3:
            made["arithmetic"] = arithmetic(artist, shown)
    paths = []
    for name, rows in made.items():
        paths.append(folder / f"{name}.png")
        plots.drawings(rows).savefig(paths[-1])
        svg.write(
            folder / f"{name}.svg", [each for row in rows.values() for each in row], len(next(iter(rows.values())))
        )
    return paths


def walks(artist, drawings, steps=SHOWN, temperature=0.1, seed=0):
    """Returns rows of drawings: from each drawing to the next, along the arc between their codes, ends included."""
    z = artist.encode(drawings)
    last = len(z) // 2 * 2
    codes = between(z[:last:2], z[1:last:2], steps, spherical=True)
    return {f"{k + 1}": artist.decode(each, temperature, seed) for k, each in enumerate(codes)}


def arithmetic(artist, drawings, temperature=0.1, seed=0):
    """Returns the rows a, b, c and a - b + c of drawings, the last by arithmetic of codes."""
    count = len(drawings) // 3
    a, b, c = (drawings[i * count : (i + 1) * count] for i in range(3))
    z = [artist.encode(each) for each in (a, b, c)]
    return {"a": a, "b": b, "c": c, "a - b + c": artist.decode(z[0] - z[1] + z[2], temperature, seed)}


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
