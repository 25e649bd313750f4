"""Hiding labels, and batches with a fixed number of labelled rows."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from keras_ae.datasets import keep_labels, semi_supervised


def test_as_many_labels_of_each_class_stay_by_the_seed():
    y = np.repeat([0, 1, 2, 3], [40, 20, 10, 30])
    kept = keep_labels(y, 20, seed=1)
    known = kept >= 0
    np.testing.assert_array_equal(np.bincount(kept[known]), [5, 5, 5, 5])
    np.testing.assert_array_equal(kept[known], y[known])
    assert set(kept[~known]) == {-1}
    np.testing.assert_array_equal(kept, keep_labels(y, 20, seed=1))
    assert (kept != keep_labels(y, 20, seed=2)).any()


@pytest.mark.parametrize(
    ("count", "message"), [(7, "multiple of the 4"), (0, "count: expected a whole number"), (44, "class 2 has 10 rows")]
)
def test_refuses_counts(count, message):
    with pytest.raises(ValueError, match=message):
        keep_labels(np.repeat([0, 1, 2, 3], [40, 20, 10, 30]), count)
    with pytest.raises(ValueError, match="all rows are unlabelled"):
        keep_labels(np.full(5, -1), 2)


def test_labels_of_any_integer_dtype_are_kept_and_unknown_ones_stay_so():
    y = np.array([255, 0, 1, 0, 1, 1], "uint8")[1:]
    kept = keep_labels(y, 2)
    assert kept.dtype == np.int64 and sorted(kept[kept >= 0]) == [0, 1] and (kept == -1).sum() == 3
    assert sorted(keep_labels(np.array([-1, 0, 1, -1]), 2)) == [-1, -1, 0, 1]
    assert sorted(keep_labels(np.array([255, 255, 0, 0], "uint8"), 2)) == [-1, -1, 0, 255]


def test_a_class_beyond_the_largest_label_is_missed_where_their_number_is_known():
    x, y = np.zeros((6, 2)), np.array([0, 1, -1, -1, -1, -1])
    with pytest.warns(UserWarning, match="class 2"):
        semi_supervised(x, y, batch_size=3, labelled=1, num_classes=3)


def test_masked_labels_are_unknown_ones():
    y = np.ma.array([0, 1, 1, 0], mask=[False, False, True, True], dtype="uint8")
    ((_, labels),) = semi_supervised(np.zeros((4, 1)), y, batch_size=4, labelled=2, num_classes=2)
    assert sorted(labels.numpy()) == [-1, -1, 0, 1]
    np.testing.assert_array_equal(keep_labels(y, 2), [0, 1, -1, -1])


@pytest.mark.parametrize("y", [np.arange(4) + 0.5, np.array([0, 1, -5]), np.zeros((4, 1), int)])
def test_what_is_no_label_is_not_kept(y):
    with pytest.raises(ValueError, match=r"expected .*labels"):
        keep_labels(y, 2)


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match="labels 0 to 2, or -1 where unknown; received 3"):
        semi_supervised(np.zeros((4, 1)), np.array([0, 3, -1, -1]), batch_size=3, labelled=1, num_classes=3)


def test_every_batch_has_its_labelled_rows_and_an_epoch_all_unlabelled_ones():
    y = np.full(103, -1)
    y[::10] = 0  # eleven labelled rows
    x = np.arange(103.0)[:, None].astype("float32")
    data = semi_supervised(x, y, batch_size=30, labelled=7, num_classes=1)
    assert int(data.cardinality()) == 4  # 92 unlabelled rows, 23 per batch
    epochs = [[(rows.ravel(), labels) for rows, labels in data.as_numpy_iterator()] for _ in range(2)]
    for epoch in epochs:
        for rows, labels in epoch:
            assert (labels[:7] == 0).all() and (labels[7:] == -1).all()
            np.testing.assert_array_equal(y[rows.astype(int)], labels)
        unlabelled = np.concatenate([rows[7:] for rows, _ in epoch])
        np.testing.assert_array_equal(np.sort(unlabelled), x[y == -1, 0])
        assert len(set(np.concatenate([rows[:7] for rows, _ in epoch]))) == 11  # all of them within two batches
    assert (epochs[0][0][0] != epochs[1][0][0]).any()


@pytest.mark.parametrize(
    ("y", "labelled", "message"),
    [
        (np.full(10, -1), 2, "labelled"),
        (np.arange(10) % 2, 2, "all rows are labelled"),
        (np.array([0, 1] + [-1] * 8), 5, "1 to batch_size - 1 = 4"),
        (np.array([0, 1] + [-1] * 8), 0, "labelled: expected a whole number, 1 or more"),
        (np.array([0, 1] + [-1] * 7), 2, "each of the 10 rows"),
    ],
)
def test_refuses_data(y, labelled, message):
    with pytest.raises(ValueError, match=message):
        semi_supervised(np.zeros((10, 1)), y, batch_size=5, labelled=labelled, num_classes=2)


def test_rows_are_what_users_have():
    x, y = np.random.default_rng(0).random((12, 3)).astype("float32"), np.arange(12) % 3 - 1
    options = {"batch_size": 6, "labelled": 2, "num_classes": 2}
    expected = list(semi_supervised(x, y, **options).as_numpy_iterator())
    nullable = pd.Series([None if label < 0 else label for label in y], dtype="Int64").fillna(-1)
    for rows, labels in ((scipy.sparse.csr_array(x), y), (pd.DataFrame(x), nullable), (x.astype("float64"), y)):
        for one, two in zip(semi_supervised(rows, labels, **options).as_numpy_iterator(), expected, strict=True):
            np.testing.assert_array_equal(one[0], two[0])
            np.testing.assert_array_equal(one[1], two[1])
    with pytest.raises(ValueError, match="masked array"):
        semi_supervised(np.ma.masked_less(x, 0.1), y, **options)
    with pytest.raises(ValueError, match="labels 0 or more, or -1 where unknown; received -2"):
        keep_labels([0, -2, 1], 2)
