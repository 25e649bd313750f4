"""Writes the codes and scores of your own data to a table: CSV, Parquet or .npz.

keras-ae encode --model=runs/own_data/export --data=<folder> --output=codes.parquet
"""

from absl import flags

from .. import common
from . import outputs, served

FLAGS = {
    "model": common.define_model("that encodes"),
    "data": common.define_data("What to encode: data of the form that the model was trained on."),
    "output": flags.DEFINE_string(
        "output", "codes.csv", "Table to write, .csv, .parquet or .npz: the name of each row, its code and its error."
    ),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
}


def encode(model, data, output, labels):
    """Encodes the data; prints and writes nothing but the table and a line of JSON. The arguments are the flags."""
    outputs.check(output)
    export = served.Export(model)
    threshold, count = export.card.get("threshold"), 0
    with outputs.writer(output) as append:
        failed = None
        try:
            for ids, x, made in served.batches(export, data, labels, ["encode", "reconstruct"]):
                error = served.squared_error(x, made["reconstruct"]["x"])
                columns = {"id": ids, "z": made["encode"]["z"], "squared_error": error}
                if threshold is not None:
                    columns["anomalous"] = (error > threshold).astype("int64")
                append(columns)
                count += len(ids)
        except common.SomeFailed as error:
            failed = error  # what could be read is written first
    common.printed({"rows": count, "output": output, "model": str(export.served.path)})
    if failed is not None:
        raise failed


def main():
    encode(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
