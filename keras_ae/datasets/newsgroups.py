"""20 Newsgroups as a TFDS data set. Importing this module imports TFDS and registers the data set."""

import os

import tensorflow_datasets as tfds
from absl import logging

from keras_ae.datasets import text

_GROUPS = (
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
)
_NAMES = ("20_newsgroups", "20_newsgroups.tar.gz", "20_newsgroups.tar.xz")


class TwentyNewsgroups(tfds.core.GeneratorBasedBuilder):
    """Postings to 20 newsgroups from 1993 (Lang, 1995): subject and body, as read by `keras_ae.datasets.Documents`.

    `keras_ae.datasets.text.is_query` defines the splits: queries are `"test"`, and the database is `"train"`. TFDS
    tools, and generic functions for TFDS data sets, expect these names.

    Put the archive or the unpacked folder into `manual_dir`. Examples are dicts of the strings `id`
    (`20_newsgroups/<group>/<number>`), `title` and `text`, and `label`, the int64 index of the group in sorted order.

    Raises:
        FileNotFoundError: when prepared: if `manual_dir` has neither the archive nor the folder.

    Example:

        import tensorflow_datasets as tfds
        import keras_ae.datasets.newsgroups

        config = tfds.download.DownloadConfig(manual_dir="folder/of/the/archive")
        train = tfds.load(
            "twenty_newsgroups",
            split="train",
            download_and_prepare_kwargs={"download_config": config},
        )

    Source: Lang 1995 (NewsWeeder). See also: `Documents`, which reads the same archive without TFDS.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Put one of {', '.join(_NAMES)} into manual_dir: files <group>/<number>, raw postings."
    )

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="Postings to 20 newsgroups of 1993: subject and body, other headers removed.",
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "title": tfds.features.Text(),
                    "text": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=_GROUPS),
                }
            ),
            supervised_keys=("text", "label"),
            homepage="http://qwone.com/~jason/20Newsgroups/",
            citation=(
                "@inproceedings{lang1995newsweeder, author={Ken Lang}, title={NewsWeeder: Learning to Filter Netnews}, "
                "booktitle={International Conference on Machine Learning}, year={1995}}"
            ),
        )

    def _split_generators(self, dl_manager):
        paths = [dl_manager.manual_dir / name for name in _NAMES]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise FileNotFoundError(f"{dl_manager.manual_dir} has none of the files {', '.join(_NAMES)}.")
        return {
            "train": self._generate_examples(path, queries=False),
            "test": self._generate_examples(path, queries=True),
        }

    def _generate_examples(self, path, queries):
        documents = text.Documents(os.fspath(path))
        for document in documents:
            if text.is_query(document.id) == queries:
                row = document._asdict()
                del row["date"]
                yield document.id, row
        if documents.skipped:
            logging.warning("Documents of %s that were skipped or truncated: %s", path, dict(documents.skipped))
