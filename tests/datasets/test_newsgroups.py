"""20 Newsgroups as a TFDS data set."""

import functools
import os
import tarfile
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from keras_ae.datasets import text
from keras_ae.datasets.newsgroups import TwentyNewsgroups
from tests.datasets import tfds_builders

IDS = [f"20_newsgroups/{group}/{i}" for group in ("alt.atheism", "sci.space") for i in range(6)]
QUERIES = [document_id for document_id in IDS if text.is_query(document_id)]


def write(folder, ids=IDS, suffix=""):
    """Postings whose subject is their id, in a folder, or in a tar of `suffix`."""
    for document_id in ids:
        path = Path(folder, document_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Newsgroups: secret\nSubject: {document_id}\n\nCafé", encoding="latin-1")
    if suffix:
        with tarfile.open(Path(folder, f"20_newsgroups{suffix}"), f"w:{suffix.removeprefix('.tar.')}") as archive:
            archive.add(Path(folder, "20_newsgroups"), "20_newsgroups")
        os.rename(Path(folder, "20_newsgroups"), Path(folder, "other"))


class TwentyNewsgroupsTest(tfds_builders.ManualFiles, tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = TwentyNewsgroups
    SPLITS = {"train": len(IDS) - len(QUERIES), "test": len(QUERIES)}  # noqa: RUF012 (as TFDS wants it)
    write = staticmethod(write)


load = functools.partial(tfds_builders.load, "twenty_newsgroups")


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_examples_of_an_archive(tmp_path, suffix):
    write(tmp_path / "manual", suffix=suffix)
    splits, info = load(tmp_path, with_info=True)
    rows = {split: list(rows.as_numpy_iterator()) for split, rows in splits.items()}
    assert sorted(row["id"].decode() for row in rows["test"]) == QUERIES
    assert sorted(row["id"].decode() for row in rows["train"] + rows["test"]) == IDS
    label = info.features["label"]
    assert label.num_classes == 20
    for row in rows["train"] + rows["test"]:
        assert row["title"] == row["id"] and row["text"].decode() == f"{row['id'].decode()}\nCafé"
        assert label.int2str(row["label"]) == row["id"].decode().split("/")[1]
    x, y = next(iter(load(tmp_path, split="train", as_supervised=True)))
    assert x.dtype == "string" and y.dtype == "int64"


def test_wrong_manual_data_raises(tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "20_newsgroups.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"has none of the files 20_newsgroups, 20_newsgroups\.tar\.gz"):
        load(tmp_path)
    write(tmp_path / "manual", ["20_newsgroups/no.such.group/1"])
    with pytest.raises(Exception, match=r"no\.such\.group"):
        load(tmp_path)
