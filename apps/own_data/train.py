"""Trains an autoencoder on your own pictures, table or series, and writes a report.

keras-ae train --data=<folder>
keras-ae train --data=<folder> --kind=autoencoder --max_minutes=10
keras-ae train --data=<table.csv> --labels=<column>

Pictures: a folder (sub-folders are classes), a tar, a CSV of file names, an .npz with x_train, or a TFDS name. Tables:
a CSV, Parquet or .npz of rows. Series: an .npy of steps, or a CSV with --size, the steps of a window.
"""

from absl import flags

from .. import common
from . import models
from .run import run

FLAGS = {
    "data": common.define_data("What to train on: a folder, a file, or the name of a TFDS data set; see above."),
    "size": flags.DEFINE_integer(
        "size",
        None,
        "Side in pixels to which pictures are scaled, 64 by default (archives of arrays keep theirs); for series, the "
        "steps of a window. Detail and time grow with it.",
        lower_bound=4,
    ),
    "kind": flags.DEFINE_enum(
        "kind",
        "vae",
        list(models.KINDS),
        "Model: vae has samples and a density, autoencoder the smallest error, cvae takes labels; the others are for "
        "comparison.",
    ),
    "latent_dim": flags.DEFINE_string(
        "latent_dim", "auto", "Size of the code; auto takes the smallest of a few that keeps 90 % of PCA's variance."
    ),
    "max_minutes": flags.DEFINE_float(
        "max_minutes",
        20.0,
        "Stops training after this many minutes; the learning rate falls to 0 by then, so the time is used well. "
        "Reading, evaluation and export do not count.",
        lower_bound=0.0,
    ),
    "likelihood": flags.DEFINE_enum(
        "likelihood",
        "auto",
        list(models.LIKELIHOODS),
        "p(x|z); auto is a Gaussian, whose scale a VAE learns, which suits photographs; bernoulli suits black on "
        "white.",
    ),
    "labels": flags.DEFINE_string(
        "labels",
        None,
        "Column of a CSV or Parquet file with labels; by default label, class or target if there is one.",
    ),
    "export_dir": common.define_export_dir("runs/own_data/export"),
    "seed": common.define_seed(),
    "checkpoint_dir": common.define_checkpoint_dir(),
}


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
