"""Writes the reconstructions of your own data to a file.

keras-ae reconstruct --model=runs/own_data/export --data=<folder> --output=reconstructions.npz
"""

from absl import flags

from .. import common
from . import define_model, use

FLAGS = {
    "model": define_model(),
    "data": common.define_data("What to reconstruct: data of the form that the model was trained on."),
    "output": flags.DEFINE_string(
        "output",
        "reconstructions.npz",
        "File to write, .npz, .csv or .parquet: the name of each row and its reconstruction, pictures in [0, 1].",
    ),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
}


def main():
    use.reconstruct(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
