"""Draws new pictures, rows or windows from a model, and writes them to a file.

keras-ae sample --model=runs/own_data/export --count=64 --output=samples.npz
"""

import numpy as np
from absl import flags

from .. import common
from . import outputs, served

FLAGS = {
    "model": common.define_model("that samples"),
    "count": flags.DEFINE_integer("count", 64, "How many to draw.", lower_bound=1),
    "output": flags.DEFINE_string(
        "output",
        "samples.npz",
        "File to write, .npz, .csv or .parquet; a grid of pictures as PNG is written beside it.",
    ),
    "label": flags.DEFINE_string("label", None, "Class to draw, of a conditional model; by default all in turn."),
    "seed": common.define_seed(),
}


def sample(model, count, output, label, seed):
    """Draws samples; prints where they are as JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    endpoint = next((name for name in ("sample_best", "sample") if name in export.signatures), "sample")
    export.need(endpoint)
    given, classes = {}, (export.card.get("schema") or {}).get("classes") or []
    if export.takes_condition(endpoint):
        if label is not None and label not in classes:
            raise common.UserError(f"--label: expected one of {', '.join(classes)}; received {label!r}.")
        given["condition"] = np.full(count, classes.index(label)) if label else np.arange(count) % max(len(classes), 1)
    parts = []
    with outputs.writer(output) as append:
        for i in range(0, count, served.BATCH):
            seeds = seed + np.arange(i, min(i + served.BATCH, count))
            each = {name: values[i : i + served.BATCH] for name, values in given.items()}
            x = export.call(endpoint, seed=seeds, **each)["x"]
            append({"seed": seeds, "x": x})
            parts.append(x[: max(0, served.BATCH - i)])
    figures = {"samples": count, "endpoint": endpoint, "output": output, "model": str(export.served.path)}
    x = np.concatenate(parts)
    if x.ndim == 4 and x.shape[-1] in (1, 3):
        common.require("matplotlib")
        from keras_ae import plots

        figures["picture"] = f"{output.rpartition('.')[0]}.png"
        plots.image_grid(np.clip(x, 0, 1)).savefig(figures["picture"])
    common.printed(figures)


def main():
    sample(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
