"""The benchmarks of one's own data: protocol and ranks."""

import hashlib

import numpy as np
import pytest
from absl import flags

from benchmarks import options, own_pictures, tables


@pytest.fixture(autouse=True)
def parsed():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["test"])


def test_anomalous_rows_are_held_out_and_training_rows_are_standardised():
    train, test, anomalous = tables.split("breast_cancer", 0)
    assert anomalous.sum() == 212 and len(train) == 250 and len(test) == 357 - 250 + 212
    np.testing.assert_allclose([train.mean(0), train.std(0)], [[0] * 30, [1] * 30], atol=1e-4)
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}


def test_ranks_are_means_over_data_sets_and_ties_share_theirs():
    reports = {
        "a": {"auroc": {"x": [0.9, 0.7], "y": [0.6], "z": [0.5]}},
        "b": {"auroc": {"x": [0.5], "y": [0.5], "z": [0.9]}},
    }
    assert tables.ranks(reports) == {"x": 1.75, "y": 2.25, "z": 2.0}


def test_the_smoke_test_of_tables_makes_rows():
    rows = options.smoke_test(tables.main)
    assert {row["metric"] for row in rows} == {"AUROC", "mean rank by AUROC"}


def test_the_test_tenth_is_that_of_the_hash_of_the_relative_path(tmp_path):
    from benchmarks import tiny_data

    folder = tiny_data.pictures(tmp_path / "pictures")
    rows = own_pictures.source.read(folder / "faces.tar", tmp_path, size=8)
    assert len(rows.x) == 150
    for name, test in zip(rows.ids, rows.test, strict=True):
        assert test == (int(hashlib.sha1(name.encode()).hexdigest()[:8], 16) % 10 == 0)
