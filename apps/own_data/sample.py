"""Draws new pictures, rows or windows from a model, and writes them to a file.

keras-ae sample --model=runs/own_data/export --count=64 --output=samples.npz
"""

from absl import flags

from .. import common
from . import define_model, use

FLAGS = {
    "model": define_model(),
    "count": flags.DEFINE_integer("count", 64, "How many to draw.", lower_bound=1),
    "output": flags.DEFINE_string(
        "output",
        "samples.npz",
        "File to write, .npz, .csv or .parquet; a grid of pictures as PNG is written beside it.",
    ),
    "label": flags.DEFINE_string("label", None, "Class to draw, of a conditional model; by default all in turn."),
    "seed": common.define_seed(),
}


def main():
    use.sample(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
