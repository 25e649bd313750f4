"""Draws new drawings, your own again, the rest of one, or the way from one to another.

keras-ae draw
keras-ae draw --mode=reconstruct --input=cat.svg --output=cats.svg --count=9 --temperature=0.6
keras-ae draw --mode=complete --input=begun.svg --output=whole.svg
keras-ae draw --mode=interpolate --input=cats.npz --output=walk.png

The input is an SVG file, with one drawing, or a sketch-rnn .npz or QuickDraw .ndjson, of which the first drawings are
used. SVG drawings are scaled to the usual size of the model's training data. The output is an SVG or a PNG file, with a
grid for several drawings. `report.json` is written beside it.
"""

import pathlib
import time

import numpy as np
from absl import flags

from keras_ae import plots
from keras_ae.datasets import sketch_files, sketches, svg
from keras_ae.models.base.walks import between
from keras_ae.utils import files

from .. import common
from . import served

MODES = ("sample", "reconstruct", "complete", "interpolate")
OUTPUT = "runs/sketch_vae/draw/drawings.svg"


def define_flags():
    return {
        "model": common.define_model("that draws"),
        "mode": flags.DEFINE_enum("mode", "sample", MODES, "What to draw; all but `sample` need --input."),
        "input": flags.DEFINE_string("input", None, "Drawings to start from: a file .svg, .npz or .ndjson."),
        "output": flags.DEFINE_string("output", OUTPUT, "File to write, .svg or .png."),
        "count": flags.DEFINE_integer(
            "count",
            9,
            "Drawings to make: new ones, versions of one drawing, or steps of a walk. Of several drawings in --input, "
            "so many are used.",
            lower_bound=1,
        ),
        "temperature": flags.DEFINE_float(
            "temperature", 0.5, "0 always draws the most probable line; 1 samples from the model; higher is wilder."
        ),
        "label": flags.DEFINE_string("label", None, "Class of drawing, for a model of several; by default the first."),
        "long": flags.DEFINE_enum(
            "long", "refuse", ["refuse", "split"], "What to do with an input longer than the model's longest drawing."
        ),
        "seed": common.define_seed(),
    }


def run(model, mode, input, output, count, temperature, label, long, seed):
    """Draws; prints and writes the report. Arguments: the flags."""
    start = time.perf_counter()
    output = pathlib.Path(output)
    with common.user_input():
        if output.suffix.lower() not in (".svg", ".png"):
            raise ValueError(f"--output: expected a file .svg or .png; received {str(output)!r}.")
        if not temperature >= 0 or not np.isfinite(temperature):
            raise ValueError(f"--temperature: expected 0 or more; received {temperature}.")
        if (input is None) != (mode == "sample"):
            raise ValueError(
                f"--input: expected none with --mode=sample, and a file with any other mode; received {input!r}."
            )
    common.require(*(["matplotlib"] if output.suffix.lower() == ".png" else []))
    common.writable(output.parent)
    with common.user_input():
        artist = served.Artist(model)
        number = class_of(artist, label)
        given = [] if input is None else read(input, artist, long)
        made = drawings(artist, mode, given, count, temperature, seed, number)
        if output.suffix.lower() == ".svg":
            svg.write(output, made)
        else:
            with files.replacing(output) as beside:
                plots.drawings(made).savefig(beside)
    points = [len(each) for each in made]
    figures = {"mode": mode, "drawings": len(made), "points": points, "temperature": temperature, "seed": seed}
    figures |= {"model": artist.path, "output": output, "seconds": time.perf_counter() - start}
    common.report(figures, output.parent)


def class_of(artist, label):
    """Returns the number of a class, None for a model without classes."""
    if not artist.classes:
        if label is not None:
            raise ValueError(f"--label: this model has no classes; received {label!r}.")
        return None
    if label is None:
        return 0
    if label not in artist.classes:
        raise ValueError(f"--label: expected one of {', '.join(artist.classes)}; received {label!r}.")
    return artist.classes.index(label)


def read(path, artist, long):
    """Returns the drawings of a file in stroke-3, in the model's units.

    Raises:
        ValueError: if the file cannot be read, a drawing is empty, not finite or out of scale, or, unless it may be
            split, longer than the model's longest.
    """
    suffix = pathlib.Path(path).suffix.lower()
    if suffix == ".svg":
        found = [sketches.resized(svg.read(path), artist.extent)]
    elif suffix == ".npz":
        found = next(rows for rows in (_tried(path, split) for split in ("test", "valid", "train")) if rows)
    elif suffix == ".ndjson":
        found = [drawing for _, drawing in sketch_files.read_ndjson(path)]
    else:
        raise ValueError(f"--input: expected a file .svg, .npz or .ndjson; received {str(path)!r}.")
    if not found:
        raise ValueError(f"--input: {str(path)!r} has no drawings.")
    checked = []
    for i, each in enumerate(found):
        drawing = sketches.check(each, f"{str(path)!r}: drawing {i}")
        if len(drawing) > artist.max_length and long == "refuse":
            raise ValueError(
                f"{str(path)!r}: drawing {i} has {len(drawing)} points, and the model's longest drawing "
                f"{artist.max_length}. Use --long=split to draw its parts."
            )
        checked += sketches.split(drawing, artist.max_length)
    return checked


def _tried(path, split):
    try:
        return sketch_files.read_npz(path, split)
    except ValueError:
        if split == "train":
            raise
        return None


def drawings(artist, mode, given, count, temperature, seed, label=None):
    """Returns the drawings of a mode, as `run` writes them.

    Args:
        artist: `served.Artist`.
        given: drawings in stroke-3, in the model's units; none for "sample".
        count: int.
        label: number of the class, or None.
    """
    if mode == "sample":
        return artist.sample(count, temperature, seed, label)
    if mode == "interpolate":
        if len(given) < 2:
            raise ValueError("--input: --mode=interpolate needs two drawings or more, a file .npz or .ndjson.")
        z = artist.encode(given[: min(len(given), max(2, count))][:2], label)
        return artist.decode(between(z[:1], z[1:], max(2, count), spherical=True)[0], temperature, seed, label)
    given = [given[0]] * count if len(given) == 1 else given[:count]
    if mode == "complete":
        added = artist.complete([begun(each) for each in given], temperature, seed, label)
        return [np.concatenate([begun(a), b]) for a, b in zip(given, added, strict=True)]
    return artist.decode(artist.encode(given, label), temperature, seed, label)


def begun(drawing):
    """A drawing whose pen is down after its last point, so that the model may go on with the line or lift the pen."""
    made = drawing.copy()
    made[-1, 2] = 0
    return made


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    FLAGS = define_flags()
    common.main(main)
