import itertools

import numpy as np
import pytest

from keras_ae.evaluation import retrieval


def _by_permutations(distances, relevant, k):
    """Mean number of relevant documents among the k nearest, over all orders in which ties may be broken."""
    n = len(distances)
    found = []
    for order in itertools.permutations(range(n)):
        nearest = sorted(range(n), key=lambda i: (distances[i], order[i]))[:k]
        found.append(sum(relevant[i] for i in nearest))
    return np.mean(found)


def test_hamming_counts_the_bits_that_differ(rng):
    for width in (1, 2, 3, 4, 6, 8, 12, 16):
        a, b = (rng.integers(0, 256, (n, width), dtype="uint8") for n in (5, 7))
        bits = [np.unpackbits(codes, axis=1) for codes in (a, b)]
        distances = retrieval.hamming(a, b)
        np.testing.assert_array_equal(distances, np.sum(bits[0][:, None] != bits[1][None], axis=2))
        assert distances.dtype == np.int32
        np.testing.assert_array_equal(retrieval.hamming(a[::2], np.asfortranarray(b)), distances[::2])


def test_hamming_of_long_and_opposite_codes_does_not_overflow():
    zeros, ones = np.zeros((1, 64), "uint8"), np.full((1, 64), 255, "uint8")
    assert retrieval.hamming(zeros, ones).item() == 512


@pytest.mark.parametrize(
    "distances", [[0, 0, 1, 1, 1], [3, 3, 3, 3, 3], [4, 1, 3, 0, 2], [0.5, np.inf, 0.5, np.inf, -1.0]], ids=str
)
def test_expectations_are_the_mean_over_all_ways_to_break_ties(distances):
    everything = np.arange(1, 6)
    for relevant in ([1, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0], [0, 1, 1, 1, 0]):
        relevant = np.array([relevant], bool)
        precision, recall = retrieval.precision_recall(np.array([distances]), relevant, everything)
        expected = np.array([_by_permutations(distances, relevant[0], k) for k in everything])
        np.testing.assert_allclose(precision[0], expected / everything, rtol=1e-12)
        np.testing.assert_allclose(recall[0], expected / relevant.sum(), rtol=1e-12)


def test_expectations_agree_with_ties_broken_at_random(rng):
    q, n, k, draws = 4, 60, 25, 4000
    distances, relevant = rng.integers(0, 4, (q, n)), rng.random((q, n)) < 0.3
    ranks = np.argsort(distances[None] + rng.random((draws, q, n)), axis=2)[..., :k]
    found = np.take_along_axis(np.broadcast_to(relevant, (draws, q, n)), ranks, axis=2).sum(axis=2)  # (draws, q)
    error = 4 * found.std(axis=0) / np.sqrt(draws)
    precision, recall = retrieval.precision_at(k, distances, relevant), retrieval.recall_at(k, distances, relevant)
    assert np.all(np.abs(precision * k - found.mean(axis=0)) < error)
    np.testing.assert_allclose(recall * relevant.sum(axis=1), precision * k)


def test_the_order_of_storage_plays_no_part(rng):
    distances, relevant = rng.integers(0, 5, (3, 50)), rng.random((3, 50)) < 0.2
    order = np.argsort(~relevant[0])  # the first query's relevant documents first, as in a corpus sorted by label
    args = distances[:, order], relevant[:, order]
    np.testing.assert_allclose(retrieval.precision_at(10, *args), retrieval.precision_at(10, distances, relevant))


def test_distinct_distances_give_the_plain_counts(rng):
    distances, relevant = rng.random((6, 30), dtype="float32"), rng.random((6, 30)) < 0.4
    counts = np.cumsum(np.take_along_axis(relevant, np.argsort(distances, axis=1), axis=1), axis=1)
    ks = [1, 7, 30]
    precision, recall = retrieval.precision_recall(distances, relevant, ks)
    np.testing.assert_allclose(precision, counts[:, [0, 6, 29]] / ks)
    np.testing.assert_allclose(recall, counts[:, [0, 6, 29]] / relevant.sum(axis=1, keepdims=True))
    assert np.all(recall[:, -1] == 1.0)


