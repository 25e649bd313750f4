"""Neighbours compared with brute force, and pairs of neighbours."""

import numpy as np
import pytest
from scipy import sparse

from keras_ae.datasets import nearest, pairs


def test_nearest_are_those_of_the_highest_cosine(rng):
    x = rng.random((40, 6)).astype("float32")
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -1)
    expected = np.argsort(-similarity, axis=1)[:, :5]
    np.testing.assert_array_equal(nearest(x, 5), expected)
    np.testing.assert_array_equal(nearest(sparse.csr_matrix(x), 5), expected)


def test_a_row_is_not_its_own_neighbour_even_among_equal_rows():
    x = np.repeat(np.eye(2, 3), 6, axis=0)
    found = nearest(x, 3)
    assert found.shape == (12, 3)
    assert (found != np.arange(12)[:, None]).all()
    assert (found // 6 == np.arange(12)[:, None] // 6).all()


@pytest.mark.parametrize("k", [0, 4])
def test_refuses_more_neighbours_than_there_are(k):
    with pytest.raises(ValueError, match="1 to 3 neighbours of 4 rows"):
        nearest(np.eye(4), k)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_pairs_are_neighbours_drawn_anew_each_epoch(rng, kind):
    x = np.arange(1, 24, dtype="float32")[:, None] * np.ones((1, 2), "float32")
    near = np.stack([(np.arange(23) + s) % 23 for s in (1, 2, 3)], 1)
    data = pairs(kind(x), near, batch_size=5, seed=3)
    assert int(data.cardinality()) == 4
    epochs = [[(a.numpy()[:, 0] - 1, b.numpy()[:, 0] - 1) for a, b in data] for _ in range(2)]
    for rows, others in (np.concatenate(each, axis=1) for each in epochs):
        assert len(set(rows)) == 20
        assert set((others - rows) % 23) == {1, 2, 3}
    assert np.any(epochs[0][0][0] != epochs[1][0][0])
    again = next(iter(pairs(kind(x), near, batch_size=5, seed=3)))
    np.testing.assert_array_equal(again[0][:, 0] - 1, epochs[0][0][0])


def test_rows_alone_and_fewer_than_a_batch(rng):
    x = rng.random((7, 3))
    (batch,) = list(pairs(x, batch_size=512))
    assert batch.dtype == "float32"
    np.testing.assert_allclose(np.sort(batch, axis=0), np.sort(x, axis=0), rtol=1e-6)
