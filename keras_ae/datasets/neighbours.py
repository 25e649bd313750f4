"""Pairs of rows and their nearest neighbours, for training."""

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_ae.datasets import epochs
from keras_ae.typing import Matrix
from keras_ae.utils import rows as rows_of
from keras_ae.utils import validation


def nearest(x: Matrix, k: int) -> np.ndarray:
    """Finds the k nearest neighbours of each row by cosine similarity: `(N, k)` ints, nearest first.

        similarity_ij = x_i . x_j / (|x_i| |x_j|)

    Args:
        x: array or sparse SciPy matrix `(N, V)`. All pairs are compared, in blocks: time grows as N^2, memory as N.
        k: int, from 1 to N - 1.

    Raises:
        ValueError: if k is out of range.

    Example: `nearest(np.array([[1, 0], [1, 1], [0, 1], [0, 2]]), 1)[:, 0]    # [1, 0, 3, 2]`

    Source: Salton & Buckley 1988, for the cosine of weighted words. See also: `pairs`, which takes the result.
    """
    from sklearn.neighbors import NearestNeighbors

    if not 0 < k < x.shape[0]:
        raise ValueError(f"k: expected 1 to {x.shape[0] - 1} neighbours of {x.shape[0]} rows, received {k}.")
    found = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(x).kneighbors(x)[1]
    # A row is its own nearest neighbour, but equal rows may come before it, or even displace it.
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(found), k)


def pairs(
    x: Matrix, neighbours: ArrayLike | None = None, batch_size: int = 512, seed: int = 0, *, first_epoch: int = 0
) -> tf.data.Dataset:
    """Batches of rows x_i or, given `neighbours`, of pairs (x_i, x_j) with a random neighbour j, redrawn every epoch.

    Args:
        x: array or sparse SciPy matrix `(N, V)`; batches are dense float32 `(batch_size, V)`.
        neighbours: ints `(N, k)`, from `nearest`; None for batches of x only.
        batch_size: int. All batches have this size: an epoch drops the N modulo batch_size rows that come last in its
            random order. Fewer than `batch_size` rows form a single batch.
        seed: non-negative int. The order and the draws depend only on it and the epoch number.
        first_epoch: int, number of epochs completed before an interruption, for resuming training. An epoch counts once
            its second batch has been requested, so you can inspect the first one.

    Returns:
        `tf.data.Dataset` of `floor(N / batch_size)` batches per epoch.

    Raises:
        ValueError: if there are no rows, or `neighbours` does not have one row of indices for each row of x.

    Example:

        x = np.random.default_rng(0).random((1000, 50), "float32")
        batches = ka.datasets.pairs(x, ka.datasets.nearest(x, 10), batch_size=100)
        rows, others = next(iter(batches))    # (100, 50) each

    Source: Hansen 2020 (PairRec), for neighbours as targets. See also: `nearest`; `speech.pairs`, of files.
    """
    x = rows_of.to_rows("x", x)
    x = x.numpy() if tf.is_tensor(x) else x
    n = x.shape[0]
    if n == 0:
        raise ValueError("x: expected at least one row, received none.")
    batch_size = min(validation.positive_int("batch_size", batch_size), n)
    seed = validation.positive_int("seed", seed, at_least=0)
    if neighbours is not None:
        neighbours = np.asarray(neighbours)
        if neighbours.ndim != 2 or len(neighbours) != n or neighbours.size == 0:
            raise ValueError(
                f"neighbours: expected row numbers of shape ({n}, k), as from `nearest`; received {neighbours.shape}."
            )

    def dense(rows):
        return rows_of.dense(x[rows]).astype(np.float32, copy=False)

    def batches(epoch):
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(n)
        for i in range(0, n - batch_size + 1, batch_size):
            rows = order[i : i + batch_size]
            if neighbours is None:
                yield dense(rows)
            else:
                others = neighbours[rows, random.integers(neighbours.shape[1], size=batch_size)]
                yield dense(rows), dense(others)

    spec = tf.TensorSpec((batch_size, x.shape[1]), tf.float32)
    signature = spec if neighbours is None else (spec, spec)

    def make(epoch):
        return tf.data.Dataset.from_generator(batches, output_signature=signature, args=(epoch,))

    return epochs.numbered(make, n // batch_size, first_epoch)
