"""Measures of an embedding: what codes retain of the data, whichever method made them.

An embedding is any array of codes `(N, d)`, one row for each row of x: the codes of an autoencoder, principal
components, or the points of t-SNE. Rows of x may have any shape.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation

# Number of rows whose distances to all others are in memory at once.
_ROWS = 256
_FOLDS = 5


def reconstruction_error(x: ArrayLike, reconstruction: ArrayLike) -> float:
    """Squared error of reconstructions, summed over a row, mean over rows.

        error = 1/N sum_i |x_i - r_i|^2

    Args:
        x: `(N, ...)` numbers.
        reconstruction: x's shape, such as `model.reconstruct(x)` or `pca.inverse_transform(pca.transform(x))`.

    Returns:
        float, in squared units of x.

    Raises:
        ValueError: if the shapes differ, or a value is not finite.

    Example: `reconstruction_error(x_test, autoencoder.reconstruct(x_test))`

    Source: Hinton & Salakhutdinov 2006, figure 2, for the sum over pixels.

    See also: `trustworthiness`, for embeddings without reconstructions.
    """
    x, r = _checked("x", x), _checked("reconstruction", reconstruction)
    if x.shape != r.shape:
        raise ValueError(f"reconstruction: expected x's shape {x.shape}; received {r.shape}.")
    return float(np.sum((x - r) ** 2) / len(x))


def trustworthiness(x: ArrayLike, z: ArrayLike, k: int = 12) -> float:
    """Whether neighbours in the embedding are neighbours in the data: 1 if all are.

        T(k) = 1 - 2 / (N k (2N - 3k - 1)) sum_i sum_{j in U_i} (r(i, j) - k)

    U_i are the rows among the k nearest of i in z that are not among its k nearest in x, and r(i, j) is the rank of j
    by distance from i in x, 1 for the nearest. The factor makes 0 the lowest value; a random embedding scores about
    1/2. Distances are Euclidean. Rows tied in z share the remaining places equally, in expectation, so the order of
    rows has no influence; rows tied in x have the same, lowest rank.

    Time grows with N^2: 3,000 rows of 784 numbers take seconds.

    Args:
        x: `(N, ...)` numbers.
        z: `(N, d)` numbers, the embedding of x.
        k: int, number of neighbours, 1 or more and below N / 2.

    Returns:
        float from 0 to 1.

    Raises:
        ValueError: if x and z differ in the number of rows, a value is not finite, or there are 2 k rows or fewer.

    Example: `trustworthiness(x_test, autoencoder.encode(x_test), k=12)`

    Source: Venna & Kaski 2001, equation 1. See also: `continuity`, for neighbours that the embedding tore apart;
    `sklearn.manifold.trustworthiness`, the same number unless rows are tied.
    """
    x, z = _pair(x, z, k)
    return _agreement(x, z, k)


def continuity(x: ArrayLike, z: ArrayLike, k: int = 12) -> float:
    """Whether neighbours in the data are still neighbours in the embedding: 1 if all are.

        C(k) = 1 - 2 / (N k (2N - 3k - 1)) sum_i sum_{j in V_i} (s(i, j) - k)

    V_i are the rows among the k nearest of i in x that are not among its k nearest in z, and s(i, j) is the rank of j
    by distance from i in z. This is `trustworthiness` with x and z exchanged; args, result, ties and errors are the
    same.

    Example: `continuity(x_test, autoencoder.encode(x_test), k=12)`

    Source: Venna & Kaski 2001, equation 2. See also: `trustworthiness`, which finds false neighbours.
    """
    x, z = _pair(x, z, k)
    return _agreement(z, x, k)


def knn_accuracy(
    z: ArrayLike,
    labels: ArrayLike,
    z_test: ArrayLike | None = None,
    labels_test: ArrayLike | None = None,
    k: int = 10,
) -> float:
    """Accuracy of a k-nearest-neighbour classifier of the codes: the majority label of the k nearest codes.

    Without test codes, each code is classified by its k nearest others (leave one out), which also suits embeddings
    that cannot place new rows, such as t-SNE.

    Args:
        z: `(N, d)` numbers, codes with known labels.
        labels: `(N,)`.
        z_test: `(M, d)`, codes to classify; None for z itself.
        labels_test: `(M,)`, their labels; None without `z_test`.
        k: int, number of neighbours: at most N, or N - 1 without test codes.

    Returns:
        float from 0 to 1; equal votes go to the label that sorts first.

    Raises:
        ValueError: if rows and labels differ in number, codes differ in width or are not finite, only one of `z_test`
            and `labels_test` is given, or there are fewer codes than neighbours.

    Example: `knn_accuracy(autoencoder.encode(x_train), y_train, autoencoder.encode(x_test), y_test, k=10)`

    Source: Cover & Hart 1967. See also: `linear_probe_accuracy`, which asks whether classes are linearly separable.
    """
    from sklearn.neighbors import KNeighborsClassifier

    codes, known, new, right = _labelled(z, labels, z_test, labels_test)
    k = _neighbours(k, len(codes) - (new is None), f"{len(codes)} codes")
    found = KNeighborsClassifier(k).fit(codes, known).predict(new)  # None: each row by the others
    return float(np.mean(found == (known if new is None else right)))


def linear_probe_accuracy(
    z: ArrayLike, labels: ArrayLike, z_test: ArrayLike | None = None, labels_test: ArrayLike | None = None
) -> float:
    """Accuracy of a linear classifier of the codes.

        p(y | z) = softmax(W (z - m) / s + b),    m and s = mean and standard deviation of the training codes

    W and b are fitted by logistic regression with an L2 penalty of |W|^2 / 2 on the summed negative log-likelihood.
    Without test codes, the accuracy is the mean over five folds of cross-validation, with each class spread evenly
    over them.

    Args:
        z: `(N, d)` numbers, codes with known labels of two classes or more.
        labels: `(N,)`.
        z_test: `(M, d)`, codes to classify; None for cross-validation on z.
        labels_test: `(M,)`, their labels; None without `z_test`.

    Returns:
        float from 0 to 1.

    Raises:
        ValueError: as in `knn_accuracy`; if there is only one class, or, without test codes, a class of fewer than five
            rows.

    Example: `linear_probe_accuracy(autoencoder.encode(x_train), y_train, autoencoder.encode(x_test), y_test)`

    Source: Alain & Bengio 2016. See also: `knn_accuracy`, for classes of any shape.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codes, known, new, right = _labelled(z, labels, z_test, labels_test)
    classes, counts = np.unique(known, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels: expected two classes or more; received only {classes[0]}.")
    if new is None and counts.min() < _FOLDS:
        raise ValueError(
            f"labels: cross-validation expects {_FOLDS} rows of each class; class {classes[counts.argmin()]} has "
            f"{counts.min()}. Pass z_test and labels_test."
        )
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    if new is None:
        return float(cross_val_score(probe, codes, known, cv=_FOLDS).mean())
    return float(probe.fit(codes, known).score(new, right))


def _agreement(x, z, k):
    """Returns T(k): 1 minus the scaled excess of the ranks in x of the neighbours in z."""
    n, excess = len(x), 0.0
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(start + _ROWS, n))
        in_x, in_z = (cdist(points[rows], points) for points in (x, z))
        for distances in (in_x, in_z):
            distances[rows - start, rows] = np.inf  # a row is not its own neighbour
        farthest = np.partition(in_z, k - 1, axis=1)[:, k - 1]
        ordered = np.sort(in_x, axis=1)
        for i in range(len(rows)):
            nearer, tied = np.flatnonzero(in_z[i] < farthest[i]), np.flatnonzero(in_z[i] == farthest[i])
            beyond = [np.maximum(1 + np.searchsorted(ordered[i], in_x[i, some]) - k, 0) for some in (nearer, tied)]
            excess += beyond[0].sum() + (k - len(nearer)) * beyond[1].mean()
    return float(1 - 2 * excess / (n * k * (2 * n - 3 * k - 1)))


