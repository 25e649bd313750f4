"""Embeds images in the plane by PCA, t-SNE and others, beside the codes of autoencoders.

keras-ae manifold
keras-ae manifold --dataset=mnist --data=mnist.npz --points=2000

All methods see the same images: PCA, LDA, t-SNE, Isomap and LLE of scikit-learn, an autoencoder (AE), a denoising one
(DAE) and a VAE. Images that no method has seen show which methods can place new ones. A walk through the latent spaces
between two images is compared with the blend of their pixels.
"""

from absl import flags

from .. import common
from .run import run

FLAGS = {
    "dataset": flags.DEFINE_string(
        "dataset",
        "digits",
        "What to embed: digits (embedded, needs no network), mnist, fashion_mnist, the name of a TFDS dataset, or a "
        "folder of images.",
    ),
    "data": common.define_data(
        "Location of the dataset if it is not embedded: an .npz file or its folder for mnist and fashion_mnist, "
        "otherwise the TFDS data_dir."
    ),
    "points": flags.DEFINE_integer(
        "points",
        1_500,
        "Images to embed, drawn from the train split. Isomap and LLE need time and memory in proportion to the square "
        "of their number, or more: 3,000 take minutes.",
        lower_bound=20,
    ),
    "neighbours": flags.DEFINE_integer(
        "neighbours", 12, "Number of neighbours, of Isomap and LLE, and of the measures.", lower_bound=1
    ),
    "max_minutes": common.define_max_minutes(),
    "output": flags.DEFINE_string("output", "runs/manifold", "Folder for report.json, the table and the figures."),
    "seed": common.define_seed(),
    "checkpoint_dir": common.define_checkpoint_dir(),
}


def main():
    run(**{name: flag.value for name, flag in FLAGS.items()})


if __name__ == "__main__":
    common.main(main)
