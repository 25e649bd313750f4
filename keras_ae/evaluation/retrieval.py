"""Measures of retrieval by distance, and of the binary codes that make it fast.

Few distinct distances, as those between short codes, leave many documents tied. Measures here are expectations over
ties broken uniformly at random, in closed form: no draw, and no luck of the order in which documents are stored.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

# Rows whose bits are unpacked at once.
_ROWS = 1 << 16
# One in so many documents of the database: the 5 % within which `neighbour_agreement` looks.
_ONE_IN = 20


def hamming(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """The number of bits in which packed codes differ.

        d[i, j] = popcount(a[i] xor b[j])

    The result takes 4 bytes a pair, the work up to 9 more: for a large database, give the queries in blocks.

    Args:
        a: `(Q, bytes)` uint8, codes as of `np.packbits(bits, axis=1)`.
        b: `(N, bytes)` uint8.

    Returns:
        `(Q, N)` int32.

    Raises:
        ValueError: if a or b is no array of uint8 rows, or their rows differ in length.

    Example: `hamming(np.packbits([[1, 0, 1]], axis=1), np.packbits([[0, 0, 1]], axis=1))    # [[1]]`
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
    """Precision and recall of the nearest documents, at several numbers of them; means over queries are the curve.

        found(k) = R(v-) + (R(v) - R(v-)) (k - N(v-)) / (N(v) - N(v-))
        precision(k) = found(k) / k,    recall(k) = found(k) / R

    v is the k-th smallest distance, N(v-) and N(v) the numbers of documents nearer than v and up to v, R(v-) and R(v)
    those of relevant ones among them, R that of all. Where ties are broken uniformly at random, this is the
    expectation (McSherry and Najork 2008). One curve thus serves codes and real-valued distances alike, which radii
    in Hamming space do not. Recall is 0 where no document is relevant.

    Args:
        distances: `(Q, N)` numbers, small is near; infinity is welcome, NaN is not.
        relevant: `(Q, N)` bool.
        retrieved: `(K,)` ints, 1 to N: the numbers of documents k.

    Returns:
        precision and recall, `(Q, K)` float64 each.

    Raises:
        ValueError: if shapes do not match, a k is not in 1..N, or a distance is NaN.

    Example: `precision_recall(hamming(queries, codes), labels[:, None] == database_labels, [1, 10, 100])`
    """
    found, total = _found(distances, relevant, retrieved)
    return found / np.asarray(retrieved), found / np.maximum(total, 1)


