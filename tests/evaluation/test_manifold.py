import numpy as np
import pytest
import scipy.sparse
import sklearn.manifold
from scipy.spatial.distance import cdist

from keras_ae.evaluation import manifold


def _by_definition(x, z, k):
    """Trustworthiness, with its sums written out."""
    n = len(x)
    ranks_x, ranks_z = (cdist(points, points).argsort(axis=1).argsort(axis=1) for points in (x, z))
    total = sum(
        ranks_x[i, j] - k for i in range(n) for j in range(n) if i != j and ranks_z[i, j] <= k and ranks_x[i, j] > k
    )
    return 1 - 2 * total / (n * k * (2 * n - 3 * k - 1))


@pytest.mark.parametrize("k", [1, 5, 14])
def test_trustworthiness_and_continuity_are_those_of_their_definition(rng, monkeypatch, k):
    monkeypatch.setattr(manifold, "_ROWS", 7)  # several blocks, the last one not full
    x = rng.normal(size=(30, 2, 3))
    z = x[:, 0, :2] + 0.5 * rng.normal(size=(30, 2))
    flat = x.reshape(30, -1)
    assert manifold.trustworthiness(x, z, k) == pytest.approx(_by_definition(flat, z, k), abs=1e-12)
    assert manifold.continuity(x, z, k) == pytest.approx(_by_definition(z, flat, k), abs=1e-12)
    assert manifold.trustworthiness(x, z, k) == pytest.approx(
        sklearn.manifold.trustworthiness(flat, z, n_neighbors=k), abs=1e-12
    )
    assert manifold.continuity(scipy.sparse.csr_array(flat), z, k) == manifold.continuity(x, z, k)


def test_a_map_that_folds_is_not_trusted_and_one_that_cuts_is_not_continuous():
    line = np.linspace(0, 1, 60)[:, None]
    assert manifold.trustworthiness(line, 3 * line + 1, 4) == manifold.continuity(line, -line, 4) == 1.0
    folded = np.abs(line - 0.503)
    assert manifold.continuity(line, folded, 4) > 0.95 > 0.85 > manifold.trustworthiness(line, folded, 4)
    circle = 2 * np.pi * line[:-1]
    round_ = np.concatenate([np.cos(circle), np.sin(circle)], axis=1)
    assert manifold.trustworthiness(round_, circle, 4) > 0.995 > 0.99 > manifold.continuity(round_, circle, 4)


def test_ties_are_broken_in_expectation(rng):
    n, k = 21, 4
    x = rng.normal(size=(n, 3))
    # Each row is equally likely to be a neighbour, so its expected excess is the mean of 1 ... n - 1 - k.
    expected = 1 - (n - 1 - k) * (n - k) / ((n - 1) * (2 * n - 3 * k - 1))
    assert manifold.trustworthiness(x, np.ones((n, 2)), k) == pytest.approx(expected, abs=1e-12)
    z = rng.integers(3, size=(n, 2)).astype(float)
    order = rng.permutation(n)
    for measure in (manifold.trustworthiness, manifold.continuity):
        assert measure(x, z, k) == pytest.approx(measure(x[order], z[order], k), abs=1e-12)


def test_a_random_embedding_scores_about_a_half(rng):
    n, k = 400, 10
    x = rng.normal(size=(n, 3))
    assert manifold.trustworthiness(x, rng.normal(size=(n, 2)), k) == pytest.approx(0.5, abs=0.03)


def test_reconstruction_error_sums_over_a_row(rng):
    x = rng.normal(size=(5, 4, 3))
    assert manifold.reconstruction_error(x, x) == 0
    assert manifold.reconstruction_error(x, x + 0.5) == pytest.approx(12 * 0.25)


def _blobs(rng, count=120):
    labels = np.arange(count) % 3
    centres = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 500.0]])
    return centres[labels] + rng.normal(size=(count, 2)) * [1.0, 100.0], labels