def test_nothing_relevant_is_found_nowhere():
    distances, relevant = np.array([[0, 1, 2]]), np.zeros((1, 3), bool)
    assert retrieval.recall_at(2, distances, relevant) == 0.0
    assert retrieval.precision_at(2, distances, relevant) == 0.0


def test_no_queries_are_no_error():
    assert retrieval.precision_at(2, np.zeros((0, 3)), np.zeros((0, 3), bool)).shape == (0,)


def test_more_documents_than_there_are_is_an_error():
    for k in (0, 4, 1.5, -1):
        with pytest.raises(ValueError, match="from 1 to N = 3"):
            retrieval.precision_at(k, np.zeros((1, 3)), np.ones((1, 3), bool))


@pytest.mark.parametrize(
    "distances, relevant",
    [(np.zeros((2, 3)), np.ones((3, 2), bool)), (np.zeros(3), np.ones(3, bool)), (np.zeros((1, 2)), np.ones((1, 2)))],
)
def test_what_is_no_ranking_is_refused(distances, relevant):
    with pytest.raises(ValueError, match="relevant"):
        retrieval.recall_at(1, distances, relevant)


def test_distances_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        retrieval.recall_at(1, np.array([[0.0, np.nan]]), np.ones((1, 2), bool))


def test_agreement_looks_at_the_nearest_twentieth():
    for n, k in ((20, 1), (21, 2), (40, 2), (140, 7), (3, 1)):
        distances, neighbours = np.arange(n)[None], np.arange(min(10, n))[None]
        assert retrieval.neighbour_agreement(distances, neighbours) == k / min(10, n)
        # With all documents tied, each neighbour is found with the probability of any document.
        np.testing.assert_allclose(retrieval.neighbour_agreement(np.zeros((1, n)), neighbours), k / n)


def test_agreement_belongs_to_each_query(rng):
    distances = rng.random((2, 200))
    nearest = np.argsort(distances, axis=1)
    neighbours = np.stack([nearest[0, :10], nearest[1, 5:15]])
    np.testing.assert_allclose(retrieval.neighbour_agreement(distances, neighbours), [1.0, 0.5])
    with pytest.raises(IndexError):
        retrieval.neighbour_agreement(distances, np.full((2, 10), 200))


def test_balance_and_correlation_are_those_of_the_bits(rng, monkeypatch):
    monkeypatch.setattr(retrieval, "_ROWS", 7)  # several blocks, the last one not full
    codes = rng.integers(0, 256, (50, 2), dtype="uint8")
    bits = np.unpackbits(codes, axis=1)
    np.testing.assert_allclose(retrieval.bit_balance(codes), bits.mean(axis=0))
    np.testing.assert_allclose(retrieval.bit_correlation(codes), np.corrcoef(bits.T), atol=1e-12)


def test_constant_bits_correlate_with_nothing():
    bits = np.array([[0, 1, 0, 1, 0, 0, 1, 1], [0, 1, 1, 0, 1, 0, 1, 0]], bool)
    correlation = retrieval.bit_correlation(np.packbits(bits, axis=1))
    expected = np.eye(8)
    sign = {2: 1, 3: -1, 4: 1, 7: -1}  # bits 0, 1, 5 and 6 are constant
    for i, j in itertools.product(sign, sign):
        expected[i, j] = sign[i] * sign[j]
    np.testing.assert_allclose(correlation, expected, atol=1e-12)


@pytest.mark.parametrize("codes", [np.zeros((2, 4)), np.zeros(4, "uint8"), np.zeros((2, 0), "uint8")])
def test_what_is_no_code_is_refused(codes):
    good = np.zeros((1, 4), "uint8")
    for call in (lambda: retrieval.hamming(codes, good), lambda: retrieval.bit_balance(codes)):
        with pytest.raises(ValueError, match="expected packed codes"):
            call()


def test_codes_of_different_lengths_and_no_codes_are_refused():
    with pytest.raises(ValueError, match="4 and 8 bytes"):
        retrieval.hamming(np.zeros((1, 4), "uint8"), np.zeros((1, 8), "uint8"))
    with pytest.raises(ValueError, match="at least one code"):
        retrieval.bit_correlation(np.zeros((0, 4), "uint8"))
