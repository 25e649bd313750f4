"""Two-sample tests: do two sets of codes follow the same distribution?"""

import typing
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from keras_ae.losses import mmd
from keras_ae.utils import validation

# Rows of the matrix of distances that are in memory at once.
_ROWS = 1 << 9
# Points that estimate the median distance.
_FOR_MEDIAN = 1 << 11


class TwoSample(typing.NamedTuple):
    """Result of a two-sample test: a statistic that averages 0 for equal distributions, and how unusual it is.

    Attributes:
        statistic: float.
        standard_error: float, of the statistic over draws of both samples, to first order; for distributions that
            differ. If they are equal, the statistic varies by `null_deviation` instead.
        p_value: float, the share of permutations with a statistic as great; at least 1 / (permutations + 1).
        null_deviation: float, standard deviation of the statistic over the permutations.

    Example: `TwoSample(0.5, 0.02, p_value=0.005, null_deviation=0.001).p_value`

    See also: `mmd_test` and `energy_test`, which return it.
    """

    statistic: float
    standard_error: float
    p_value: float
    null_deviation: float


def mmd_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: str = "inverse_multiquadric",
    scales: Sequence[float] = mmd.SCALES,
    bandwidth: float | None = None,
    permutations: int = 200,
    seed: int = 0,
) -> TwoSample:
    """Tests equality of two distributions by the maximum mean discrepancy, with a permutation p-value.

        MMD^2 as in `losses.mmd.mmd`, unbiased
        p_value = (1 + #{permutations with a statistic >= that of the samples}) / (1 + permutations)

    The permutations divide all N + M rows into samples of N and M at random, which is what equal distributions would
    have done. Memory does not grow with N M; 5,000 rows of each take about ten seconds.

    Args:
        x, y: `(N, D)` and `(M, D)` numbers, such as codes and samples of the prior; two rows or more.
        kernel, scales: as in `losses.mmd.mmd`.
        bandwidth: float above 0; None is the median squared distance between the rows of both.
        permutations: int, 1 or more.
        seed: int, for the permutations.

    Returns:
        `TwoSample`.

    Raises:
        ValueError: if x or y has other than two axes, fewer than two rows, another D or a value that is not finite, all
            rows are equal, or an argument is out of range.

    Example: `mmd_test(vae.encode(x), vae.prior.sample(len(x), seed=0)).p_value`

    Source: Gretton 2012, equation 3 and section 8. See also: `energy_test`, without a kernel;
    `latent.aggregate_posterior_distance`, faster, without a p-value.
    """
    x, y = _samples(x, y)
    mmd.check_kernel(kernel, scales)
    if bandwidth is None:
        bandwidth = _median(np.concatenate([x, y]), seed)
    elif not 0 < bandwidth < np.inf:
        raise ValueError(f"bandwidth: expected a finite number above 0; received {bandwidth}.")

    def similarity(a, b):
        squares = cdist(a, b, "sqeuclidean")
        return sum(np.asarray(mmd.KERNELS[kernel](squares / (scale * bandwidth))) for scale in scales)

    return _test(x, y, similarity, permutations, seed)


def energy_test(x: ArrayLike, y: ArrayLike, *, permutations: int = 200, seed: int = 0) -> TwoSample:
    """Tests equality of two distributions by the energy distance, with a permutation p-value.

        energy = 2 mean_{i, j} |x_i - y_j| - mean_{i != j} |x_i - x_j| - mean_{i != j} |y_i - y_j|

    The statistic is unbiased, in units of x; it averages 0 only for equal distributions. It has no bandwidth to choose.

    Args:
        x, y, permutations, seed: as in `mmd_test`.

    Returns:
        `TwoSample`.

    Raises:
        ValueError: as in `mmd_test`.

    Example: `energy_test(vae.encode(x), vae.prior.sample(len(x), seed=0)).statistic`

    Source: Szekely & Rizzo 2013, equation 2.5. See also: `mmd_test`, whose kernel decides which differences count.
    """
    x, y = _samples(x, y)
    return _test(x, y, lambda a, b: -cdist(a, b), permutations, seed)


def _test(
    x: np.ndarray, y: np.ndarray, similarity: Callable[..., np.ndarray], permutations: int, seed: int
) -> TwoSample:
    """The statistic mean k(x, x') + mean k(y, y') - 2 mean k(x, y) of a similarity k, and those of permutations."""
    permutations = validation.positive_int("permutations", permutations)
    n, m, both = len(x), len(y), np.concatenate([x, y])
    rng = np.random.default_rng(seed)
    # Columns are indicators of the first sample: the samples as they are, then the permutations.
    first = np.zeros((n + m, permutations + 1))
    first[:n, 0] = 1
    for column in range(1, permutations + 1):
        first[rng.permutation(n + m)[:n], column] = 1
    to_first, to_all = np.empty_like(first), np.empty(n + m)  # similarity to the first sample, and to all others
    for start in range(0, n + m, _ROWS):
        rows = slice(start, start + _ROWS)
        k = similarity(both[rows], both)
        k[np.arange(len(k)), np.arange(start, start + len(k))] = 0.0
        to_first[rows], to_all[rows] = k @ first, k.sum(axis=1)
    within, across = np.sum(first * to_first, axis=0), np.sum((1 - first) * to_first, axis=0)
    others = to_all.sum() - within - 2 * across
    found = within / (n * (n - 1)) + others / (m * (m - 1)) - 2 * across / (n * m)
    # The first-order terms of the U-statistic, one per row.
    to_x, to_y = to_first[:, 0], to_all - to_first[:, 0]
    terms_x, terms_y = to_x[:n] / (n - 1) - to_y[:n] / m, to_y[n:] / (m - 1) - to_x[n:] / n
    error = 2 * np.sqrt(terms_x.var(ddof=1) / n + terms_y.var(ddof=1) / m)
    # Equal statistics of the same division can differ by rounding.
    p_value = (1 + np.sum(found[1:] >= found[0] - 1e-12 * abs(found[0]))) / (1 + permutations)
    return TwoSample(float(found[0]), float(error), float(p_value), float(found[1:].std()))


def _median(points, seed):
    if len(points) > _FOR_MEDIAN:
        points = points[np.random.default_rng(seed).permutation(len(points))[:_FOR_MEDIAN]]
    middle = np.median(cdist(points, points, "sqeuclidean")[np.triu_indices(len(points), 1)])
    if middle == 0:
        raise ValueError("x and y: expected rows that differ; most of them are equal. Pass a bandwidth.")
    return middle


def _samples(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    made = []
    for name, rows in (("x", x), ("y", y)):
        rows = np.asarray(rows)
        if rows.ndim != 2 or len(rows) < 2 or rows.shape[1] == 0:
            raise ValueError(f"{name}: expected two rows or more, (N, D); received shape {rows.shape}.")
        validation.check_array(name, rows, (None,), None)
        made.append(rows.astype("float64"))
    if made[0].shape[1] != made[1].shape[1]:
        raise ValueError(f"y: expected rows of {made[0].shape[1]} numbers, as in x; received {made[1].shape[1]}.")
    return made[0], made[1]