def precision_at(k: int, distances: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """Expected share of relevant documents among the k nearest, `(Q,)`: `precision_recall` at one k."""
    return precision_recall(distances, relevant, [k])[0][:, 0]


def recall_at(k: int, distances: ArrayLike, relevant: ArrayLike) -> np.ndarray:
    """Expected share of the relevant documents that are among the k nearest, `(Q,)`: `precision_recall` at one k."""
    return precision_recall(distances, relevant, [k])[1][:, 0]


def neighbour_agreement(distances: ArrayLike, neighbours: ArrayLike) -> np.ndarray:
    """How well codes keep neighbours, without labels: the share of given neighbours in the nearest 5 % of documents.

        agreement = recall_at(ceil(N / 20), distances, relevant = neighbours)

    At most ceil(N / 20) / M, which is less than 1 where M neighbours are more than 5 % of the documents.

    Args:
        distances: `(Q, N)` numbers, by code. A query that is itself in the database needs an infinite distance there.
        neighbours: `(Q, M)` ints, 0 to N - 1, distinct in a row: the positions of each query's neighbours by another
            distance, such as the ten nearest by cosine of TF-IDF.

    Returns:
        `(Q,)` float64, in expectation over ties.

    Raises:
        ValueError: as `precision_recall`.
        IndexError: if a neighbour is not in the database.

    Example: `neighbour_agreement(hamming(queries, codes), np.argpartition(cosines, 9)[:, :10])`
    """
    relevant: np.ndarray = np.zeros(np.shape(distances), bool)
    np.put_along_axis(relevant, np.asarray(neighbours), True, axis=1)
    return recall_at(-(-relevant.shape[1] // _ONE_IN), distances, relevant)


def bit_balance(codes: ArrayLike) -> np.ndarray:
    """The share of ones in each bit; a bit says most where it is 1/2.

    Args:
        codes: `(N, bytes)` uint8, N > 0, packed.

    Returns:
        `(8 bytes,)` float64.

    Raises:
        ValueError: if codes is no array of uint8 rows, or empty.

    Example: `np.abs(bit_balance(codes) - 0.5).mean()`
    """
    return np.diag(_together(codes)).copy()


def bit_correlation(codes: ArrayLike) -> np.ndarray:
    """Pearson correlations between bits; bits that say the same, or the opposite, waste each other.

        C[i, j] = (E[b_i b_j] - p_i p_j) / sqrt(p_i (1 - p_i) p_j (1 - p_j)),    p = E[b]

    The expectations are means over the codes. A constant bit correlates with no other, 0, and with itself, 1;
    `bit_balance` shows it.

    Args:
        codes: `(N, bytes)` uint8, N > 0, packed.

    Returns:
        `(bits, bits)` float64, bits = 8 bytes.

    Raises:
        ValueError: if codes is no array of uint8 rows, or empty.

    Example: `np.abs(bit_correlation(codes)[~np.eye(32, dtype=bool)]).mean()`
    """
    together = _together(codes)
    p = np.diag(together)
    deviations = np.sqrt(p * (1 - p))
    scale = np.outer(deviations, deviations)
    correlation = np.divide(together - np.outer(p, p), scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _found(distances, relevant, retrieved):
    """Expected numbers of relevant documents among the k nearest `(Q, K)`, and those of all `(Q, 1)`."""
    distances, relevant, k = (np.asarray(each) for each in (distances, relevant, retrieved))
    if distances.ndim != 2 or relevant.shape != distances.shape or relevant.dtype != bool:
        raise ValueError(
            f"Expected distances (Q, N) and relevant (Q, N) bool; received {distances.shape} and {relevant.shape} "
            f"{relevant.dtype}."
        )
    if k.ndim != 1 or k.dtype.kind not in "iu" or not np.all((k >= 1) & (k <= distances.shape[1])):
        raise ValueError(
            f"Expected whole numbers of documents from 1 to N = {distances.shape[1]}; received {retrieved!r}."
        )
    found = np.empty((len(distances), len(k)))
    # A loop over queries sorts in the processor's cache; all of them at once would need several times the memory.
    for i, (row, right) in enumerate(zip(distances, relevant, strict=True)):
        nearest, nearest_right = np.sort(row), np.sort(row[right])
        if nearest[-1] != nearest[-1]:  # NaN, which sorts last
            raise ValueError("distances hold NaN: expected numbers.")
        v = nearest[k - 1]
        before, upto = (np.searchsorted(nearest, v, side) for side in ("left", "right"))
        right_before, right_upto = (np.searchsorted(nearest_right, v, side) for side in ("left", "right"))
        found[i] = right_before + (right_upto - right_before) * (k - before) / (upto - before)
    return found, np.count_nonzero(relevant, axis=1)[:, None]


def _together(codes):
    """How often two bits are both 1, `(bits, bits)`, as a share of the codes."""
    codes = _codes("codes", codes)
    if len(codes) == 0:
        raise ValueError("codes is empty: expected at least one code.")
    counts = np.zeros((8 * codes.shape[1],) * 2)
    for start in range(0, len(codes), _ROWS):
        bits = np.unpackbits(codes[start : start + _ROWS], axis=1).astype("float32")
        counts += bits.T @ bits  # exact: whole numbers up to _ROWS
    return counts / len(codes)


def _codes(name: str, codes: ArrayLike) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] == 0:
        raise ValueError(f"{name}: expected packed codes (N, bytes) uint8; received {codes.shape} {codes.dtype}.")
    return codes