def _pair(x, z, k):
    x, z = _checked("x", x), _codes("z", z)
    if len(x) != len(z):
        raise ValueError(f"z: expected a code for each of the {len(x)} rows of x; received {len(z)}.")
    _neighbours(k, (len(x) - 1) // 2, f"{len(x)} rows, where k must be below half of them")
    return x.reshape(len(x), -1), z


def _labelled(z, labels, z_test, labels_test):
    if (z_test is None) != (labels_test is None):
        raise ValueError("z_test and labels_test: expected both, or none of them.")
    z, labels = _codes("z", z), _labels("labels", labels, len(z))
    if z_test is None:
        return z, labels, None, None
    z_test = _codes("z_test", z_test)
    if z_test.shape[1] != z.shape[1]:
        raise ValueError(f"z_test: expected codes of {z.shape[1]} numbers, as z has; received {z_test.shape[1]}.")
    return z, labels, z_test, _labels("labels_test", labels_test, len(z_test))


def _labels(name: str, labels: Any, rows: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), one label for each code; received {labels.shape}.")
    return labels


def _neighbours(k: Any, most: int, among: str) -> int:
    if most < 1:
        raise ValueError(f"k: expected more rows than neighbours; received k={k!r} for {among}.")
    try:
        return validation.positive_int("k", k, at_most=most)
    except ValueError as error:
        raise ValueError(f"{error} There are {among}.") from None


def _codes(name: str, codes: Any) -> np.ndarray:
    codes = _checked(name, codes)
    if codes.ndim != 2:
        raise ValueError(f"{name}: expected codes (N, d); received shape {codes.shape}.")
    return codes


def _checked(name: str, array: Any) -> np.ndarray:
    array = np.asarray(rows_of.dense(rows_of.to_rows(name, array)))
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name}: expected rows (N, ...), at least one; received shape {array.shape}.")
    validation.check_array(name, array, None, None)
    return array.astype("float64")
