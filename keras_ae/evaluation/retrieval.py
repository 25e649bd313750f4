"""Measures for retrieval by distance, and for binary codes used in fast retrieval.

Short codes have few distinct distances, so many documents are tied. The measures in this module are expectations over
uniformly random tie-breaking, computed in closed form: they need no sampling and do not depend on the order in which
documents are stored.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

# Number of rows whose bits are unpacked at once.
_ROWS = 1 << 16
# `neighbour_agreement` retrieves N / _ONE_IN documents, 5 % of the database.
_ONE_IN = 20


def hamming(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Hamming distances between packed binary codes.

        d[i, j] = popcount(a[i] xor b[j])

    The result takes 4 bytes per pair, and the computation up to 9 more. For a large database, pass the queries in
    blocks.

    Args:
        a: `(Q, bytes)` uint8, codes packed by `np.packbits(bits, axis=1)`.
        b: `(N, bytes)` uint8.

    Returns:
        `(Q, N)` int32.

    Raises:
        ValueError: if a or b is not an array of uint8 rows, or their rows differ in length.

    Example: `hamming(np.packbits([[1, 0, 1]], axis=1), np.packbits([[0, 0, 1]], axis=1))    # [[1]]`

    Source: Hamming 1950. See also: `precision_recall`, which takes the distances.
    """
    a, b = _codes("a", a), _codes("b", b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"hamming: expected codes of equal length, received {a.shape[1]} and {b.shape[1]} bytes.")
    word = np.dtype(f"u{math.gcd(a.shape[1], 8)}")
    a, b = (np.ascontiguousarray(codes).view(word).T for codes in (a, b))  # (words, rows)
    distances = np.zeros((a.shape[1], b.shape[1]), "int32")
    for i, j in zip(a, b, strict=True):
        distances += np.bitwise_count(i[:, None] ^ j)
    return distances


