"""Runs the app, from data to report."""

import contextlib
import math
import pathlib
import sys
import time
from collections import namedtuple

import keras_ae as ka

from .. import checkpoints, common
from . import evaluate, methods, settings

Data = namedtuple("Data", "x labels new new_labels")
Data.__doc__ = """Images to embed, and images that no method sees.

Attributes:
    x: `(N, H, W, C)`.
    labels: `(N,)` integers, or None if the data set has none.
    new: `(M, H, W, C)`.
    new_labels: `(M,)`, or None.
"""


def run(dataset, data, points, neighbours, max_minutes, output, seed, checkpoint_dir):
    """Embeds, measures and draws; prints and writes the report. The arguments are the flags."""
    start = time.perf_counter()
    common.require("matplotlib", *(["PIL"] if pathlib.Path(dataset).is_dir() else []))
    folder, chosen = common.writable(output), settings.of(dataset)
    images = load(dataset, data, points, seed, chosen)
    if len(images.x) <= 2 * neighbours:
        raise common.UserError(
            f"--neighbours: expected less than half of the {len(images.x)} images; received {neighbours}."
        )
    flags = {"dataset": dataset, "data": data and str(data), "points": points, "seed": seed, "settings": chosen}
    with contextlib.ExitStack() as stack:
        opened = []

        def checkpoint_of(name, minutes):
            opened.append(stack.enter_context(checkpoints.opened(checkpoint_dir, f"manifold/{name}", flags, minutes)))
            return opened[-1]

        embeddings, found = {}, {}
        options = {"seed": seed, "max_minutes": max_minutes, "checkpoint_of": checkpoint_of}
        for name, embedding in methods.embedded(images.x, images.labels, neighbours, chosen, **options):
            with common.user_input():
                found[name] = evaluate.measured(embedding, images, neighbours)
            embeddings[name] = embedding
            print(f"{name}: {embedding.seconds:.1f} s", file=sys.stderr)
        figures = {"dataset": dataset, "seed": seed, "points": len(images.x), "new_points": len(images.new)}
        models = {name: each.model for name, each in embeddings.items() if each.model is not None}
        figures |= {"neighbours": neighbours, "methods": found, "middles": evaluate.middles(models, images, seed)}
        common.keep(figures, folder)
        print(evaluate.table(found))
        with common.user_input():
            paths = {"table": evaluate.write_table(found, folder)}
            paths["figures"] = evaluate.draw(embeddings, found, images, folder)
        common.report(figures | paths | {"seconds": time.perf_counter() - start}, folder)
        for checkpoint in opened:
            if checkpoint is not None:
                checkpoint.done()


def load(dataset, data, points, seed, chosen):
    """Loads up to `points` random images of each split."""

    def read(split, **options):
        batch_size = min(points, 500)
        options = {"data": data, "size": chosen["size"], "shuffle": True, "seed": seed} | options
        batches = ka.datasets.load(dataset, split, batch_size=batch_size, **options)
        found = ka.datasets.arrays(batches.take(math.ceil(points / batch_size)))
        return tuple(column[:points] for column in found) if isinstance(found, tuple) else (found[:points], None)

    with common.user_input():
        x, _ = read("train")
        try:
            (x, labels), (new, new_labels) = (read(split, labels=True) for split in ("train", "test"))
        except ValueError:  # a data set without labels; any other error would have been raised above
            labels, (new, new_labels) = None, read("test")
    return Data(x, labels, new, new_labels)
