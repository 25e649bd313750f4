"""Writes the reconstructions of your own data to a file.

keras-ae reconstruct --model=runs/own_data/export --data=<folder> --output=reconstructions.npz
"""

from absl import flags

from .. import common
from . import outputs, served

FLAGS = {
    "model": common.define_model("that reconstructs"),
    "data": common.define_data("What to reconstruct: data of the form that the model was trained on."),
    "output": flags.DEFINE_string(
        "output",
        "reconstructions.npz",
        "File to write, .npz, .csv or .parquet: the name of each row and its reconstruction, pictures in [0, 1].",
    ),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
}


def reconstruct(model, data, output, labels):
    """Reconstructs the data; prints the mean squared error as JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    count, total, failed = 0, 0.0, None
    with outputs.writer(output) as append:
        try:
            for ids, x, made in served.batches(export, data, labels, ["reconstruct"]):
                append({"id": ids, "x": made["reconstruct"]["x"]})
                count, total = count + len(ids), total + float(served.squared_error(x, made["reconstruct"]["x"]).sum())
        except common.SomeFailed as error:
            failed = error
    figures = {"rows": count, "squared_error": total / max(count, 1), "output": output}
    common.printed(figures | {"model": str(export.served.path)})
    if failed is not None:
        raise failed


def main():
    reconstruct(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