def test_knn_accuracy_leaves_each_row_out(rng):
    z, labels = _blobs(rng)
    distances = cdist(z, z)
    np.fill_diagonal(distances, np.inf)
    votes = labels[distances.argsort(axis=1)[:, :7]]
    expected = np.mean(
        [np.bincount(row, minlength=3).argmax() == label for row, label in zip(votes, labels, strict=True)]
    )
    assert manifold.knn_accuracy(z, labels, k=7) == pytest.approx(expected)
    # The nearest row is always of another class, but each row is the nearest to itself.
    line = np.arange(10.0)[:, None]
    assert manifold.knn_accuracy(line, np.arange(10) % 2, k=1) == 0
    assert manifold.knn_accuracy(line, np.arange(10) % 2, line, np.arange(10) % 2, k=1) == 1
    assert manifold.knn_accuracy(line, np.arange(10) // 5, [[0.2], [6.8]], [0, 0], k=3) == 0.5


def test_a_linear_probe_does_not_depend_on_units_and_finds_no_exclusive_or(rng):
    z, labels = _blobs(rng)
    names = np.array(["a", "b", "c"])[labels]
    accuracy = manifold.linear_probe_accuracy(z, names)
    assert accuracy > 0.95
    assert manifold.linear_probe_accuracy(z * [1.0, 1e-3] + 7, names) == pytest.approx(accuracy)
    new, new_labels = _blobs(rng, 60)
    assert manifold.linear_probe_accuracy(z, labels, new, new_labels) > 0.95
    corners = rng.choice([-1.0, 1.0], size=(200, 2))
    exclusive = (corners[:, 0] * corners[:, 1] > 0).astype(int)
    noisy = corners + 0.1 * rng.normal(size=corners.shape)
    assert manifold.linear_probe_accuracy(noisy, exclusive) < 0.75 < manifold.knn_accuracy(noisy, exclusive, k=5)


@pytest.mark.parametrize("measure", [manifold.trustworthiness, manifold.continuity])
@pytest.mark.parametrize(
    ("x", "z", "k", "message"),
    [
        (np.eye(10), np.eye(10)[:8], 2, "z: expected a code for each of the 10 rows of x; received 8"),
        (np.eye(10), np.eye(10), 5, "k: expected a whole number, 1 to 4; received 5. There are 10 rows"),
        (np.eye(10), np.eye(10), 0, "k: expected a whole number"),
        (np.eye(2), np.eye(2), 1, "k: expected more rows than neighbours"),
        (np.eye(10), np.full((10, 2), np.nan), 2, "z contains NaN"),
        (np.full((10, 2), np.inf), np.eye(10), 2, "x contains NaN or infinity"),
        (np.eye(10), np.arange(10.0), 2, "z: expected rows"),
        (np.eye(10), np.zeros((10, 2, 2)), 2, r"z: expected codes \(N, d\)"),
        (np.zeros((0, 3)), np.zeros((0, 2)), 2, "x: expected rows"),
    ],
)
def test_pairs_that_cannot_be_compared_are_refused(measure, x, z, k, message):
    with pytest.raises(ValueError, match=message):
        measure(x, z, k)


@pytest.mark.parametrize("measure", [manifold.knn_accuracy, manifold.linear_probe_accuracy])
def test_codes_and_labels_that_do_not_match_are_refused(measure, rng):
    z, labels = _blobs(rng, 30)
    for arguments, message in (
        ((z, labels[:20]), r"labels: expected shape \(30,\)"),
        ((z, labels, z), "z_test and labels_test: expected both"),
        ((z, labels, z[:, :1], labels), "z_test: expected codes of 2 numbers"),
        ((z, labels, z[:5], labels), r"labels_test: expected shape \(5,\)"),
        ((np.where(z == z[3], np.nan, z), labels), "z contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(*arguments)


def test_too_few_rows_are_refused(rng):
    z, labels = _blobs(rng, 12)
    with pytest.raises(ValueError, match=r"k: expected a whole number, 1 to 11; received 12\. There are 12 codes"):
        manifold.knn_accuracy(z, labels, k=12)
    assert manifold.knn_accuracy(z, labels, z, labels, k=12) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="cross-validation expects 5 rows of each class; class 0 has 4"):
        manifold.linear_probe_accuracy(z, labels)
    with pytest.raises(ValueError, match="two classes or more; received only 1"):
        manifold.linear_probe_accuracy(z, np.ones(12, int))
    with pytest.raises(ValueError, match="reconstruction: expected x's shape"):
        manifold.reconstruction_error(z, z[:, :1])
