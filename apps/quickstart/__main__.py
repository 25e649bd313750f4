"""Trains an autoencoder on images, compares it with PCA, plots and exports it.

keras-ae quickstart
keras-ae quickstart --dataset=mnist --data=mnist.npz --max_minutes=10

For pictures of your own, `keras-ae train --data=<folder>` does more.
"""

from absl import flags

from .. import common
from .run import run

FLAGS = {
    "dataset": flags.DEFINE_string(
        "dataset",
        "digits",
        "What to train on: digits (embedded, needs no network), mnist, fashion_mnist, the name of a TFDS "
        "dataset, or a folder of images.",
    ),
    "data": common.define_data(
        "Location of the dataset if it is not embedded: an .npz file or its folder for mnist and "
        "fashion_mnist, otherwise the TFDS data_dir."
    ),
    "kind": flags.DEFINE_enum(
        "kind",
        "vae",
        ["vae", "autoencoder"],
        "A VAE has a density and samples; a plain autoencoder shows what these cost in reconstruction error.",
    ),
    "latent_dim": flags.DEFINE_integer(
        "latent_dim",
        0,
        "Size of the code, which depends on its purpose (2 to plot, more to reconstruct); 0 uses the "
        "dataset's setting.",
        lower_bound=0,
    ),
    "max_minutes": common.define_max_minutes(),
    "export_dir": common.define_export_dir("runs/quickstart/export"),
    "seed": common.define_seed(),
    "strategy": common.define_strategy(),
    "checkpoint_dir": common.define_checkpoint_dir(),
}


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
