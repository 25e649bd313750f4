"""Scores your own data: the error of each row, and whether it is above the threshold.

keras-ae score --model=runs/own_data/export --data=<folder> --output=scores.csv
"""

from absl import flags

from .. import common
from . import define_model, use

FLAGS = {
    "model": define_model(),
    "data": common.define_data("What to score: data of the form that the model was trained on."),
    "output": flags.DEFINE_string("output", "scores.csv", "Table to write, .csv, .parquet or .npz: names and scores."),
    "labels": flags.DEFINE_string("labels", None, "Column of labels in a CSV of pictures, for a conditional model."),
    "log_prob": flags.DEFINE_bool(
        "log_prob", False, "Also estimate log p(x) in nats, of a model that has a density; it takes 64 decodings a row."
    ),
    "threshold": flags.DEFINE_float(
        "threshold", None, "Squared error above which a row is anomalous; by default that of the model's card."
    ),
}


def main():
    use.score(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