def precision_recall(distances: ArrayLike, relevant: ArrayLike, retrieved: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall among the k nearest documents, for several k; average over queries to get the curve.

        found(k) = R(v-) + (R(v) - R(v-)) (k - N(v-)) / (N(v) - N(v-))
        precision(k) = found(k) / k,    recall(k) = found(k) / R

    v is the k-th smallest distance. N(v-) and N(v) are the numbers of documents at a distance below v and up to v,
    R(v-) and R(v) are the numbers of relevant documents among them, and R is the number of all relevant documents. This
    is the expectation over uniformly random tie-breaking (McSherry and Najork 2008), so curves of binary codes and of
    real-valued distances are comparable, unlike curves over Hamming radii. Recall is 0 if no document is relevant.

    Args:
        distances: `(Q, N)` numbers, smaller is nearer; infinity is allowed, NaN is not.
        relevant: `(Q, N)` bool.
        retrieved: `(K,)` ints, 1 to N: the values of k.

    Returns:
        precision and recall, `(Q, K)` float64 each.

    Raises:
        ValueError: if shapes do not match, a k is not in 1..N, or a distance is NaN.

    Example: `precision_recall(hamming(queries, codes), labels[:, None] == database_labels, [1, 10, 100])`

    Source: McSherry and Najork 2008. See also: `precision_at` and `recall_at`, for a single k;
    `samples.precision_recall`, of generated samples.
    """
    found, total = _found(distances, relevant, retrieved)
    return found / np.asarray(retrieved), found / np.maximum(total, 1)


def precision_at(k: int, distances: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """Precision at k, `(Q,)`: the expected fraction of the k nearest documents that are relevant.

        precision(k) = found(k) / k,    found as in `precision_recall`

    Args and errors as in `precision_recall`, for a single k.

    Example: `precision_at(100, hamming(queries, codes), labels[:, None] == database_labels).mean()`

    Source: McSherry and Najork 2008, for ties. See also: `recall_at`, relative to all relevant documents.
    """
    return precision_recall(distances, relevant, [k])[0][:, 0]


def recall_at(k: int, distances: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """Recall at k, `(Q,)`: the expected fraction of the relevant documents that are among the k nearest.

        recall(k) = found(k) / R,    found and R as in `precision_recall`

    Args and errors as in `precision_recall`, for a single k.

    Example: `recall_at(100, hamming(queries, codes), labels[:, None] == database_labels).mean()`

    Source: McSherry and Najork 2008, for ties. See also: `precision_at`, relative to k.
    """
    return precision_recall(distances, relevant, [k])[1][:, 0]


def neighbour_agreement(distances: ArrayLike, neighbours: ArrayLike) -> np.ndarray:
    """Fraction of given neighbours that are among the nearest 5 % of documents: a label-free measure of codes.

        agreement = recall_at(ceil(N / 20), distances, relevant = neighbours)

    The maximum is ceil(N / 20) / M, which is below 1 if the M neighbours are more than 5 % of the documents. This is
    our own measure, not a standard one.

    Args:
        distances: `(Q, N)` numbers, distances between codes. If a query is in the database, set its distance to itself
            to infinity.
        neighbours: `(Q, M)` ints, 0 to N - 1, distinct within a row: the positions of each query's neighbours by
            another distance, such as the ten nearest by cosine of TF-IDF.

    Returns:
        `(Q,)` float64, in expectation over ties.

    Raises:
        ValueError: as in `precision_recall`.
        IndexError: if a neighbour is not in the database.

    Example: `neighbour_agreement(hamming(queries, codes), np.argpartition(cosines, 9)[:, :10])`

    See also: `recall_at`, for labels.
    """
    relevant: np.ndarray = np.zeros(np.shape(distances), bool)
    np.put_along_axis(relevant, np.asarray(neighbours), True, axis=1)
    return recall_at(-(-relevant.shape[1] // _ONE_IN), distances, relevant)


def bit_balance(codes: ArrayLike) -> np.ndarray:
    """Fraction of ones in each bit; a bit carries the most information at 1/2.

    Args:
        codes: `(N, bytes)` uint8, N > 0, packed.

    Returns:
        `(8 bytes,)` float64.

    Raises:
        ValueError: if codes is not an array of uint8 rows, or is empty.

    Example: `np.abs(bit_balance(codes) - 0.5).mean()`

    Source: Weiss 2009 (spectral hashing), which asks for balanced bits. See also: `bit_correlation`, whether bits
    repeat one another.
    """
    return np.diag(_together(codes)).copy()


def bit_correlation(codes: ArrayLike) -> np.ndarray:
    """Pearson correlations between bits; strongly correlated bits, positively or negatively, are redundant.

        C[i, j] = (E[b_i b_j] - p_i p_j) / sqrt(p_i (1 - p_i) p_j (1 - p_j)),    p = E[b]

    The expectations are means over the codes. A constant bit has correlation 0 with all others and 1 with itself; use
    `bit_balance` to find such bits.

    Args:
        codes: `(N, bytes)` uint8, N > 0, packed.

    Returns:
        `(bits, bits)` float64, bits = 8 bytes.

    Raises:
        ValueError: if codes is not an array of uint8 rows, or is empty.

    Example: `np.abs(bit_correlation(codes)[~np.eye(32, dtype=bool)]).mean()`

    Source: Weiss 2009 (spectral hashing), which asks for uncorrelated bits. See also: `bit_balance`, for single bits.
    """
    together = _together(codes)
    p = np.diag(together)
    deviations = np.sqrt(p * (1 - p))
    scale = np.outer(deviations, deviations)
    correlation = np.divide(together - np.outer(p, p), scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _found(distances, relevant, retrieved):
    """Expected number of relevant documents among the k nearest, `(Q, K)`, and the total number, `(Q, 1)`."""
    distances, relevant, k = (np.asarray(each) for each in (distances, relevant, retrieved))
    if distances.ndim != 2 or relevant.shape != distances.shape or relevant.dtype != bool:
        raise ValueError(
            f"Expected distances (Q, N) and relevant (Q, N) bool; received {distances.shape} and {relevant.shape} "
            f"{relevant.dtype}."
        )
    if k.ndim != 1 or k.dtype.kind not in "iu" or not np.all((k >= 1) & (k <= distances.shape[1])):
        raise ValueError(
            f"Expected whole numbers of retrieved documents from 1 to N = {distances.shape[1]}; received {retrieved!r}."
        )
    found = np.empty((len(distances), len(k)))
    # Looping over queries keeps each sort in the CPU cache; all queries at once would take several times the memory.
    for i, (row, right) in enumerate(zip(distances, relevant, strict=True)):
        nearest, nearest_right = np.sort(row), np.sort(row[right])
        if nearest[-1] != nearest[-1]:  # NaN, which sorts last
            raise ValueError("distances contain NaN: expected numbers.")
        v = nearest[k - 1]
        before, upto = (np.searchsorted(nearest, v, side) for side in ("left", "right"))
        right_before, right_upto = (np.searchsorted(nearest_right, v, side) for side in ("left", "right"))
        found[i] = right_before + (right_upto - right_before) * (k - before) / (upto - before)
    return found, np.count_nonzero(relevant, axis=1)[:, None]


def _together(codes):
    """Fraction of the codes in which two bits are both 1, `(bits, bits)`."""
    codes = _codes("codes", codes)
    if len(codes) == 0:
        raise ValueError("codes is empty: expected at least one code.")
    counts = np.zeros((8 * codes.shape[1],) * 2)
    for start in range(0, len(codes), _ROWS):
        bits = np.unpackbits(codes[start : start + _ROWS], axis=1).astype("float32")
        counts += bits.T @ bits  # exact: integers up to _ROWS
    return counts / len(codes)


def _codes(name: str, codes: ArrayLike) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] == 0:
        raise ValueError(f"{name}: expected packed codes (N, bytes) uint8; received {codes.shape} {codes.dtype}.")
    return codes
