"""Writes the codes and scores of your own data to a table: CSV, Parquet or .npz.

keras-ae encode --model=runs/own_data/export --data=<folder> --output=codes.parquet
"""

from absl import flags

from .. import common
from . import define_model, use

FLAGS = {
    "model": define_model(),
    "data": common.define_data("What to encode: data of the form that the model was trained on."),
    "output": flags.DEFINE_string(
        "output", "codes.csv", "Table to write, .csv, .parquet or .npz: the name of each row, its code and its error."
    ),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
}


def main():
    use.encode(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
