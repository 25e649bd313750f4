"""Sketch-rnn's files as a TFDS data set. Importing this module imports TFDS and registers the data set."""

import os

import numpy as np
import tensorflow_datasets as tfds

from keras_ae.datasets import sketch_files, sketches


class SketchRnn(tfds.core.GeneratorBasedBuilder):
    """Drawings as sequences of strokes, from sketch-rnn's `.npz` files: QuickDraw, Omniglot, kanji, sheep and others.

    Put one or several `.npz` files into `manual_dir`; each is a class, named like its file. Examples are dicts of
    `strokes`, float32 `(n, 3)` in stroke-3, see `keras_ae.datasets.sketches`, and `name`, the class. Drawings that are
    empty, not finite or far out of scale are left out.

    Raises:
        FileNotFoundError: when prepared: if `manual_dir` has no `.npz` file.

    Example:

        import tensorflow_datasets as tfds
        import keras_ae.datasets.sketch_rnn

        config = tfds.download.DownloadConfig(manual_dir="folder/of/the/files")
        train = tfds.load("sketch_rnn", split="train", download_and_prepare_kwargs={"download_config": config})

    Source: Ha & Eck 2017, section 3.1. See also: `sketch_files.load`, which reads the same files without TFDS.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put sketch-rnn's .npz files into manual_dir."

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawings as sequences of offsets of a pen, and of whether it is lifted after each.",
            features=tfds.features.FeaturesDict(
                {"strokes": tfds.features.Tensor(shape=(None, 3), dtype=np.float32), "name": tfds.features.Text()}
            ),
            homepage="https://github.com/hardmaru/sketch-rnn-datasets",
            citation=(
                "@article{ha2017sketchrnn, author={David Ha and Douglas Eck}, title={A Neural Representation of Sketch "
                "Drawings}, journal={arXiv:1704.03477}, year={2017}}"
            ),
        )

    def _split_generators(self, dl_manager):
        paths = sorted(dl_manager.manual_dir.glob("*.npz"))
        if not paths:
            raise FileNotFoundError(f"{dl_manager.manual_dir} has no .npz files.")
        names = {"train": "train", "validation": "valid", "test": "test"}
        return {name: self._generate_examples(paths, split) for name, split in names.items()}

    def _generate_examples(self, paths, split):
        for path in paths:
            for i, drawing in enumerate(sketch_files.read_npz(os.fspath(path), split)):
                try:
                    strokes = sketches.check(drawing)
                except ValueError:
                    continue
                yield f"{path.stem} {i}", {"strokes": strokes, "name": path.stem}
